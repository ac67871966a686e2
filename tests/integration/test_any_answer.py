"""
Any bytes, JSON, headers and status as an answer give a generation, an id or a ``LumaError``: never another
exception, never a hang, never more read than the bound.

The server here is a few lines over a raw socket, because a web server would not send most of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_luma.api import retry
from airflow_provider_luma.api.exchange import MAX_ANSWER_BYTES
from airflow_provider_luma.api.models import Generation, GenerationRequest
from airflow_provider_luma.exceptions import LumaError, LumaSubmitOutcomeUnknown
from airflow_provider_luma.hooks.luma import LumaAsyncHook, LumaHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUEST = GenerationRequest("A giant floating jellyfish gliding over a city skyline")
ID = "20dd7c76-a931-4ac2-8adb-5c17468b0000"
TIMEOUT = 0.5
#: What the kernel may hold on both sides of a loopback socket beyond what was read.
BUFFERS = 16 * 1024 * 1024


class RawServer:
    """Answers every request with the bytes that it was last given, or with an endless stream of them."""

    def __init__(self) -> None:
        self.answer = b""
        self.stream: Callable[[], bytes] | None = None
        self.requests = 0
        self.sent = 0
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(5)
            self._read_request(connection)
            self.requests += 1
            connection.sendall(self.answer)
            while self.stream is not None:
                # Counted as the kernel takes it, not when a whole piece has gone.
                self.sent += connection.send(self.stream())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def _read_request(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)

    def says(self, answer: bytes, stream: Callable[[], bytes] | None = None) -> None:
        self.answer, self.stream, self.requests, self.sent = answer, stream, 0, 0

    def close(self) -> None:
        self.stream = None
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    running = RawServer()
    with pytest.MonkeyPatch.context() as patch:
        connection = {
            "conn_type": "luma",
            "host": running.url,
            "password": "key-0123456789-of-the-tests",
            "extra": {"timeout": TIMEOUT, "connect_timeout": 1, "trust_env": False},
        }
        patch.setenv("AIRFLOW_CONN_LUMA_RAW", json.dumps(connection))
        # Data, so that an answer which asks for a pause is not slept for.
        patch.setattr(retry, "BACKOFF_BASE", 0.0005)
        patch.setattr(retry, "BACKOFF_CAP", 0.001)
        patch.setattr(retry, "LONG_PAUSE", 0.001)
        patch.setattr(retry, "MAX_WORKER_PAUSE", 0.0)
        yield running
    running.close()


def submitted() -> str | LumaError:
    with LumaHook("luma_raw") as hook:
        try:
            return hook.generate(REQUEST)
        except LumaError as error:
            return error


def blocking_status() -> Generation | LumaError:
    with LumaHook("luma_raw") as hook:
        try:
            return hook.get_status(ID)
        except LumaError as error:
            return error


def async_status() -> Generation | LumaError:
    async def ask() -> Generation | LumaError:
        async with LumaAsyncHook("luma_raw") as hook:
            try:
                return await hook.get_status(ID)
            except LumaError as error:
                return error

    return asyncio.run(ask())


shells = pytest.mark.parametrize(
    "call",
    [submitted, blocking_status, async_status],
    ids=["generate", "getStatus-requests", "getStatus-aiohttp"],
)

# --- answers ------------------------------------------------------------------------------------------------

text = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30).map(
    lambda value: value.encode("latin-1")
)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=6,
)
telling = st.dictionaries(
    st.sampled_from(["status", "video_url", "error", "msg", "message", "requestId", "task_id", "statusCode"]),
    st.sampled_from([ID, "completed", "failed", "NOT_FOUND", "queued", "https://cdn.example/a.mp4", "", None])
    | json_value,
    max_size=4,
)
body = st.one_of(
    st.binary(max_size=100), text, (telling | json_value).map(lambda value: json.dumps(value).encode())
)
status_line = st.one_of(
    st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 407, 429, 500, 503]).map(
        lambda code: b"HTTP/1.1 %d Words" % code
    ),
    st.integers(min_value=0, max_value=1200).map(lambda code: b"HTTP/1.1 %d" % code),
    st.sampled_from(
        [b"HTTP/1.0 200 OK", b"HTTP/2 200", b"HTTP/9.9 200 OK", b"http/1.1 200 ok", b"HTTP/1.1", b"200"]
    ),
    text,
)
header = st.one_of(
    st.tuples(
        st.sampled_from(
            [b"Retry-After", b"Date", b"Content-Type", b"Content-Length", b"Transfer-Encoding",
             b"Content-Encoding", b"Connection", b"Set-Cookie", b"Location", b"Trailer", b"Upgrade"]
        ),
        st.sampled_from(
            [b"chunked", b"gzip", b"deflate", b"br", b"close", b"keep-alive", b"0", b"5", b"-1", b"text/html",
             b"99999999999999999999", b"Fri, 31 Dec 9999 23:59:59 GMT", b"https://other.example/"]
        ) | text,
    ).map(b": ".join),
    text,
)  # fmt: skip


@st.composite
def answers(draw: Any) -> bytes:
    if draw(st.booleans()) and draw(st.booleans()):
        return draw(st.binary(max_size=300))
    content = draw(body)
    lines = [draw(status_line), *draw(st.lists(header, max_size=4))]
    if draw(st.booleans()):
        lines.append(b"Content-Length: %d" % len(content))
    end = b"\r\n" if draw(st.integers(0, 9)) else b"\n"
    return end.join([*lines, b"", b""]) + content


ODD = [
    b"",
    b"\r\n\r\n",
    b"\x00" * 100,
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 429 No\r\nRetry-After: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n{}",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n{}",
    b"HTTP/1.1 200 " + b"y" * 100_000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe{\x00",
    b'HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n' + b"[" * 200_000,
    b'HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nSet-Cookie: \x00=\xff; Domain=\r\nContent-Length: 2\r\n\r\n{}",
]  # fmt: skip


def check(server: RawServer, call: Callable[[], Any], answer: bytes) -> None:
    server.says(answer)
    started = time.monotonic()
    came_to = call()
    took = time.monotonic() - started

    assert isinstance(came_to, (str, Generation, LumaError)), came_to
    assert took < retry.MAX_TRIES * 2 * TIMEOUT + 2, f"{took:.1f} s"
    assert str(came_to).isprintable() or isinstance(came_to, Generation)
    if isinstance(came_to, LumaSubmitOutcomeUnknown):
        assert server.requests == 1, "an unknown outcome was sent again"


class TestAnyAnswer:
    @shells
    @pytest.mark.parametrize("answer", ODD, ids=lambda answer: repr(answer[:40]))
    def test_of_these_odd_ones(self, server, call, answer):
        check(server, call, answer)

    @shells
    @settings(
        max_examples=70,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(answer=answers())
    @example(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    def test_is_a_generation_an_id_or_an_error_of_ours(self, server, call, answer):
        check(server, call, answer)

    @shells
    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(value=telling | json_value, code=st.sampled_from([200, 200, 200, 202, 400, 403, 404, 429]))
    def test_any_json_properly_sent(self, server, call, value, code):
        content = json.dumps(value).encode()
        check(server, call, b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (code, len(content)) + content)

    def test_this_server_can_also_say_what_is_right(self, server):
        """Otherwise everything above would be an error for a reason of the test's own."""
        content = json.dumps(
            {"requestId": ID, "status": "completed", "video_url": "https://h/a.mp4"}
        ).encode()
        server.says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

        assert submitted() == ID
        for status in (blocking_status(), async_status()):
            assert isinstance(status, Generation)
            assert status.video_url == "https://h/a.mp4"


