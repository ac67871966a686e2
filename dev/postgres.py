"""
A PostgreSQL server of one's own on loopback: a fresh cluster in a temporary folder.

:class:`Postgres` is for a ``with`` block, or gives the command with which somebody else starts, stops and
starts it again. It ends with its parent, however that ends. As root, the server runs as the user
``postgres``, since it refuses to run as root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import psutil

from dev.airflow_stack import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

#: Stops it at once and in order: sessions are ended, nothing is lost.
STOP = signal.SIGINT

_USER = "postgres"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_connections": "200",
}


class Postgres:
    """
    One server.

    :ivar url: what SQLAlchemy connects to.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"postgresql+psycopg2://airflow@127.0.0.1:{self.port}/postgres"
        self._folder = Path(mkdtemp(prefix="postgres-"))
        self._server: subprocess.Popen[bytes] | None = None

    def initialize(self) -> None:
        """Make the cluster's files."""
        if os.geteuid() == 0:
            shutil.chown(self._folder, _USER)
        command = [*_as_postgres(), str(_binaries() / "initdb"), "-D", self._data, "-A", "trust"]
        command += ["-U", "airflow", "-E", "UTF8", "--no-sync"]
        with self._log.open("wb") as output:
            subprocess.run(command, check=True, stdout=output, stderr=output, cwd="/")

    @property
    def command(self) -> list[str]:
        """What starts the server; to be run in a folder that everybody may enter."""
        options = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
        binary = str(_binaries() / "postgres")
        return [*_as_postgres(), binary, "-D", self._data, "-p", str(self.port), *options]

    def remove(self) -> None:
        """Remove the cluster's files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.initialize()
        with self._log.open("ab") as output:
            self._server = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/"
            )
        server = self._server
        if not comes_up(self.port, lambda: server.poll() is None):
            raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.send_signal(STOP)
        try:
            self._server.wait(15)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self.remove()

    def cpu_seconds(self) -> float:
        """Return the processor time of the server and of all its backends, those that have ended too."""
        assert self._server is not None
        server = psutil.Process(self._server.pid)
        own = server.cpu_times()
        seconds = own.user + own.system + own.children_user + own.children_system
        for backend in server.children():
            try:
                times = backend.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds += times.user + times.system
        return float(seconds)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    @property
    def _log(self) -> Path:
        return self._folder / "log"


def _binaries() -> Path:
    """Return the folder of initdb and postgres. Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise SystemExit("PostgreSQL is needed. On Debian: apt-get install postgresql")


def _as_postgres() -> list[str]:
    # The kernel sends SIGINT to the server when its parent ends.
    command = ["setpriv", "--pdeathsig=INT"]
    if os.geteuid() != 0:
        return command
    return [*command, f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"]


def comes_up(port: int, alive: Callable[[], bool], timeout: float = 30) -> bool:
    """Wait until a server accepts connections at a port of loopback, and return whether it does."""
    deadline = time.monotonic() + timeout
    while not _listens(port):
        if not alive() or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
