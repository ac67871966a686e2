"""
The transfer against a gateway and a storage host on real sockets, into a folder: what is kept, and what is
told of it.

``test_s3.py`` does it against object storage, ``tests/system/test_keep.py`` in a real Airflow.
"""

from __future__ import annotations

import gzip
import json
import struct
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, Asset

from airflow_provider_luma.exceptions import (
    LumaConnectionNotFound,
    LumaDownloadFailed,
    LumaError,
    LumaInvalidRequest,
    LumaTargetExists,
    LumaUnsafeAddress,
    LumaVideoExpired,
)
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator
from tests.integration.outlets import OutletEvents
from tests.integration.transfer.storage_host import always, head, serving, whole
from tests.integration.transfer.tasks import MIB, keep, names, said, sha256

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeTaskInstance


pytestmark = pytest.mark.usefixtures("connect")


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
            "estimated_cost": None,
            "currency": None,
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
        ["../../escaped", "/etc/passwd", "...", "a\\..\\b", "a/b", "%2e%2e%2fx", "x?y#z", "~"],
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


class TestTheAddress:
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
    def test_is_pushed_before_any_step_that_can_fail(
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
    def test_is_there_when_the_download_fails(
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
            with pytest.raises(LumaConnectionNotFound, match="nobody_has_this"):
                keep(folder / "a.mp4", luma_conn_id="nobody_has_this", **fields).execute(context)
        assert emulator.requests == []
        assert names(folder) == []

    def test_every_field_a_user_may_want_to_template_is_one(self) -> None:
        wanted = {"request_id", "video_url", "destination", "overwrite", "luma_conn_id"}
        assert wanted <= set(LumaToObjectStorageOperator.template_fields)
