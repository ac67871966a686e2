"""The figures of the performance page, and its charts, are those of the committed raw results."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from benchmarks import page
from tests.places import REPOSITORY

DOCS = REPOSITORY / "docs"

FOUND = page.reports()
TEXT = (DOCS / "performance.md").read_text()


class TestThePage:
    def test_is_what_is_generated(self) -> None:
        assert page.page(TEXT, FOUND) == TEXT, "python -m benchmarks.page writes it"

    def test_shows_every_benchmark_once(self) -> None:
        shown = Counter(name for _, name, _ in page.BLOCK.findall(TEXT))
        assert shown == Counter(list(page.blocks(FOUND)))

    def test_has_no_figure_in_its_prose(self) -> None:
        """What a sentence says of a measurement would go stale unseen: figures stand in the tables."""
        prose = re.sub(r"!\[[^]]+\]\([^)]+\)", "", page.BLOCK.sub("", TEXT))
        assert re.findall(r"(?<![\w`.])\d[\d.,]*", re.sub(r"`[^`]*`", "", prose)) == []

    def test_its_images_are_there(self) -> None:
        assert set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", TEXT)) == set(page.charts(FOUND))


@pytest.mark.parametrize("name", sorted(page.charts(FOUND)))
class TestACharts:
    def test_drawing_is_what_is_generated(self, name: str) -> None:
        assert (DOCS / name).read_text() == page.charts(FOUND)[name], "python -m benchmarks.page draws it"

    def test_text_says_what_it_shows(self, name: str) -> None:
        drawing = ET.fromstring((DOCS / name).read_text())
        assert drawing.findtext("{http://www.w3.org/2000/svg}title")


class TestTheResults:
    def test_say_where_they_come_from(self) -> None:
        for name, report in FOUND.items():
            assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", report["commit"]), name
            assert report["samples"], name
            assert report["machine"]["cores"] > 0, name
