"""What a try does with the record of an earlier one: what keeps a video from being paid for twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_luma.api.models import GenerationRequest
from airflow_provider_luma.api.submission import (
    LookFirst,
    OutcomeUnknown,
    Phase,
    Reattach,
    Submit,
    SubmitRecord,
    decide,
    fingerprint_of,
    read_record,
)

MINE, OTHER = "f" * 64, "e" * 64


def record(phase: str, request_id: str | None = "r-1", fingerprint: Any = MINE, max_tries: Any = 3) -> Any:
    return SubmitRecord(Phase(phase), fingerprint, request_id, max_tries).to_json()


def decided(stored: Any, fingerprint: str | None = MINE, max_tries: int = 3) -> Any:
    return decide(stored, fingerprint=fingerprint, max_tries=max_tries)


class TestARetry:
    """``max_tries`` is that of the record."""

    def test_without_a_record_submits_without_a_word(self) -> None:
        assert decided(None) == Submit(None)

    def test_after_an_intent_sends_nothing(self) -> None:
        found = decided(record("intent", None))
        assert isinstance(found, OutcomeUnknown)
        assert "left no word" in found.why

    def test_an_intent_says_when_it_was(self):
        found = decided({**record("intent", None), "at": 1_764_099_780.5})
        assert isinstance(found, OutcomeUnknown)
        assert "about to send the request at 2025-11-25 19:43:00 UTC and left no word" in found.why

    @pytest.mark.parametrize("at", ["yesterday", -1, 1e300, float("nan"), float("inf"), None, [1]])
    def test_a_time_that_is_none_is_left_out(self, at):
        found = decided({**record("intent", None), "at": at})
        assert isinstance(found, OutcomeUnknown)
        assert "about to send the request and left no word" in found.why

    @pytest.mark.parametrize("phase", ["submitted", "done"])
    def test_takes_up_what_was_accepted(self, phase: str) -> None:
        assert decided(record(phase)) == Reattach("r-1")

    def test_of_a_failed_generation_buys_a_new_one_and_says_so(self) -> None:
        found = decided(record("failed"))
        assert isinstance(found, Submit)
        assert "r-1" in (found.note or "")
        assert "new charge" in (found.note or "")


class TestAClear:
    """``max_tries`` has changed."""

    def test_after_an_intent_sends_nothing(self) -> None:
        assert isinstance(decided(record("intent", None), max_tries=7), OutcomeUnknown)

    def test_of_what_was_accepted_and_not_delivered_looks_first(self) -> None:
        assert decided(record("submitted"), max_tries=7) == LookFirst("r-1")

    def test_of_what_was_delivered_buys_a_new_one_and_says_so(self) -> None:
        found = decided(record("done"), max_tries=7)
        assert isinstance(found, Submit)
        assert "cleared after it had delivered r-1" in (found.note or "")
        assert "new charge" in (found.note or "")

    def test_of_a_failed_generation_buys_a_new_one(self) -> None:
        assert isinstance(decided(record("failed"), max_tries=7), Submit)


class TestAnotherRequest:
    @pytest.mark.parametrize("phase", ["submitted", "done", "failed"])
    @pytest.mark.parametrize("max_tries", [3, 7])
    def test_is_a_new_generation_and_names_the_earlier_one(self, phase: str, max_tries: int) -> None:
        found = decided(record(phase), fingerprint=OTHER, max_tries=max_tries)
        assert isinstance(found, Submit)
        assert "another request (as r-1)" in (found.note or "")

    def test_of_which_the_earlier_ones_outcome_is_unknown_has_no_id_to_name(self) -> None:
        found = decided(record("intent", None), fingerprint=OTHER)
        assert isinstance(found, Submit)
        assert "another request:" in (found.note or "")

    def test_is_not_told_where_a_function_makes_the_request(self) -> None:
        assert decided(record("submitted"), fingerprint=None) == Reattach("r-1")
        assert isinstance(decided(record("intent", None), fingerprint=None), OutcomeUnknown)


class TestWhatAPersonTyped:
    @pytest.mark.parametrize(
        "typed",
        [
            "r-1",
            "  r-1\n",
            '"r-1"',
            '{"request_id": "r-1"}',
            {"request_id": "r-1"},
            {"phase": "intent", "request_id": "r-1", "max_tries": 3},
            json.dumps({"v": 1, "phase": "intent", "fingerprint": MINE, "request_id": "r-1", "max_tries": 3}),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("fingerprint", [MINE, None])
    def test_is_the_id_that_is_taken_up(self, typed: Any, fingerprint: str | None) -> None:
        assert decided(typed, fingerprint=fingerprint) == Reattach("r-1")

    def test_is_taken_up_by_a_clear_too_where_it_names_no_tries(self) -> None:
        assert decided({"request_id": "r-1"}, max_tries=7) == Reattach("r-1")

    @pytest.mark.parametrize(
        "typed",
        [
            "",
            "two words",
            '"r-1',
            "{",
            "[" * 100_000,
            '{"a":' * 100_000,
            5,
            [],
            {"request_id": "two words"},
            {"request_id": ["r-1"]},
            {"request_id": "r-1", "v": 2},
            {"request_id": "r-1", "phase": "sold"},
            {"request_id": "r-1", "phase": ["done"]},
            {"request_id": "r-1", "max_tries": "3"},
            {"request_id": "r-1", "fingerprint": 5},
            {"phase": "submitted"},
            {"phase": "done", "request_id": None},
            {"phase": "failed"},
        ],
        ids=lambda typed: repr(typed)[:40],
    )
    def test_and_is_no_record_is_never_a_reason_to_pay_again(self, typed: Any) -> None:
        found = decided(typed)
        assert isinstance(found, OutcomeUnknown)
        assert "cannot be read" in found.why
        assert len(found.why) < 400

    def test_an_empty_record_is_an_intent(self) -> None:
        assert read_record({}) == SubmitRecord(Phase.INTENT, None, None, None)
        assert isinstance(decided({}), OutcomeUnknown)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
near_records = st.fixed_dictionaries(
    {},
    optional={
        "v": st.sampled_from([1, 2, None]),
        "phase": st.sampled_from([*Phase]) | json_values,
        "fingerprint": st.sampled_from([MINE, OTHER, None]) | json_values,
        "request_id": st.just("r-1") | json_values,
        "max_tries": st.integers(0, 9) | json_values,
    },
)


class TestWhateverIsStored:
    @given(json_values | near_records, st.integers(0, 9))
    def test_is_decided_and_no_unreadable_record_is_paid_for_again(self, stored: Any, max_tries: int) -> None:
        found = decided(stored, max_tries=max_tries)
        assert isinstance(found, (Submit, Reattach, LookFirst, OutcomeUnknown))
        if isinstance(found, Submit) and stored is not None:
            read = read_record(stored)
            assert read is not None
            assert found.note, "a second charge is never silent"
            assert read.request_id is not None or read.fingerprint not in (None, MINE)

    @given(near_records)
    def test_comes_back_as_it_was_written(self, stored: Any) -> None:
        read = read_record(stored)
        if read is not None:
            assert read_record(read.to_json()) == read
            assert read_record(json.dumps(read.to_json())) == read


class TestTheFingerprint:
    def test_is_of_the_request_and_the_connection(self) -> None:
        request = GenerationRequest("a fox")
        assert fingerprint_of(request, "a") == fingerprint_of(GenerationRequest("a fox"), "a")
        assert fingerprint_of(request, "a") != fingerprint_of(request, "b")
        assert fingerprint_of(request, "a") != fingerprint_of(GenerationRequest("a fox", loop=True), "a")

    def test_stays_what_it_was_in_every_release(self) -> None:
        # Another value would have every request in a store submitted, and paid for, a second time.
        assert fingerprint_of(GenerationRequest("a fox"), "luma_default") == (
            "a71943e571e2bec2f0d0f9edb71fdcb11e7e54af70536131c2dafb6229d5e38a"
        )
