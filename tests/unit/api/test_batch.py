"""Many generations as one: which request is which, what is bought again, and when it is a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_luma.api.batch import (
    MAX_BATCH,
    MENDABLE,
    RECORDS_PER_PAGE,
    BatchStatus,
    Ledger,
    Slot,
    counts,
    slots_of,
    summary,
    too_many_failed,
)
from airflow_provider_luma.api.models import Cause, Generation, GenerationRequest, GenerationStatus
from airflow_provider_luma.api.submission import LookFirst, OutcomeUnknown, Phase, Reattach, Submit
from airflow_provider_luma.exceptions import (
    LumaGatewayError,
    LumaInvalidRequest,
    LumaSubmitOutcomeUnknown,
)


def slots(*asked: Any, strict: bool = True) -> list[Slot]:
    return slots_of(asked, "luma_default", GenerationRequest.of, strict=strict)


def keys(*asked: Any) -> list[str]:
    return [slot.key for slot in slots(*asked)]


class TestWhichRequestIsWhich:
    def test_is_told_by_what_is_asked_and_not_by_its_place(self) -> None:
        fox, owl = keys("a fox", "an owl")
        assert keys("an owl", "a bear", "a fox") == [owl, keys("a bear")[0], fox]

    def test_equal_ones_are_told_by_their_number(self) -> None:
        first, second, third = keys("a fox", {"prompt": "a fox"}, "a fox")
        assert len({first, second, third}) == 3
        assert keys("an owl", "a fox", "a fox")[1:] == [first, second]

    def test_another_argument_or_connection_is_another_request(self) -> None:
        assert keys("a fox") != keys({"prompt": "a fox", "loop": True})
        (elsewhere,) = slots_of(["a fox"], "other", GenerationRequest.of, strict=True)
        assert [elsewhere.key] != keys("a fox")

    def test_one_that_is_none_is_an_error_of_all(self) -> None:
        with pytest.raises(LumaInvalidRequest, match="Request 1: "):
            slots("a fox", "")

    def test_or_refused_alone_where_that_is_wanted(self) -> None:
        fox, bad, owl = slots("a fox", 5, "an owl", strict=False)
        assert (bad.status, bad.request, bad.maybe_paid) == (BatchStatus.REFUSED, None, False)
        assert bad.error is not None
        assert bad.error["kind"] == "invalid_request"
        assert [fox.key, owl.key] == keys("a fox", "an owl")
        assert [slot.index for slot in (fox, bad, owl)] == [0, 1, 2]
        assert [slot.request for slot in (fox, owl)] == [
            GenerationRequest("a fox"),
            GenerationRequest("an owl"),
        ]

    def test_is_told_by_every_release_alike(self) -> None:
        # Another key would have every request of a store submitted, and paid for, a second time.
        assert keys("a fox", "a fox") == [f"a71943e571e2bec2f0d0f9edb71fdcb1-{number}" for number in (0, 1)]

    def test_too_many_are_a_mistake(self) -> None:
        assert len(slots_of(["a"] * MAX_BATCH, "c", GenerationRequest.of, strict=True)) == MAX_BATCH
        with pytest.raises(LumaInvalidRequest, match="10001 requests"):
            slots_of(["a"] * (MAX_BATCH + 1), "c", GenerationRequest.of, strict=True)


def stored(ledger: Ledger) -> dict[int, Any]:
    """Return the pages that a store would have been given, as JSON has them."""
    pages: dict[int, Any] = json.loads(json.dumps(dict(ledger.changed())))
    return {int(number): page for number, page in pages.items()}


def after(*notes: tuple[str, Phase, str | None]) -> list[Any]:
    """Return the pages that a try has stored."""
    ledger = Ledger(3)
    for key, phase, request_id in notes:
        ledger.note(key, phase, request_id)
    pages = stored(ledger)
    return [pages[number] for number in sorted(pages)]


def reading(pages: list[Any], max_tries: int = 3) -> Ledger:
    ledger = Ledger(max_tries)
    ledger.read(pages)
    return ledger


class TestTheLedger:
    def test_of_a_first_try_submits_everything(self) -> None:
        assert Ledger(3).decision("a") == Submit()

    def test_takes_up_each_request_on_its_own(self) -> None:
        ledger = reading(
            after(("a", Phase.SUBMITTED, "r-a"), ("b", Phase.INTENT, None), ("c", Phase.FAILED, "r-c"))
        )
        assert ledger.decision("a") == Reattach("r-a")
        assert isinstance(ledger.decision("b"), OutcomeUnknown)
        assert isinstance(ledger.decision("c"), Submit)
        assert ledger.decision("d") == Submit()

    def test_after_a_clear_looks_first_or_buys_what_was_delivered_anew(self) -> None:
        ledger = reading(after(("a", Phase.SUBMITTED, "r-a"), ("b", Phase.DONE, "r-b")), max_tries=7)
        assert ledger.decision("a") == LookFirst("r-a")
        assert isinstance(ledger.decision("b"), Submit)

    def test_forgets_what_was_certainly_not_accepted(self) -> None:
        ledger = reading(after(("a", Phase.INTENT, None), ("b", Phase.INTENT, None)))
        ledger.forget("a")
        ledger.forget("never heard of")
        assert ledger.decision("a") == Submit()
        assert stored(ledger)[0]["records"] == {"b": ["intent", None, 3, None]}

    def test_marks_only_what_was_delivered_as_done(self) -> None:
        ledger = reading(after(("a", Phase.SUBMITTED, "r-a"), ("b", Phase.SUBMITTED, "r-b")))
        ledger.finish({"r-a"})
        again = reading([stored(ledger)[0]], max_tries=7)
        assert isinstance(again.decision("a"), Submit)
        assert again.decision("b") == LookFirst("r-b")

    def test_fills_a_page_and_takes_the_next(self) -> None:
        notes = [(str(number), Phase.INTENT, None) for number in range(RECORDS_PER_PAGE + 1)]
        pages = after(*notes)
        assert [len(page["records"]) for page in pages] == [RECORDS_PER_PAGE, 1]
        ledger = reading(pages)
        ledger.note("0", Phase.SUBMITTED, "r-0")
        assert list(stored(ledger)) == [0], "only the page that has changed"
        assert stored(ledger) == {}, "once"
        ledger.note("new", Phase.INTENT)
        assert list(stored(ledger)) == [1]

    def test_a_page_may_be_typed_by_a_person(self) -> None:
        (page,) = after(("a", Phase.SUBMITTED, "r-a"))
        assert reading([json.dumps(page)]).decision("a") == Reattach("r-a")
        assert reading(['{"v": 1, "records": {}}']).decision("a") == Submit()

    @pytest.mark.parametrize(
        "page",
        [
            None,
            "",
            "{",
            "[" * 100_000,
            [],
            {},
            {"v": 2, "records": {}},
            {"v": 1, "records": []},
            {"v": 1, "records": {"a": None}},
            {"v": 1, "records": {"a": ["submitted", "r-a"]}},
            {"v": 1, "records": {"a": ["sold", "r-a", 3]}},
            {"v": 1, "records": {"a": ["submitted", None, 3]}},
            {"v": 1, "records": {"a": ["submitted", "two words", 3]}},
            {"v": 1, "records": {"a": {"phase": "submitted"}}},
        ],
        ids=lambda page: repr(page)[:50],
    )
    def test_that_cannot_be_read_sends_nothing_and_says_how_to_go_on(self, page: Any) -> None:
        with pytest.raises(LumaSubmitOutcomeUnknown, match="Page 1 ") as raised:
            reading([*after(("b", Phase.DONE, "r-b")), page])
        assert '{"v": 1, "records": {}}' in str(raised.value)
        assert "Nothing was sent by this try" in str(raised.value)
        assert ("has gone" in str(raised.value)) is (page is None)
        assert len(str(raised.value)) < 800

    def test_that_cannot_be_read_is_shown(self) -> None:
        with pytest.raises(LumaSubmitOutcomeUnknown, match=r"cannot be read: \{'a': \['sold'"):
            reading([{"v": 1, "records": {"a": ["sold", "r-a", 3]}}])


def seen(status: GenerationStatus, word: str = "", **fields: Any) -> Generation:
    return Generation("r-1", status, word, **fields)


class TestALook:
    @pytest.mark.parametrize("out_of_time", [False, True])
    @pytest.mark.parametrize(
        ("look", "status", "kind"),
        [
            (seen(GenerationStatus.COMPLETED, "completed", video_url="https://h/a.mp4"), "completed", None),
            (seen(GenerationStatus.COMPLETED, "completed"), "error", "completed_without_video"),
            (seen(GenerationStatus.FAILED, "failed", reason="no"), "failed", "generation_failed"),
            (seen(GenerationStatus.FAILED, "failed", cause=Cause.CONTENT), "failed", "generation_moderated"),
        ],
    )
    def test_that_says_how_it_ended(
        self, look: Generation, status: str, kind: str | None, out_of_time: bool
    ) -> None:
        (slot,) = slots("a fox")
        slot.see(look, out_of_time=out_of_time)
        assert slot.status.value == status
        assert (slot.error and slot.error["kind"]) == kind
        assert slot.video_url == look.video_url

    @pytest.mark.parametrize(
        ("look", "status", "said"),
        [
            (seen(GenerationStatus.PENDING, "dreaming"), "timeout", "it is 'dreaming'"),
            (seen(GenerationStatus.UNKNOWN, "odd"), "timeout", "it is 'odd'"),
            (seen(GenerationStatus.UNKNOWN), "timeout", "it is 'unknown'"),
            (seen(GenerationStatus.NOT_FOUND, "NOT_FOUND"), "error", "does not know this request id"),
            (seen(GenerationStatus.UNKNOWN, reason="Out of GPUs."), "error", "no status: Out of GPUs."),
        ],
    )
    def test_that_says_nothing_final_is_pending_until_the_time_is_over(
        self, look: Generation, status: str, said: str
    ) -> None:
        (slot,) = slots("a fox")
        slot.see(look, out_of_time=False)
        assert (slot.status, slot.error) == (BatchStatus.PENDING, None)
        slot.see(look, out_of_time=True)
        assert slot.status.value == status
        assert slot.error is not None
        assert said in slot.error["message"]
        assert slot.status in MENDABLE, "it is paid for, and looked at again"

    def test_an_error_without_a_status_is_never_a_failure_that_is_bought_anew(self) -> None:
        (slot,) = slots("a fox")
        slot.see(seen(GenerationStatus.UNKNOWN, reason="no"), out_of_time=True)
        assert slot.status is not BatchStatus.FAILED


class TestAResult:
    @given(
        st.sampled_from([*BatchStatus]),
        st.none() | st.text(),
        st.none() | st.text(),
        st.none() | st.fixed_dictionaries({"kind": st.text(), "message": st.text()}),
    )
    def test_comes_back(self, status: BatchStatus, request_id: Any, path: Any, error: Any) -> None:
        slot = Slot(7, None, "", request_id, status, "https://h/a.mp4", path, error)
        assert Slot.from_result(json.loads(json.dumps(slot.result))) == slot

    @pytest.mark.parametrize(
        "result", [None, 5, "text", [], {}, {"index": 0}, {**Slot(0, None, "").result, "status": "x"}]
    )
    def test_that_is_none_is_not_guessed_at(self, result: Any) -> None:
        assert Slot.from_result(result) is None


def ended(**statuses: int) -> list[Slot]:
    found = []
    for name, count in statuses.items():
        for _ in range(count):
            found.append(Slot(len(found), None, "", f"r-{len(found)}", BatchStatus(name)))
    return found


class TestAFailure:
    @pytest.mark.parametrize(
        ("batch", "fail_on", "max_failures", "failed"),
        [
            (ended(completed=3), "any", 0, False),
            (ended(completed=2, failed=1), "any", 0, True),
            (ended(completed=2, failed=1), "any", 1, False),
            (ended(completed=1, failed=1, timeout=1), "any", 1, True),
            (ended(completed=1, failed=2), "all", 0, False),
            (ended(failed=1, unknown=2), "all", 0, True),
            (ended(), "all", 0, False),
            (ended(), "any", 0, False),
            (ended(failed=3), "none", 0, False),
        ],
    )
    def test_is_what_was_said_to_be_one(
        self, batch: list[Slot], fail_on: str, max_failures: int, failed: bool
    ) -> None:
        assert too_many_failed(batch, fail_on, max_failures) is failed


class TestWhatMayBePaid:
    @pytest.mark.parametrize(
        ("slot", "maybe"),
        [
            (Slot(0, None, ""), False),
            (Slot(0, None, "", under_way=True), True),
            (Slot(0, None, "", "r-1"), True),
            (Slot(0, None, "", status=BatchStatus.UNKNOWN), True),
            (Slot(0, None, "", status=BatchStatus.REFUSED), False),
        ],
    )
    def test_counts_as_paid(self, slot: Slot, maybe: bool) -> None:
        assert slot.maybe_paid is maybe

    def test_an_error_may_bring_the_id(self) -> None:
        slot = Slot(0, None, "")
        slot.end(BatchStatus.UNKNOWN, LumaSubmitOutcomeUnknown("stopped", request_id="r-1"))
        assert slot.request_id == "r-1"
        slot.end(BatchStatus.ERROR, LumaGatewayError("down", request_id="r-2"))
        assert slot.request_id == "r-1", "which is known already"


class TestTheSummary:
    def test_counts_in_the_order_of_the_statuses(self) -> None:
        assert list(counts(ended(unknown=1, completed=2)).items()) == [("completed", 2), ("unknown", 1)]

    def test_of_a_whole_success_is_a_count(self) -> None:
        assert summary(ended(completed=2)) == "2 completed"

    def test_names_the_first_three_and_how_many_more(self) -> None:
        batch = ended(completed=1, not_submitted=5)
        batch[1].end(BatchStatus.NOT_SUBMITTED, LumaGatewayError("x" * 1000))
        batch[2].request_id = None
        said = summary(batch)
        assert said.startswith("1 completed, 5 not submitted. request 1 (r-1): not_submitted, xxx")
        assert "request 2: not_submitted; request 3 (r-3): not_submitted; and 2 more" in said
        assert "request 4" not in said
        assert "more" not in summary(ended(timeout=3))
        assert summary(ended(timeout=4)).endswith("; and 1 more")
        assert len(said) < 500
