"""
The transfer into object storage: a real S3 endpoint (a moto server) on a real socket, through s3fs.

What is the same in a folder is shown in ``test_keeping.py``; here is what an object store does in its own
way: it uploads in parts, has no rename, and knows neither folders nor a full disk.
"""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma.exceptions import LumaDownloadFailed, LumaError, LumaTargetExists
from dev.object_storage import COMMAND, ObjectStorage
from tests.integration.transfer.storage_host import head, serving
from tests.integration.transfer.tasks import MIB, execute, film_of, keep
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeTaskInstance

boto3 = pytest.importorskip("boto3", reason="apache-airflow-providers-amazon[s3fs] is not installed")
pytest.importorskip("s3fs", reason="apache-airflow-providers-amazon[s3fs] is not installed")
pytestmark = [
    pytest.mark.usefixtures("connect"),
    pytest.mark.skipif(not COMMAND.exists(), reason="there is no moto server in .cache/moto (make test)"),
]

#: More than one part of a multipart upload of s3fs.
SEVERAL_PARTS = 54 * MIB


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    """Give the endpoint, with the Airflow connection ``aws_local`` that leads to it."""
    with (
        pytest.MonkeyPatch.context() as patch,
        ObjectStorage(tmp_path_factory.mktemp("s3") / "moto.log") as storage,
    ):
        patch.setenv("AIRFLOW_CONN_AWS_LOCAL", storage.connection)
        yield storage


