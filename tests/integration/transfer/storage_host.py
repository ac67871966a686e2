"""A storage host whose every byte is the test's."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class StorageHost:
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
def serving(answer: Callable[[socket.socket, int], None]) -> Iterator[StorageHost]:
    """
    Serve on loopback, a thread for each connection.

    :param answer: writes the whole answer to a request, given the connection and the request's number.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    store = StorageHost(listener.getsockname()[1])
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
