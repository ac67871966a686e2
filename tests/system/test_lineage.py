"""What Airflow tells OpenLineage of the example DAGs, read back from its file by the client's own classes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

from tests.system.conftest import LINEAGE, PRICE

if TYPE_CHECKING:
    from dev.airflow_rest import RunHistory
    from dev.airflow_stack import AirflowStack

pytestmark = pytest.mark.timeout(300)

RUNS: dict[str, dict[str, Any]] = {
    "luma_image_to_video": {"image_url": "https://images.example/street.png?sig=swordfish"},
    "luma_text_to_video": {},
    "luma_many_by_batch": {},
}


def event_of(line: str) -> RunEvent:
    """Return an event by the classes of the client, which check it."""
    said = json.loads(line)
    return RunEvent(
        eventType=RunState[said["eventType"]],
        eventTime=said["eventTime"],
        run=Run(**said["run"]),
        job=Job(**said["job"]),
        inputs=[InputDataset(**one) for one in said.get("inputs", [])],
        outputs=[OutputDataset(**one) for one in said.get("outputs", [])],
        producer=said["producer"],
    )


@pytest.fixture(scope="module")
def histories(airflow: AirflowStack) -> dict[str, RunHistory]:
    """Give a run of each DAG, at its end."""
    for dag_id in RUNS:
        airflow.api.wait_for_dag(dag_id)
    run_ids = {dag_id: airflow.api.trigger(dag_id, params) for dag_id, params in RUNS.items()}
    return {dag_id: airflow.api.wait_for_run(dag_id, run_id) for dag_id, run_id in run_ids.items()}


@pytest.fixture(scope="module")
def completed(airflow: AirflowStack, histories: dict[str, RunHistory]) -> dict[str, RunEvent]:
    """Give the event with which each task of these runs was completed, by the job's name."""
    assert {history.state for history in histories.values()} == {"success"}, histories
    file, deadline = Path(airflow.home) / LINEAGE, time.monotonic() + 30
    wanted = {"luma_image_to_video.make", "luma_text_to_video.keep", "luma_many_by_batch.make"}
    while True:
        events = [event_of(line) for line in file.read_text().splitlines()] if file.exists() else []
        found = {event.job.name: event for event in events if event.eventType is RunState.COMPLETE}
        if wanted <= found.keys():
            return found
        assert time.monotonic() < deadline, sorted(found)
        time.sleep(0.5)


def kept(airflow: AirflowStack, history: RunHistory, task_id: str) -> dict[str, Any]:
    manifest: dict[str, Any] = airflow.api.xcom(history.dag_id, history.run_id, task_id, "manifest")
    return manifest


class TestAnOperator:
    def test_leads_from_the_image_to_the_video(
        self, airflow: AirflowStack, histories: dict[str, RunHistory], completed: dict[str, RunEvent]
    ) -> None:
        event, history = completed["luma_image_to_video.make"], histories["luma_image_to_video"]
        manifest = kept(airflow, history, "make")
        (image,), (video,) = event.inputs, event.outputs
        assert (image.namespace, image.name) == ("https://images.example", "/street.png")
        assert (video.namespace, video.name) == ("file", manifest["path"].removeprefix("file://"))
        assert video.outputFacets["outputStatistics"]["size"] == manifest["bytes"]
        made = event.run.facets["luma_generation"]
        assert made["requestIds"] == [manifest["request_id"]]
        assert (made["connId"], made["estimatedCost"], made["currency"]) == ("luma_default", PRICE, "USD")
        assert event.job.facets["luma_request"]["requests"] == 1


class TestATransfer:
    def test_leads_from_the_gateway_to_the_file(
        self, airflow: AirflowStack, histories: dict[str, RunHistory], completed: dict[str, RunEvent]
    ) -> None:
        event = completed["luma_text_to_video.keep"]
        manifest = kept(airflow, histories["luma_text_to_video"], "keep")
        (source,), (video,) = event.inputs, event.outputs
        assert f"{source.namespace}{source.name}" == manifest["source"]
        assert (video.namespace, video.name) == ("file", manifest["path"].removeprefix("file://"))


class TestABatch:
    def test_names_all_that_it_has_kept(
        self, airflow: AirflowStack, histories: dict[str, RunHistory], completed: dict[str, RunEvent]
    ) -> None:
        event, history = completed["luma_many_by_batch.make"], histories["luma_many_by_batch"]
        results = airflow.api.xcom(history.dag_id, history.run_id, "make", "results")
        assert {f"file://{video.name}" for video in event.outputs} == {one["path"] for one in results}
        made = event.run.facets["luma_generation"]
        assert made["generations"] == made["kept"] == len(results) > 1


class TestWhatIsNotTold:
    def test_is_any_prompt_or_query(self, airflow: AirflowStack, completed: dict[str, RunEvent]) -> None:
        """The provider's facets, that is: what Airflow itself tells of a DAG is Airflow's to decide."""
        told = str(
            [
                (event.inputs, event.outputs, event.run.facets.get("luma_generation"))
                for event in completed.values()
            ]
        )
        assert "swordfish" not in told
        assert "camera" not in told
