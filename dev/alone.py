"""An experiment as a command: one at a time in this checkout, and with a word however it ends."""

from __future__ import annotations

import fcntl
import signal
import sys
from typing import TYPE_CHECKING

import requests

from dev.airflow_rest import BrokenDag
from dev.airflow_stack import Interrupted, StackError
from dev.places import CACHE

if TYPE_CHECKING:
    from collections.abc import Callable


def alone(name: str, run: Callable[[], int]) -> int:
    """
    Run something that nobody else runs in this checkout now, and return the exit code.

    :param name: of the experiment: of its lock, and for a person.
    """
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another {name} experiment is running in this checkout.", file=sys.stderr)
            return 1
        try:
            return run()
        except KeyboardInterrupt as interruption:
            print("\nInterrupted; everything that was started is stopped.", file=sys.stderr)
            return 128 + (interruption.signum if isinstance(interruption, Interrupted) else signal.SIGINT)
        except (StackError, BrokenDag, TimeoutError, requests.RequestException) as error:
            print(f"\nThe experiment failed: {error}", file=sys.stderr)
            return 1
