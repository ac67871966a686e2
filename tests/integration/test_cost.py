"""What a task says that its generations cost, and the most that they may."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_luma.exceptions import LumaBatchFailed, LumaConfigurationError, LumaMaxCostExceeded
from airflow_provider_luma.hooks.luma import LumaHook
from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator, LumaGenerateOperator
from airflow_provider_luma.sensors.luma import LumaStatusSensor
from tests.integration.waiting import events_of, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeStateStore, FakeTaskInstance

pytestmark = pytest.mark.usefixtures("connect")

PRICES = {"currency": "USD", "text_to_video": 0.4, "image_to_video": 0.55}
IMAGE = {"prompt": "a fox runs", "image_url": "https://images.example/fox.png"}
WAITING = {"wait_for_completion": True, "poke_interval": 0.1, "timeout": 20}

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])


@pytest.fixture
def priced(connect: Callable[..., None]) -> None:
    connect(price_table=PRICES)


def single(**fields: Any) -> LumaGenerateOperator:
    return LumaGenerateOperator(**{"task_id": "make", "prompt": "a fox", **fields})


def batch(requests: list[Any], **fields: Any) -> LumaGenerateBatchOperator:
    return LumaGenerateBatchOperator(
        **{"task_id": "make", "requests": requests, "poke_interval": 0.1, "timeout": 20, **fields}
    )


@pytest.mark.usefixtures("priced")
class TestTheEstimate:
    @both_modes
    @pytest.mark.parametrize(("fields", "cost"), [({}, 0.4), (IMAGE, 0.55)], ids=["text", "image"])
    def test_is_in_log_and_manifest(
        self,
        deferrable: bool,
        fields: dict[str, Any],
        cost: float,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        logged: Callable[[], str],
        tmp_path: Path,
    ) -> None:
        task = single(**WAITING, **fields, deferrable=deferrable, destination=f"file://{tmp_path}/fox.mp4")
        run(task, context)
        assert f"estimated at {cost:.2f} USD" in logged()
        manifest = json.loads((tmp_path / "fox.mp4.json").read_text())
        assert manifest == ti.xcoms["manifest"]
        assert (manifest["estimated_cost"], manifest["currency"]) == (cost, "USD")

    @both_modes
    def test_of_a_batch_is_that_of_all_and_of_each(
        self,
        deferrable: bool,
        context: dict[str, Any],
        logged: Callable[[], str],
        tmp_path: Path,
    ) -> None:
        task = batch(
            ["a fox", IMAGE],
            deferrable=deferrable,
            destination=f"file://{tmp_path}/{{index}}.mp4",
            max_cost=0.95,
        )
        run(task, context)
        text = logged()
        assert "The whole batch is estimated to cost 0.95 USD." in text
        assert "estimated at 0.40 USD" in text
        costs = [json.loads((tmp_path / f"{n}.mp4.json").read_text())["estimated_cost"] for n in (0, 1)]
        assert costs == [0.4, 0.55]

    def test_stays_in_the_manifest_of_a_second_run(
        self, context: dict[str, Any], ti: FakeTaskInstance, tmp_path: Path
    ) -> None:
        destination = f"file://{tmp_path}/fox.mp4"
        run(single(**WAITING, destination=destination), context)
        first = ti.xcoms["manifest"]
        ti.xcoms.clear()
        context["task_state_store"].values["luma"]["phase"] = "submitted"
        run(single(**WAITING, destination=destination), context)
        assert ti.xcoms["manifest"] == first


class TestWithoutPrices:
    def test_nothing_is_said_of_costs(
        self, context: dict[str, Any], ti: FakeTaskInstance, logged: Callable[[], str], tmp_path: Path
    ) -> None:
        run(single(**WAITING, destination=f"file://{tmp_path}/fox.mp4"), context)
        run(batch(["a fox"]), context)
        assert "estimated" not in logged()
        manifest = ti.xcoms["manifest"]
        assert (manifest["estimated_cost"], manifest["currency"]) == (None, None)

    @pytest.mark.parametrize("task", [single(max_cost=1), batch(["a fox"], max_cost=1)], ids=["one", "many"])
    def test_a_bound_cannot_be_kept_and_nothing_is_sent(
        self, task: Any, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        with pytest.raises(LumaConfigurationError, match="has no price for this in a price_table"):
            task.execute(context)
        assert emulator.requests == []
        assert store.values == {}


@pytest.mark.usefixtures("priced")
class TestMaxCost:
    @pytest.mark.parametrize(
        ("task", "said"),
        [
            (single(max_cost=0.39), "0.40 USD, and max_cost is 0.39 USD"),
            (single(max_cost=0.5, **IMAGE), "0.55 USD, and max_cost is 0.50 USD"),
            (batch(["a fox"] * 3, max_cost=1), "1.20 USD, and max_cost is 1.00 USD"),
        ],
        ids=["one", "image", "many"],
    )
    def test_that_is_passed_ends_the_task_before_anything_is_sent(
        self, task: Any, said: str, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        with pytest.raises(LumaMaxCostExceeded, match=said) as refused:
            task.execute(context)
        assert isinstance(refused.value, AirflowFailException), "a retry would find the same"
        assert "nothing is charged" in str(refused.value)
        assert emulator.requests == []
        assert store.values == {}

    @pytest.mark.parametrize(
        "task", [single(max_cost="0.40"), batch(["a fox", "an owl"], max_cost=0.8)], ids=["one", "many"]
    )
    def test_that_is_reached_is_kept(self, task: Any, emulator: Emulator, context: dict[str, Any]) -> None:
        run(task, context)
        assert emulator.paid in (1, 2)

    def test_keeps_nobody_from_what_is_paid_for_already(
        self, emulator: Emulator, context: dict[str, Any], connect: Callable[..., None]
    ) -> None:
        """The prices went up between two tries."""
        request_id = run(single(**WAITING, max_cost=0.4), context)
        context["task_state_store"].values["luma"]["phase"] = "submitted"
        connect(price_table={**PRICES, "text_to_video": 4})
        assert run(single(**WAITING, max_cost=0.4), context) == request_id
        assert emulator.paid == 1

    @pytest.mark.parametrize(
        ("prices", "kind"),
        [({**PRICES, "text_to_video": 4}, "max_cost_exceeded"), ("free", "configuration")],
        ids=["higher", "none"],
    )
    def test_of_a_batch_loses_nothing_that_an_earlier_try_has_paid_for(
        self,
        prices: Any,
        kind: str,
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        connect: Callable[..., None],
        tmp_path: Path,
    ) -> None:
        def again() -> None:
            with pytest.raises(LumaBatchFailed):
                run(batch(["a fox", "an owl"], max_cost=1, destination=f"file://{tmp_path}/"), context)

        connect(price_table=PRICES, max_concurrent_requests=1)
        emulator.misbehave("generate", "credit-402", after=1)
        again()
        (tmp_path / f"{ti.xcoms['results'][0]['request_id']}.mp4").unlink()
        connect(price_table=prices, max_concurrent_requests=1)
        again()
        fox, owl = ti.xcoms["results"]
        assert (fox["status"], owl["status"]) == ("completed", "not_submitted")
        assert owl["error"]["kind"] == kind
        assert (tmp_path / f"{fox['request_id']}.mp4").exists()
        assert emulator.paid == 1

    def test_that_is_no_amount_breaks_the_dag_and_not_the_night(self) -> None:
        for make in (single, lambda **fields: batch(["a fox"], **fields)):
            with pytest.raises(ValueError, match="max_cost must be an amount of money"):
                make(max_cost="much")


class TestPricesThatAreNone:
    """A slip of somebody who edits the connection, by which no video that is paid for may be lost."""

    def test_stop_a_submit_before_anything_is_sent(
        self, emulator: Emulator, context: dict[str, Any], connect: Callable[..., None], store: FakeStateStore
    ) -> None:
        connect(price_table={"currency": "US$", "text_to_video": 1})
        for task in (single(), batch(["a fox"])):
            with pytest.raises(LumaConfigurationError, match="a currency of three letters"):
                task.execute(context)
        assert emulator.requests == []
        assert store.values == {}
        accepted, said = LumaHook().test_connection()
        assert not accepted
        assert "price_table" in said

    def test_end_no_wait(
        self, context: dict[str, Any], connect: Callable[..., None], emulator: Emulator, tmp_path: Path
    ) -> None:
        task = single(**WAITING, deferrable=True, destination=f"file://{tmp_path}/fox.mp4")
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context)
        connect(price_table="free")
        (event,) = events_of(deferred.value.trigger)
        task.execute_complete(context, event)
        assert json.loads((tmp_path / "fox.mp4.json").read_text())["estimated_cost"] is None
        sensor = LumaStatusSensor(task_id="wait", request_id=emulator.add(seconds=0))
        assert sensor.execute(context)


class TestRequestsOfAMappedTask:
    def test_are_read_once(self, context: dict[str, Any], connect: Callable[..., None]) -> None:
        """To read them asks Airflow for each item, and may call a function anew."""
        connect(price_table=PRICES)
        read = []

        class Lazy:
            def __iter__(self) -> Any:
                read.append(1)
                return iter(["a fox", "an owl"])

        task = batch([], deferrable=True)
        task.requests = Lazy()  # type: ignore[assignment]
        assert task._lineage().requests == []
        run(task, context)
        assert len(read) == 1
        assert task._lineage().cost is None, "the process after the wait does not read them"
