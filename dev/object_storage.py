"""
An S3 endpoint to order: a moto server in a process of its own, on loopback.

It lives in a virtual environment of its own, ``.cache/moto`` (``make`` makes it): what it needs would
otherwise settle what Airflow gets.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from dev.airflow_stack import free_port

if TYPE_CHECKING:
    from typing import Self

COMMAND = Path(__file__).resolve().parent.parent / ".cache" / "moto" / "bin" / "moto_server"


class ObjectStorage:
    """
    An S3 endpoint which keeps everything in memory and asks nobody for a password.

    :param log: the file that its output goes to.
    """

    def __init__(self, log: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def extra(self) -> dict[str, Any]:
        """The extra of an Airflow connection of type ``aws`` that leads here."""
        return {"endpoint_url": self.url, "region_name": "us-east-1"}

    @property
    def connection(self) -> str:
        """An Airflow connection that leads here, as an environment variable takes it."""
        return json.dumps({"conn_type": "aws", "login": "test", "password": "test", "extra": self.extra})

    def __enter__(self) -> Self:
        port = self.url.rpartition(":")[2]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AIRFLOW"))}
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(
                [str(COMMAND), "-H", "127.0.0.1", "-p", port],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def _wait(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        with requests.Session() as session:
            session.trust_env = False
            while True:
                try:
                    session.get(f"{self.url}/moto-api/", timeout=5).raise_for_status()
                except requests.RequestException as error:
                    ended = self._process is None or self._process.poll() is not None
                    if ended or time.monotonic() > deadline:
                        said = self._log.read_text(errors="replace")[-2000:]
                        raise RuntimeError(f"The moto server does not serve: {error}\n{said}") from None
                    time.sleep(0.1)
                else:
                    return
