"""
The transfer against a gateway and a storage host on real sockets, into a folder: what is kept, and what is
left when something goes wrong.

``test_transfer_s3.py`` does it against object storage, ``tests/system/test_keep.py`` in a real Airflow.
"""

from __future__ import annotations

import gzip
import hashlib
import inspect
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, Asset, timeout

from airflow_provider_luma.emulator.video import tiny_video
from airflow_provider_luma.exceptions import (
    LumaConfigurationError,
    LumaDownloadFailed,
    LumaError,
    LumaInvalidRequest,
    LumaTargetExists,
    LumaUnsafeAddress,
    LumaVideoExpired,
)
from airflow_provider_luma.hooks import download
from airflow_provider_luma.links import luma as links
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator
from tests.integration.outlets import OutletEvents
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeTaskInstance

pytestmark = pytest.mark.usefixtures("connect")

KEY_HEADER = "Ocp-Apim-Subscription-Key"
MIB = 1024 * 1024
#: What the test of memory downloads: two gigabytes, unless ``LUMA_TEST_BIG_MIB`` says less.
BIG_MIB = int(os.environ.get("LUMA_TEST_BIG_MIB", "2048"))


# --- a storage host whose every byte is the test's ------------------------------------------------------


@dataclass
class Store:
    """What a storage host of :func:`serving` has seen, and where it is."""

    port: int
    #: The head of each request, in the order in which they came.
    heads: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v.mp4"

    def wait_until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not so within {seconds} s; requests: {self.heads}"
            time.sleep(0.005)


@contextmanager
def serving(answer: Callable[[socket.socket, int], None]) -> Iterator[Store]:
    """
    Serve on loopback, a thread for each connection.

    :param answer: writes the whole answer to a request, given the connection and the request's number.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    store = Store(listener.getsockname()[1])
    open_now: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(4096)
                if not piece:
                    return
                head += piece
            store.heads.append(head.decode("latin-1"))
            answer(connection, len(store.heads) - 1)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_now.append(connection)
                threads.append(threading.Thread(target=handle, args=(connection,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield store
    finally:
        store.closing.set()
        for one in (listener, *open_now):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in (acceptor, *threads):
            thread.join(5)


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode("latin-1")


def whole(body: bytes, *lines: str, kind: str = "video/mp4") -> bytes:
    return head(f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines) + body


def always(raw: bytes) -> Callable[[socket.socket, int], None]:
    return lambda connection, _: connection.sendall(raw)


def redirect(location: str, code: int = 302) -> bytes:
    return head(f"Location: {location}", "Content-Length: 0", status=f"{code} Elsewhere")


# --- the task -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once; how long to pause is tenacity's business."""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def video() -> bytes:
    return tiny_video()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


@pytest.fixture
def done(emulator: Emulator) -> str:
    """The id of a generation that is complete."""
    return emulator.add(seconds=0)


def keep(destination: object, **fields: Any) -> LumaToObjectStorageOperator:
    """Return the operator; a path becomes an address."""
    if isinstance(destination, Path):
        destination = f"file://{destination}"
    return LumaToObjectStorageOperator(**{"task_id": "keep", "destination": destination, **fields})


def execute(operator: LumaToObjectStorageOperator, context: dict[str, Any]) -> str:
    """Execute in a thread: Airflow 2 guards ``execute`` by something that only the main thread has."""
    returned: str = inspect.unwrap(type(operator).execute)(operator, context)
    return returned


def as_task(context: dict[str, Any], task_id: str) -> dict[str, Any]:
    """Return a context in which another task runs."""
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id=task_id, map_index=-1, xcom_push=lambda **_: None)
    return {**context, "ti": ti}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def said(error: pytest.ExceptionInfo[BaseException]) -> str:
    return str(error.value)


# --- what is kept ---------------------------------------------------------------------------------------


