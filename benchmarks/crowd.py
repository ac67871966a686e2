"""
What five and ten thousand waits cost in a real ``airflow triggerer``: ``python -m benchmarks.crowd``.

As :mod:`benchmarks.triggerer` measures it, beside as many triggers that only sleep: what those take is
Airflow's own. The other designs are not here, because they do not keep up with a tenth of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from benchmarks.report import Target, figure, run
from benchmarks.triggerer import SLEEPING, Round, measured, of, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WHAT = "Thousands of waits in a real triggerer on PostgreSQL, TLS, a look every 5 s."

#: How many wait, and the looks per second to reach.
CROWDS = {5_000: 950, 10_000: 1_900}

__all__ = ["WHAT", "measure", "tables", "targets"]


def measure(short: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every round, one after the other."""
    crowds = (1_000,) if short else tuple(CROWDS)
    return measured(
        [Round(design, waiting, "database") for waiting in crowds for design in ("ours", SLEEPING)], say
    )


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return item 2."""
    found = []
    for waiting, wanted in CROWDS.items():
        ours, sleeping = (of(report, design, waiting, "database") for design in ("ours", SLEEPING))
        found += _of_many(ours, sleeping, waiting, wanted)
    return found


def _of_many(
    ours: Mapping[str, Any] | None, sleeping: Mapping[str, Any] | None, waiting: int, wanted: int
) -> list[Target]:
    demands = (f"{waiting:,} waiting: ≥ {wanted:,} looks/s", "… within one core", "… ≤ 70 sockets")
    if ours is None:
        return [Target(demand, "–", None) for demand in (*demands, "… memory per wait ≤ 1.1 × of a sleep")]
    looks, cores, sockets = ours["looks_per_second"], ours["cores"], ours["sockets"]
    memory = ours["kib_per_waiting"] / sleeping["kib_per_waiting"] if sleeping else None
    return [
        Target(demands[0], figure(looks), looks >= wanted),
        Target(demands[1], f"{cores:.2f} cores", cores <= 1),
        Target(demands[2], str(sockets), sockets <= 70),
        Target(
            "… memory per wait ≤ 1.1 × of a trigger that only sleeps",
            f"{figure(memory)} ×",
            None if memory is None else memory <= 1.1,
        ),
    ]


if __name__ == "__main__":
    sys.exit(run("crowd", sys.modules[__name__]))
