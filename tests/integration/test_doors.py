"""
One task, every door: the same operators, moved from gateway to gateway by their connection alone.

What a door's answers are is in ``tests/unit/api/gateways``, what its requests are in ``tests/contract``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma import exceptions as luma
from airflow_provider_luma.api.gateways import GATEWAYS
from airflow_provider_luma.api.models import GenerationRequest
from airflow_provider_luma.hooks.luma import LumaHook
from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator, LumaGenerateOperator
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator
from tests.integration.waiting import MODES, outcome_of, run, sensor_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeTaskInstance

every_door = pytest.mark.parametrize("door", GATEWAYS)
every_other_door = pytest.mark.parametrize("door", [name for name in GATEWAYS if name != "appypie"])
IMAGE = "https://example.com/fox.png"


def made(**fields: Any) -> LumaGenerateOperator:
    return LumaGenerateOperator(
        **{
            "task_id": "make",
            "prompt": "a fox in the snow",
            "wait_for_completion": True,
            "deferrable": True,
            "poke_interval": 0.1,
            "timeout": 20,
            **fields,
        }
    )


class TestEveryDoor:
    @every_door
    @pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])
    def test_gives_the_video_that_was_paid_for(
        self,
        door: str,
        deferrable: bool,
        emulator: Emulator,
        connect: Callable[..., None],
        context: dict[str, Any],
        tmp_path: Path,
    ) -> None:
        connect(gateway=door)

        request_id = run(made(deferrable=deferrable, destination=f"file://{tmp_path}/"), context)

        assert [(one.request_id, one.door) for one in emulator.generations.values()] == [(request_id, door)]
        assert (tmp_path / f"{request_id}.mp4").read_bytes() == emulator.video_bytes(request_id)
        assert emulator.paid == 1

    @every_door
    @pytest.mark.parametrize("mode", MODES)
    def test_is_waited_at_in_every_mode(
        self, door: str, mode: str, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        connect(gateway=door)
        request_id = emulator.add(door=door, seconds=0.3)

        video_url = run(sensor_in(mode, request_id), context)

        assert video_url.partition("?")[0] == emulator.video_url(request_id)

    @every_door
    def test_takes_a_batch(
        self, door: str, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        connect(gateway=door)
        batch = LumaGenerateBatchOperator(
            task_id="many", requests=["a fox", "a hare"], deferrable=True, poke_interval=0.1, timeout=20
        )

        results = run(batch, context)

        assert [one["status"] for one in results] == ["completed", "completed"]
        assert {one.door for one in emulator.generations.values()} == {door}
        assert emulator.paid == 2

    @every_door
    def test_is_tested_for_free(self, door: str, emulator: Emulator, connect: Callable[..., None]) -> None:
        connect(gateway=door)

        accepted, said = LumaHook().test_connection()

        assert accepted, said
        assert "Nothing was generated or charged" in said
        assert emulator.paid == 0

    @every_door
    def test_says_that_a_wrong_key_is_one(self, door: str, connect: Callable[..., None]) -> None:
        connect(gateway=door, password="another-key-0123456789")

        accepted, said = LumaHook().test_connection()

        assert not accepted
        assert said.startswith("The gateway refused the key")

    @every_door
    @pytest.mark.parametrize("path", ["/elsewhere", "/v3"])
    def test_takes_no_other_address_for_its_own(
        self, door: str, path: str, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        connect(gateway=door, host=emulator.url + path)

        accepted, said = LumaHook().test_connection()

        assert not accepted, said

    @every_door
    def test_is_not_confused_with_another(
        self, door: str, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        """A connection whose gateway and host do not belong together."""
        other = next(name for name in ("luma", "luma_agents") if name != door)
        connect(gateway=door, host=emulator.url_of(other))

        with pytest.raises(luma.LumaRefused), LumaHook() as hook:
            hook.generate(GenerationRequest("a fox"))

        assert emulator.paid == 0

    @every_door
    @pytest.mark.parametrize(
        ("fault", "error", "paid"),
        [
            ("400", luma.LumaInputRefused, 0),
            ("401", luma.LumaKeyRefused, 0),
            ("credit-402", luma.LumaCreditRefused, 0),
            ("credit-403", luma.LumaCreditRefused, 0),
            ("403", luma.LumaAccessRefused, 0),
            ("html-403", luma.LumaFirewallRefused, 0),
            ("404", luma.LumaAddressRefused, 0),
            ("redirect", luma.LumaAddressRefused, 0),
            ("500", luma.LumaSubmitOutcomeUnknown, 0),
            ("502", luma.LumaSubmitOutcomeUnknown, 0),
            ("503", luma.LumaSubmitOutcomeUnknown, 0),
            ("drop-after-reading", luma.LumaSubmitOutcomeUnknown, 1),
            ("empty", luma.LumaSubmitOutcomeUnknown, 1),
            ("no-request-id", luma.LumaSubmitOutcomeUnknown, 1),
        ],
    )
    def test_tells_a_refusal_from_what_may_be_paid_for(
        self,
        door: str,
        fault: str,
        error: type[Exception],
        paid: int,
        emulator: Emulator,
        connect: Callable[..., None],
    ) -> None:
        connect(gateway=door)
        emulator.misbehave("generate", fault, times=None)

        with pytest.raises(luma.LumaError) as raised, LumaHook() as hook:
            hook.generate(GenerationRequest("a fox"))

        if (door, fault) == ("pixazo", "403"):
            # Its word for that is "Insufficient Balance".
            error = luma.LumaCreditRefused
        assert type(raised.value) is error
        assert (emulator.paid, emulator.count("generate")) == (paid, 1)

    @every_door
    def test_is_asked_again_after_a_429(
        self, door: str, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        connect(gateway=door)
        emulator.misbehave("generate", "429-seconds", seconds=0)

        with LumaHook() as hook:
            hook.generate(GenerationRequest("a fox"))

        assert (emulator.paid, emulator.count("generate")) == (1, 2)

    @every_door
    @pytest.mark.parametrize(
        ("plan", "error"),
        [
            ({"outcome": "failed", "reason": "no luck"}, luma.LumaGenerationFailed),
            ({"outcome": "failed", "reason": "Refused by moderation"}, luma.LumaGenerationModerated),
            ({"outcome": "not-found"}, luma.LumaGenerationNotFound),
            ({"outcome": "no-address"}, luma.LumaCompletedWithoutVideo),
        ],
        ids=lambda value: value.get("reason", value["outcome"]) if isinstance(value, dict) else "",
    )
    def test_says_why_there_is_no_video(
        self,
        door: str,
        plan: dict[str, str],
        error: type[Exception],
        emulator: Emulator,
        connect: Callable[..., None],
        context: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for window in ("NOT_FOUND_WINDOW", "NO_ADDRESS_WINDOW"):
            monkeypatch.setattr(f"airflow_provider_luma.api.polling.{window}", 0.3)
        connect(gateway=door)
        if door == "luma_agents" and "moderation" in plan.get("reason", ""):
            plan = {**plan, "failure_code": "content_moderated"}
        emulator.next(**plan, seconds=0, request_id="of-this-door")
        with LumaHook() as hook:
            hook.generate(GenerationRequest("a fox"))

        outcome = outcome_of(sensor_in("deferred", "of-this-door"), context)

        assert type(outcome.error) is error, outcome
        if plan["outcome"] == "failed":
            assert ("charges nothing" in str(outcome.error)) is (door == "luma")


class TestWhatADoorDoesNotTake:
    @every_door
    def test_is_an_error_before_anything_is_sent(
        self, door: str, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        asked = {
            "loop": True, "image_url": IMAGE, "model": "ray-2", "duration": "5s", "resolution": "720p",
            "start_frame": "an-earlier-one", "end_frame": IMAGE, "concepts": "dolly_zoom",
        }  # fmt: skip
        connect(gateway=door)

        for name, value in asked.items():
            if name in GATEWAYS[door].PARAMETERS:
                continue
            with pytest.raises(luma.LumaInvalidRequest, match=f"^{name} is nothing that "):
                run(made(**{name: value}), context)

        assert not emulator.requests

    def test_is_named_for_its_request_of_a_batch(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        requests = ["a fox", {"prompt": "a hare", "duration": "9s"}]

        with pytest.raises(luma.LumaInvalidRequest, match=r"^Request 1: duration is nothing that"):
            run(LumaGenerateBatchOperator(task_id="many", requests=requests), context)

        assert not emulator.requests

    def test_is_refused_alone_where_the_others_are_to_go_on(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        requests = ["a fox", {"prompt": "a hare", "duration": "9s"}]
        batch = LumaGenerateBatchOperator(
            task_id="many", requests=requests, fail_on="none", deferrable=True, poke_interval=0.1
        )

        results = run(batch, context)

        assert [one["status"] for one in results] == ["completed", "refused"]
        assert emulator.paid == 1

    def test_throws_nothing_away_that_an_earlier_try_has_paid_for(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        """The connection is moved to a door that takes less while a task is between two tries."""
        connect(gateway="luma")
        emulator.misbehave("getStatus", "500", times=None)
        assert outcome_of(made(duration="9s", timeout=0.3), context).state == "failed"
        emulator.behave()
        (request_id,) = emulator.generations
        connect(gateway="appypie")

        looks = emulator.count("getStatus")

        for max_tries in (0, 1):  # a retry, and a clear
            context["ti"].max_tries = max_tries
            with pytest.raises(luma.LumaConfigurationError, match="submitted to 'luma'") as raised:
                run(made(duration="9s"), context)
            assert request_id in str(raised.value)
            assert "is paid for" in str(raised.value)
        assert emulator.count("getStatus") == looks
        connect(gateway="luma")

        assert run(made(duration="9s"), context) == request_id
        assert emulator.paid == 1

    def test_of_limits_is_an_error_before_anything_is_sent(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        connect(gateway="luma")

        for fields, said in [
            ({"prompt": "ab"}, "prompt has 2 characters"),
            ({"prompt": "a" * 5001}, "prompt has 5,001 characters"),
            ({"aspect_ratio": "2:1"}, "aspect_ratio '2:1' is none"),
            ({"loop": True, "end_frame": IMAGE}, "loop and end_frame exclude each other"),
            ({"extra_body": {"keyframes": {}, "model": "ray-9"}}, "extra_body cannot hold 'model'"),
        ]:
            with pytest.raises(luma.LumaInvalidRequest, match=said):
                run(made(**fields), context)

        assert not emulator.requests


class TestWhatADoorTakes:
    def test_arrives_whole_through_templates_and_all(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        connect(gateway="luma")
        earlier = emulator.add(door="luma")
        fields = {
            "model": "ray-flash-2",
            "duration": 9,
            "resolution": " 1080p ",
            "start_frame": earlier,
            "end_frame": IMAGE,
            "concepts": "dolly_zoom, aerial",
            "extra_body": '{"callback_url": "https://example.com/hook"}',
        }

        request_id = run(made(**fields, wait_for_completion=False), context)

        assert emulator.generation(request_id).request == {
            "model": "ray-flash-2",
            "prompt": "a fox in the snow",
            "aspect_ratio": "16:9",
            "loop": False,
            "duration": "9s",
            "resolution": "1080p",
            "keyframes": {
                "frame0": {"type": "generation", "id": earlier},
                "frame1": {"type": "image", "url": IMAGE},
            },
            "concepts": [{"key": "dolly_zoom"}, {"key": "aerial"}],
            "callback_url": "https://example.com/hook",
        }


class TestTheBalance:
    def test_is_said_by_the_test_of_the_connection(
        self, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        connect(gateway="luma")
        emulator.credit_balance = 123456.7

        assert "The balance is 1,234.57 USD." in LumaHook().test_connection()[1]

    @pytest.mark.parametrize("fault", ["not-json", "empty", "not-object", "500", "429", "html-403"])
    def test_that_is_none_is_no_success(
        self, fault: str, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        connect(gateway="luma")
        emulator.misbehave("account", fault, times=None)

        assert not LumaHook().test_connection()[0]


class TestAnAddressThatExpires:
    def test_is_asked_for_anew_and_the_video_kept(
        self,
        emulator: Emulator,
        connect: Callable[..., None],
        context: dict[str, Any],
        ti: FakeTaskInstance,
        tmp_path: Path,
    ) -> None:
        connect(gateway="luma_agents")
        request_id = emulator.add(door="luma_agents", seconds=0)
        emulator.address_seconds = -1.0
        with LumaHook() as hook:
            expired = hook.get_status(request_id).video_url
        emulator.address_seconds = 60.0

        LumaToObjectStorageOperator(
            task_id="keep", request_id=request_id, video_url=expired, destination=f"file://{tmp_path}/"
        ).execute(context)

        assert (tmp_path / f"{request_id}.mp4").read_bytes() == emulator.video_bytes(request_id)
        assert ti.xcoms["video_url"] != expired
        assert "Signature" not in ti.xcoms["manifest"]["source"]

    def test_without_a_request_id_says_so(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any], tmp_path: Path
    ) -> None:
        connect(gateway="luma_agents")
        request_id = emulator.add(door="luma_agents", seconds=0)
        emulator.address_seconds = -1.0
        with LumaHook() as hook:
            expired = hook.get_status(request_id).video_url
        keep = LumaToObjectStorageOperator(
            task_id="keep", video_url=expired, destination=f"file://{tmp_path}/a.mp4"
        )

        with pytest.raises(luma.LumaVideoExpired):
            keep.execute(context)


class TestAFailureCode:
    @pytest.mark.parametrize(
        ("code", "error"),
        [
            ("content_moderated", luma.LumaGenerationModerated),
            ("budget_exhausted", luma.LumaGenerationBudgetExhausted),
            ("image_too_large", luma.LumaGenerationInputUnusable),
            ("corrupt_input", luma.LumaGenerationInputUnusable),
            ("generation_failed", luma.LumaGenerationFailed),
            ("rate_limited", luma.LumaGenerationFailed),
            ("one_that_nobody_knows", luma.LumaGenerationFailed),
        ],
    )
    def test_becomes_its_error_also_by_way_of_the_triggerer(
        self,
        code: str,
        error: type[Exception],
        emulator: Emulator,
        connect: Callable[..., None],
        context: dict[str, Any],
    ) -> None:
        connect(gateway="luma_agents")
        emulator.next("failed", 0.2, failure_code=code)

        assert type(outcome_of(made(), context).error) is error


class TestAPollingAddress:
    def submitted(self, emulator: Emulator, address: str) -> str:
        emulator.next(request_id="the-id", seconds=0)
        body = {"request_id": "the-id", "status": "QUEUED", "polling_url": address}
        emulator.misbehave("generate", "status", code=202, body=body, paid=True)
        with LumaHook() as hook:
            return hook.generate(GenerationRequest("a fox"))

    def test_on_the_own_host_is_followed(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any], tmp_path: Path
    ) -> None:
        connect(gateway="pixazo")

        request_id = self.submitted(emulator, f"{emulator.url}/luma-agent/v1/result/the-id")

        assert request_id == "/luma-agent/v1/result/the-id"
        run(sensor_in("deferred", request_id), context)
        LumaToObjectStorageOperator(
            task_id="keep", request_id=request_id, destination=f"file://{tmp_path}/"
        ).execute(context)
        assert {call.path for call in emulator.calls("getStatus")} == {"/luma-agent/v1/result/the-id"}
        assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".mp4", ".json"]

    def test_on_another_host_is_not(
        self, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        connect(gateway="pixazo")
        other = emulator.other_host()

        request_id = self.submitted(emulator, f"{other.url}/v2/requests/status/the-id")

        assert request_id == "the-id"
        run(sensor_in("poke", request_id), context)
        assert not other.requests


class TestTheField:
    @every_other_door
    def test_of_another_gateways_connection_is_an_error(
        self, door: str, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        connect(gateway=door, status_id_field="task_id")

        with pytest.raises(luma.LumaConfigurationError, match=f"must be auto where gateway is {door}"):
            _ = LumaHook().settings

    @pytest.mark.parametrize("name", ["Luma", "fal", 7, ["luma"]])
    def test_that_names_no_gateway_is_an_error(
        self, name: Any, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        connect(gateway=name, host=emulator.url)

        with pytest.raises(luma.LumaConfigurationError, match="'gateway' must be"):
            _ = LumaHook().settings

    @every_door
    def test_and_the_host_of_another_gateway_are_an_error(
        self, door: str, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        """The key of one would go to the other."""
        for other in GATEWAYS:
            connect(gateway=door, host=GATEWAYS[other].DEFAULT_HOST + "/elsewhere")
            if other == door:
                assert LumaHook().settings.gateway is GATEWAYS[door]
                continue
            with pytest.raises(luma.LumaConfigurationError, match="is the host of"):
                _ = LumaHook().settings

    @every_door
    def test_chooses_the_host_where_none_is_named(self, door: str, connect: Callable[..., None]) -> None:
        connect(gateway=door, host="")

        assert LumaHook().settings.base_url == GATEWAYS[door].DEFAULT_HOST
