"""
A gateway that costs next to nothing, in a process of its own, so that what is measured is its clients.

It answers ``getStatus`` over HTTP/1.1 with keep-alive and TLS, by hand on :class:`asyncio.Protocol`: several
thousand requests a second on one core. A generation's id says when it completes: ``anything@1764012345.5`` is
complete from that moment on (epoch seconds), an id without ``@`` never is. Below
:data:`NOT_FOUND_WHILE_PENDING` it answers 404 until then, for triggers that know no other "not yet".

What it guarantees: it counts every request before it answers it; it listens on loopback only; it ends when
its parent does, however that ends.

``with Gateway() as gateway: …; gateway.counts()`` starts one and asks for its counters.
"""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import subprocess
import sys
import time
import urllib.request
from array import array
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import trustme

if TYPE_CHECKING:
    from typing import Self

#: The prefix of paths under which a pending generation is answered with 404.
NOT_FOUND_WHILE_PENDING = "/404-while-pending"

_REPOSITORY = Path(__file__).resolve().parent.parent
_PENDING = b'{"status": "processing"}'
_COMPLETED = b'{"status": "completed", "video_url": "https://videos.example.com/jellyfish.mp4"}'
_REFUSED = b'{"statusCode": 429, "message": "Rate limit is exceeded."}'


@dataclass(frozen=True)
class Counts:
    """
    What the gateway has counted since the last reset.

    :param at: epoch seconds of this reading.
    :param requests: requests, the refused ones included.
    :param refused: requests answered with 429.
    :param generations: different ids that were asked about.
    :param connections: open connections.
    :param most_connections: the most that were open at once.
    :param completed: for each generation that was told to be complete, by id: seconds from its completion to
        the first answer that said so.
    :param cpu_seconds: processor time of the gateway's own process since it began.
    """

    at: float
    requests: int
    refused: int
    generations: int
    connections: int
    most_connections: int
    completed: dict[str, float]
    cpu_seconds: float


class _Books:
    """What is counted, and the one switch: from when to when requests are refused."""

    def __init__(self) -> None:
        self.connections = 0
        #: (from, until, Retry-After), in epoch seconds and seconds.
        self.refusing = (0.0, 0.0, 0)
        self.reset()

    def reset(self) -> None:
        self.arrivals = array("d")
        self.refused = 0
        self.generations: set[str] = set()
        self.completed: dict[str, float] = {}
        self.most_connections = self.connections

    def counts(self) -> dict[str, Any]:
        return {
            "at": time.time(),
            "requests": len(self.arrivals),
            "refused": self.refused,
            "generations": len(self.generations),
            "connections": self.connections,
            "most_connections": self.most_connections,
            "completed": self.completed,
            "cpu_seconds": time.process_time(),
        }

    def status(self, request_id: str, not_found: bool) -> bytes:
        """Return the whole answer to one look, and count it."""
        now = time.time()
        self.arrivals.append(now)
        self.generations.add(request_id)
        since, until, retry_after = self.refusing
        if since <= now < until:
            self.refused += 1
            return _answer(429, _REFUSED, f"Retry-After: {retry_after}\r\n")
        _, _, completes_at = request_id.partition("@")
        if not completes_at or now < float(completes_at):
            return _answer(404 if not_found else 200, _PENDING)
        self.completed.setdefault(request_id, now - float(completes_at))
        return _answer(200, _COMPLETED)


def _answer(status: int, body: bytes, header: str = "") -> bytes:
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n{header}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


_REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests"}


class _Connection(asyncio.Protocol):
    """Reads requests off one connection; what one is answered with, the two below say."""

    def __init__(self, books: _Books) -> None:
        self.books = books
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end]
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            whole = end + 4 + int(length or b"0")
            if len(self._unread) < whole:
                return
            body, self._unread = self._unread[end + 4 : whole], self._unread[whole:]
            path = head.split(b" ", 2)[1].decode()
            if self._transport is not None:
                self._transport.write(self.answer(path, body))

    def answer(self, path: str, body: bytes) -> bytes:
        raise NotImplementedError


class _Clients(_Connection):
    """The TLS port: what the designs under test talk to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.books.connections += 1
        self.books.most_connections = max(self.books.most_connections, self.books.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        self.books.connections -= 1

    def answer(self, path: str, body: bytes) -> bytes:
        return self.books.status(
            str(json.loads(body)["task_id"]), not_found=path.startswith(NOT_FOUND_WHILE_PENDING)
        )


class _Control(_Connection):
    """The plain port: counters, and the switch."""

    def answer(self, path: str, body: bytes) -> bytes:
        if path == "/reset":
            self.books.reset()
        elif path == "/refuse":
            self.books.refusing = tuple(json.loads(body))
        elif path == "/arrivals":
            return _answer(200, json.dumps(list(self.books.arrivals)).encode())
        return _answer(200, json.dumps(self.books.counts()).encode())


async def _serve(folder: Path) -> None:
    books = _Books()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    loop = asyncio.get_running_loop()
    ports = []
    for protocol, context in ((_Clients, tls), (_Control, None)):
        server = await loop.create_server(
            lambda protocol=protocol: protocol(books), "127.0.0.1", 0, ssl=context, backlog=4096
        )
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    # The parent holds the other end of the standard input: when it ends, so does this.
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.read1() or ended.set())
    await ended.wait()


def allow_many_sockets() -> None:
    """Allow this process, and those it starts, as many open files as the system lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Gateway:
    """A gateway in a process of its own, for a ``with`` block."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="gateway-")
        #: Path of the certificate of the authority that has signed the gateway's.
        self.authority = f"{self._folder.name}/ca.pem"
        #: Where the clients send their requests.
        self.url = ""
        self._control = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gateway", self._folder.name],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The gateway of the benchmarks did not start.")
        clients, control = json.loads(line)
        self.url = f"https://127.0.0.1:{clients}"
        self._control = f"http://127.0.0.1:{control}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()
        self._folder.cleanup()

    def counts(self) -> Counts:
        """Return what has been counted since the last reset."""
        return Counts(**self._ask("/counts"))

    def arrivals(self) -> list[float]:
        """Return the epoch seconds at which each request came, since the last reset."""
        return list(self._ask("/arrivals"))

    def reset(self) -> None:
        """Count from zero."""
        self._ask("/reset")

    def refuse(self, since: float, until: float, retry_after: int) -> None:
        """Answer 429 from one moment to another (epoch seconds)."""
        self._ask("/refuse", json.dumps([since, until, retry_after]).encode())

    def _ask(self, path: str, body: bytes = b"{}") -> Any:
        no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with no_proxy.open(self._control + path, body, timeout=30) as answer:
            return json.load(answer)


if __name__ == "__main__":
    allow_many_sockets()
    asyncio.run(_serve(Path(sys.argv[1])))
