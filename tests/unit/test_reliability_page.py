"""The figures of the reliability page are those of the committed raw results, which break no promise."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from dev.distributed import page
from dev.distributed.faults import FAULTS, Moment
from dev.distributed.flights import Fleet
from tests.integration.test_hostile import INPUT, LIES

FOUND = page.reports()
TEXT = page.PAGE.read_text()


class TestThePage:
    def test_is_what_is_generated(self) -> None:
        assert page.written(TEXT, FOUND) == TEXT, "make reliability-page writes it"

    def test_has_every_section_once(self) -> None:
        assert Counter(name for _, name, _ in page.BLOCK.findall(TEXT)) == Counter([*page.SECTIONS])

    def test_says_of_how_many_the_experiments_are(self) -> None:
        fleet = Fleet()
        assert f"{fleet.whole} by mapped tasks" in TEXT
        assert f"{fleet.batches * fleet.batch_size} in three batches" in TEXT
        assert f"{fleet.chains} by operator, sensor and" in TEXT


@pytest.mark.parametrize("name", FOUND)
class TestTheResults:
    def test_break_no_promise(self, name: str) -> None:
        judged = FOUND[name]["judgement"]
        # What the judge itself had wrong is told on the page.
        assert judged["violations"] == [*FOUND[name].get("explained", {})]
        assert judged["paid"] <= judged["requests"] + judged["failed"]
        assert "lost" not in judged["endings"]

    def test_say_where_they_come_from(self, name: str) -> None:
        assert re.fullmatch(r"[0-9a-f]{40}", FOUND[name]["commit"])
        assert FOUND[name]["machine"]["cores"] > 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_hundred_were_under_way(name: str) -> None:
    assert FOUND[name]["judgement"]["requests"] == 100
    if FAULTS[name].moment is not Moment.SUBMITTING:
        assert FOUND[name]["in_flight"] == 100
        assert FOUND[name]["judgement"]["endings"] == {"delivered": 100}


def test_the_long_ones_are_as_long_as_they_are_said_to_be() -> None:
    assert FOUND["at-random"]["seconds_of_fault"] >= 600
    assert FOUND["soak"]["seconds_of_fault"] >= 1800
    assert FOUND["load"]["judgement"]["requests"] == 2300


def test_the_hostile_input_is_what_is_tested() -> None:
    shown = {one["what"] for one in json.loads(page.HOSTILE.read_text())}
    assert shown == {one.what for one in (*LIES, *INPUT)} | {"another request's id, in a batch"}
