"""
A PostgreSQL server of one's own on loopback, for a ``with`` block: a fresh cluster in a temporary folder.

It ends with its parent, however that ends. As root, the server runs as the user ``postgres``, since it
refuses to run as root.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import psutil

from dev.airflow_stack import free_port

if TYPE_CHECKING:
    from typing import Self

_USER = "postgres"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_connections": "200",
}


class Postgres:
    """One server; ``url`` is what SQLAlchemy connects to."""

    def __enter__(self) -> Self:
        binaries = _binaries()
        self._folder = Path(mkdtemp(prefix="postgres-"))
        data = self._folder / "data"
        if os.geteuid() == 0:
            shutil.chown(self._folder, _USER)
        log = self._folder / "log"
        with log.open("wb") as output:
            command = [
                *_as_postgres(),
                binaries / "initdb",
                "-D",
                data,
                "-A",
                "trust",
                "-U",
                "airflow",
                "-E",
                "UTF8",
            ]
            subprocess.run([*command, "--no-sync"], check=True, stdout=output, stderr=output, cwd="/")
            port = free_port()
            options = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
            self._server = subprocess.Popen(
                [*_as_postgres(), binaries / "postgres", "-D", data, "-p", str(port), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
            )
        self.url = f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
        deadline = time.monotonic() + 30
        while not _listens(port):
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        # SIGINT is its quick way to stop: sessions are ended.
        self._server.send_signal(2)
        try:
            self._server.wait(15)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def cpu_seconds(self) -> float:
        """Return the processor time of the server and of all its backends, those that have ended too."""
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


def _binaries() -> Path:
    """Return the folder of initdb and postgres. Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise SystemExit("This benchmark needs PostgreSQL. On Debian: apt-get install postgresql")


def _as_postgres() -> list[str]:
    # The kernel sends SIGINT to the server when its parent ends.
    command = ["setpriv", "--pdeathsig=INT"]
    if os.geteuid() != 0:
        return command
    return [*command, f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
