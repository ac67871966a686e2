"""
The whole in one operator: submit, wait, keep; every end of a process, and what the next try makes of it.

The state store is a stand-in here; ``tests/system`` runs and kills real processes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred, timeout

from airflow_provider_luma.exceptions import (
    LumaDownloadFailed,
    LumaError,
    LumaGenerationFailed,
    LumaGenerationModerated,
    LumaInvalidRequest,
    LumaProtocolError,
    LumaTargetExists,
    LumaVideoNotDelivered,
    LumaWaitTimeout,
)
from airflow_provider_luma.operators.luma import LumaGenerateOperator
from airflow_provider_luma.steps.submit import SUBMIT_KEY
from tests.integration.conftest import Killed
from tests.integration.outlets import OutletEvents
from tests.integration.waiting import events_of, outcome_of, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeStateStore, FakeTaskInstance

pytestmark = pytest.mark.usefixtures("connect")

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return tmp_path / "videos"


@pytest.fixture
def make(videos: Path) -> Callable[..., LumaGenerateOperator]:
    """Return a function that gives an operator which waits, and keeps in a folder."""

    def make(**kwargs: Any) -> LumaGenerateOperator:
        fields = {
            "task_id": "make",
            "prompt": "a jellyfish",
            "wait_for_completion": True,
            "deferrable": True,
            "poke_interval": 0.1,
            "timeout": 20,
            "destination": f"file://{videos}/",
        }
        return LumaGenerateOperator(**{**fields, **kwargs})

    return make


def deferral_of(task: LumaGenerateOperator, context: dict[str, Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    return deferred.value


class TestTheWhole:
    @both_modes
    def test_ends_with_the_video_under_its_name(
        self,
        deferrable: bool,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        store: FakeStateStore,
        videos: Path,
    ) -> None:
        request_id = run(make(deferrable=deferrable), context)
        assert list(emulator.generations) == [request_id]
        kept = videos / f"{request_id}.mp4"
        assert kept.read_bytes() == emulator.video_bytes(request_id)
        assert ti.xcoms["requestId"] == request_id
        assert ti.xcoms["video_url"] == emulator.video_url(request_id)
        assert ti.xcoms["generation"]["looks"] >= 2
        assert ti.xcoms["path"] == f"file://{kept}"
        assert ti.xcoms["manifest"]["request_id"] == request_id
        assert store.values[SUBMIT_KEY]["phase"] == "done"

    @both_modes
    def test_without_a_destination_ends_with_the_address(
        self,
        deferrable: bool,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
    ) -> None:
        request_id = run(make(deferrable=deferrable, destination=None), context)
        assert set(ti.xcoms) == {"requestId", "video_url", "generation"}
        assert ti.xcoms["video_url"] == emulator.video_url(request_id)

    def test_needs_no_connection_any_more_when_the_trigger_has_the_address(
        self,
        make: Callable[..., LumaGenerateOperator],
        context: dict[str, Any],
        connect: Callable[..., None],
        ti: FakeTaskInstance,
    ) -> None:
        task = make(destination=None)
        (event,) = events_of(deferral_of(task, context).trigger)
        connect(timeout="soon")
        assert task.execute_complete(context, event) == ti.xcoms["requestId"]
        assert ti.xcoms["video_url"]

    def test_is_not_deferred_when_the_first_look_finds_it_complete(
        self, make: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(seconds=0)
        assert make().execute(context) in emulator.generations

    def test_from_an_image(
        self, make: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        image = "https://example.org/street.png"
        request_id = run(make(image_url=image), context)
        assert emulator.generation(request_id).image_url == image
        assert emulator.count("generate") == 0
        assert emulator.count("generateRequestFromImage") == 1

    def test_gives_the_asset_event_its_details(
        self, make: Callable[..., LumaGenerateOperator], context: dict[str, Any], videos: Path
    ) -> None:
        from airflow.providers.common.compat.sdk import Asset

        asset = Asset("file:///videos")
        events = OutletEvents()
        request_id = run(make(outlets=[asset]), {**context, "outlet_events": events})
        extra = events[asset].extra
        assert (extra["request_id"], extra["path"]) == (request_id, f"file://{videos}/{request_id}.mp4")
        assert "prompt" not in extra


class TestBeforeAnythingIsPaidFor:
    def test_another_file_at_the_destination_is_found(
        self,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        store: FakeStateStore,
        videos: Path,
    ) -> None:
        videos.mkdir()
        (videos / "tonight.mp4").write_bytes(b"yesterday's")
        with pytest.raises(LumaTargetExists, match="nothing is charged"):
            make(destination=f"file://{videos}/tonight.mp4").execute(context)
        assert emulator.requests == []
        assert store.values == {}

    @pytest.mark.parametrize("destination", ["nowhere://bucket/x.mp4", "", "None"])
    def test_a_destination_that_cannot_be_used_is_found(
        self,
        destination: str,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
    ) -> None:
        with pytest.raises(LumaError):
            make(destination=destination).execute(context)
        assert emulator.requests == []

    def test_a_store_that_cannot_be_asked_is_found(
        self,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        tmp_path: Path,
    ) -> None:
        (tmp_path / "a-file").write_text("no folder")
        with pytest.raises(LumaDownloadFailed, match="nothing is charged"):
            make(destination=f"file://{tmp_path}/a-file/below.mp4").execute(context)
        assert emulator.requests == []

    def test_an_overwrite_that_is_no_truth_value_is_found(
        self, make: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match="overwrite"):
            make(overwrite="perhaps").execute(context)
        assert emulator.requests == []

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"wait_for_completion": False}, "destination needs wait_for_completion"),
            ({"poke_interval": 0.01}, "poke_interval must be at least"),
            ({"timeout": -1}, "timeout must be seconds"),
            ({"timeout": "1h"}, "timeout must be seconds"),
        ],
    )
    def test_arguments_that_contradict_break_the_dag_and_not_the_night(
        self, wrong: dict[str, Any], said: str, make: Callable[..., LumaGenerateOperator]
    ) -> None:
        with pytest.raises(ValueError, match=said):
            make(**wrong)

    def test_durations_may_be_timedeltas(self, make: Callable[..., LumaGenerateOperator]) -> None:
        task = make(timeout=timedelta(minutes=5), poke_interval=timedelta(seconds=3))
        assert (task.timeout, task.poke_interval) == (300.0, 3.0)


class TestACrash:
    """In each step; the retry, and the clear, go on at the right one."""

    def crash(self, step: str, make: Callable[..., LumaGenerateOperator], context: dict[str, Any]) -> None:
        """Have the first try die in a step, and its XComs wiped, as Airflow does for the next one."""
        task, store = make(), context["task_state_store"]

        class Dying:
            get, delete = store.get, store.delete

            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                if step == "before done is stored" and value["phase"] == "done":
                    raise Killed
                store.set(key, value, retention=retention)
                if (step, value["phase"]) in {("after submit", "submitted"), ("after done", "done")}:
                    raise Killed

        dying = {**context, "task_state_store": Dying()}
        try:
            deferred = deferral_of(task, dying)
            if step == "while it waits":
                raise Killed
            (event,) = events_of(deferred.trigger)
            if step == "while it keeps":
                # Whole, but not under its name yet.
                task.max_bytes = 1
            task.resume_execution(deferred.method_name, {"event": event}, dying)
        except (Killed, LumaError):
            context["ti"].xcoms.clear()
        else:
            pytest.fail("nothing has died")

    @pytest.mark.parametrize(
        "step",
        ["after submit", "while it waits", "while it keeps", "before done is stored", "after done"],
    )
    def test_is_taken_up_by_a_retry(
        self,
        step: str,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        videos: Path,
    ) -> None:
        self.crash(step, make, context)
        request_id = run(make(), context)
        assert emulator.count("generate") == 1
        assert (videos / f"{request_id}.mp4").read_bytes() == emulator.video_bytes(request_id)
        assert set(ti.xcoms) == {"requestId", "video_url", "generation", "path", "manifest"}

    @pytest.mark.parametrize(
        "step", ["after submit", "while it waits", "while it keeps", "before done is stored"]
    )
    def test_is_taken_up_by_a_clear(
        self,
        step: str,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        videos: Path,
    ) -> None:
        self.crash(step, make, context)
        ti.max_tries += 1
        request_id = run(make(), context)
        assert emulator.count("generate") == 1
        assert (videos / f"{request_id}.mp4").exists()

    def test_a_clear_after_the_end_makes_another(
        self,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        videos: Path,
    ) -> None:
        first = run(make(), context)
        ti.max_tries += 1
        second = run(make(), context)
        assert first != second
        assert emulator.paid == 2
        assert len(list(videos.glob("*.mp4"))) == 2

    def test_the_record_is_that_of_the_submit_whatever_the_templates_say_later(
        self, make: Callable[..., LumaGenerateOperator], context: dict[str, Any], store: FakeStateStore
    ) -> None:
        deferred = deferral_of(make(), context)
        submitted = dict(store.values[SUBMIT_KEY])
        assert submitted.pop("at") > 0
        (event,) = events_of(deferred.trigger)
        make(prompt="rendered at another moment").resume_execution(
            deferred.method_name, {"event": event}, context
        )
        assert store.values[SUBMIT_KEY].pop("at") > 0
        assert store.values[SUBMIT_KEY] == {**submitted, "phase": "done"}


class TestAGenerationThatFailed:
    @both_modes
    def test_is_made_anew_by_a_retry_which_says_so(
        self,
        deferrable: bool,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        logged: Callable[[], str],
    ) -> None:
        emulator.next(outcome="failed", reason="no frame came out")
        outcome = outcome_of(make(deferrable=deferrable), context)
        assert outcome.state == "up_for_retry"
        assert isinstance(outcome.error, LumaGenerationFailed)
        assert "no frame came out" in str(outcome.error)
        assert "WHICH IS A NEW CHARGE" in logged()
        run(make(deferrable=deferrable), context)
        assert "a new charge" in logged()
        assert emulator.count("generate") == 2

    def test_for_its_content_is_not_retried(
        self, make: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(outcome="failed", reason="Rejected by content moderation")
        outcome = outcome_of(make(), context)
        assert outcome.state == "failed"
        assert isinstance(outcome.error, LumaGenerationModerated)

    def test_an_error_without_a_status_is_no_failure_that_a_retry_pays_for(
        self,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.api.polling.NO_STATUS_WINDOW", 0.0)
        emulator.misbehave("getStatus", "error-no-status", times=None)
        assert outcome_of(make(deferrable=False), context).state == "up_for_retry"
        emulator.behave()
        run(make(), context)
        assert emulator.count("generate") == 1


class TestOutOfTime:
    @both_modes
    def test_is_not_retried_and_a_clear_resumes_for_free(
        self,
        deferrable: bool,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
    ) -> None:
        emulator.next(seconds=1.2)
        outcome = outcome_of(make(deferrable=deferrable, timeout=0.4), context)
        assert outcome.state == "failed"
        assert isinstance(outcome.error, LumaWaitTimeout)
        ti.max_tries += 1
        run(make(deferrable=deferrable), context)
        assert emulator.count("generate") == 1

    def test_execution_timeout_counts_while_deferred(
        self, make: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(outcome="pending")
        outcome = outcome_of(make(execution_timeout=timedelta(seconds=1.5)), context)
        assert isinstance(outcome.error, LumaWaitTimeout)

    def test_by_airflows_own_alarm_loses_nothing(
        self, make: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(seconds=1.2)
        with pytest.raises(BaseException, match=r"(?i)time"), timeout(0.5):
            make(deferrable=False).execute(context)
        run(make(deferrable=False), context)
        assert emulator.count("generate") == 1


class TestADeferralThatBrokeOff:
    """Airflow says so by a method of its own in the place of ours."""

    @pytest.mark.parametrize("why", ["Trigger timeout", "boom"])
    def test_looks_once_more(
        self,
        why: str,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
        videos: Path,
    ) -> None:
        task = make()
        deferral_of(task, context)
        (request_id,) = emulator.generations
        emulator.set(request_id, outcome="completed", seconds=0)
        assert task.resume_execution("__fail__", {"error": why}, context) == request_id
        assert (videos / f"{request_id}.mp4").exists()

    def test_while_it_runs_is_retried_for_free(
        self, make: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(outcome="pending")
        task = make()
        deferral_of(task, context)
        with pytest.raises(LumaError, match="broke off") as raised:
            task.resume_execution("__fail__", {"error": "boom"}, context)
        assert not isinstance(raised.value, AirflowFailException)


class TestWithoutARecord:
    """What fails after the submit must not be retried: nothing would stop the retry from paying again."""

    @pytest.fixture(params=["no store", "not durable"])
    def unrecorded(
        self,
        request: pytest.FixtureRequest,
        make: Callable[..., LumaGenerateOperator],
        context: dict[str, Any],
    ) -> Callable[..., LumaGenerateOperator]:
        if request.param == "no store":
            del context["task_state_store"]
            return make
        return lambda **kwargs: make(durable=False, **kwargs)

    @both_modes
    def test_it_works(
        self,
        deferrable: bool,
        unrecorded: Callable[..., LumaGenerateOperator],
        context: dict[str, Any],
        videos: Path,
    ) -> None:
        request_id = run(unrecorded(deferrable=deferrable), context)
        assert (videos / f"{request_id}.mp4").exists()

    @both_modes
    def test_a_video_that_cannot_be_kept_is_not_paid_for_twice(
        self,
        deferrable: bool,
        unrecorded: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
    ) -> None:
        outcome = outcome_of(unrecorded(deferrable=deferrable, max_bytes=1), context)
        assert outcome.state == "failed"
        assert isinstance(outcome.error, LumaVideoNotDelivered)
        (request_id,) = emulator.generations
        assert request_id in str(outcome.error)

    def test_a_time_out_does_not_advise_to_clear(
        self, unrecorded: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(outcome="pending")
        outcome = outcome_of(unrecorded(timeout=0.4), context)
        assert outcome.state == "failed"
        assert isinstance(outcome.error, LumaVideoNotDelivered)
        assert "for free" not in str(outcome.error)
        assert "do not clear this task" in str(outcome.error)

    def test_an_alarm_while_it_waits_is_not_paid_for_twice(
        self, unrecorded: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(outcome="pending")
        with pytest.raises(AirflowFailException) as raised, timeout(0.5):
            unrecorded(deferrable=False, poke_interval=5).execute(context)
        (request_id,) = emulator.generations
        assert request_id in str(raised.value)

    def test_a_generation_that_failed_may_be_retried(
        self, unrecorded: Callable[..., LumaGenerateOperator], emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(outcome="failed", reason="no")
        assert outcome_of(unrecorded(), context).state == "up_for_retry"


class TestAStrangeEvent:
    @pytest.mark.parametrize("event", [None, {}, {"v": 2}, "completed", {"v": 1, "outcome": "completed"}])
    def test_is_an_error_and_loses_nothing(
        self,
        event: Any,
        make: Callable[..., LumaGenerateOperator],
        emulator: Emulator,
        context: dict[str, Any],
    ) -> None:
        task = make()
        deferral_of(task, context)
        with pytest.raises(LumaProtocolError):
            task.execute_complete(context, event)
        (request_id,) = emulator.generations
        assert run(make(), context) == request_id

    def test_of_another_request_is_an_error(
        self, make: Callable[..., LumaGenerateOperator], context: dict[str, Any]
    ) -> None:
        task = make()
        (event,) = events_of(deferral_of(task, context).trigger)
        with pytest.raises(LumaProtocolError, match="another request"):
            task.execute_complete(context, {**event, "request_id": "another"})
