"""
Keeping the video in real Airflow: a transfer that is killed and tried again, a bucket, and the second DAG.

What is killed is the process in which the task executes, by a real ``kill -9``; what starts the second DAG is
the asset event and nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pendulum
import pytest
import requests

from airflow_provider_luma.emulator import Emulator
from dev.mp4 import decode
from dev.object_storage import COMMAND, ObjectStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.airflow_rest import RunHistory
    from dev.airflow_stack import AirflowStack

MAKE, PUBLISH = "luma_make_nightly", "luma_publish"


def wait_until(airflow: AirflowStack, condition: Callable[[], Any], what: str, *, timeout: float = 60) -> Any:
    """Wait until something is so and return what the condition gave."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        airflow.check()
        assert time.monotonic() < deadline, f"within {timeout} s it did not come about that {what}"
        time.sleep(0.05)
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def shop() -> Iterator[Emulator]:
    """Give a storage host of these tests' own: what it is told does not meet other tests' videos."""
    with Emulator(key=secrets.token_hex(16), seconds=0, videos="tiny") as shop:
        yield shop


@dataclass(frozen=True)
class Killed:
    """A transfer whose process was killed in the middle of its download."""

    history: RunHistory
    folder: Path
    request_id: str
    #: What was in the folder while it ran, and after its end.
    during: list[str]
    tries: list[str]
    #: Requests to generate that the gateway had before and after.
    generated: tuple[int, int]


