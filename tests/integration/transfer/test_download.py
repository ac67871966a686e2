"""Fetching a video from an address that is not trusted: slowness, networks, redirects, and the key."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, timeout

from airflow_provider_luma.exceptions import (
    LumaDownloadFailed,
    LumaError,
    LumaUnsafeAddress,
)
from airflow_provider_luma.hooks import download
from tests.integration.transfer.storage_host import always, head, redirect, serving, whole
from tests.integration.transfer.tasks import MIB, execute, keep, names, said

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeTaskInstance


pytestmark = pytest.mark.usefixtures("connect")

KEY_HEADER = "Ocp-Apim-Subscription-Key"


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
