"""What ``make demo`` and ``make up`` share: where they keep things, and how they begin and end."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from dev.airflow_rest import BrokenDag
from dev.airflow_stack import AirflowStack, StackError
from dev.alone import alone
from dev.places import CACHE, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VIDEOS = REPOSITORY / "demo-videos"


def fresh_airflow(name: str, *, env: Mapping[str, str] | None = None, **options: Any) -> AirflowStack:
    """
    Return an Airflow, not started yet, with the example DAGs and a new home in ``.cache``.

    :param name: of its home.
    :param env: further variables for every process.
    :param options: further arguments of the stack.
    """
    home = CACHE / name
    shutil.rmtree(home, ignore_errors=True)
    return AirflowStack(
        home,
        dags=REPOSITORY / "dags",
        env={"LUMA_DEMO_VIDEOS": str(VIDEOS), **(env or {})},
        migrated_copies=CACHE / "airflow",
        # All that could be lost by ending it sooner is a database that the next start throws away.
        grace=3,
        **options,
    )


def alone_in_checkout(name: str, run: Callable[[], int]) -> int:
    """
    Run something of which there is one at a time in this checkout; return its exit code.

    An interruption, or a failure of the Airflow that it started, ends in a line on stderr and a code of its
    own.
    """
    return alone(
        name,
        run,
        called=f"`make {name}`",
        failed=f"`make {name}`",
        interrupted=" A generation that the real gateway has accepted goes on there.",
        failures=(StackError, BrokenDag, TimeoutError),
    )
