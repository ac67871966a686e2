"""What Airflow sends its metrics to."""

from __future__ import annotations

import socket
import threading
import time
from typing import Self


class MetricsServer:
    """What Airflow's metrics are sent to: StatsD's lines, over UDP."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)

    @property
    def settings(self) -> dict[str, str]:
        """Airflow's, by which it sends them here."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.port),
        }

    def __enter__(self) -> Self:
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"", ("127.0.0.1", self.port))
        self._reading.join()
        self._socket.close()

    def _read(self) -> None:
        while datagram := self._socket.recv(65_535):
            self.lines += datagram.decode().splitlines()

    def values(self, name: str) -> list[tuple[float, str]]:
        """Return what a metric was told so far, oldest first: value and kind (``c``, ``g``, ``ms``)."""
        told = [line.partition(":") for line in self.lines]
        return [
            (float(value), kind)
            for told_name, _, rest in told
            if told_name == f"airflow.{name}"
            for value, _, kind in [rest.partition("|")]
        ]

    def wait_for(self, name: str, last: tuple[float, str], timeout: float = 30) -> None:
        """Wait until the latest of a metric is this."""
        deadline = time.monotonic() + timeout
        while self.values(name)[-1:] != [last]:
            assert time.monotonic() < deadline, f"{name}: {self.values(name)}"
            time.sleep(0.1)