PIECE = b"a" * 65536


class TestNeverMoreThanTheBoundIsRead:
    """What the server could send is what was read, and what the kernel holds of a connection."""

    @shells
    @pytest.mark.parametrize(
        ("head", "piece"),
        [
            (b"HTTP/1.1 200 OK\r\n\r\n", PIECE),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 50000000000\r\n\r\n", PIECE),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + PIECE + b"\r\n"),
            (b"HTTP/1.1 500 No\r\n\r\n", PIECE),
            (b"HTTP/1.1 302 Found\r\nLocation: https://other.example/\r\n\r\n", PIECE),
            (b"HTTP/1.1 200 OK\r\nX: ", PIECE),
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
            (b"", PIECE),
        ],
        ids=[
            "no length",
            "50 GB",
            "chunked",
            "500",
            "redirect",
            "a header line",
            "header lines",
            "a status line",
        ],
    )
    def test_of_an_endless(self, server, call, head, piece):
        server.says(head, lambda: piece)
        started = time.monotonic()
        came_to = call()
        took = time.monotonic() - started
        tries = server.requests
        server.stream = None

        assert isinstance(came_to, LumaError), came_to
        assert server.sent < tries * (MAX_ANSWER_BYTES + BUFFERS), (
            f"{server.sent / 1e6:.0f} MB were taken in {tries} requests"
        )
        assert took < tries * 2 * TIMEOUT + 2
        if call is submitted:
            assert tries == 1