@dataclass
class Bucket:
    """A bucket of a test's own, seen past s3fs and its caches."""

    name: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://aws_local@{self.name}"

    def keys(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(one["Key"] for one in found)

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def unfinished(self) -> list[str]:
        """Return the uploads that were begun and neither completed nor aborted: they are billed."""
        found = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return [one["Key"] for one in found]


@pytest.fixture
def bucket(storage: ObjectStorage, request: pytest.FixtureRequest) -> Bucket:
    client = boto3.client(
        "s3",
        endpoint_url=storage.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    name = f"b-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]}"
    client.create_bucket(Bucket=name)
    return Bucket(name, client)


class Film:
    """A file that a storage host serves, the first time only as far as ``stop_at``."""

    def __init__(self, size: int, stop_at: int | None = None) -> None:
        self.content = film_of(size)
        self._stop_at = stop_at
        #: Set to let a first answer that stopped go on.
        self.go = threading.Event()

    def answer(self, connection: socket.socket, number: int) -> None:
        stop = self._stop_at if number == 0 else None
        connection.sendall(head(f"Content-Length: {len(self.content)}"))
        connection.sendall(self.content[:stop])
        if stop is not None:
            self.go.wait(60)
            connection.sendall(self.content[stop:])


class TestWhatIsKept:
    def test_the_video_and_its_manifest(
        self, bucket: Bucket, emulator: Emulator, done: str, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        returned = keep(f"{bucket.url}/videos/a.mp4", request_id=done).execute(context)
        served = emulator.video_bytes(done)
        assert returned == f"{bucket.url}/videos/a.mp4"
        assert bucket.keys() == ["videos/a.mp4", "videos/a.mp4.json"]
        assert bucket.read("videos/a.mp4") == served
        manifest = json.loads(bucket.read("videos/a.mp4.json"))
        assert manifest == ti.xcoms["manifest"]
        assert manifest["sha256"] == hashlib.sha256(served).hexdigest()
        assert (manifest["request_id"], manifest["path"]) == (done, returned)
        assert (manifest["bytes"], manifest["seconds"]) == (len(served), 0.5)
        assert bucket.unfinished() == []
        assert emulator.count("generate") == 0

    @pytest.mark.parametrize("folder", ["", "videos", "videos/of today"])
    def test_a_folder_names_the_object_after_the_request(
        self, folder: str, bucket: Bucket, done: str, context: dict[str, Any]
    ) -> None:
        prefix = f"{folder}/" if folder else ""
        keep(f"{bucket.url}/{prefix}", request_id=done).execute(context)
        assert bucket.keys() == [f"{prefix}{done}.mp4", f"{prefix}{done}.mp4.json"]

    @pytest.mark.parametrize(
        "name", ["my video.mp4", "déjà vu — ☃.mp4", "100%.mp4", "a+b&c=d.mp4", "take [1].mp4", "a*b.mp4"]
    )
    def test_names_as_people_give_them(
        self, name: str, bucket: Bucket, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        keep(f"{bucket.url}/{name}", request_id=done).execute(context)
        assert bucket.keys() == sorted([name, f"{name}.json"])
        assert bucket.read(name) == emulator.video_bytes(done)

    def test_names_with_patterns_touch_no_other_object(
        self, bucket: Bucket, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        bucket.put("ab.mp4", b"somebody else's")
        with suppress(LumaError):
            keep(f"{bucket.url}/a*.mp4", request_id=done).execute(context)
        assert bucket.read("ab.mp4") == b"somebody else's"
        assert set(bucket.keys()) <= {"ab.mp4", "a*.mp4", "a*.mp4.json"}

    def test_a_video_of_several_parts(self, bucket: Bucket, context: dict[str, Any]) -> None:
        film = Film(SEVERAL_PARTS)
        with serving(film.answer) as store:
            keep(f"{bucket.url}/a.mp4", video_url=store.url).execute(context)
        assert bucket.read("a.mp4") == film.content
        assert bucket.keys() == ["a.mp4", "a.mp4.json"]
        assert bucket.unfinished() == []

    def test_is_under_its_name_only_when_it_is_whole(self, bucket: Bucket, context: dict[str, Any]) -> None:
        film = Film(2 * MIB, stop_at=MIB)
        with serving(film.answer) as store:
            task = threading.Thread(
                target=execute,
                args=(keep(f"{bucket.url}/a.mp4", video_url=store.url), context),
                daemon=True,
            )
            task.start()
            store.wait_until(lambda: store.heads)
            time.sleep(0.3)
            assert "a.mp4" not in bucket.keys()  # noqa: SIM118
            film.go.set()
            task.join(30)
        assert bucket.read("a.mp4") == film.content


class TestWhatIsThere:
    def test_the_same_video_is_not_downloaded_again(
        self, bucket: Bucket, emulator: Emulator, done: str, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        first = keep(f"{bucket.url}/a.mp4", request_id=done).execute(context)
        manifest = ti.xcoms.pop("manifest")
        assert keep(f"{bucket.url}/a.mp4", request_id=done).execute(context) == first
        assert ti.xcoms["manifest"] == manifest
        assert emulator.count("video") == 1

    def test_another_object_is_an_error_and_stays(
        self, bucket: Bucket, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        bucket.put("a.mp4", b"somebody else's")
        with pytest.raises(LumaTargetExists):
            keep(f"{bucket.url}/a.mp4", request_id=done).execute(context)
        assert bucket.read("a.mp4") == b"somebody else's"
        assert emulator.count("video") == 0

    def test_another_object_is_replaced_where_that_is_asked_for(
        self, bucket: Bucket, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        bucket.put("a.mp4", b"somebody else's")
        keep(f"{bucket.url}/a.mp4", request_id=done, overwrite="True").execute(context)
        assert bucket.read("a.mp4") == emulator.video_bytes(done)

    def test_another_object_that_comes_meanwhile_is_not_replaced(
        self, bucket: Bucket, context: dict[str, Any]
    ) -> None:
        ended: list[BaseException | str] = []

        def run() -> None:
            try:
                ended.append(execute(keep(f"{bucket.url}/a.mp4", video_url=store.url), context))
            except Exception as error:
                ended.append(error)

        film = Film(MIB, stop_at=1000)
        with serving(film.answer) as store:
            task = threading.Thread(target=run, daemon=True)
            task.start()
            store.wait_until(lambda: store.heads)
            time.sleep(0.3)
            bucket.put("a.mp4", b"somebody else's")
            film.go.set()
            task.join(30)
        assert bucket.read("a.mp4") == b"somebody else's", ended
        assert isinstance(ended[0], LumaTargetExists)

    def test_a_bucket_without_a_key_is_an_error(
        self, bucket: Bucket, done: str, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaError):
            keep(bucket.url, request_id=done, overwrite=True).execute(context)
        assert bucket.keys() == []


class TestWhatGoesWrong:
    @pytest.mark.parametrize("fault", ["not-json", "empty", "drop-mid-answer", "bomb", "500"])
    def test_wrong_content_leaves_nothing(
        self, fault: str, bucket: Bucket, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", fault, times=None)
        with pytest.raises(LumaDownloadFailed):
            keep(f"{bucket.url}/a.mp4", request_id=done).execute(context)
        assert bucket.keys() == []
        assert bucket.unfinished() == []

    def test_a_video_that_breaks_off_after_some_parts_leaves_nothing(
        self, bucket: Bucket, context: dict[str, Any]
    ) -> None:
        with serving(Film(SEVERAL_PARTS).answer) as store, pytest.raises(LumaDownloadFailed):
            keep(f"{bucket.url}/a.mp4", video_url=store.url, max_bytes=SEVERAL_PARTS - MIB).execute(context)
        assert bucket.keys() == []
        assert bucket.unfinished() == []

    def test_a_bucket_that_does_not_exist_is_an_error_and_is_not_made(
        self, bucket: Bucket, done: str, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaError) as failed:
            keep("s3://aws_local@nobody-has-this-bucket/a.mp4", request_id=done).execute(context)
        assert "paid for" in str(failed.value)
        assert "nobody-has-this-bucket" in str(failed.value)
        buckets = [one["Name"] for one in bucket.client.list_buckets()["Buckets"]]
        assert "nobody-has-this-bucket" not in buckets

    def test_a_storage_that_cannot_be_reached_is_a_word_of_ours(
        self, done: str, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            extra = {
                "endpoint_url": f"http://127.0.0.1:{nobody.getsockname()[1]}",
                "region_name": "us-east-1",
                "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
            }
            connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
            monkeypatch.setenv("AIRFLOW_CONN_AWS_AWAY", json.dumps(connection))
            with pytest.raises(LumaError) as failed:
                keep("s3://aws_away@bucket/a.mp4", request_id=done).execute(context)
        assert "paid for" in str(failed.value)


#: A process of its own in which the transfer runs, as the task ``keep``: the last line is what it came to.
CHILD = """
import json, sys
from types import SimpleNamespace
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

ti = SimpleNamespace(dag_id="d", run_id="r", task_id="keep", map_index=-1, xcom_push=lambda **_: None)
peaks = []
for fields in json.loads(sys.argv[1]):
    LumaToObjectStorageOperator(task_id="keep", **fields).execute({"ti": ti})
    peaks.append(peak())
print(json.dumps(peaks))
"""


def child(*runs: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(runs)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


class TestCrashes:
    def test_a_try_that_was_killed_leaves_nothing_under_the_name_and_the_next_cleans_up(
        self, bucket: Bucket, context: dict[str, Any]
    ) -> None:
        """The first try has uploaded a part by then, which is billed until somebody aborts the upload."""
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="keep", map_index=-1, xcom_push=lambda **_: None)
        film = Film(SEVERAL_PARTS, stop_at=SEVERAL_PARTS - MIB)
        with serving(film.answer) as store:
            process = child({"destination": f"{bucket.url}/a.mp4", "video_url": store.url})
            try:
                store.wait_until(bucket.unfinished, 60)
                time.sleep(0.5)
            finally:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                film.go.set()
            assert bucket.keys() == []
            keep(f"{bucket.url}/a.mp4", video_url=store.url).execute({**context, "ti": ti})
        assert bucket.read("a.mp4") == film.content
        assert bucket.keys() == ["a.mp4", "a.mp4.json"]
        assert bucket.unfinished() == [], "parts of the first try are there, and are billed"


class TestMemory:
    def test_does_not_grow_with_the_video(self, bucket: Bucket) -> None:
        """s3fs keeps one part of an upload in memory, whatever the number of the parts."""
        with serving(Film(54 * MIB).answer) as short, serving(Film(120 * MIB).answer) as long:
            process = child(
                {"destination": f"{bucket.url}/short.mp4", "video_url": short.url},
                {"destination": f"{bucket.url}/long.mp4", "video_url": long.url},
            )
            try:
                out, _ = process.communicate(timeout=200)
            finally:
                process.kill()
                process.wait()
        after_short, after_long = json.loads(out.splitlines()[-1])
        assert bucket.keys() == ["long.mp4", "long.mp4.json", "short.mp4", "short.mp4.json"]
        assert after_long - after_short < 48 * 1024, f"{after_short} KiB, then {after_long} KiB"
