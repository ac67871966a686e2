"""Simulate when to look: the provider's own decisions, by a clock that runs as fast as it can."""

from __future__ import annotations

import math
import random
import statistics
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_luma.api.models import Generation, GenerationStatus
from airflow_provider_luma.api.polling import Durations, Pending, Schedule, Wait
from benchmarks.report import Table, Target, figure, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WHAT = "When to look: simulated with log-normal durations, sigma 0.5; the decisions are the provider's code"

SIGMA = 0.5
MEDIANS = (60.0, 30.0, 180.0)
LEARNED = 100
#: A hundred durations are few: what is learned of them differs from channel to channel, and so many count.
CHANNELS = 50
#: Seconds from the worker's look to the start of the trigger.
START = 1.0
_PENDING = Generation("simulated", GenerationStatus.PENDING, "processing")
_READY = Generation("simulated", GenerationStatus.COMPLETED, "completed", "https://videos.example.com/a.mp4")


class Waited(NamedTuple):
    """What one simulated wait came to."""

    #: Of the triggerer; the worker's first one is in every schedule.
    looks: int
    #: Seconds from the video to the look that saw it.
    delay: float


def measure(short: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Simulate every schedule on every distribution."""
    generations = 2_000 if short else 20_000
    samples = []
    for median in MEDIANS:
        for name, learned in (("every 5 s", None), ("default", 0), ("learned", LEARNED)):
            interval = 5.0 if learned is None else None
            schedules = _learned(median, learned) if learned else [Schedule()]
            waits = [
                wait
                for schedule in schedules
                for wait in simulated(median, generations // len(schedules), schedule, interval)
            ]
            delays = sorted(one.delay for one in waits)
            samples.append(
                {
                    "median": median,
                    "schedule": name,
                    "generations": generations,
                    "channels": len(schedules),
                    "first": None if learned is None else statistics.mean(one.first for one in schedules),
                    "interval": interval or statistics.mean(one.interval for one in schedules),
                    "looks": statistics.mean(one.looks for one in waits),
                    "delay_mean": statistics.mean(delays),
                    "delay_p95": delays[int(len(delays) * 0.95)],
                }
            )
            say(f"median {median:.0f} s, {name}: {samples[-1]['looks']:.1f} looks")
    return {"settings": {"sigma": SIGMA, "learned": LEARNED, "channels": CHANNELS}, "samples": samples}


def simulated(median: float, count: int, schedule: Schedule, interval: float | None = None) -> list[Waited]:
    """Wait for so many generations, one after the other, by a schedule or at an interval."""
    dice = random.Random(f"{median} {interval} {schedule}")
    return [_wait(_duration(median, dice), dice, interval, schedule)[0] for _ in range(count)]


def _learned(median: float, count: int) -> list[Schedule]:
    """Return the schedules of :data:`CHANNELS` channels, each of which has seen so many generations end."""
    dice, schedules = random.Random(median), []
    for _ in range(CHANNELS):
        durations = Durations()
        for _ in range(count):
            _, bounds = _wait(_duration(median, dice), dice, None, durations.schedule)
            durations.learn(*bounds)
        schedules.append(durations.schedule)
    return schedules


def _duration(median: float, dice: random.Random) -> float:
    return dice.lognormvariate(math.log(median), SIGMA)


def _wait(
    duration: float, dice: random.Random, interval: float | None, schedule: Schedule
) -> tuple[Waited, tuple[float, float]]:
    """Wait once as worker and channel do; return that, and between which seconds the generation ended."""
    wait = Wait("simulated", 0.0, 86_400.0, interval, schedule=schedule)
    wait.after(_PENDING, 0.0)
    looks, due = 0, START + wait.first_pause(dice.random(), START)
    while True:
        looks += 1
        decision = wait.after(_READY if due >= duration else _PENDING, due)
        if not isinstance(decision, Pending):
            return Waited(looks, max(due - duration, 0.0)), (wait.pending_at or 0.0, due)
        due = wait.due_after(due, due, decision)


def of(report: Mapping[str, Any], median: float, schedule: str) -> dict[str, Any]:
    """Return one row."""
    return next(one for one in report["samples"] if (one["median"], one["schedule"]) == (median, schedule))


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Return the looks and delays of every schedule."""
    rows = [
        (
            f"{one['median']:.0f} s",
            {"learned": f"default, after {LEARNED} generations"}.get(one["schedule"], one["schedule"]),
            "–" if one["first"] is None else f"{one['first']:.0f} s",
            f"{one['interval']:.1f} s",
            f"{one['looks']:.1f}",
            f"{one['delay_mean']:.1f} / {one['delay_p95']:.1f} s",
        )
        for one in report["samples"]
    ]
    header = ("median duration", "schedule", "first look", "then every", "looks", "seen late by, mean / p95")
    return [Table("Looks per generation (simulated):", header, rows)]


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return item 5."""
    nominal, every = of(report, 60.0, "default"), of(report, 60.0, "every 5 s")
    share = nominal["looks"] / every["looks"]
    other = max(of(report, median, "default")["delay_mean"] for median in (30.0, 180.0))
    learned = of(report, 180.0, "learned")["looks"] / of(report, 180.0, "every 5 s")["looks"]
    return [
        Target("≤ 0.72 × the looks of every 5 s (median 60 s)", figure(share), share <= 0.72),
        Target(
            "… seen late by ≤ 2.7 s on average", figure(nominal["delay_mean"]), nominal["delay_mean"] <= 2.7
        ),
        Target("seen late by ≤ 5 s on average where the median is 30 or 180 s", figure(other), other <= 5.0),
        Target(
            "after 100 generations of 180 s: ≤ half the looks of every 5 s", figure(learned), learned <= 0.5
        ),
    ]


if __name__ == "__main__":
    sys.exit(run("schedule", sys.modules[__name__]))
