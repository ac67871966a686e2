"""Have a gateway refuse a thousand waits for twenty seconds, and watch them return."""

from __future__ import annotations

import math
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from benchmarks.designs import INTERVAL
from benchmarks.gateway import Gateway
from benchmarks.report import Table, Target, run
from benchmarks.waiting import LoopProcess, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WHAT = "A gateway that answers 429 with Retry-After while a thousand wait in one event loop"

POOL = 16
GIVEN = 100
#: Seconds before the first refusal that are shown.
BEFORE = 5


def measure(short: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Refuse once, without and with a configured rate, and note when each request came."""
    waiting, pause, after = (200, 5, 10) if short else (1_000, 20, 40)
    samples = []
    for per_second in (None, GIVEN):
        extra = {"max_concurrent_requests": POOL}
        if per_second is not None:
            extra["requests_per_second"] = per_second
        spec = Spec("ours", waiting, warm_up=12.0, seconds=pause + after + 2.0, extra=extra)
        with Gateway() as gateway, LoopProcess(spec, gateway) as process:
            begins = process.begins_at()
            gateway.refuse(begins, begins + pause, pause)
            process.lags(timeout=spec.warm_up + spec.seconds + 60)
            arrivals = [at - begins for at in gateway.arrivals()]
        sample = {"requests_per_second": per_second, "waiting": waiting, **seen(arrivals, pause, after)}
        samples.append(sample)
        say(f"requests_per_second={per_second}: {sample['during']} further requests in the pause")
    return {"settings": {"interval": INTERVAL, "pool": POOL}, "samples": samples}


def seen(arrivals: Sequence[float], pause: int, after: int) -> dict[str, Any]:
    """
    Return what a gateway saw that refuses from the second 0 on.

    :param arrivals: seconds at which requests came, in order.
    :param pause: its Retry-After, in seconds; they begin with the first request that is refused.
    :param after: seconds after the pause that are looked at.
    """
    refused_at = next(at for at in arrivals if at >= 0)
    since = [at - refused_at for at in arrivals]
    seconds = Counter(math.floor(at) for at in since if -BEFORE <= at < pause + after)
    return {
        "retry_after": pause,
        "during": sum(0 < at < pause for at in since),
        "per_second": {str(second): seconds[second] for second in range(-BEFORE, pause + after)},
        "most_in_a_second": _most([at for at in since if at >= pause]),
    }


def per_second(sample: Mapping[str, Any]) -> dict[int, int]:
    """Return the requests in each second, from some before the first refusal on."""
    return {int(second): count for second, count in sample["per_second"].items()}


def title(sample: Mapping[str, Any]) -> str:
    """Return what to call a sample."""
    given = sample["requests_per_second"]
    return "no requests_per_second" if given is None else f"requests_per_second: {given}"


def _most(times: list[float]) -> int:
    """Return the largest number within any second."""
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Return how they went silent and came back."""
    rows = []
    for one in report["samples"]:
        counted, pause = per_second(one), one["retry_after"]
        shown = ", ".join(str(counted[pause + second]) for second in (0, 1, 2, 5, 9))
        before = sum(count for second, count in counted.items() if second < 0) / BEFORE
        rows.append(
            (
                "none" if one["requests_per_second"] is None else str(one["requests_per_second"]),
                f"{before:.0f}",
                str(one["during"]),
                shown,
                str(one["most_in_a_second"]),
            )
        )
    first = report["samples"][0]
    caption = (
        f"{first['waiting']:,} waiting at {report['settings']['interval']:g} s, {report['settings']['pool']} "
        f"connections; the gateway answers 429 with `Retry-After: {first['retry_after']}`:"
    )
    header = (
        "`requests_per_second`",
        "looks/s before",
        "requests in the pause",
        "looks in seconds 1, 2, 3, 6, 10 after it",
        "most in any second after it",
    )
    return [Table(caption, header, rows)]


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return item 6."""
    found = []
    for one in report["samples"]:
        given = one["requests_per_second"]
        name = "no rate given" if given is None else f"{given} a second given"
        found.append(
            Target(
                f"{name}: at most {report['settings']['pool']} further requests in the pause",
                str(one["during"]),
                one["during"] <= report["settings"]["pool"],
            )
        )
        bound = given or one["waiting"] / report["settings"]["interval"] * 1.5 + report["settings"]["pool"]
        found.append(
            Target(
                f"{name}: no second after it sees more than {bound:.0f}",
                str(one["most_in_a_second"]),
                one["most_in_a_second"] <= bound,
            )
        )
    return found


if __name__ == "__main__":
    sys.exit(run("refused", sys.modules[__name__]))
