"""What Airflow tells OpenLineage of the example DAGs, read back from its file by the client's own classes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

from tests.system.watchful import LINEAGE, PRICE, Watchful

pytestmark = pytest.mark.timeout(600)


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
def completed(watchful: Watchful) -> dict[str, RunEvent]:
    """Give the event with which each task of these runs was completed, by the job's name."""
    file, deadline = watchful.stack.home / LINEAGE, time.monotonic() + 30
    wanted = {"luma_image_to_video.make", "luma_text_to_video.keep", "luma_many_by_batch.make"}
    while True:
        events = [event_of(line) for line in file.read_text().splitlines()] if file.exists() else []
        found = {event.job.name: event for event in events if event.eventType is RunState.COMPLETE}
        if wanted <= found.keys():
            return found
        assert time.monotonic() < deadline, sorted(found)
        time.sleep(0.5)


def kept(watchful: Watchful, dag_id: str, task_id: str) -> dict[str, Any]:
    run_id = watchful.runs[dag_id].run_id
    manifest: dict[str, Any] = watchful.stack.api.xcom(dag_id, run_id, task_id, "manifest")
    return manifest


class TestAnOperator:
    def test_leads_from_the_image_to_the_video(
        self, watchful: Watchful, completed: dict[str, RunEvent]
    ) -> None:
        event = completed["luma_image_to_video.make"]
        manifest = kept(watchful, "luma_image_to_video", "make")
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
        self, watchful: Watchful, completed: dict[str, RunEvent]
    ) -> None:
        event = completed["luma_text_to_video.keep"]
        manifest = kept(watchful, "luma_text_to_video", "keep")
        (source,), (video,) = event.inputs, event.outputs
        assert f"{source.namespace}{source.name}" == manifest["source"]
        assert (video.namespace, video.name) == ("file", manifest["path"].removeprefix("file://"))


class TestABatch:
    def test_names_all_that_it_has_kept(self, watchful: Watchful, completed: dict[str, RunEvent]) -> None:
        event, run_id = completed["luma_many_by_batch.make"], watchful.runs["luma_many_by_batch"].run_id
        results = watchful.stack.api.xcom("luma_many_by_batch", run_id, "make", "results")
        assert {f"file://{video.name}" for video in event.outputs} == {one["path"] for one in results}
        made = event.run.facets["luma_generation"]
        assert made["generations"] == made["kept"] == len(results) > 1


class TestWhatIsNotTold:
    def test_is_any_prompt_or_query(self, completed: dict[str, RunEvent]) -> None:
        """The provider's facets, that is: what Airflow itself tells of a DAG is Airflow's to decide."""
        told = str(
            [
                (event.inputs, event.outputs, event.run.facets.get("luma_generation"))
                for event in completed.values()
            ]
        )
        assert "sig=" not in told
        assert "camera" not in told
