"""A command of which there is one at a time in this checkout, and that ends with a word however it ends."""

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


#: What ends an experiment with a line in place of a traceback.
FAILURES = (StackError, BrokenDag, TimeoutError, requests.RequestException)


def alone(
    name: str,
    run: Callable[[], int],
    *,
    called: str = "",
    failed: str = "The experiment",
    interrupted: str = "",
    failures: tuple[type[Exception], ...] = FAILURES,
) -> int:
    """
    Run something that nobody else runs in this checkout now, and return the exit code.

    :param name: of its lock.
    :param called: what it is called in a line for a person; by default, an experiment of that name.
    :param failed: likewise, where it has failed.
    :param interrupted: what else there is to say where it was interrupted.
    :param failures: what ends it with a line.
    """
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another {called or f'{name} experiment'} is running in this checkout.", file=sys.stderr)
            return 1
        try:
            return run()
        except KeyboardInterrupt as interruption:
            print(f"\nInterrupted; everything that was started is stopped.{interrupted}", file=sys.stderr)
            return 128 + (interruption.signum if isinstance(interruption, Interrupted) else signal.SIGINT)
        except failures as error:
            print(f"\n{failed} failed: {error}", file=sys.stderr)
            return 1
