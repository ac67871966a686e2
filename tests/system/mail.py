"""A mail server on loopback that keeps what it is sent."""

from __future__ import annotations

import socketserver
import threading
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from email.message import EmailMessage


class _Session(socketserver.StreamRequestHandler):
    """As much of SMTP as it takes to send a mail."""

    def handle(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.say("354 go on")
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line.removeprefix(b"."))
                self.server.kept.append(b"".join(lines))  # type: ignore[attr-defined]
            self.say("221 bye" if word == b"QUIT" else "250 ok")

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class MailServer:
    """Serves in threads, from ``with`` on."""

    def __init__(self) -> None:
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Session)
        self._server.daemon_threads = True
        self._server.kept = []  # type: ignore[attr-defined]
        self.port: int = self._server.server_address[1]
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def mails(self) -> list[EmailMessage]:
        """What was sent, oldest first."""
        return [message_from_bytes(one, policy=policy.default) for one in [*self._server.kept]]  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()
