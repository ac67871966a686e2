"""What OpenLineage is told of a task, in the classes of its own client."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import attr
import pytest

from airflow_provider_luma.exceptions import LumaError
from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator, LumaGenerateOperator
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator
from tests.integration.waiting import run

pytest.importorskip("airflow.providers.openlineage", reason="Airflow's OpenLineage provider is not installed")
from openlineage.client.serde import Serde

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connect")

IMAGE = {
    "prompt": "a fox runs",
    "image_url": "https://images.example/fox.png?sig=swordfish",
}
WAITING = {"wait_for_completion": True, "poke_interval": 0.1, "timeout": 20}
both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])


def told(lineage: Any) -> dict[str, Any]:
    """Return lineage as it is sent: what cannot be sent is an error here."""
    said: dict[str, Any] = json.loads(Serde.to_json(attr.asdict(lineage)))
    assert "non-serializable" not in str(said)
    return {name: said.get(name, {}) for name in ("inputs", "outputs", "run_facets", "job_facets")}


def named(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["namespace"], one["name"]) for one in datasets]


class TestOneGeneration:
    def test_says_what_it_asks_for_before_it_is_sent(self) -> None:
        said = told(LumaGenerateOperator(task_id="make", **IMAGE).get_openlineage_facets_on_start())
        assert named(said["inputs"]) == [("https://images.example", "/fox.png")]
        assert said["outputs"] == []
        request = said["job_facets"]["luma_request"]
        assert request["promptSha256"] == [hashlib.sha256(b"a fox runs").hexdigest()]
        assert (request["requests"], request["aspectRatios"]) == (1, ["16:9"])
        assert said["run_facets"]["luma_generation"]["generations"] == 0
        assert "swordfish" not in str(said)
        assert "a fox" not in str(said)

    @both_modes
    def test_says_what_it_has_made(
        self,
        deferrable: bool,
        emulator: Emulator,
        context: dict[str, Any],
        connect: Callable[..., None],
        tmp_path: Path,
    ) -> None:
        connect(price_table={"currency": "USD", "text_to_video": 0.4})
        task = LumaGenerateOperator(
            task_id="make",
            prompt="a fox",
            **WAITING,
            deferrable=deferrable,
            destination=f"file://{tmp_path}/",
        )
        request_id = run(task, context)
        said = told(task.get_openlineage_facets_on_complete(None))
        (video,) = said["outputs"]
        assert (video["namespace"], video["name"]) == ("file", f"{tmp_path}/{request_id}.mp4")
        statistics = video["outputFacets"]["outputStatistics"]
        assert statistics["size"] == len(emulator.video_bytes(request_id))
        made = said["run_facets"]["luma_generation"]
        assert (made["connId"], made["requestIds"]) == ("luma_default", [request_id])
        assert (made["generations"], made["kept"]) == (1, 1)
        assert (made["estimatedCost"], made["currency"]) == (0.4, "USD")

    def test_that_has_failed_names_what_was_paid_for(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.next(outcome="failed", reason="no")
        task = LumaGenerateOperator(task_id="make", prompt="a fox", **WAITING)
        with pytest.raises(LumaError):
            run(task, context)
        made = told(task.get_openlineage_facets_on_complete(None))["run_facets"]["luma_generation"]
        assert made["requestIds"] == [*emulator.generations]
        assert made["kept"] == 0

    def test_that_was_interrupted_names_what_was_paid_for(
        self, emulator: Emulator, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def push(**_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(context["ti"], "xcom_push", push)
        task = LumaGenerateOperator(task_id="make", prompt="a fox", durable=False)
        with pytest.raises(LumaError):
            task.execute(context)
        made = told(task.get_openlineage_facets_on_complete(None))["run_facets"]["luma_generation"]
        assert made["requestIds"] == [*emulator.generations]

    @pytest.mark.parametrize("prompt", ["", None, "None"])
    def test_of_arguments_that_are_none_breaks_nothing(self, prompt: Any) -> None:
        said = told(LumaGenerateOperator(task_id="make", prompt=prompt).get_openlineage_facets_on_start())
        assert said["job_facets"] == {}


class TestABatch:
    @both_modes
    def test_says_what_it_has_made(
        self, deferrable: bool, context: dict[str, Any], emulator: Emulator, tmp_path: Path
    ) -> None:
        task = LumaGenerateBatchOperator(
            task_id="make",
            requests=["a fox", IMAGE, IMAGE],
            poke_interval=0.1,
            timeout=20,
            deferrable=deferrable,
            destination=f"file://{tmp_path}/{{index}}.mp4",
        )
        run(task, context)
        said = told(task.get_openlineage_facets_on_complete(None))
        assert named(said["inputs"]) == [("https://images.example", "/fox.png")]
        assert sorted(named(said["outputs"])) == [("file", f"{tmp_path}/{number}.mp4") for number in range(3)]
        made = said["run_facets"]["luma_generation"]
        assert sorted(made["requestIds"]) == sorted(emulator.generations)
        assert (made["generations"], made["kept"]) == (3, 3)

    def test_of_thousands_makes_no_large_event(self) -> None:
        images = [{"prompt": f"fox {n}", "image_url": f"https://images.example/{n}.png"} for n in range(5000)]
        task = LumaGenerateBatchOperator(task_id="make", requests=images)
        said = told(task.get_openlineage_facets_on_start())
        assert said["job_facets"]["luma_request"]["requests"] == 5000
        assert len(said["inputs"]) == len(said["job_facets"]["luma_request"]["promptSha256"]) == 100
        assert len(str(said)) < 64 * 1024

    @pytest.mark.parametrize("requests", [None, "no list", [7]])
    def test_of_arguments_that_are_none_breaks_nothing(self, requests: Any) -> None:
        task = LumaGenerateBatchOperator(task_id="make", requests=requests)
        assert told(task.get_openlineage_facets_on_start())["job_facets"] == {}


class TestATransfer:
    def test_leads_from_the_address_to_the_file(
        self, emulator: Emulator, context: dict[str, Any], tmp_path: Path
    ) -> None:
        request_id = emulator.add(seconds=0)
        task = LumaToObjectStorageOperator(
            task_id="keep",
            request_id=request_id,
            video_url=f"{emulator.video_url(request_id)}?X-Amz-Signature=swordfish",
            destination=f"file://{tmp_path}/a.mp4",
        )
        assert told(task.get_openlineage_facets_on_start())["outputs"] == []
        task.execute(context)
        said = told(task.get_openlineage_facets_on_complete(None))
        assert named(said["inputs"]) == [(emulator.url, f"/videos/{request_id}.mp4")]
        assert named(said["outputs"]) == [("file", f"{tmp_path}/a.mp4")]
        assert said["run_facets"]["luma_generation"]["requestIds"] == [request_id]
        assert "swordfish" not in str(said)
