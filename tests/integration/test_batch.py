"""
Many requests in one task: each at most once, whatever ends the process, and a word about every one of them.

The state store is a stand-in here; ``tests/system`` runs and kills real processes.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred, timeout

from airflow_provider_luma.api.batch import RECORDS_PER_PAGE
from airflow_provider_luma.api.events import MAX_BATCH_EVENT
from airflow_provider_luma.exceptions import (
    LumaBatchFailed,
    LumaBatchFailedForGood,
    LumaError,
    LumaInvalidRequest,
    LumaProtocolError,
    LumaSubmitOutcomeUnknown,
    LumaTargetExists,
)
from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator
from airflow_provider_luma.steps.batch import PAGE_KEY, PAGES_KEY, UNKNOWN_IN_A_ROW
from tests.integration.conftest import Killed
from tests.integration.waiting import events_of, outcome_of, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeStateStore, FakeTaskInstance

pytestmark = pytest.mark.usefixtures("connect")

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])


def prompts(count: int) -> list[str]:
    return [f"jellyfish {number}" for number in range(count)]


def batch(requests: Any, **kwargs: Any) -> LumaGenerateBatchOperator:
    fields: dict[str, Any] = {"task_id": "many", "deferrable": True, "poke_interval": 0.1, "timeout": 20}
    return LumaGenerateBatchOperator(requests=requests, **{**fields, **kwargs})


def statuses(results: Any) -> list[str]:
    return [one["status"] for one in results]


def asked_for(emulator: Emulator) -> Counter[str]:
    """Return how often each prompt was accepted."""
    return Counter(generation.prompt for generation in emulator.generations.values())


class TestTwoRequestsOfOneId:
    def test_the_second_stays_unknown_and_is_never_sent_again(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        """Also where the first was submitted by an earlier try."""
        run(batch(prompts(1)), context)
        (first,) = emulator.generations
        context["ti"].max_tries = 0
        emulator.misbehave("generate", "wrong-id", request_id=first)
        for _ in range(2):
            with pytest.raises(LumaBatchFailed, match=r"left no word|which is request 0's"):
                run(batch(prompts(2)), context)
            assert statuses(ti.xcoms["results"])[1] == "unknown"
        assert emulator.count("generate") == 2


class TestABatch:
    @pytest.mark.parametrize("fail_on", ["any", "none"])
    def test_names_in_its_log_each_that_is_paid_for_and_has_no_video(
        self, fail_on: str, emulator: Emulator, context: dict[str, Any], logged: Callable[[], str]
    ) -> None:
        emulator.next(outcome="failed", reason="no luck", times=6)
        emulator.misbehave("generate", "500", after=6)
        operator = batch(prompts(8), fail_on=fail_on)
        if fail_on == "any":
            with pytest.raises(LumaBatchFailed):
                run(operator, context)
        else:
            run(operator, context)
        errors = [line for line in logged().splitlines() if "Request " in line and "Submitted" not in line]
        for request_id, generation in emulator.generations.items():
            named = [line for line in errors if request_id in line]
            assert bool(named) == (generation.outcome == "failed"), (request_id, errors)
        assert any("(no id)" in line and "The prompt: 'jellyfish" in line for line in errors)

    @both_modes
    def test_returns_a_result_for_each_in_order(
        self,
        deferrable: bool,
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        tmp_path: Path,
    ) -> None:
        wanted: list[Any] = prompts(20)
        wanted[3] = {"prompt": "a street", "image_url": "https://example.org/street.png"}
        wanted[4] = {"prompt": "tall", "aspect_ratio": "9:16", "loop": "yes"}
        results = run(batch(wanted, deferrable=deferrable, destination=f"file://{tmp_path}/"), context)
        assert [one["index"] for one in results] == list(range(20))
        assert set(statuses(results)) == {"completed"}
        for one, asked in zip(results, wanted, strict=True):
            generation = emulator.generation(one["request_id"])
            assert generation.prompt == (asked if isinstance(asked, str) else asked["prompt"])
            assert one["path"] == f"file://{tmp_path}/{one['request_id']}.mp4"
            assert (tmp_path / f"{one['request_id']}.mp4").read_bytes() == emulator.video_bytes(
                one["request_id"]
            )
        assert emulator.paid == 20
        assert emulator.generation(results[3]["request_id"]).image_url is not None
        assert emulator.generation(results[4]["request_id"]).loop is True
        assert ti.xcoms["results"] == results

    def test_equal_prompts_are_several_videos(self, emulator: Emulator, context: dict[str, Any]) -> None:
        results = run(batch(["the same"] * 5), context)
        assert len({one["request_id"] for one in results}) == 5
        assert emulator.paid == 5

    def test_of_nothing_is_nothing(self, emulator: Emulator, context: dict[str, Any]) -> None:
        assert run(batch([]), context) == []
        assert emulator.requests == []

    def test_takes_a_json_list_as_templates_give_it(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        assert len(run(batch(json.dumps(prompts(3))), context)) == 3

    def test_keeps_the_posts_under_way_below_the_limit(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        connect(max_concurrent_requests=3)
        emulator.misbehave("generate", "latency", seconds=0.1, times=None)
        run(batch(prompts(12)), context)
        calls = sorted(call.at for call in emulator.calls("generate"))
        assert all(later - earlier > 0.05 for earlier, later in zip(calls, calls[3:], strict=False))

    def test_names_files_by_index(self, context: dict[str, Any], tmp_path: Path) -> None:
        run(batch(prompts(3), destination=f"file://{tmp_path}/night-{{index}}.mp4"), context)
        assert sorted(path.name for path in tmp_path.glob("*.mp4")) == [f"night-{n}.mp4" for n in range(3)]


class TestBeforeAnythingIsSent:
    @pytest.mark.parametrize(
        ("requests", "said"),
        [
            (None, "must be a list"),
            ("None", "must be a list"),
            ("", "must be a list"),
            ("one prompt", "must be a list"),
            ({"prompt": "a"}, "must be a list"),
            (5, "must be a list"),
            (["a", ""], "Request 1: prompt"),
            (["a", None], "Request 1: prompt"),
            (["a", 7], "Request 1: A request must be"),
            (["a", {"promt": "b"}], "no field 'promt'"),
            (["a", {"prompt": "b", "aspect_ratio": "wide"}], "Request 1: aspect_ratio"),
            (["a"] * 10_001, "too many"),
        ],
    )
    def test_what_is_no_request_is_found(
        self, requests: Any, said: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match=said):
            batch(requests).execute(context)
        assert emulator.requests == []

    def test_one_file_for_many_videos_is_found(
        self, emulator: Emulator, context: dict[str, Any], tmp_path: Path
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match="one file"):
            batch(prompts(2), destination=f"file://{tmp_path}/one.mp4").execute(context)
        assert emulator.requests == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"fail_on": "some"},
            {"max_failures": -1},
            {"max_failures": True},
            {"on_unknown_outcome": "retry"},
            {"poke_interval": 0},
            {"timeout": float("nan")},
        ],
    )
    def test_wrong_arguments_break_the_dag_and_not_the_night(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            batch([], **wrong)


class TestWhatFails:
    def test_fails_the_task_after_all_have_ended(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.next(outcome="failed", reason="no frame")
        outcome = outcome_of(batch(prompts(6)), context)
        assert outcome.state == "failed", "no retry can mend it"
        assert isinstance(outcome.error, LumaBatchFailedForGood)
        assert "5 completed, 1 failed" in str(outcome.error)
        assert "no frame" in str(outcome.error)
        assert sorted(statuses(ti.xcoms["results"])) == ["completed"] * 5 + ["failed"]

    @pytest.mark.parametrize(
        ("rule", "state"),
        [
            ({"fail_on": "none"}, "success"),
            ({"fail_on": "all"}, "success"),
            ({"max_failures": 2}, "success"),
            ({"max_failures": 1}, "failed"),
        ],
    )
    def test_counts_by_the_rule(
        self, rule: dict[str, Any], state: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(outcome="failed", times=2)
        assert outcome_of(batch(prompts(5), **rule), context).state == state

    def test_all_of_all_is_a_failure(self, emulator: Emulator, context: dict[str, Any]) -> None:
        emulator.next(outcome="failed", times=None)
        assert outcome_of(batch(prompts(3), fail_on="all"), context).state == "failed"

    def test_a_request_that_is_none_is_refused_alone_where_that_is_borne(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        results = run(batch(["a", "", "c"], fail_on="none"), context)
        assert statuses(results) == ["completed", "refused", "completed"]
        assert results[1]["error"]["kind"] == "invalid_request"
        assert emulator.paid == 2

    def test_an_unknown_outcome_is_reported_and_the_others_go_on(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.misbehave("generate", "drop-after-reading")
        with pytest.raises(LumaBatchFailedForGood):
            run(batch(prompts(8)), context)
        assert Counter(statuses(ti.xcoms["results"])) == {"completed": 7, "unknown": 1}
        with pytest.raises(LumaBatchFailedForGood):
            run(batch(prompts(8)), context)
        assert len(emulator.calls("generate")) == 8, "it is not sent again"

    def test_unknown_outcomes_in_a_row_stop_the_submitting(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        connect(max_concurrent_requests=2)
        emulator.misbehave("generate", "500", times=None)
        with pytest.raises(LumaBatchFailed):
            run(batch(prompts(40)), context)
        assert len(emulator.calls("generate")) <= UNKNOWN_IN_A_ROW + 1
        counted = Counter(statuses(ti.xcoms["results"]))
        assert counted["unknown"] == len(emulator.calls("generate"))
        assert counted["not_submitted"] == 40 - counted["unknown"]

    def test_a_refused_key_stops_the_submitting_and_costs_nothing(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any], store: FakeStateStore
    ) -> None:
        connect(password="some-wrong-key", max_concurrent_requests=2)
        outcome = outcome_of(batch(prompts(30)), context)
        assert outcome.state == "up_for_retry"
        assert "30 not submitted" in str(outcome.error)
        assert len(emulator.calls("generate")) <= 4
        connect()
        assert set(statuses(run(batch(prompts(30)), context))) == {"completed"}
        assert emulator.paid == 30

    def test_a_rate_limit_pauses_and_loses_nothing(self, emulator: Emulator, context: dict[str, Any]) -> None:
        emulator.misbehave("generate", "429-seconds", seconds=1, times=5)
        assert set(statuses(run(batch(prompts(20)), context))) == {"completed"}
        assert emulator.paid == 20

    def test_what_is_pending_at_the_end_is_resumed_for_free(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(seconds=1.5)
        outcome = outcome_of(batch(prompts(4), timeout=0.8), context)
        assert outcome.state == "up_for_retry"
        assert "1 timeout" in str(outcome.error)
        assert set(statuses(run(batch(prompts(4)), context))) == {"completed"}
        assert emulator.paid == 4

    def test_a_video_that_cannot_be_kept_is_fetched_by_a_retry(
        self, emulator: Emulator, context: dict[str, Any], tmp_path: Path
    ) -> None:
        destination = f"file://{tmp_path}/"
        outcome = outcome_of(batch(prompts(3), destination=destination, max_bytes=1), context)
        assert outcome.state == "up_for_retry"
        assert set(statuses(run(batch(prompts(3), destination=destination), context))) == {"completed"}
        assert emulator.paid == 3


class TestARetry:
    def die(self, step: str, context: dict[str, Any], count: int = 30, **kwargs: Any) -> None:
        """Have the first try die at a step, its XComs wiped, as Airflow does for the next one."""
        store = context["task_state_store"]
        writes = 0

        class Dying:
            get = store.get

            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                nonlocal writes
                writes += 1
                if step == f"before write {writes}":
                    raise Killed
                store.set(key, value, retention=retention)
                if step == f"after write {writes}":
                    raise Killed

        dying = {**context, "task_state_store": Dying()}
        task = batch(prompts(count), **kwargs)
        with pytest.raises((Killed, TaskDeferred)):
            task.execute(dying)
        context["ti"].xcoms.clear()

    @pytest.mark.parametrize("step", ["while it waits", *(f"after write {n}" for n in range(1, 7))])
    def test_after_a_crash_sends_no_request_twice(
        self,
        step: str,
        emulator: Emulator,
        connect: Callable[..., None],
        context: dict[str, Any],
        ti: FakeTaskInstance,
    ) -> None:
        connect(max_concurrent_requests=4)
        self.die(step, context)
        try:
            results = run(batch(prompts(30)), context)
        except LumaBatchFailed:
            results = ti.xcoms["results"]
        assert max(asked_for(emulator).values()) == 1
        counted = Counter(statuses(results))
        assert counted["unknown"] <= 4, "no more than were under way"
        assert counted["completed"] + counted["unknown"] == 30
        named = {one["request_id"] for one in results}
        orphans = [one for one in emulator.generations if one not in named]
        assert len(orphans) <= counted["unknown"]

    def test_takes_up_all_that_waits(self, emulator: Emulator, context: dict[str, Any]) -> None:
        self.die("while it waits", context)
        results = run(batch(prompts(30)), context)
        assert set(statuses(results)) == {"completed"}
        assert emulator.paid == 30

    def test_of_a_longer_and_reordered_list_buys_what_is_new(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        self.die("while it waits", context, count=5)
        results = run(batch(["new", *reversed(prompts(5))]), context)
        assert emulator.paid == 6
        assert [emulator.generation(one["request_id"]).prompt for one in results] == [
            "new",
            *reversed(prompts(5)),
        ]

    def test_by_airflows_alarm_knows_every_id(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        connect(max_concurrent_requests=4)
        emulator.misbehave("generate", "latency", seconds=0.2, times=None)
        with pytest.raises(BaseException, match=r"(?i)time"), timeout(0.5):
            batch(prompts(30)).execute(context)
        assert 0 < emulator.paid < 30
        emulator.behave()
        assert set(statuses(run(batch(prompts(30)), context))) == {"completed"}
        assert emulator.paid == 30

    def test_that_was_told_to_stop_sends_nothing(self, emulator: Emulator, context: dict[str, Any]) -> None:
        task = batch(prompts(5))
        task.on_kill()
        with pytest.raises(LumaBatchFailed, match="not submitted"):
            run(task, context)
        assert emulator.calls("generate") == []

    def test_whose_write_is_refused_sends_nothing(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        class Refusing:
            get = store.get

            def set(self, *_: Any, **__: Any) -> None:
                raise RuntimeError("404: task instance not found")

        with pytest.raises(RuntimeError, match="404"):
            batch(prompts(5)).execute({**context, "task_state_store": Refusing()})
        assert emulator.calls("generate") == []

    @pytest.mark.parametrize(
        "page",
        ["text", None, {"v": 2, "records": {}}, {"v": 1}, {"v": 1, "records": {"k": ["intent", 1]}}],
    )
    def test_with_a_page_that_cannot_be_read_or_has_gone_sends_nothing(
        self, page: Any, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        store.values[PAGES_KEY] = 1
        store.values[f"{PAGE_KEY}0"] = page
        with pytest.raises(LumaSubmitOutcomeUnknown):
            batch(prompts(2)).execute(context)
        assert emulator.requests == []

    def test_whose_intent_could_not_be_stored_leaves_nothing_unknown(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        class OnceRefusing:
            get, refused = store.get, False

            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                if not self.refused:
                    self.refused = True
                    raise RuntimeError("503")
                store.set(key, value, retention=retention)

        with pytest.raises(RuntimeError, match="503"):
            batch(prompts(5)).execute({**context, "task_state_store": OnceRefusing()})
        assert set(statuses(run(batch(prompts(5)), context))) == {"completed"}
        assert emulator.paid == 5


class TestTheWayOutByHand:
    """A person edits the page of records, in the UI or by REST."""

    @pytest.fixture
    def unknown(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance, store: FakeStateStore
    ) -> tuple[dict[str, Any], str]:
        """Give the page, and the key of the one record of which the outcome is unknown."""
        emulator.misbehave("generate", "drop-after-reading")
        with pytest.raises(LumaBatchFailedForGood):
            run(batch(prompts(3)), context)
        ti.max_tries += 1
        page = store.values[f"{PAGE_KEY}0"]
        (key,) = [key for key, record in page["records"].items() if record[0] == "intent"]
        return page, key

    @pytest.mark.parametrize("as_text", [False, True])
    def test_an_id_that_was_found_is_taken_up(
        self,
        as_text: bool,
        unknown: tuple[dict[str, Any], str],
        emulator: Emulator,
        context: dict[str, Any],
        store: FakeStateStore,
    ) -> None:
        page, key = unknown
        before = emulator.paid
        page["records"][key][1] = emulator.add(seconds=0)
        store.values[f"{PAGE_KEY}0"] = json.dumps(page) if as_text else page
        assert set(statuses(run(batch(prompts(3)), context))) == {"completed"}
        assert emulator.paid == before

    def test_a_record_that_was_taken_out_is_submitted(
        self, unknown: tuple[dict[str, Any], str], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        page, key = unknown
        before = emulator.paid
        del page["records"][key]
        assert set(statuses(run(batch(prompts(3)), context))) == {"completed"}
        assert emulator.paid == before + 1


class TestAClear:
    def test_after_success_makes_all_anew(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        run(batch(prompts(4)), context)
        ti.max_tries += 1
        run(batch(prompts(4)), context)
        assert emulator.paid == 8

    def test_after_a_failure_makes_only_the_failed_anew(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance, logged: Callable[[], str]
    ) -> None:
        emulator.next(outcome="failed")
        with pytest.raises(LumaBatchFailed):
            run(batch(prompts(4)), context)
        ti.max_tries += 1
        assert set(statuses(run(batch(prompts(4)), context))) == {"completed"}
        assert emulator.paid == 5
        assert "a new charge" in logged()

    def test_after_a_success_with_some_missing_takes_those_up(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.next(seconds=1.5)
        results = run(batch(prompts(3), timeout=0.8, max_failures=1), context)
        assert sorted(statuses(results)) == ["completed", "completed", "timeout"]
        ti.max_tries += 1
        run(batch(prompts(3)), context)
        assert emulator.paid == 5, "two asked for again, one still had"

    def test_is_one_clear_and_its_retry_is_none(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        """What fails after a clear is not bought again by the retry that follows of itself."""
        emulator.next(seconds=0.6)
        with pytest.raises(LumaBatchFailed):
            run(batch(prompts(1), timeout=0.2), context)
        ti.max_tries += 1
        (request_id,) = emulator.generations
        emulator.set(request_id, outcome="failed", seconds=0.6)
        with pytest.raises(LumaBatchFailed):
            run(batch(prompts(1)), context)
        with pytest.raises(LumaBatchFailed):
            run(batch(prompts(1)), context)
        assert emulator.paid == 1


class TestFilesByIndex:
    def test_are_no_strangers_to_a_retry(
        self, emulator: Emulator, context: dict[str, Any], tmp_path: Path
    ) -> None:
        destination = f"file://{tmp_path}/night-{{index}}.mp4"
        emulator.next(seconds=1.5)
        with pytest.raises(LumaBatchFailed):
            run(batch(prompts(3), timeout=0.8, destination=destination), context)
        assert set(statuses(run(batch(prompts(3), destination=destination), context))) == {"completed"}
        assert emulator.paid == 3

    def test_that_are_there_already_are_found_before_anything_is_sent(
        self, emulator: Emulator, context: dict[str, Any], tmp_path: Path
    ) -> None:
        (tmp_path / "night-2.mp4").write_bytes(b"yesterday's")
        with pytest.raises(LumaTargetExists, match="nothing is charged"):
            run(batch(prompts(3), destination=f"file://{tmp_path}/night-{{index}}.mp4"), context)
        assert emulator.calls("generate") == []

    def test_a_destination_that_rendered_to_nothing_is_an_error(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match="destination"):
            run(batch(prompts(3), destination="None"), context)
        assert emulator.requests == []

    def test_an_id_that_leads_elsewhere_stays_in_its_folder(
        self, emulator: Emulator, context: dict[str, Any], tmp_path: Path
    ) -> None:
        emulator.next(request_id="../../elsewhere")
        run(batch(["a"], destination=f"file://{tmp_path}/videos/{{request_id}}.mp4"), context)
        assert [path.parent.name for path in tmp_path.rglob("*.mp4")] == ["videos"]


class TestWithoutARecord:
    @pytest.fixture
    def unrecorded(self, context: dict[str, Any]) -> dict[str, Any]:
        del context["task_state_store"]
        return context

    def test_it_works_with_a_warning(
        self, emulator: Emulator, unrecorded: dict[str, Any], logged: Callable[[], str]
    ) -> None:
        assert set(statuses(run(batch(prompts(3)), unrecorded))) == {"completed"}
        assert "pays for, everything again" in logged()

    def test_a_failure_after_a_submit_is_not_retried(
        self, emulator: Emulator, unrecorded: dict[str, Any]
    ) -> None:
        emulator.next(seconds=60)
        outcome = outcome_of(batch(prompts(3), timeout=0.8), unrecorded)
        assert outcome.state == "failed"
        assert "would pay for everything again" in str(outcome.error)

    def test_unknown_outcomes_are_not_retried(self, emulator: Emulator, unrecorded: dict[str, Any]) -> None:
        emulator.misbehave("generate", "500", times=None)
        assert outcome_of(batch(prompts(30)), unrecorded).state == "failed"

    def test_an_alarm_while_it_submits_is_not_retried(
        self, emulator: Emulator, unrecorded: dict[str, Any]
    ) -> None:
        emulator.misbehave("generate", "latency", seconds=1, times=None)
        with pytest.raises(AirflowFailException), timeout(0.4):
            batch(prompts(3)).execute(unrecorded)

    def test_a_strange_event_is_not_retried(self, unrecorded: dict[str, Any]) -> None:
        task = batch(prompts(3))
        with pytest.raises(TaskDeferred):
            task.execute(unrecorded)
        with pytest.raises(AirflowFailException):
            task.execute_complete(unrecorded, {"v": 1, "outcome": "completed"})


class TestAThousand:
    def test_are_submitted_waited_for_and_kept(
        self,
        emulator: Emulator,
        connect: Callable[..., None],
        context: dict[str, Any],
        store: FakeStateStore,
        logged: Callable[[], str],
        tmp_path: Path,
    ) -> None:
        connect(max_concurrent_requests=64)
        task = batch(prompts(1000), destination=f"file://{tmp_path}/")
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context)
        (event,) = events_of(deferred.value.trigger)
        assert event == {
            "v": 1, "outcome": "batch", "counts": {"completed": 1000}, "not_completed": [], "more": 0,
        }  # fmt: skip
        results = task.resume_execution(deferred.value.method_name, {"event": event}, context)
        assert set(statuses(results)) == {"completed"}
        assert emulator.paid == 1000
        assert len(list(tmp_path.glob("*.mp4"))) == 1000
        assert len(store.values) == 1000 / RECORDS_PER_PAGE + 1
        assert all(len(json.dumps(page)) < 64 * 1024 for page in store.values.values())
        said = logged().splitlines()
        assert sum("Submitted request" in line for line in said) == 1000
        ours = [line for line in said if "emulator" not in line and "server.py" not in line]
        others = [line for line in ours if "Submitted request" not in line]
        assert len(others) < 50, others[:60]

    def test_that_fail_make_no_large_event(self, emulator: Emulator, context: dict[str, Any]) -> None:
        emulator.next(outcome="failed", seconds=0, times=None)
        task = batch(prompts(1000), fail_on="none")
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context)
        (event,) = events_of(deferred.value.trigger)
        assert len(json.dumps(event)) <= MAX_BATCH_EVENT
        assert len(event["not_completed"]) + event["more"] == 1000


class TestAStrangeEvent:
    @pytest.mark.parametrize(
        "event", [None, {}, {"v": 1, "outcome": "completed"}, {"v": 2, "outcome": "batch"}]
    )
    def test_is_an_error_and_loses_nothing(
        self, event: Any, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        task = batch(prompts(3))
        with pytest.raises(TaskDeferred):
            task.execute(context)
        with pytest.raises(LumaProtocolError):
            task.execute_complete(context, event)
        run(batch(prompts(3)), context)
        assert emulator.paid == 3

    def test_a_deferral_that_broke_off_is_asked_about_once(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        task = batch(prompts(3))
        with pytest.raises(TaskDeferred):
            task.execute(context)
        for request_id in emulator.generations:
            emulator.set(request_id, outcome="completed", seconds=0)
        results = task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
        assert set(statuses(results)) == {"completed"}

    def test_results_that_have_gone_are_an_error(self, context: dict[str, Any], ti: FakeTaskInstance) -> None:
        task = batch(prompts(3))
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context)
        ti.xcoms.clear()
        (event,) = events_of(deferred.value.trigger)
        with pytest.raises(LumaError, match="has gone"):
            task.execute_complete(context, event)


class TestAGatewayThatAnswersNobody:
    def test_is_not_asked_about_every_one_with_all_patience(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any], monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.api.retry.BACKOFF_BASE", 0.001)
        connect(max_concurrent_requests=2)
        task = batch(prompts(120))
        with pytest.raises(TaskDeferred):
            task.execute(context)
        looks = emulator.count("getStatus")
        emulator.misbehave("getStatus", "500", times=None)
        with pytest.raises(LumaBatchFailed, match="120 error") as raised:
            task.resume_execution("__fail__", {"error": "boom"}, context)
        assert not isinstance(raised.value, AirflowFailException), "a retry goes on, for free"
        assert emulator.count("getStatus") - looks <= 40 * 5
        emulator.behave()
        assert set(statuses(run(batch(prompts(120)), context))) == {"completed"}
        assert emulator.paid == 120
