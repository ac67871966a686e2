"""What a killed process and a full disk leave, and how much memory a large video takes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma.exceptions import (
    LumaDownloadFailed,
    LumaTargetExists,
)
from tests.integration.transfer.storage_host import always, head, serving, whole
from tests.integration.transfer.tasks import MIB, as_task, execute, film_of, keep, names, sha256
from tests.places import REPOSITORY

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator


pytestmark = pytest.mark.usefixtures("connect")

#: What the test of memory downloads: two gigabytes, unless ``LUMA_TEST_BIG_MIB`` says less.
BIG_MIB = int(os.environ.get("LUMA_TEST_BIG_MIB", "2048"))


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


class TestCrashes:
    def test_a_try_that_was_killed_leaves_nothing_under_the_name_and_the_next_cleans_up(
        self, folder: Path, context: dict[str, Any]
    ) -> None:
        film = film_of(4 * MIB)

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
        film = film_of(4 * MIB)
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
        film = film_of(MIB)
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
    def test_is_an_error_that_says_so_and_leaves_nothing(self, overwrite: bool, folder: Path) -> None:
        if overwrite:
            (folder / "a.mp4").write_bytes(b"the old one")
        film = film_of(8 * MIB)
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
