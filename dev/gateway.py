"""Where demo and playground order their generations: an emulator, or the real gateway if there is a key."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_luma.emulator.doors import DOORS, AppyPie

if TYPE_CHECKING:
    from dev.airflow_stack import AirflowStack

EMULATED_SECONDS = 3
DEFAULT_DOOR = AppyPie.name


@dataclass(frozen=True)
class Gateway:
    """Where a generation is ordered."""

    #: None leaves it to the provider's default.
    host: str | None
    key: str
    #: For a person: where it is, and what it costs.
    what: str
    #: How long a run may take, in seconds.
    patience: float
    #: The connection's extra field; None leaves that to its defaults, too.
    extra: str | None = None

    def connect(self, stack: AirflowStack) -> None:
        """Have the connection ``luma_default`` of a stack lead here."""
        fields = {"host": self.host, "port": self.port, "password": self.key, "extra": self.extra}
        stack.api.add_connection("luma_default", "luma", **fields)

    @property
    def port(self) -> int:
        """Return the port, also where it goes without saying: without one, Airflow 3.3.2's UI cannot test."""
        host = self.host or ""
        address = urlsplit(host if "://" in host else f"https://{host}")
        return address.port or (80 if address.scheme == "http" else 443)


def real_gateway(door: str = DEFAULT_DOOR) -> Gateway | None:
    """Return the real one if ``LUMA_SUBSCRIPTION_KEY`` is set."""
    key = os.environ.get("LUMA_SUBSCRIPTION_KEY")
    if not key:
        return None
    host = os.environ.get("LUMA_HOST") or None
    what = f"{host or 'the real one'}; generations are billed to your key"
    return Gateway(host, key, what, patience=3900, extra=json.dumps({"gateway": door}))


def emulated_gateway(
    stack: AirflowStack, *, seconds: int = EMULATED_SECONDS, port: int = 0, door: str = DEFAULT_DOOR
) -> Gateway:
    """
    Start an emulator as a part of a stack.

    :param seconds: how long a generation takes.
    :param port: 0 takes a free one.
    :param door: which of the emulator's the connection leads to, as its field ``gateway`` says.
    """
    (prefix,) = (known.prefix for known in DOORS if known.name == door)
    key = secrets.token_hex(16)
    command = ["-m", "airflow_provider_luma.emulator", "--port", str(port), "--seconds", str(seconds)]
    emulator = stack.spawn("emulator", [sys.executable, *command], env={"LUMA_EMULATOR_KEY": key})
    deadline = time.monotonic() + 60
    while not (address := re.search(r"http://127\.0\.0\.1:\d+", emulator.last_lines())):
        stack.check()
        if time.monotonic() > deadline:
            raise TimeoutError("the emulator did not say where it listens")
        time.sleep(0.1)
    host = address[0] + prefix
    what = f"{door}, emulated at {host}: {seconds} s a video, nothing is billed"
    extra = json.dumps({"typical_seconds": seconds, "gateway": door})
    return Gateway(host, key, what, patience=180, extra=extra)