class TestWhatIsKept:
    def test_the_video_and_its_manifest(
        self,
        emulator: Emulator,
        folder: Path,
        context: dict[str, Any],
        ti: FakeTaskInstance,
    ) -> None:
        done = emulator.add(seconds=0, aspect_ratio="16:9")
        target = folder / "a.mp4"
        before = pendulum.now("UTC")
        returned = keep(target, request_id=done, video_url=emulator.video_url(done)).execute(context)
        served = emulator.video_bytes(done)
        assert returned == f"file://{target}"
        assert target.read_bytes() == served
        manifest = json.loads((folder / "a.mp4.json").read_text())
        kept_at = pendulum.parse(manifest.pop("kept_at"))
        assert isinstance(kept_at, pendulum.DateTime)
        assert before <= kept_at <= pendulum.now("UTC")
        assert kept_at.utcoffset() == pendulum.duration()
        assert manifest == {
            "v": 1,
            "request_id": done,
            "source": emulator.video_url(done),
            "source_sha256": sha256(emulator.video_url(done).encode()),
            "path": f"file://{target}",
            "sha256": sha256(served),
            "bytes": len(served),
            "seconds": 0.5,
            "width": 64,
            "height": 36,
        }
        assert ti.xcoms["manifest"] == json.loads((folder / "a.mp4.json").read_text())
        assert ti.xcoms["video_url"] == emulator.video_url(done)
        assert names(folder) == ["a.mp4", "a.mp4.json"], "something was left behind"
        assert emulator.paid == 0
        assert emulator.count("generate") == 0

    def test_with_only_a_request_id_the_address_is_asked_for(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        keep(folder / "a.mp4", request_id=done).execute(context)
        assert (folder / "a.mp4").read_bytes() == emulator.video_bytes(done)
        assert ti.xcoms["video_url"] == emulator.video_url(done)
        assert emulator.generation(done).looks == 1

    def test_with_only_an_address_nobody_is_asked(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        keep(folder / "a.mp4", video_url=emulator.video_url(done), request_id="None").execute(context)
        assert json.loads((folder / "a.mp4.json").read_text())["request_id"] is None
        assert emulator.count("getStatus") == 0

    def test_the_manifest_names_the_address_without_its_signature(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        keep(
            folder / "a.mp4", request_id=done, video_url=f"{emulator.video_url(done)}?sig=swordfish"
        ).execute(context)
        assert "swordfish" not in (folder / "a.mp4.json").read_text()

    @pytest.mark.parametrize(
        "name",
        ["my video.mp4", "déjà vu — ☃.mp4", "take [1].mp4", "100%.mp4", "a*b.mp4", "no-suffix", ".dot"],
    )
    def test_names_as_people_give_them(
        self, name: str, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        keep(folder / "new folder" / name, request_id=done).execute(context)
        assert names(folder / "new folder") == sorted([name, f"{name}.json"])

    def test_a_name_as_long_as_a_file_may_have(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        name = "v" * 240 + ".mp4"
        keep(folder / name, request_id=done).execute(context)
        assert names(folder) == [name, f"{name}.json"]

    def test_large_chunks_and_small_ones_are_the_same_file(
        self, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        def answer(connection: socket.socket, _: int) -> None:
            connection.sendall(head("Content-Type: video/mp4", "Transfer-Encoding: chunked"))
            at = 0
            for step in (1, 2, 5, 4, 100, 1000, len(video)):
                piece = video[at : at + step]
                at += step
                if piece:
                    connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    time.sleep(0.01)
            connection.sendall(b"0\r\n\r\n")

        with serving(answer) as store:
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert (folder / "a.mp4").read_bytes() == video

    @pytest.mark.parametrize("room", [0, 1])
    def test_a_video_of_just_the_maximum_is_kept(
        self, room: int, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        most = len(emulator.video_bytes(done)) + room
        keep(folder / "a.mp4", request_id=done, max_bytes=most).execute(context)
        assert (folder / "a.mp4").stat().st_size == most - room


class TestDestinations:
    def test_a_folder_names_the_file_after_the_request(
        self, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        returned = keep(f"file://{folder}/", request_id=done).execute(context)
        assert returned == f"file://{folder}/{done}.mp4"
        assert names(folder) == [f"{done}.mp4", f"{done}.mp4.json"]

    @pytest.mark.parametrize(
        "request_id",
        ["../../escaped", "/etc/passwd", "..", ".", "a\\..\\b", "a/b", "%2e%2e%2fx", "x?y#z", "~"],
    )
    def test_an_id_with_a_path_in_it_stays_in_the_folder(
        self, request_id: str, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id, seconds=0)
        returned = keep(f"file://{folder}/", request_id=request_id).execute(context)
        video, _ = names(folder)
        assert returned == f"file://{folder}/{video}"
        assert not video.startswith(".")
        assert names(folder.parent) == ["videos"]

    @pytest.mark.parametrize("request_id", ["v" * 256, "é" * 200], ids=["of 256", "of 400 bytes"])
    def test_an_id_too_long_for_a_file_is_a_clear_word_or_a_shorter_name(
        self, request_id: str, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        emulator.add(request_id, seconds=0)
        try:
            keep(f"file://{folder}/", request_id=request_id).execute(context)
        except LumaError:
            assert names(folder) == []
        else:
            assert len(names(folder)) == 2

    @pytest.mark.parametrize("destination", ["", "   ", "None", None])
    def test_a_blank_one_is_an_error(
        self, destination: str | None, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match="destination"):
            keep(destination, request_id=done, video_url=emulator.video_url(done)).execute(context)
        assert emulator.requests == []

    @pytest.mark.parametrize(
        "destination",
        ["ftp://me:swordfish@host/videos/", "s3://AKIA:sword/fish@bucket/", "https://u:p@h/a.mp4?x=1"],
    )
    def test_one_with_a_password_is_refused_and_not_repeated(
        self, destination: str, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match="connection") as error:
            keep(destination, request_id=done, video_url=emulator.video_url(done)).execute(context)
        assert "fish" not in str(error.value)
        assert emulator.requests == []

    def test_a_folder_without_a_request_id_is_an_error(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match="folder"):
            keep(f"file://{folder}/", video_url=emulator.video_url(done)).execute(context)

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_folder_without_its_slash_is_not_taken_for_a_file(
        self, overwrite: bool, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        """The path that is returned must be a video; the folder and what is in it must stay."""
        (folder / "other.txt").write_text("mine")
        try:
            returned = keep(folder, request_id=done, overwrite=overwrite).execute(context)
        except LumaError:
            assert names(folder) == ["other.txt"]
            assert names(folder.parent) == ["videos"], "a manifest of nothing was left"
        else:
            assert Path(returned.removeprefix("file://")).is_file(), f"{returned} is no file: {names(folder)}"

    @pytest.mark.parametrize(
        "destination",
        ["nosuchscheme://bucket/a.mp4", "file:///dev/null/a.mp4"],
        ids=["an unknown scheme", "a folder that cannot be"],
    )
    def test_one_that_cannot_be_is_a_word_of_ours(
        self, destination: str, done: str, context: dict[str, Any], airflow_database: Path
    ) -> None:
        """Whoever reads it must learn that the video is paid for, and that a clear fetches it for free."""
        with pytest.raises(LumaError) as refused:
            keep(destination, request_id=done).execute(context)
        assert done in said(refused) or "destination" in said(refused)

    def test_neither_request_id_nor_address_is_an_error(
        self, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        for nothing in (None, "", "None"):
            with pytest.raises(LumaInvalidRequest, match="upstream"):
                keep(folder / "a.mp4", request_id=nothing, video_url=nothing).execute(context)
        assert emulator.requests == []

    @pytest.mark.parametrize("outcome", ["pending", "failed", "no-address", "not-found"])
    def test_a_generation_without_a_video_is_an_error(
        self, outcome: str, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        request_id = emulator.add(seconds=0, outcome=outcome)
        with pytest.raises(LumaError) as refused:
            keep(folder / "a.mp4", request_id=request_id).execute(context)
        assert request_id in said(refused)
        assert names(folder) == []
        assert emulator.count("generate") == 0


# --- when something is there already --------------------------------------------------------------------


def with_fields(**fields: object) -> Callable[[dict[str, Any]], str]:
    return lambda manifest: json.dumps({**manifest, **fields})


def with_size(number: str) -> Callable[[dict[str, Any]], str]:
    return lambda manifest: json.dumps({**manifest, "bytes": "here"}).replace('"here"', number)


#: What makes a good manifest into one that vouches for nothing.
MANGLED: dict[str, Callable[[dict[str, Any]], str]] = {
    "empty": lambda manifest: "",
    "no JSON": lambda manifest: "no JSON",
    "null": lambda manifest: "null",
    "a list": lambda manifest: "[]",
    "a number": lambda manifest: "7",
    "an empty object": lambda manifest: "{}",
    "cut off": lambda manifest: json.dumps(manifest)[:-3],
    "followed by a NUL": lambda manifest: json.dumps(manifest) + "\0",
    "huge": lambda manifest: json.dumps({**manifest, "padding": "x" * 200_000}),
    "lists in lists": lambda manifest: "[" * 60_000,
    "objects in objects": lambda manifest: '{"a":' * 10_000,
    "infinite bytes": with_size("1e999"),
    "no number of bytes": with_size("NaN"),
    "astronomic bytes": with_size("9" * 5000),
    "bytes in words": with_fields(bytes="many"),
    "null bytes": with_fields(bytes=None),
    "negative bytes": with_fields(bytes=-1),
    "a list of ids": with_fields(request_id=["a", "list"]),
    "no id": with_fields(request_id=None),
    "more than there should be": with_fields(more="fields"),
}


class TestASecondRun:
    def test_downloads_nothing(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        target = folder / "a.mp4"
        first = keep(target, request_id=done, video_url=emulator.video_url(done)).execute(context)
        manifest = ti.xcoms.pop("manifest")
        stamp = target.stat()
        again = keep(target, request_id=done, video_url="http://127.0.0.1:9/gone.mp4").execute(context)
        assert again == first
        assert ti.xcoms["manifest"] == manifest
        assert (target.stat().st_mtime_ns, target.stat().st_ino) == (stamp.st_mtime_ns, stamp.st_ino)
        assert emulator.count("video") == 1

    def test_downloads_nothing_under_overwrite_either(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        for _ in range(2):
            keep(folder / "a.mp4", request_id=done, overwrite=True).execute(context)
        assert emulator.count("video") == 1

    @pytest.mark.parametrize("state", ["forgotten", "failed", "no-address", "gone"])
    def test_needs_no_gateway(
        self, state: str, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        """The video is there, whole and named: what the gateway says by now does not matter any more."""
        first = keep(folder / "a.mp4", request_id=done).execute(context)
        if state == "gone":
            emulator.stop()
        else:
            emulator.set(done, outcome="not-found" if state == "forgotten" else state)
        assert keep(folder / "a.mp4", request_id=done).execute(context) == first

    def test_of_a_copy_elsewhere_returns_where_the_copy_is(
        self, folder: Path, done: str, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        keep(folder / "a.mp4", request_id=done).execute(context)
        for name in ("a.mp4", "a.mp4.json"):
            (folder / name).rename(folder / name.replace("a", "b", 1))
        returned = keep(folder / "b.mp4", request_id=done).execute(context)
        assert returned == f"file://{folder}/b.mp4"
        assert ti.xcoms["manifest"]["path"] == f"file://{folder}/b.mp4"

    def test_of_another_address_is_not_the_same_video(
        self, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        one, other = emulator.add(seconds=0), emulator.add(seconds=0)
        keep(folder / "a.mp4", video_url=emulator.video_url(one)).execute(context)
        with pytest.raises(LumaTargetExists):
            keep(folder / "a.mp4", video_url=emulator.video_url(other)).execute(context)

    def test_of_another_query_is_not_the_same_video(
        self, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        """Hosts that tell videos apart by their query serve files of the same length under one path."""

        def answer(connection: socket.socket, number: int) -> None:
            free = struct.pack(">I4sI", 12, b"free", number)
            connection.sendall(whole(video + free))

        with serving(answer) as store:
            keep(folder / "a.mp4", video_url=f"{store.url}?id=1").execute(context)
            with pytest.raises(LumaTargetExists):
                keep(folder / "a.mp4", video_url=f"{store.url}?id=2").execute(context)


class TestAnotherFileIsThere:
    @pytest.fixture
    def target(self, folder: Path) -> Path:
        target = folder / "a.mp4"
        target.write_bytes(b"somebody else's")
        return target

    @pytest.mark.parametrize("overwrite", [False, "False", "no", "0", "", "None"])
    def test_it_is_an_error_and_nothing_is_fetched(
        self, overwrite: object, target: Path, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaTargetExists) as refused:
            keep(target, request_id=done, overwrite=overwrite).execute(context)
        assert isinstance(refused.value, AirflowFailException)
        assert str(target) in said(refused)
        assert target.read_bytes() == b"somebody else's"
        assert emulator.count("video") == 0
        assert names(target.parent) == ["a.mp4"]

    @pytest.mark.parametrize("overwrite", [True, "True", "yes", "1"])
    def test_it_is_replaced_where_that_is_asked_for(
        self, overwrite: object, target: Path, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        keep(target, request_id=done, overwrite=overwrite).execute(context)
        assert target.read_bytes() == emulator.video_bytes(done)
        assert json.loads((target.parent / "a.mp4.json").read_text())["request_id"] == done

    def test_an_overwrite_that_says_nothing_is_an_error(
        self, target: Path, done: str, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match="overwrite"):
            keep(target, request_id=done, overwrite="perhaps").execute(context)

    def test_it_stays_when_what_should_replace_it_cannot_be_fetched(
        self, target: Path, emulator: Emulator, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", "drop-mid-answer", times=None)
        with pytest.raises(LumaDownloadFailed):
            keep(target, request_id=done, overwrite=True).execute(context)
        assert target.read_bytes() == b"somebody else's"
        assert names(target.parent) == ["a.mp4"]

    def test_another_request_is_named(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        other = emulator.add(seconds=0)
        keep(folder / "a.mp4", request_id=other).execute(context)
        with pytest.raises(LumaTargetExists, match=other):
            keep(folder / "a.mp4", request_id=done).execute(context)
        assert (folder / "a.mp4").read_bytes() == emulator.video_bytes(other)

    @pytest.mark.parametrize("mangle", list(MANGLED.values()), ids=list(MANGLED))
    def test_a_manifest_that_cannot_be_one_vouches_for_nothing(
        self,
        mangle: Callable[[dict[str, Any]], str],
        emulator: Emulator,
        folder: Path,
        done: str,
        context: dict[str, Any],
    ) -> None:
        keep(folder / "a.mp4", request_id=done).execute(context)
        sidecar = folder / "a.mp4.json"
        sidecar.write_text(mangle(json.loads(sidecar.read_text())))
        with pytest.raises(LumaTargetExists):
            keep(folder / "a.mp4", request_id=done).execute(context)
        keep(folder / "a.mp4", request_id=done, overwrite=True).execute(context)
        assert json.loads(sidecar.read_text())["request_id"] == done

    @pytest.mark.parametrize(
        "field",
        [{"width": "wide"}, {"height": [36]}, {"seconds": {}}, {"sha256": 7}, {"path": 7}, {"kept_at": None}],
        ids=lambda field: next(iter(field)),
    )
    def test_a_manifest_with_wrong_fields_is_not_handed_on(
        self,
        field: dict[str, Any],
        folder: Path,
        done: str,
        context: dict[str, Any],
        ti: FakeTaskInstance,
    ) -> None:
        """Downstream tasks and the asset's readers get what the page says, or an error of ours."""
        keep(folder / "a.mp4", request_id=done).execute(context)
        good = ti.xcoms.pop("manifest")
        sidecar = folder / "a.mp4.json"
        sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **field}))
        videos = Asset("x-luma://videos/test")
        again = keep(folder / "a.mp4", request_id=done, outlets=[videos])
        with suppress(LumaTargetExists):
            returned = again.execute({**context, "outlet_events": OutletEvents()})
            assert returned == good["path"]
            kept = ti.xcoms["manifest"]
            assert {name: type(value) for name, value in kept.items()} == {
                name: type(value) for name, value in good.items()
            }

    def test_whose_size_is_not_the_manifests_is_another(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        keep(folder / "a.mp4", request_id=done).execute(context)
        with (folder / "a.mp4").open("ab") as file:
            file.write(b"!")
        with pytest.raises(LumaTargetExists):
            keep(folder / "a.mp4", request_id=done).execute(context)


# --- wrong content --------------------------------------------------------------------------------------


def cut(video: bytes) -> bytes:
    return video[: len(video) * 2 // 3]


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "HTML that says it is a video": lambda video: whole(b"<!DOCTYPE html><title>Sign in</title>" * 9),
    "JSON": lambda video: whole(b'{"error": "not ready"}', kind="application/json"),
    "nothing": lambda video: whole(b""),
    "nothing, without a length": lambda video: head("Content-Type: video/mp4"),
    "some bytes": lambda video: whole(video[:6]),
    "a zip around it": lambda video: whole(gzip.compress(video), "Content-Encoding: gzip"),
    "broken off": lambda video: whole(video)[: -len(video) // 2],
    "broken off in a chunk": lambda video: (
        head("Content-Type: video/mp4", "Transfer-Encoding: chunked")
        + f"{len(video):x}\r\n".encode()
        + cut(video)
    ),
    "broken off between chunks": lambda video: (
        head("Content-Type: video/mp4", "Transfer-Encoding: chunked")
        + f"{len(cut(video)):x}\r\n".encode()
        + cut(video)
        + b"\r\n"
    ),
    "chunks that are none": lambda video: (
        head("Content-Type: video/mp4", "Transfer-Encoding: chunked") + b"zz\r\n" + video
    ),
    "not HTTP": lambda video: video,
    "an empty answer": lambda video: b"",
    "a part only": lambda video: (
        head(f"Content-Range: bytes 0-99/{len(video)}", "Content-Length: 100", status="206 Partial Content")
        + video[:100]
    ),
    "an answer without content": lambda video: head(status="204 No Content"),
    "an error": lambda video: head("Content-Length: 0", status="500 No"),
    "half of a file": lambda video: whole(cut(video)),
    "half of a file, without a length": lambda video: head("Content-Type: video/mp4") + cut(video),
}


class TestWrongContent:
    @pytest.mark.parametrize("wrong", list(WRONG))
    def test_is_an_error_and_nothing_is_kept(
        self, wrong: str, emulator: Emulator, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        with serving(always(WRONG[wrong](video))) as store, pytest.raises(LumaDownloadFailed) as failed:
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert names(folder) == []
        assert "paid for" in said(failed)
        assert "do not submit again" in said(failed)
        assert "\n" not in said(failed)
        assert len(store.heads) <= 3
        assert emulator.requests == []

    def test_is_said_of_which_request(self, folder: Path, video: bytes, context: dict[str, Any]) -> None:
        with (
            serving(always(WRONG["some bytes"](video))) as store,
            pytest.raises(LumaDownloadFailed) as failed,
        ):
            keep(folder / "a.mp4", request_id="20dd7c76-a931", video_url=store.url).execute(context)
        assert failed.value.request_id == "20dd7c76-a931"
        assert "Request id: 20dd7c76-a931." in said(failed)

    @pytest.mark.parametrize("wrong", ["broken off", "not HTTP", "an error"])
    def test_is_made_good_by_the_next_download(
        self, wrong: str, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        def answer(connection: socket.socket, number: int) -> None:
            connection.sendall(WRONG[wrong](video) if number == 0 else whole(video))

        with serving(answer) as store:
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert (folder / "a.mp4").read_bytes() == video
        assert names(folder) == ["a.mp4", "a.mp4.json"]

    def test_endless_bytes_end_at_the_maximum(
        self, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        sent = defaultdict(int)

        def answer(connection: socket.socket, number: int) -> None:
            connection.sendall(head("Content-Type: video/mp4") + video)
            while True:
                sent[number] += connection.send(bytes(64 * 1024))

        with (
            serving(answer) as store,
            pytest.raises(LumaDownloadFailed, match=f"max_bytes={3 * MIB}"),
        ):
            keep(folder / "a.mp4", video_url=store.url, max_bytes=3 * MIB).execute(context)
        assert names(folder) == []
        assert all(size < 20 * MIB for size in sent.values())

    def test_a_length_over_the_maximum_is_not_fetched_at_all(
        self, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        with (
            serving(always(whole(video))) as store,
            pytest.raises(LumaDownloadFailed, match="max_bytes") as failed,
        ):
            keep(folder / "a.mp4", video_url=store.url, max_bytes=len(video) - 1).execute(context)
        assert names(folder) == []
        assert "paid for" in said(failed)
        assert len(store.heads) == 1, "what is too large once is too large again"

    @pytest.mark.parametrize(
        "lines",
        [
            ["Content-Length: -1"],
            ["Content-Length: 12abc"],
            ["Content-Length: " + "9" * 40],
            ["Content-Length: \u00b2"],
            ["Content-Encoding: br"],
            ["Set-Cookie: a=b", "Set-Cookie: c=d", "X-Note: caf\u00e9", "X-Empty:", "Retry-After: soon"],
            [f"X-{number}: y" for number in range(150)],
            ["X-Long: " + "y" * 70_000],
        ],
        ids=["negative", "not a number", "astronomic", "superscript", "br", "odd", "many", "long"],
    )
    def test_odd_headers_give_the_video_or_an_error_of_ours(
        self, lines: list[str], folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        raw = head("Content-Type: video/mp4", *lines) + video
        with serving(always(raw)) as store:
            try:
                keep(folder / "a.mp4", video_url=store.url).execute(context)
            except LumaDownloadFailed:
                assert names(folder) == []
            else:
                assert (folder / "a.mp4").read_bytes() == video

    def test_the_emulators_odd_headers_are_borne(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", "odd-headers", times=None)
        keep(folder / "a.mp4", request_id=done).execute(context)
        assert (folder / "a.mp4").read_bytes() == emulator.video_bytes(done)

    @pytest.mark.parametrize("fault", ["bomb", "empty", "not-json", "drop-after-reading", "502"])
    def test_the_emulators_faults_are_errors(
        self, fault: str, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", fault, times=None)
        with pytest.raises(LumaDownloadFailed):
            keep(folder / "a.mp4", request_id=done).execute(context)
        assert names(folder) == []
        assert emulator.count("generate") == 0


@dataclass
class FastClock:
    """A clock on which time passes ``pace`` times as fast."""

    pace: float
    began: float = field(default_factory=time.monotonic)

    def monotonic(self) -> float:
        return self.began + (time.monotonic() - self.began) * self.pace


class TestSlowness:
    def test_a_trickle_is_given_up(
        self, folder: Path, video: bytes, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "time", FastClock(pace=300))

        def answer(connection: socket.socket, _: int) -> None:
            connection.sendall(head("Content-Type: video/mp4", f"Content-Length: {len(video)}"))
            for byte in video:
                connection.sendall(bytes([byte]))
                time.sleep(0.005)

        began = time.monotonic()
        with serving(answer) as store, pytest.raises(LumaDownloadFailed, match="bytes in"):
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert time.monotonic() - began < 10
        assert names(folder) == []

    def test_silence_is_given_up(
        self, folder: Path, video: bytes, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "MAX_SILENCE", 0.2)

        def answer(connection: socket.socket, number: int) -> None:
            connection.sendall(whole(video)[: -len(video) // 2] if number else b"HTTP/1.1 200")
            store.closing.wait(20)

        began = time.monotonic()
        with serving(answer) as store, pytest.raises(LumaDownloadFailed):
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert time.monotonic() - began < 10
        assert names(folder) == []

    @pytest.mark.parametrize("where", ["headers", "chunk size"])
    def test_a_trickle_before_the_first_byte_is_given_up_too(
        self,
        where: str,
        connect: Callable[..., None],
        folder: Path,
        video: bytes,
        context: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A download ends, by the page: a socket's time-out begins anew with every byte."""
        connect(timeout=0.4, connect_timeout=0.4)
        monkeypatch.setattr(download, "MAX_SILENCE", 0.4)
        monkeypatch.setattr(download, "time", FastClock(pace=300))
        start = {
            "headers": b"HTTP/1.1 200 OK\r\nX-Slow: ",
            "chunk size": head("Transfer-Encoding: chunked") + b"f;slow=",
        }[where]

        def answer(connection: socket.socket, _: int) -> None:
            connection.sendall(start)
            while not store.closing.wait(0.05):
                connection.sendall(b"y")

        ended: list[BaseException] = []

        def run() -> None:
            try:
                execute(keep(folder / "a.mp4", video_url=store.url), context)
            except BaseException as error:
                ended.append(error)

        with serving(answer) as store:
            task = threading.Thread(target=run, daemon=True)
            task.start()
            task.join(6)
            in_time = not task.is_alive()
        task.join(5)
        assert in_time, "it still reads: three downloads of 0.8 s each should long have ended"
        assert isinstance(ended[0], LumaDownloadFailed)

    def test_an_execution_timeout_leaves_nothing(
        self, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        def answer(connection: socket.socket, _: int) -> None:
            connection.sendall(whole(video + bytes(MIB))[:-MIB])
            store.closing.wait(20)

        with serving(answer) as store, pytest.raises(AirflowTaskTimeout), timeout(1):
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert names(folder) == []


# --- addresses ------------------------------------------------------------------------------------------


class TestAnExpiredAddress:
    @pytest.mark.parametrize("code", [403, 404, 410])
    def test_is_asked_for_anew_once(
        self,
        code: int,
        emulator: Emulator,
        folder: Path,
        done: str,
        context: dict[str, Any],
        ti: FakeTaskInstance,
    ) -> None:
        with serving(always(head("Content-Length: 0", status=f"{code} Gone"))) as store:
            keep(folder / "a.mp4", request_id=done, video_url=store.url).execute(context)
        assert (folder / "a.mp4").read_bytes() == emulator.video_bytes(done)
        assert [call.target for call in emulator.requests] == ["getStatus", "video"]
        assert emulator.paid == 0
        assert len(store.heads) == 1
        assert ti.xcoms["video_url"] == emulator.video_url(done)
        assert ti.xcoms["manifest"]["source"] == emulator.video_url(done)

    @pytest.mark.parametrize("code", ["403", "404", "status"])
    def test_that_stays_expired_is_an_error(
        self, code: str, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", code, times=None, **({"code": 410} if code == "status" else {}))
        with pytest.raises(LumaVideoExpired) as failed:
            keep(folder / "a.mp4", request_id=done, video_url=emulator.video_url(done)).execute(context)
        assert emulator.generation(done).looks == 1
        assert emulator.count("generate") == 0
        assert names(folder) == []
        assert "paid for" in said(failed)

    def test_after_the_fresh_one_broke_off_is_not_asked_for_again(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", "403")
        emulator.misbehave("video", "drop-mid-answer")
        emulator.misbehave("video", "403", times=None)
        with pytest.raises(LumaVideoExpired):
            keep(folder / "a.mp4", request_id=done, video_url=emulator.video_url(done)).execute(context)
        assert emulator.generation(done).looks == 1, "anew once, by the issue"

    def test_without_a_request_id_is_an_error(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", "403", times=None)
        with pytest.raises(LumaVideoExpired):
            keep(folder / "a.mp4", video_url=emulator.video_url(done)).execute(context)
        assert emulator.count("getStatus") == 0
        assert emulator.count("video") == 1

    def test_a_fresh_one_is_not_trusted_more_than_the_first(
        self, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        request_id = emulator.add(seconds=0, video_url="http://169.254.169.254/latest/meta-data")
        with (
            serving(always(head("Content-Length: 0", status="403 No"))) as store,
            pytest.raises(LumaUnsafeAddress),
        ):
            keep(folder / "a.mp4", request_id=request_id, video_url=store.url).execute(context)


#: Loopback, by every name that it has.
LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "0.0.0.0",
    "0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
]


class TestNetworksThatAreNotPublic:
    """The connection's own host is public here, and nothing is ever sent to it."""

    @pytest.fixture(autouse=True)
    def public_gateway(self, connect: Callable[..., None]) -> None:
        connect(host="https://gateway.appypie.com", timeout=1, connect_timeout=1)

    @pytest.mark.parametrize("host", LOOPBACK)
    def test_loopback_by_any_name(
        self, host: str, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        with serving(always(whole(video))) as store, pytest.raises(LumaError) as refused:
            keep(folder / "a.mp4", video_url=f"http://{host}:{store.port}/v.mp4").execute(context)
        assert store.heads == []
        assert names(folder) == []
        # A spelling that is no address at all may also be one that cannot be found.
        assert isinstance(refused.value, LumaUnsafeAddress) or "could not be opened" in said(refused)

    @pytest.mark.parametrize(
        "address",
        ["169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]"],
    )
    def test_the_networks_behind_the_worker(
        self, address: str, folder: Path, context: dict[str, Any]
    ) -> None:
        began = time.monotonic()
        for scheme in ("http", "https"):
            with pytest.raises(LumaUnsafeAddress, match="not public") as refused:
                keep(folder / "a.mp4", video_url=f"{scheme}://{address}/v.mp4").execute(context)
            assert isinstance(refused.value, AirflowFailException)
            assert "allow_private_addresses" in said(refused)
        assert time.monotonic() - began < 1, "it was tried"

    def test_may_be_allowed_on_the_connection(
        self, connect: Callable[..., None], folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        connect(host="https://gateway.appypie.com", allow_private_addresses=True)
        with serving(always(whole(video))) as store:
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert (folder / "a.mp4").read_bytes() == video

    @pytest.mark.parametrize(
        "spelling", ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "localhost", "[::1]"]
    )
    def test_loopback_behind_a_proxy(
        self,
        spelling: str,
        connect: Callable[..., None],
        folder: Path,
        video: bytes,
        context: dict[str, Any],
    ) -> None:
        """It is the proxy that would connect, but what is plain to see is not even asked of it."""
        with serving(always(whole(video))) as proxy:
            connect(
                host="https://gateway.appypie.com",
                proxies=dict.fromkeys(("http", "https"), f"http://127.0.0.1:{proxy.port}"),
            )
            with pytest.raises(LumaUnsafeAddress):
                keep(folder / "a.mp4", video_url=f"http://{spelling}/v.mp4").execute(context)
        assert proxy.heads == []

    def test_a_public_host_behind_a_proxy_is_fetched(
        self, connect: Callable[..., None], folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        """Otherwise the test above shows nothing."""
        with serving(always(whole(video))) as proxy:
            connect(host="https://gateway.appypie.com", proxies={"http": f"http://127.0.0.1:{proxy.port}"})
            keep(folder / "a.mp4", video_url="http://videos.example/v.mp4").execute(context)
        assert proxy.heads[0].startswith("GET http://videos.example/v.mp4 ")
        assert (folder / "a.mp4").read_bytes() == video


class TestRedirects:
    def test_are_followed_as_far_as_the_bound(
        self, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        def answer(connection: socket.socket, number: int) -> None:
            hops = download.MAX_REDIRECTS
            codes = [301, 302, 303, 307, 308]
            connection.sendall(
                redirect(f"/hop{number}.mp4", codes[number % 5]) if number < hops else whole(video)
            )

        with serving(answer) as store:
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert (folder / "a.mp4").read_bytes() == video
        assert [one.split()[0] for one in store.heads] == ["GET"] * 6

    def test_beyond_the_bound_are_an_error(self, folder: Path, context: dict[str, Any]) -> None:
        with (
            serving(lambda connection, number: connection.sendall(redirect(f"/{number}"))) as store,
            pytest.raises(LumaDownloadFailed, match="redirected"),
        ):
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert len(store.heads) <= 3 * (download.MAX_REDIRECTS + 1)

    @pytest.mark.parametrize("location", ["/v.mp4", "", "http://["])
    def test_that_lead_nowhere_are_an_error(
        self, location: str, folder: Path, context: dict[str, Any]
    ) -> None:
        with serving(always(redirect(location))) as store, pytest.raises(LumaDownloadFailed):
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert len(store.heads) <= 3 * (download.MAX_REDIRECTS + 1)
        assert names(folder) == []

    @pytest.mark.parametrize(
        "location",
        [
            "https://10.0.0.1/v.mp4",
            "https://192.168.1.1:{port}/v.mp4",
            "https://169.254.169.254/latest/meta-data",
            "http://169.254.169.254/latest/meta-data",
            "//169.254.169.254/latest/meta-data",
            "https://0.0.0.0:{port}/v.mp4",
            "https://[::]:{port}/v.mp4",
            "https://0xa9fea9fe/latest/meta-data",
            "https://2852039166/latest/meta-data",
            "https://[::ffff:169.254.169.254]/latest/meta-data",
            "http://8.8.8.8/v.mp4",
            "HTTP://8.8.8.8/v.mp4",
            "http://videos.example/v.mp4",
            "ftp://videos.example/v.mp4",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://someone:secret@8.8.8.8/v.mp4",
        ],
    )
    def test_to_where_a_worker_should_not_go_are_refused(
        self, location: str, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        def answer(connection: socket.socket, number: int) -> None:
            connection.sendall(whole(video) if number else redirect(location.format(port=store.port)))

        began = time.monotonic()
        with serving(answer) as store, pytest.raises(LumaUnsafeAddress) as refused:
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert time.monotonic() - began < 2, "it was tried"
        assert len(store.heads) == 1, "an unsafe address is not tried twice"
        assert "secret" not in said(refused)
        assert names(folder) == []

    def test_to_loopback_are_refused_where_the_gateway_is_not_on_it(
        self, connect: Callable[..., None], folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        """The proxy plays the public internet: its first host redirects to this machine."""

        def answer(connection: socket.socket, number: int) -> None:
            connection.sendall(redirect(f"https://127.0.0.1:{inside.port}/v.mp4"))

        with serving(always(whole(video))) as inside, serving(answer) as internet:
            connect(host="https://gateway.appypie.com", proxies={"http": f"http://127.0.0.1:{internet.port}"})
            with pytest.raises(LumaUnsafeAddress):
                keep(folder / "a.mp4", video_url="http://videos.example/v.mp4").execute(context)
        assert len(internet.heads) == 1
        assert inside.heads == []


class TestTheKey:
    def test_is_not_sent_for_the_video(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        """Not even where the gateway itself serves it."""
        keep(folder / "a.mp4", request_id=done).execute(context)
        asked, fetched = emulator.requests
        assert asked.headers[KEY_HEADER] == emulator.key
        assert KEY_HEADER not in fetched.headers
        assert emulator.key not in str(dict(fetched.headers)) + fetched.path

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_is_not_sent_to_another_host(
        self, code: int, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", "redirect", code=code)
        other = emulator.other_host()
        other.add(done, seconds=0)
        keep(folder / "a.mp4", request_id=done).execute(context)
        (call,) = other.requests
        assert KEY_HEADER not in call.headers
        assert emulator.key not in str(dict(call.headers)) + call.path
        assert (folder / "a.mp4").read_bytes() == other.video_bytes(done)

    def test_nor_are_cookies_or_what_netrc_says(
        self,
        folder: Path,
        video: bytes,
        context: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login someone password swordfish\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))

        def answer(connection: socket.socket, number: int) -> None:
            cookie = "Set-Cookie: session=abc; Path=/"
            elsewhere = redirect("/next.mp4").replace(
                b"Content-Length", f"{cookie}\r\nContent-Length".encode()
            )
            connection.sendall(whole(video, cookie) if number else elsewhere)

        with serving(answer) as store:
            keep(folder / "a.mp4", video_url=store.url).execute(context)
        assert len(store.heads) == 2
        for one in store.heads:
            sent = {line.split(":")[0].lower() for line in one.splitlines()[1:] if line}
            assert sent <= {"host", "user-agent", "accept", "accept-encoding", "connection"}, one

    def test_stands_in_no_log_and_no_error(
        self,
        emulator: Emulator,
        folder: Path,
        done: str,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        logged: Callable[[], str],
    ) -> None:
        emulator.misbehave("video", "drop-mid-answer", times=1)
        keep(folder / "a.mp4", request_id=done).execute(context)
        emulator.misbehave("video", "500", times=None)
        with pytest.raises(LumaDownloadFailed) as failed:
            keep(folder / "b.mp4", request_id=done).execute(context)
        shown = logged() + said(failed) + json.dumps(ti.xcoms) + (folder / "a.mp4.json").read_text()
        assert done in shown
        assert emulator.key not in shown

    def test_a_signature_stands_in_no_log_and_no_error(
        self, folder: Path, context: dict[str, Any], logged: Callable[[], str]
    ) -> None:
        with (
            serving(always(head("Content-Length: 0", status="500 No"))) as store,
            pytest.raises(LumaDownloadFailed) as failed,
        ):
            keep(folder / "a.mp4", video_url=f"{store.url}?X-Amz-Signature=swordfish").execute(context)
        assert store.url in said(failed)
        assert "swordfish" not in logged() + said(failed)


# --- crashes --------------------------------------------------------------------------------------------

#: A process of its own in which the transfer runs: what it came to is its last line.
CHILD = """
import json, os, resource, signal, sys
from types import SimpleNamespace

spec = json.loads(sys.argv[1])
if spec["fsize"]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (spec["fsize"], spec["fsize"]))
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator


def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def die_before_the_rename(event, arguments):
    if event in ("os.rename", "shutil.move") and str(arguments[1]) == spec["die_before"]:
        os.kill(os.getpid(), signal.SIGKILL)


if spec["die_before"]:
    sys.addaudithook(die_before_the_rename)
ti = SimpleNamespace(dag_id="d", run_id="r", task_id="keep", map_index=-1, xcom_push=lambda **_: None)
operator = LumaToObjectStorageOperator(task_id="keep", **spec["keep"])
if spec["warm_up"]:
    LumaToObjectStorageOperator(task_id="warm", **spec["warm_up"]).execute({"ti": ti})
before = peak()
try:
    result = {"returned": operator.execute({"ti": ti})}
except Exception as error:
    result = {"error": type(error).__name__, "message": str(error)}
print(json.dumps({**result, "grown_kib": peak() - before}))
"""


def child(
    keep: dict[str, Any],
    *,
    fsize: int = 0,
    warm_up: dict[str, Any] | None = None,
    die_before: Path | None = None,
) -> subprocess.Popen[str]:
    """
    Start the transfer in a process of its own, as the task ``keep``.

    :param fsize: bytes that a file may have, as if the disk were full then.
    :param warm_up: another transfer before it, whose memory does not count.
    :param die_before: the file whose coming into being by a rename the process does not live to see.
    """
    spec = json.dumps(
        {"keep": keep, "fsize": fsize, "warm_up": warm_up, "die_before": die_before and str(die_before)}
    )
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, spec],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def outcome(process: subprocess.Popen[str], seconds: float = 120) -> dict[str, Any]:
    """Return what a child came to."""
    try:
        out, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def as_film(video: bytes, size: int) -> bytes:
    """Return ``video`` with so many bytes at its end that a player skips, no two KiB of them alike."""
    filler = b"".join(
        hashlib.sha256(number.to_bytes(4, "big")).digest() * 32 for number in range(size // 1024)
    )
    assert len(filler) == size
    return video + struct.pack(">I4s", size + 8, b"free") + filler


class TestCrashes:
    def test_a_try_that_was_killed_leaves_nothing_under_the_name_and_the_next_cleans_up(
        self, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        film = as_film(video, 4 * MIB)

        def answer(connection: socket.socket, number: int) -> None:
            if number:
                connection.sendall(whole(film))
                return
            connection.sendall(whole(film)[: -2 * MIB])
            store.closing.wait(30)

        with serving(answer) as store:
            process = child({"destination": f"file://{folder}/a.mp4", "video_url": store.url})
            try:
                store.wait_until(
                    lambda: sum(path.stat().st_size for path in folder.iterdir()) >= MIB, seconds=60
                )
            finally:
                process.send_signal(signal.SIGKILL)
                process.communicate()
            left = names(folder)
            assert "a.mp4" not in left
            assert "a.mp4.json" not in left
            keep(folder / "a.mp4", video_url=store.url).execute(as_task(context, "keep"))
        assert (folder / "a.mp4").read_bytes() == film
        assert names(folder) == ["a.mp4", "a.mp4.json"], f"left by the first try: {left}"

    @pytest.mark.parametrize("replacing", [False, True], ids=["a new file", "a file of the same size"])
    def test_between_the_manifest_and_the_rename(
        self, replacing: bool, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        """The new manifest must not stand beside the old video and vouch for it."""
        target = folder / "a.mp4"
        video = emulator.video_bytes(done)
        if replacing:
            old = emulator.add(seconds=0)
            keep(target, request_id=old).execute(context)
            assert target.stat().st_size == len(video), "this test shows nothing"
        process = child(
            {"destination": f"file://{target}", "request_id": done, "overwrite": replacing}, die_before=target
        )
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, "it has not come to the rename"
        left = names(folder)
        keep(target, request_id=done, overwrite=replacing).execute(as_task(context, "keep"))
        assert sha256(target.read_bytes()) == sha256(video), f"another file is handed on; left were {left}"
        assert names(folder) == ["a.mp4", "a.mp4.json"], f"left by the first try: {left}"

    def test_in_the_middle_of_the_manifest(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        """A file that was opened and not yet written to is no loss to anybody: it must not stop the retry."""
        (folder / "a.mp4.json").touch()
        keep(folder / "a.mp4", request_id=done).execute(context)
        assert (folder / "a.mp4").read_bytes() == emulator.video_bytes(done)
        assert json.loads((folder / "a.mp4.json").read_text())["request_id"] == done

    def test_two_tries_of_one_task_at_once(self, folder: Path, video: bytes, context: dict[str, Any]) -> None:
        """A first try may live on for seconds beside the second: after a scheduler's restart, say."""
        film = as_film(video, 4 * MIB)
        raw = whole(film)
        go = (threading.Event(), threading.Event())
        first_sends = (len(raw) * 6 // 10, len(raw) // 10)

        def answer(connection: socket.socket, number: int) -> None:
            start = first_sends[number] if number < 2 else len(raw)
            connection.sendall(raw[:start])
            if number < 2:
                go[number].wait(30)
            connection.sendall(raw[start:])

        ended: list[BaseException | str] = []

        def run() -> None:
            try:
                task = keep(folder / "a.mp4", video_url=store.url)
                ended.append(execute(task, as_task(context, "keep")))
            except Exception as error:
                ended.append(error)

        def on_disk() -> int:
            return sum(path.stat().st_size for path in folder.iterdir())

        with serving(answer) as store:
            tries = [threading.Thread(target=run, daemon=True) for _ in range(2)]
            tries[0].start()
            store.wait_until(lambda: on_disk() > first_sends[0] - 2 * MIB)
            tries[1].start()
            store.wait_until(lambda: len(store.heads) == 2)
            time.sleep(0.3)
            go[0].set()
            tries[0].join(10)
            target = folder / "a.mp4"
            seen = target.read_bytes() if target.exists() else None
            go[1].set()
            tries[1].join(20)
        assert seen is None or sha256(seen) == sha256(film), (
            f"under the final name stood {len(seen or b'')} bytes, {(seen or b'').count(0)} of them zero, "
            "that are not the video"
        )
        assert target.read_bytes() == film, ended
        assert names(folder) == ["a.mp4", "a.mp4.json"], ended
        assert [str(target) in str(one) for one in ended if isinstance(one, str)], ended

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_another_task_keeps_its_video_under_the_same_name_meanwhile(
        self, overwrite: bool, emulator: Emulator, folder: Path, video: bytes, context: dict[str, Any]
    ) -> None:
        """Without overwrite, whose file is there must be told by the time of the rename, not of the start."""
        other = emulator.add(seconds=0)
        film = as_film(video, MIB)
        go = threading.Event()

        def answer(connection: socket.socket, number: int) -> None:
            connection.sendall(whole(film)[:-1000])
            go.wait(30)
            connection.sendall(film[-1000:])

        ended: list[BaseException | str] = []

        def run() -> None:
            slow = keep(folder / "a.mp4", request_id="slow", video_url=store.url, overwrite=overwrite)
            try:
                ended.append(execute(slow, as_task(context, "slow")))
            except Exception as error:
                ended.append(error)

        with serving(answer) as store:
            task = threading.Thread(target=run, daemon=True)
            task.start()
            store.wait_until(lambda: names(folder))
            keep(folder / "a.mp4", request_id=other).execute(as_task(context, "quick"))
            go.set()
            task.join(20)
        kept = (folder / "a.mp4").read_bytes()
        manifest = json.loads((folder / "a.mp4.json").read_text())
        assert manifest["sha256"] == sha256(kept)
        assert names(folder) == ["a.mp4", "a.mp4.json"]
        if overwrite:
            assert kept == film
        else:
            assert kept == emulator.video_bytes(other), "another task's video was replaced without overwrite"
            assert isinstance(ended[0], LumaTargetExists)

    def test_a_rename_that_fails_leaves_no_part_of_it(
        self, folder: Path, done: str, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from fsspec.implementations.local import LocalFileSystem

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(LocalFileSystem, "mv", refuse)
        with pytest.raises(LumaDownloadFailed, match="Permission denied"):
            keep(folder / "a.mp4", request_id=done).execute(context)
        assert not (folder / "a.mp4").exists()
        assert [name for name in names(folder) if name.endswith(".part")] == []


class TestAFullDisk:
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_is_an_error_that_says_so_and_leaves_nothing(
        self, overwrite: bool, folder: Path, video: bytes
    ) -> None:
        if overwrite:
            (folder / "a.mp4").write_bytes(b"the old one")
        film = as_film(video, 8 * MIB)
        with serving(always(whole(film))) as store:
            result = outcome(
                child(
                    {
                        "destination": f"file://{folder}/a.mp4",
                        "video_url": store.url,
                        "overwrite": overwrite,
                    },
                    fsize=2 * MIB,
                )
            )
        assert result.get("error") == "LumaDownloadFailed", result
        assert "could not be stored" in result["message"]
        assert "paid for" in result["message"]
        assert len(store.heads) == 1, "a full disk is not fetched for again at once"
        assert names(folder) == (["a.mp4"] if overwrite else [])
        if overwrite:
            assert (folder / "a.mp4").read_bytes() == b"the old one"


class TestMemory:
    def test_does_not_grow_with_the_video(self, folder: Path, video: bytes) -> None:
        size = BIG_MIB * MIB
        if shutil.disk_usage(folder).free < 2 * size:
            pytest.skip(f"there is no room on the disk for {BIG_MIB} MiB: set LUMA_TEST_BIG_MIB")
        free = struct.pack(">I4sQ", 1, b"free", size + 16)

        def answer(connection: socket.socket, number: int) -> None:
            if number == 0:
                connection.sendall(whole(video))
                return
            connection.sendall(head("Content-Type: video/mp4", f"Content-Length: {len(video) + 16 + size}"))
            connection.sendall(video + free)
            piece = bytes(MIB)
            for _ in range(BIG_MIB):
                connection.sendall(piece)

        with serving(answer) as store:
            small, big = folder / "small.mp4", folder / "big.mp4"
            process = child(
                {"destination": f"file://{big}", "video_url": store.url},
                warm_up={"destination": f"file://{small}", "video_url": store.url},
            )
            result = outcome(process, seconds=280)
        kept = big.stat().st_size
        big.unlink()
        assert kept == len(video) + 16 + size, result
        assert result["grown_kib"] < 32 * 1024, result


# --- what others are told -------------------------------------------------------------------------------


class TestTheAssetEvent:
    PROMPT = "A secret product, seen from above"

    def extra(
        self, emulator: Emulator, folder: Path, context: dict[str, Any], **fields: Any
    ) -> tuple[str, dict[str, Any]]:
        request_id = emulator.add(seconds=0)
        videos, more = Asset("x-luma://videos/test"), Asset("x-luma://videos/more")
        events = OutletEvents()
        operator = keep(folder / "a.mp4", request_id=request_id, outlets=[videos, more], **fields)
        operator.execute({**context, "outlet_events": events})
        assert events[videos].extra == events[more].extra
        assert json.loads(json.dumps(events[videos].extra)) == events[videos].extra
        return request_id, events[videos].extra

    def test_says_what_was_kept(self, emulator: Emulator, folder: Path, context: dict[str, Any]) -> None:
        request_id, extra = self.extra(emulator, folder, context)
        kept = (folder / "a.mp4").read_bytes()
        assert extra == {
            "request_id": request_id,
            "path": f"file://{folder}/a.mp4",
            "sha256": sha256(kept),
            "bytes": len(kept),
            "seconds": 0.5,
            "aspect_ratio": "16:9",
        }

    def test_says_the_same_when_it_was_kept_already(
        self, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        request_id, extra = self.extra(emulator, folder, context)
        videos = Asset("x-luma://videos/test")
        events = OutletEvents()
        again = keep(folder / "a.mp4", request_id=request_id, outlets=[videos])
        again.execute({**context, "outlet_events": events})
        assert events[videos].extra == extra

    def test_does_not_say_the_prompt(
        self, emulator: Emulator, folder: Path, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        _, extra = self.extra(emulator, folder, context, prompt=self.PROMPT)
        assert extra["prompt_sha256"] == sha256(self.PROMPT.encode())
        assert self.PROMPT not in json.dumps(extra) + json.dumps(ti.xcoms)
        assert self.PROMPT not in (folder / "a.mp4.json").read_text()

    def test_says_the_prompt_where_that_is_asked_for(
        self, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        _, extra = self.extra(emulator, folder, context, prompt=self.PROMPT, share_prompt=True)
        assert extra["prompt"] == self.PROMPT

    @pytest.mark.parametrize("prompt", [None, "", "None"])
    def test_knows_no_prompt(
        self, prompt: str | None, emulator: Emulator, folder: Path, context: dict[str, Any]
    ) -> None:
        _, extra = self.extra(emulator, folder, context, prompt=prompt, share_prompt=True)
        assert not any(name.startswith("prompt") for name in extra)

    def test_is_not_given_when_nothing_was_kept(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("video", "500", times=None)
        videos = Asset("x-luma://videos/test")
        events = OutletEvents()
        with pytest.raises(LumaDownloadFailed):
            keep(folder / "a.mp4", request_id=done, outlets=[videos]).execute(
                {**context, "outlet_events": events}
            )
        assert events[videos].extra == {}


class TestLumaVideoLink:
    def link(self, monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any]) -> str:
        monkeypatch.setattr(links, "XCom", SimpleNamespace(get_value=read))
        return links.LumaVideoLink().get_link(keep("file:///x.mp4"), ti_key=SimpleNamespace())  # type: ignore[arg-type]

    def test_leads_to_the_video(self, monkeypatch: pytest.MonkeyPatch) -> None:
        url = "https://storage.example/v.mp4?X-Amz-Signature=abc&x=%20y"
        assert self.link(monkeypatch, lambda **_: url) == url

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "None",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            " javascript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "file:///etc/passwd",
            "vbscript:x",
            "//storage.example/v.mp4",
            "/dags",
            "https://",
            "https://someone:secret@storage.example/v.mp4",
            "https://storage.example/\u202ev.mp4",
            "https://storage.example/" + "a" * 20_000,
            b"https://storage.example/v.mp4",
            ["https://storage.example/v.mp4"],
            {"url": "https://storage.example/v.mp4"},
            7,
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_leads_nowhere_else(self, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.link(monkeypatch, lambda **_: value) == ""

    @pytest.mark.parametrize("error", [RuntimeError("no database"), KeyError("video_url"), ImportError()])
    def test_never_raises(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def read(**_: object) -> None:
            raise error

        assert self.link(monkeypatch, read) == ""

    def test_outside_of_any_task_says_nothing(self) -> None:
        assert links.LumaVideoLink().get_link(keep("file:///x.mp4"), ti_key=None) == ""  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "fields",
        [
            {"destination": ""},
            {"destination": "None"},
            {"destination": "nosuchscheme://bucket/a.mp4"},
            {"overwrite": "perhaps"},
            {"luma_conn_id": "nobody_has_this"},
            {"destination": "/dev/null/a.mp4"},
        ],
        ids=str,
    )
    def test_its_address_is_pushed_before_any_step_that_can_fail(
        self,
        fields: dict[str, Any],
        emulator: Emulator,
        folder: Path,
        done: str,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        airflow_database: Path,
    ) -> None:
        url = emulator.video_url(done)
        task = keep(**{"destination": folder / "a.mp4", "request_id": done, "video_url": url, **fields})
        with suppress(Exception):
            task.execute(context)
        assert ti.xcoms.get("video_url") == url

    @pytest.mark.parametrize("fault", ["500", "empty", "drop-mid-answer"])
    def test_its_address_is_there_when_the_download_fails(
        self,
        fault: str,
        emulator: Emulator,
        folder: Path,
        done: str,
        context: dict[str, Any],
        ti: FakeTaskInstance,
    ) -> None:
        emulator.misbehave("video", fault, times=None)
        with pytest.raises(LumaDownloadFailed):
            keep(folder / "a.mp4", request_id=done).execute(context)
        assert ti.xcoms["video_url"] == emulator.video_url(done)


class TestTheConnection:
    def test_one_that_does_not_exist_is_a_clear_word(
        self, emulator: Emulator, folder: Path, done: str, context: dict[str, Any], airflow_database: Path
    ) -> None:
        for fields in ({"request_id": done}, {"video_url": emulator.video_url(done)}):
            with pytest.raises(LumaConfigurationError, match="nobody_has_this"):
                keep(folder / "a.mp4", luma_conn_id="nobody_has_this", **fields).execute(context)
        assert emulator.requests == []
        assert names(folder) == []

    def test_every_field_a_user_may_want_to_template_is_one(self) -> None:
        wanted = {"request_id", "video_url", "destination", "overwrite", "luma_conn_id"}
        assert wanted <= set(LumaToObjectStorageOperator.template_fields)
