"""The sensor and its trigger, in every mode, against the gateway on a real socket."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException, TaskDeferred

from airflow_provider_luma.exceptions import (
    LumaConnectionNotFound,
    LumaError,
    LumaGenerationFailed,
    LumaGenerationModerated,
    LumaInputRefused,
    LumaInvalidRequest,
    LumaKeyRefused,
    LumaProtocolError,
    LumaWaitTimeout,
)
from airflow_provider_luma.sensors.luma import LumaStatusSensor
from airflow_provider_luma.triggers.luma import LumaStatusTrigger
from airflow_provider_luma.version_compat import TaskDeferralError, TaskDeferralTimeout
from tests.integration.waiting import MODES, events_of, outcome_of, sensor_in

if TYPE_CHECKING:
    from airflow_provider_luma.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connect")


@pytest.mark.parametrize("mode", MODES)
class TestEveryModeEndsAlike:
    def test_a_completed_generation_gives_its_address(
        self, mode: str, emulator: Emulator, context: dict[str, Any], ti: Any
    ) -> None:
        emulator.add(request_id="made-elsewhere", seconds=0.5)
        outcome = outcome_of(sensor_in(mode, "made-elsewhere"), context)
        assert outcome.state == "success", outcome.error
        assert outcome.value == f"{emulator.url}/videos/made-elsewhere.mp4"
        assert ti.xcoms["video_url"] == outcome.value
        generation = ti.xcoms["generation"]
        assert set(generation) == {
            "request_id",
            "status",
            "raw_status",
            "video_url",
            "seconds_waited",
            "looks",
        }
        assert generation["status"] == "completed"
        assert generation["looks"] == len(emulator.calls("getStatus"))
        assert 0.2 < generation["seconds_waited"] < 10
        assert emulator.paid == 0

    def test_one_that_is_complete_already_is_seen_at_the_first_look(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="done", seconds=0)
        outcome = outcome_of(sensor_in(mode, "done"), context)
        assert outcome.state == "success"
        assert len(emulator.calls("getStatus")) == 1

    def test_a_failed_generation_says_the_gateways_reason(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="bad", seconds=0.3, outcome="failed", reason="GPU on fire")
        outcome = outcome_of(sensor_in(mode, "bad"), context)
        assert type(outcome.error) is LumaGenerationFailed
        assert "GPU on fire" in str(outcome.error)
        assert "bad" in str(outcome.error)

    def test_a_moderated_generation_is_not_retried(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="nsfw", seconds=0.3, outcome="failed", reason="Failed moderation checks")
        outcome = outcome_of(sensor_in(mode, "nsfw"), context)
        assert outcome.state == "failed"
        assert type(outcome.error) is LumaGenerationModerated

    def test_an_unknown_word_is_waited_out(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="odd", seconds=0.4)
        emulator.misbehave("getStatus", "word", word="frobnicating", times=2)
        assert outcome_of(sensor_in(mode, "odd"), context).state == "success"

    @pytest.mark.parametrize("fault", ["500", "not-json", "empty", "drop-after-reading", "429-seconds"])
    def test_a_passing_fault_does_not_end_the_wait(
        self, mode: str, fault: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="r", seconds=0.2)
        options = {"seconds": 0.2} if fault == "429-seconds" else {}
        emulator.misbehave("getStatus", fault, times=2, **options)
        outcome = outcome_of(sensor_in(mode, "r"), context)
        assert outcome.state == "success", outcome.error

    def test_a_wait_that_times_out_says_that_the_generation_may_still_run(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="slow", seconds=60)
        outcome = outcome_of(sensor_in(mode, "slow", timeout=0.6), context)
        assert outcome.state == "failed"
        assert type(outcome.error) is LumaWaitTimeout
        message = str(outcome.error)
        assert "slow" in message
        assert "may still be running" in message
        assert "for free" in message

    def test_a_video_that_is_ready_at_a_late_look_is_a_success(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="late", seconds=0.2)
        outcome = outcome_of(sensor_in(mode, "late", timeout=0.05, poke_interval=0.5), context)
        if outcome.state != "success":
            # The last look lies at the deadline, before the video; a clear looks again and finds it.
            assert type(outcome.error) is LumaWaitTimeout
            time.sleep(0.3)
            outcome = outcome_of(sensor_in(mode, "late", timeout=0, poke_interval=0.5), context)
        assert outcome.state == "success", outcome.error

    def test_a_refused_key_ends_after_a_few_looks(
        self, mode: str, emulator: Emulator, connect: Any, context: dict[str, Any]
    ) -> None:
        connect(password="not-the-key")
        emulator.add(request_id="r", seconds=0)
        outcome = outcome_of(sensor_in(mode, "r"), context)
        assert type(outcome.error) is LumaKeyRefused
        assert len(emulator.calls("getStatus")) == 3
        assert "not-the-key" not in str(outcome.error)

    def test_a_refused_body_tries_the_other_field_and_ends(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("getStatus", "400", times=None)
        outcome = outcome_of(sensor_in(mode, "r"), context)
        assert type(outcome.error) is LumaInputRefused
        assert [sorted(call.json) for call in emulator.calls("getStatus")] == [["task_id"], ["requestId"]]

    def test_the_other_field_is_found_and_kept(
        self, mode: str, emulator: Emulator, connect: Any, context: dict[str, Any]
    ) -> None:
        emulator.status_id_field = "requestId"
        emulator.add(request_id="r", seconds=0.4)
        assert outcome_of(sensor_in(mode, "r"), context).state == "success"
        asked_by_task_id = [call for call in emulator.calls("getStatus") if "task_id" in call.json]
        if mode == "reschedule":
            assert asked_by_task_id, "a process of its own each time: it learns anew"
        else:
            assert len(asked_by_task_id) == 1


class TestSkipRules:
    """``soft_fail`` skips on time-out only, ``never_fail`` on any error; alike in every mode."""

    @pytest.mark.parametrize("mode", MODES)
    def test_soft_fail_skips_on_a_time_out(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="slow", seconds=60)
        outcome = outcome_of(sensor_in(mode, "slow", timeout=0.4, soft_fail=True), context)
        assert outcome.state == "skipped"
        assert type(outcome.error) is LumaWaitTimeout

    @pytest.mark.parametrize("mode", MODES)
    def test_soft_fail_does_not_hide_a_failed_generation(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="bad", seconds=0.2, outcome="failed", reason="moderation")
        outcome = outcome_of(sensor_in(mode, "bad", soft_fail=True), context)
        assert outcome.state == "failed"

    @pytest.mark.parametrize("mode", MODES)
    def test_never_fail_skips_on_any_error(
        self, mode: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="bad", seconds=0.2, outcome="failed", reason="no")
        outcome = outcome_of(sensor_in(mode, "bad", never_fail=True), context)
        assert outcome.state == "skipped"


class TestDeferral:
    def test_what_is_stored_with_the_trigger_is_json_and_no_secret(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="r", seconds=60)
        with pytest.raises(TaskDeferred) as deferred:
            sensor_in("deferred", "r").execute(context)
        path, kwargs = deferred.value.trigger.serialize()
        assert path == "airflow_provider_luma.triggers.luma.LumaStatusTrigger"
        assert kwargs["answered"] is True
        assert kwargs["looks"] == 1
        assert kwargs["status_id_field"] == "task_id"
        assert kwargs["deadline"] == pytest.approx(kwargs["started_at"] + 20)
        assert emulator.key not in repr(deferred.value.trigger)

    def test_a_trigger_row_of_an_older_release_still_runs(self, emulator: Emulator) -> None:
        emulator.add(request_id="r", seconds=0)
        now = time.time()
        trigger = LumaStatusTrigger("r", "luma_default", deadline=now + 20, started_at=now, poke_interval=0.1)
        (event,) = events_of(trigger)
        assert event["outcome"] == "completed"

    def test_the_looks_of_a_trigger_say_that_they_come_from_the_triggerer(self, emulator: Emulator) -> None:
        emulator.add(request_id="r", seconds=0)
        now = time.time()
        events_of(LumaStatusTrigger("r", "luma_default", now + 20, now, 0.1))
        (call,) = emulator.calls("getStatus")
        assert "(triggerer; pid " in dict(call.headers)["User-Agent"]

    def test_the_framework_backstop_is_later_than_the_deadline(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="r", seconds=60)
        with pytest.raises(TaskDeferred) as deferred:
            sensor_in("deferred", "r", timeout=100).execute(context)
        assert deferred.value.timeout.total_seconds() > 100 + 300

    def test_what_is_left_of_the_execution_timeout_bounds_the_deadline(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        from datetime import timedelta

        emulator.add(request_id="r", seconds=60)
        with pytest.raises(TaskDeferred) as deferred:
            sensor_in("deferred", "r", timeout=1000, execution_timeout=timedelta(seconds=30)).execute(context)
        kwargs = deferred.value.trigger.serialize()[1]
        assert 25 < kwargs["deadline"] - time.time() <= 30

    def test_an_event_of_nobody_is_an_error(self, context: dict[str, Any]) -> None:
        for event in (None, "done", {}, {"v": 2, "outcome": "completed"}, {"v": 1, "outcome": "weird"}):
            with pytest.raises(LumaProtocolError):
                sensor_in("deferred", "r").resume_execution("execute_complete", {"event": event}, context)

    def test_a_backstop_that_fires_looks_once_more_and_takes_a_ready_video(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="r", seconds=0)
        value = sensor_in("deferred", "r").resume_execution("__fail__", {"error": "Trigger timeout"}, context)
        assert value == f"{emulator.url}/videos/r.mp4"

    def test_a_backstop_that_fires_too_early_is_a_time_out(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="r", seconds=60)
        with pytest.raises(LumaWaitTimeout, match="Is a triggerer running"):
            sensor_in("deferred", "r").resume_execution("__fail__", {"error": "Trigger timeout"}, context)
        with pytest.raises(AirflowSkipException):
            sensor_in("deferred", "r", soft_fail=True).resume_execution(
                "__fail__", {"error": "Trigger timeout"}, context
            )

    def test_a_trigger_that_broke_off_can_be_retried_for_free(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id="r", seconds=60)
        with pytest.raises(LumaError, match="broke off") as raised:
            sensor_in("deferred", "r").resume_execution("__fail__", {"error": "boom"}, context)
        assert not isinstance(raised.value, (TaskDeferralError, TaskDeferralTimeout))

    def test_a_connection_that_is_gone_for_too_long_ends_the_wait_with_a_word(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.triggers.channel.NO_ANSWER_WINDOW", 0.5)
        now = time.time()
        trigger = LumaStatusTrigger("id-1", "no_such_connection", now + 20, now, 0.1, answered=True)
        (event,) = events_of(trigger)
        assert event["error"]["kind"] == "connection_not_found"
        assert "Request id: id-1." in event["error"]["message"]
        assert "no Airflow connection with the id 'no_such_connection'" in event["error"]["message"]
        assert "paid for" in event["error"]["message"]

    def test_a_connection_that_comes_back_is_gone_on_with(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Airflow says that there is no such connection when its database is away, too."""
        emulator.add(request_id="r", seconds=0)
        found = os.environ["AIRFLOW_CONN_LUMA_DEFAULT"]
        monkeypatch.delenv("AIRFLOW_CONN_LUMA_DEFAULT")
        monkeypatch.setattr("airflow_provider_luma.hooks.luma.RENEW_PAUSE", 0.1)
        back = threading.Timer(0.5, monkeypatch.setenv, ("AIRFLOW_CONN_LUMA_DEFAULT", found))
        back.start()
        now = time.time()
        (event,) = events_of(LumaStatusTrigger("r", "luma_default", now + 20, now, 0.1))
        back.join()
        assert event["outcome"] == "completed"

    def test_a_cancelled_trigger_sends_nothing_more(self, emulator: Emulator) -> None:
        emulator.add(request_id="r", seconds=60)
        now = time.time()
        trigger = LumaStatusTrigger("r", "luma_default", now + 20, now, 0.1)

        async def run() -> None:
            task = asyncio.ensure_future(anext(trigger.run()))
            await asyncio.sleep(0.4)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await trigger.cleanup()

        asyncio.run(run())
        looks = len(emulator.calls("getStatus"))
        time.sleep(0.3)
        assert len(emulator.calls("getStatus")) == looks
        assert emulator.paid == 0


class TestBadInput:
    @pytest.mark.parametrize("request_id", ["", "None", None, "  ", "two words", "a" * 400, "line\nbreak"])
    def test_an_id_that_cannot_be_one_is_sent_nowhere(
        self, request_id: Any, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match="request_id"):
            sensor_in("poke", request_id).execute(context)
        assert emulator.requests == []

    def test_a_missing_connection_is_a_clear_word(self, context: dict[str, Any]) -> None:
        with pytest.raises(LumaConnectionNotFound, match="airflow connections add other"):
            sensor_in("poke", "r", luma_conn_id="other").execute(context)

    @pytest.mark.parametrize("poke_interval", [0, 0.01, -1, "5"])
    def test_an_interval_that_would_hammer_the_gateway_is_refused(self, poke_interval: Any) -> None:
        with pytest.raises((ValueError, AirflowException), match="poke_interval"):
            LumaStatusSensor(task_id="wait", request_id="r", poke_interval=poke_interval)
