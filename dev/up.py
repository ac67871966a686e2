"""
A place to click around: ``make up`` starts a real Airflow with its UI, in front of an emulated gateway.

The connection and the example DAGs are there, ready to be triggered; the emulator's own page shows what was
generated. With ``LUMA_SUBSCRIPTION_KEY`` set (and ``LUMA_HOST``, for another gateway than the provider's
default) generations are ordered from the real gateway instead, and billed.

Runs until Ctrl-C, or until its terminal is closed; then everything that was started is stopped. Each start
is a fresh Airflow, because an emulator keeps its generations in memory only: an older run would ask for ids
that nobody knows. Kept videos stay in ``demo-videos/``; the home of the last Airflow (logs included) in
``.cache/up/``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import secrets
import sys
import time
from typing import TYPE_CHECKING

from dev.airflow_stack import free_port
from dev.gateway import emulated_gateway, real_gateway
from dev.playground import VIDEOS, alone_in_checkout, fresh_airflow

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Long enough to watch a task wait, short enough to wait for it.
EMULATED_SECONDS = 15
EMULATOR_PORT = 8077
#: The example that is most worth clicking on first.
DAG_ID = "luma_text_to_video"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until interrupted; return the exit code, which is 0 if it was up by then."""
    parser = argparse.ArgumentParser(prog="make up", description="Airflow with its UI, to click around.")
    parser.add_argument("--port", type=int, default=8080, help="of the UI (default: %(default)s), if free")
    options = parser.parse_args(arguments)
    if not 0 < options.port < 65536:
        parser.error(f"a port is a number from 1 to 65535, not {options.port}")
    return alone_in_checkout("up", lambda: _up(options.port))


def _up(wanted: int) -> int:
    began = time.monotonic()
    port = free_port(wanted)
    real = real_gateway()
    # Whoever can open this Airflow can order generations: where they are billed, it asks for a password. A
    # site in this machine's browser, too, could reach what asks for none.
    password = secrets.token_urlsafe(9) if real else None
    version = importlib.metadata.version("apache-airflow")
    print(f"Airflow {version} is starting; Ctrl-C stops it …", flush=True)
    env = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    stack = fresh_airflow("up", env=env, parallelism=4, port=port, password=password)
    with stack:
        emulator_port = free_port(EMULATOR_PORT)
        gateway = real or emulated_gateway(stack, seconds=EMULATED_SECONDS, port=emulator_port)
        gateway.connect(stack)
        stack.api.wait_for_dag(DAG_ID)
        print(f"\nUp after {time.monotonic() - began:.0f} s.\n")
        login = f"user admin, password {password}" if password else "no login is asked for"
        _say("Airflow", f"{stack.url}   {login}")
        if port != wanted:
            _say("", f"port {wanted} is not to be had")
        _say("to begin", f"{stack.url}/dags/{DAG_ID}   button Trigger")
        _say("connection", f"{stack.url}/connections   luma_default, and a button to test it")
        _say("gateway", gateway.what)
        if not real:
            _say("its page", f"{gateway.host}/   what was generated, with the videos playing")
            if emulator_port != EMULATOR_PORT:
                _say("", f"port {EMULATOR_PORT} is not to be had")
        _say("videos", f"{VIDEOS}/   where the examples keep them")
        print("\nCtrl-C stops everything.", flush=True)
        try:
            # A `make` that is the terminal's only command keeps the SIGHUP of its closing to itself.
            has_terminal = sys.stdout.isatty()
            while sys.stdout.isatty() == has_terminal:
                time.sleep(0.5)
                stack.check()
        except KeyboardInterrupt:
            print("\nStopping …", flush=True)
    print("Everything is stopped again.", flush=True)
    return 0


def _say(about: str, what: str) -> None:
    print(f"  {about:<11} {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
