"""Measure waits in one event loop, each design in a process of its own, beside a bare shared session."""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.designs import DESIGNS, INTERVAL
from benchmarks.gateway import Gateway
from benchmarks.report import Table, Target, figure, run
from benchmarks.waiting import BARE, COMPLETING_SHARE, LoopProcess, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WHAT = "Waits in one event loop, held by Airflow's trigger runner; connections in environment variables."

MANY = 10_000
FEW = 1_000
#: Connections to the gateway where thousands wait.
POOL = {FEW: 16, MANY: 64}
_SHOWN = ("looks_per_second", "cpu_per_thousand", "delay_mean", "lag_p99", "sockets", "peak_mib")
OTHERS = ("session_per_trigger", "session_per_look", "http_event_trigger", "http_sensor_trigger")


def measure(short: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every design in turn, round after round, against one gateway."""
    plan = [(FEW, name) for name in ("ours", BARE, *OTHERS)]
    if not short:
        plan += [(MANY, "ours"), (MANY, BARE)]
    samples = []
    with Gateway() as gateway:
        for number in range(1 if short else 3):
            for waiting, design in plan:
                few = waiting == FEW
                spec = Spec(
                    design,
                    200 if short else waiting,
                    warm_up=8.0 if few else 20.0,
                    seconds=8.0 if short else (15.0 if few else 20.0),
                    extra={"max_concurrent_requests": POOL[waiting]},
                )
                sample = _sample(spec, gateway) | {"round": number}
                samples.append(sample)
                say(
                    f"{sample['waiting']:6} waiting, {design:20} {sample['looks_per_second']:7.1f} looks/s, "
                    f"{sample['cpu_per_thousand']:.3f} CPU-s per 1,000"
                )
    return {"settings": {"interval": INTERVAL, "tls": True}, "samples": samples}


def _sample(spec: Spec, gateway: Gateway) -> dict[str, Any]:
    with LoopProcess(spec, gateway) as process:
        time.sleep(max(process.begins_at() - time.time(), 0.0))
        gateway.reset()
        cpu, began = process.cpu_seconds(), time.time()
        lags = sorted(process.lags(timeout=spec.seconds + 60))
        cpu, seconds = process.cpu_seconds() - cpu, time.time() - began
        counts = gateway.counts()
        peak = process.peak_mib()
    delays = sorted(counts.completed.values())
    return {
        "design": spec.design,
        "waiting": spec.waiting,
        "wanted_per_second": spec.waiting / INTERVAL,
        "looks": counts.requests,
        "looks_per_second": counts.requests / seconds,
        "cpu_seconds": cpu,
        "cpu_per_thousand": cpu / max(counts.requests, 1) * 1000,
        "sockets": counts.most_connections,
        "lag_p50": lags[len(lags) // 2],
        "lag_p99": lags[int(len(lags) * 0.99)],
        "completed": int(spec.waiting * COMPLETING_SHARE),
        "delays": [round(delay, 3) for delay in delays],
        "delay_mean": statistics.mean(delays) if delays else None,
        "delay_p95": delays[int(len(delays) * 0.95)] if delays else None,
        "peak_mib": peak,
    }


def of(report: Mapping[str, Any], design: str, waiting: int) -> list[dict[str, Any]]:
    """Return the samples of a design, in the order of the rounds."""
    return [one for one in report["samples"] if one["design"] == design and one["waiting"] == waiting]


def median(samples: list[dict[str, Any]], name: str) -> float | None:
    """Return the median of one figure over the rounds."""
    values = [one[name] for one in samples if one[name] is not None]
    return statistics.median(values) if values else None


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Return one table for each number of waits."""
    found = []
    for waiting in sorted({one["waiting"] for one in report["samples"]}):
        rows = []
        for design in dict.fromkeys(one["design"] for one in report["samples"]):
            samples = of(report, design, waiting)
            if samples:
                title = "a bare shared `aiohttp` session" if design == BARE else DESIGNS[design].title
                unseen = statistics.median(one["completed"] - len(one["delays"]) for one in samples)
                rows.append((title, *(figure(median(samples, name)) for name in _SHOWN), figure(unseen)))
        found.append(
            Table(
                f"In one event loop, {waiting:,} waiting, {waiting / INTERVAL:,.0f} looks/s wanted, "
                "connection in an environment variable:",
                (
                    "",
                    "looks/s",
                    "CPU-s per 1,000 looks",
                    "seen late by, s",
                    "loop lag p99, s",
                    "sockets",
                    "MiB",
                    "unseen",
                ),
                rows,
            )
        )
    return found


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return items 3 and 4."""
    many = of(report, "ours", MANY)
    looks, delay, lag = (median(many, name) for name in ("looks_per_second", "delay_mean", "lag_p99"))
    ratios = {waiting: _ratio(report, waiting) for waiting in (FEW, MANY)}

    def reached(value: float | None, enough: Callable[[float], bool]) -> bool | None:
        return None if value is None else enough(value)

    return [
        Target("10,000 waiting: ≥ 1,950 looks/s", figure(looks), reached(looks, lambda it: it >= 1950)),
        Target("seen late by ≤ 2.8 s on average", figure(delay), reached(delay, lambda it: it <= 2.8)),
        Target("loop lag p99 ≤ 0.35 s", figure(lag), reached(lag, lambda it: it <= 0.35)),
        *(
            Target(
                f"CPU per look ≤ 1.25 × a bare shared session ({waiting:,} waiting, median of the rounds)",
                figure(ratio),
                reached(ratio, lambda it: it <= 1.25),
            )
            for waiting, ratio in ratios.items()
        ),
    ]


def _ratio(report: Mapping[str, Any], waiting: int) -> float | None:
    """Return the median over the rounds of our processor time per look over the bare session's."""
    ratios = [
        ours["cpu_per_thousand"] / bare["cpu_per_thousand"]
        for ours, bare in zip(of(report, "ours", waiting), of(report, BARE, waiting), strict=False)
    ]
    return statistics.median(ratios) if ratios else None


if __name__ == "__main__":
    sys.exit(run("loop", sys.modules[__name__]))