@pytest.fixture(scope="module")
def killed(
    airflow: AirflowStack, gateway: Emulator, shop: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Killed:
    """Kill the first try as soon as it writes, and watch the second."""
    api = airflow.api
    folder = tmp_path_factory.mktemp("killed")
    request_id = shop.add()
    shop.misbehave("video", "drip", every=0.05)
    api.wait_for_dag("luma_keep")
    before = shop.count("generate") + shop.paid
    run_id = api.trigger(
        "luma_keep",
        {
            "request_id": request_id,
            "video_url": shop.video_url(request_id),
            "destination": f"file://{folder}/",
        },
    )
    wait_until(airflow, lambda: names(folder), "the transfer writes")
    during = names(folder)
    (task,) = api.task_instances("luma_keep", run_id)
    airflow.task_process(task).kill()
    history = api.wait_for_run("luma_keep", run_id)
    tries = [str(one["state"]) for one in api.tries("luma_keep", run_id, "keep")]
    return Killed(history, folder, request_id, during, tries, (before, shop.count("generate") + shop.paid))


class TestKilledMidWay:
    def test_nothing_half_was_under_the_final_name(self, killed: Killed) -> None:
        assert killed.during, "it was not killed while it wrote"
        assert f"{killed.request_id}.mp4" not in killed.during
        assert f"{killed.request_id}.mp4.json" not in killed.during

    def test_the_retry_keeps_the_video(self, killed: Killed, shop: Emulator) -> None:
        assert killed.history.state == "success", killed.history
        assert len(killed.tries) == 2, killed.tries
        assert killed.tries[-1] == "success", killed.tries
        kept = (killed.folder / f"{killed.request_id}.mp4").read_bytes()
        assert sha256(kept) == sha256(shop.video_bytes(killed.request_id))
        assert shop.count("video") == 2

    def test_the_retry_cleans_up(self, killed: Killed) -> None:
        wanted = [f"{killed.request_id}.mp4", f"{killed.request_id}.mp4.json"]
        assert names(killed.folder) == wanted, f"while it ran: {killed.during}"

    def test_nothing_is_generated(self, killed: Killed) -> None:
        assert killed.generated == (0, 0)


@pytest.fixture(scope="module")
def storage(airflow: AirflowStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give a client of an S3 endpoint with a bucket, to which the connection ``aws_local`` leads."""
    import boto3

    with ObjectStorage(tmp_path_factory.mktemp("s3") / "moto.log") as storage:
        airflow.api.add_connection(
            "aws_local", "aws", login="test", password="test", extra=json.dumps(storage.extra)
        )
        client = boto3.client(
            "s3",
            endpoint_url=storage.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket="videos")
        yield client


@pytest.mark.skipif(not COMMAND.exists(), reason="there is no moto server in .cache/moto (make test)")
@pytest.mark.skipif(
    importlib.util.find_spec("s3fs") is None,
    reason="apache-airflow-providers-amazon[s3fs] is not installed",
)
class TestABucket:
    def test_takes_the_video_and_a_second_run_fetches_nothing(
        self, airflow: AirflowStack, shop: Emulator, storage: Any
    ) -> None:
        request_id = shop.add()
        params = {
            "request_id": request_id,
            "video_url": shop.video_url(request_id),
            "destination": "s3://aws_local@videos/today/",
        }
        before = shop.count("video")
        for _ in range(2):
            run_id = airflow.api.trigger("luma_keep", params)
            history = airflow.api.wait_for_run("luma_keep", run_id)
            assert history.state == "success", "\n".join(airflow.api.logs("luma_keep", run_id, "keep")[-20:])
            path = airflow.api.xcom("luma_keep", run_id, "keep")
            assert path == f"s3://aws_local@videos/today/{request_id}.mp4"
        assert shop.count("video") == before + 1
        key = f"today/{request_id}.mp4"
        kept = storage.get_object(Bucket="videos", Key=key)["Body"].read()
        assert sha256(kept) == sha256(shop.video_bytes(request_id))
        manifest = json.loads(storage.get_object(Bucket="videos", Key=f"{key}.json")["Body"].read())
        assert manifest == airflow.api.xcom("luma_keep", run_id, "keep", "manifest")
        keys = [one["Key"] for one in storage.list_objects_v2(Bucket="videos")["Contents"]]
        assert keys == [key, f"{key}.json"]


@dataclass(frozen=True)
class Night:
    """A run of the DAG that makes the nightly video, and the run that it started."""

    made: RunHistory
    path: str
    manifest: dict[str, Any]
    event: dict[str, Any]
    published: dict[str, Any]
    #: What its task returned, and its log.
    value: list[str]
    printed: list[str]


class TestWhatNobodyAskedFor:
    def test_no_example_generates_by_itself(self, airflow: AirflowStack) -> None:
        """
        ``make demo`` starts these same DAGs unpaused, in front of the real gateway if there is a key.

        It stands first in this file: what comes below switches the nightly DAG on.
        """
        api = airflow.api
        dag_ids = [one["dag_id"] for one in api.call("GET", "dags")["dags"]]
        assert MAKE in dag_ids
        runs = [run for dag_id in dag_ids for run in api.call("GET", f"dags/{dag_id}/dagRuns")["dag_runs"]]
        assert [run["dag_id"] for run in runs if run["run_type"] == "scheduled"] == []


@pytest.fixture(scope="module")
def night(airflow: AirflowStack) -> Night:
    """Make the nightly video, and wait for the DAG that nobody starts."""
    api = airflow.api
    for dag_id in (MAKE, PUBLISH):
        api.wait_for_dag(dag_id)
        api.call("PATCH", f"dags/{dag_id}", {"is_paused": False})
    run_id = f"night-{secrets.token_hex(4)}"
    # Another day than that of the scheduled run which switching the DAG on starts: that one keeps its video
    # too, under the name of its day, and replaces what stands there.
    logical_date = pendulum.now("UTC").subtract(days=30).to_iso8601_string()
    body = {"logical_date": logical_date, "dag_run_id": run_id, "conf": {}}
    api.call("POST", f"dags/{MAKE}/dagRuns", body)
    made = api.wait_for_run(MAKE, run_id)
    assert made.state == "success", made
    path = api.xcom(MAKE, run_id, "keep")
    manifest = api.xcom(MAKE, run_id, "keep", "manifest")

    def the_event() -> dict[str, Any] | None:
        try:
            answer = api.call("GET", f"assets/events?source_dag_id={MAKE}&source_run_id={run_id}")
        except requests.HTTPError as error:
            # Airflow 3.3.2 answers 500 while the run that an event has created is queued and not started.
            if error.response is None or error.response.status_code != 500:
                raise
            return None
        events = answer["asset_events"]
        return next((event for event in events if event["created_dagruns"]), None)

    event = wait_until(airflow, the_event, "the asset event has started a run")
    published_id = event["created_dagruns"][0]["run_id"]
    assert api.wait_for_run(PUBLISH, published_id).state == "success"
    return Night(
        made,
        path,
        manifest,
        event,
        published=api.call("GET", f"dags/{PUBLISH}/dagRuns/{quote(published_id, safe='')}"),
        value=api.xcom(PUBLISH, published_id, "publish"),
        printed=api.logs(PUBLISH, published_id, "publish"),
    )


class TestTheSecondDag:
    def test_is_started_by_the_asset_event(self, night: Night) -> None:
        assert night.published["run_type"] == "asset_triggered"
        assert night.published["state"] == "success"

    def test_reads_the_events_extra(self, night: Night) -> None:
        manifest = night.manifest
        assert night.path in night.value
        line = f"{night.path}: {manifest['seconds']} s, 16:9, {manifest['bytes']} bytes"
        assert any(line in printed for printed in night.printed), night.printed

    def test_finds_the_file_that_the_extra_tells_of(self, night: Night, gateway: Emulator) -> None:
        extra = night.event["extra"]
        kept = Path(extra["path"].removeprefix("file://"))
        assert sha256(kept.read_bytes()) == extra["sha256"]
        assert kept.stat().st_size == extra["bytes"]
        video = decode(kept)
        assert (
            (video.width, video.height) == (night.manifest["width"], night.manifest["height"]) == (640, 360)
        )
        assert video.seconds == pytest.approx(extra["seconds"], abs=0.1)
        assert extra["aspect_ratio"] == "16:9"
        assert sha256(gateway.video_bytes(extra["request_id"])) == extra["sha256"]

    def test_is_not_told_the_prompt(self, night: Night) -> None:
        assert "northern lights" not in json.dumps(night.event).lower()

    def test_the_link_is_there_though_the_wait_was_deferred(
        self, night: Night, airflow: AirflowStack, gateway: Emulator
    ) -> None:
        assert "deferred" in night.made.states("wait")
        url = gateway.video_url(night.event["extra"]["request_id"])
        for task_id in ("wait", "keep"):
            path = f"dags/{MAKE}/dagRuns/{night.made.run_id}/taskInstances/{task_id}/links"
            assert airflow.api.call("GET", path)["extra_links"] == {"Luma video": url}
