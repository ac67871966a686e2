"""
Kill a submitting task a hundred times and count what was paid: ``make crash RUNS=100``.

In a real Airflow (LocalExecutor, SQLite), each run of a ``LumaGenerateOperator`` and, beside it, one of the
plain ``HttpOperator`` has ``kill -9`` done to it at a random moment of its submit: to the task's process, to
the executor's worker, or to the scheduler. An emulated gateway counts what would have been paid.

What the experiment demands of the ``LumaGenerateOperator``, and exits with code 1 for when it does not hold:

- no run is paid for twice;
- a run that was killed before it recorded its intent, or after it stored the id, ends with its video;
- any other may also end as "outcome unknown", and in no other way.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import random
import shutil
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import requests

from dev.airflow_stack import StackError
from dev.alone import alone
from dev.crash_site import (
    HTTP_DAG,
    LUMA_DAG,
    QUICK_RECOVERY,
    CrashSite,
    End,
    Ending,
    Run,
    when_all_are_launched,
)
from dev.places import CACHE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Target(StrEnum):
    """What is killed."""

    TASK = "task"
    WORKER = "worker"
    SCHEDULER = "scheduler"


@dataclass(frozen=True)
class Blow:
    """One kill -9 to come."""

    target: Target
    #: When, as a share of the time that a submit takes.
    fraction: float


@dataclass
class Result:
    """What became of one run that was killed."""

    operator: str
    target: str
    fraction: float
    #: Seconds from the start of ``execute`` to the kill.
    seconds: float = 0.0
    #: What the record said just after the kill; ``nothing`` if there was none. Empty for the HttpOperator.
    phase: str = ""
    #: Whether ``execute`` was still running when the blow fell.
    struck: bool = True
    ending: str = ""
    posts: int = 0
    paid: int = 0
    tries: int = 0
    seconds_to_end: float = 0.0
    #: What is wrong with it; None if nothing is.
    violation: str | None = None


#: How many runs of each operator are in flight at once.
BATCH = 5
#: Seconds until the gateways answer a submit. The long one is for the scheduler's kills, after which it takes
#: some seconds before anybody starts a second try.
DELAY, LONG_DELAY = 0.15, 25.0
#: Seconds that a write to the state store may still take when its author is dead: the supervisor finishes it.
LAST_WRITE = 0.3


def draw(runs: int, seed: int) -> list[Blow]:
    """Return the kills: of ten, one hits the scheduler and one the executor's worker."""
    dice = random.Random(seed)
    targets = [Target.SCHEDULER] * (runs // 10) + [Target.WORKER] * (runs // 10)
    targets += [Target.TASK] * (runs - len(targets))
    return [Blow(target, dice.random()) for target in reversed(targets)]


class Experiment:
    """Kills runs of both operators and judges how they end."""

    def __init__(self, site: CrashSite, say: Callable[[str], None] = print) -> None:
        self.site = site
        self.results: list[Result] = []
        #: Seconds that an undisturbed submit takes, by DAG and whether to the slow gateway.
        self.windows: dict[tuple[str, bool], float] = {}
        self._say = say

    def run(self, blows: Sequence[Blow], *, stop_at: float) -> None:
        """
        Deal the blows, in batches.

        :param stop_at: on the monotonic clock; no batch is begun after it.
        """
        self._measure()
        for target in Target:
            mine = [blow for blow in blows if blow.target is target]
            for first in range(0, len(mine), BATCH):
                if time.monotonic() > stop_at:
                    self._say("Time is up: the rest is not run.")
                    return
                self._batch(mine[first : first + BATCH], target)
                self._say(self._progress(len(blows)))

    def _progress(self, runs: int) -> str:
        mine = [one for one in self.results if one.operator == LUMA_DAG]
        wrong = sum(one.violation is not None for one in mine)
        twice = sum(one.paid > 1 for one in self.results if one.operator == HTTP_DAG)
        return f"{len(mine):>4} of {runs}: {wrong} went wrong; the HttpOperator has paid twice for {twice}"

    def _measure(self) -> None:
        """See how long a submit takes when nothing happens to it."""
        for dag_id in (LUMA_DAG, HTTP_DAG):
            times = []
            for _ in range(3):
                run = self.site.launch(dag_id, hold_at="start")
                self.site.wait_until(lambda run=run: run.held, "a task began")
                run.go()
                end = run.end()
                if end.paid != 1 or end.ending is Ending.OTHERWISE:
                    raise StackError(f"an undisturbed run of {dag_id} went wrong: {end}")
                times.append(run.took)
            # With others around it takes longer than alone.
            self.windows[dag_id, False] = 1.2 * statistics.median(times)
            self.windows[dag_id, True] = self.windows[dag_id, False] - DELAY + LONG_DELAY
        self._say(
            "a submit takes "
            + ", ".join(f"{self.windows[dag_id, False]:.2f} s in {dag_id}" for dag_id in (LUMA_DAG, HTTP_DAG))
        )

    def _batch(self, blows: Sequence[Blow], target: Target) -> None:
        slow = target is Target.SCHEDULER
        pairs = self._held_pairs(blows, slow=slow)
        began = time.monotonic()
        if slow:
            self._kill_scheduler(pairs)
        else:
            self._kill_one_by_one(pairs, target)
        for run, result in pairs:
            self._judge(run, result, began)
        self.site.bury_orphans()
        self.results += [result for _, result in pairs]

    def _held_pairs(self, blows: Sequence[Blow], *, slow: bool) -> list[tuple[Run, Result]]:
        """Return a run of each operator for each blow, all of them held at the start of ``execute``."""
        for _ in range(3):
            begin = when_all_are_launched()
            pairs = [
                (
                    self.site.launch(dag_id, hold_at="start", slow=slow, run_after=begin),
                    Result(dag_id, blow.target, blow.fraction),
                )
                for blow in blows
                for dag_id in (LUMA_DAG, HTTP_DAG)
            ]
            try:
                self.site.wait_until(lambda pairs=pairs: all(run.held for run, _ in pairs), "all began")
            except TimeoutError:
                stalled = True
            else:
                stalled = any(run.task()["try_number"] > 1 for run, _ in pairs)
            if not stalled:
                return pairs
            self._say("Airflow has stalled and retries what nobody has killed: this batch is begun anew.")
            for run, _ in pairs:
                run.go()
            for run, _ in pairs:
                run.end()
        raise StackError("Airflow stalls again and again: the machine is too busy")

    def _kill_one_by_one(self, pairs: Sequence[tuple[Run, Result]], target: Target) -> None:
        victims = [run.process() if target is Target.TASK else run.worker() for run, _ in pairs]
        for (run, result), victim in zip(pairs, victims, strict=True):
            gone = time.monotonic()
            run.go()
            time.sleep(result.fraction * self.windows[run.dag_id, False])
            result.struck = not run.through
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                result.struck = False
            result.seconds = time.monotonic() - gone
            time.sleep(LAST_WRITE)
            result.phase = self._phase(run)

    def _kill_scheduler(self, pairs: Sequence[tuple[Run, Result]]) -> None:
        """Let them go at such times that one kill of their scheduler finds each where it is to be found."""
        leads = [result.fraction * self.windows[run.dag_id, True] for run, result in pairs]
        kill_at = time.monotonic() + max(leads)
        gone: dict[str, float] = {}
        for lead, (run, _) in sorted(zip(leads, pairs, strict=True), key=lambda one: -one[0]):
            time.sleep(max(0.0, kill_at - lead - time.monotonic()))
            run.go()
            gone[run.run_id] = time.monotonic()
        time.sleep(max(0.0, kill_at - time.monotonic()))
        self.site.kill_scheduler()
        for run, result in pairs:
            result.seconds = time.monotonic() - gone[run.run_id]
            result.struck = not run.through
        for run, result in pairs:
            result.phase = self._phase(run)
        self.site.restart_scheduler()

    def _phase(self, run: Run) -> str:
        if run.dag_id == HTTP_DAG:
            return ""
        record = run.record
        return "nothing" if record is None else str(record["phase"])

    def _judge(self, run: Run, result: Result, began: float) -> None:
        try:
            end = run.end()
        except TimeoutError as error:
            result.ending, result.posts, result.paid = Ending.OTHERWISE, len(run.posts), run.paid
            result.violation = f"did not end: {error}"
            return
        result.seconds_to_end = time.monotonic() - began
        result.ending, result.posts, result.paid, result.tries = end.ending, end.posts, end.paid, end.tries
        if run.dag_id == LUMA_DAG:
            result.violation = _violation(result, end)


def _violation(result: Result, end: End) -> str | None:
    """Return what is wrong with how a run of the LumaGenerateOperator ended, or None."""
    if result.posts > 1 or result.paid > 1:
        return f"sent {result.posts} times, paid for {result.paid} times"
    if end.ending is Ending.VIDEO:
        return None if result.paid == 1 else "ended with a video that was not paid for"
    # A killed scheduler leaves its tasks alone: they go on to their intent.
    may_be_unknown = result.phase == "intent" or (
        result.target == Target.SCHEDULER and result.phase == "nothing"
    )
    if end.ending is Ending.UNKNOWN and may_be_unknown:
        return None
    words = " / ".join(line for line in end.log[-6:] if not line.startswith("  File "))
    return f"killed when the record said {result.phase!r}, and ended as {end.ending}: {words}"


def table(results: Sequence[Result], title: str) -> str:
    """Return endings by what was paid, as text."""
    count = Counter((one.ending, min(one.paid, 2)) for one in results)
    endings = [ending for ending in Ending if any(one.ending == ending for one in results)]
    lines = [f"{title} ({len(results)})", f"  {'':<18}{'paid 0':>8}{'paid 1':>8}{'paid 2+':>8}"]
    lines += [
        f"  {ending:<18}" + "".join(f"{count[ending, paid]:>8}" for paid in range(3)) for ending in endings
    ]
    return "\n".join(lines)


def _tables(results: Sequence[Result]) -> str:
    blocks = []
    for dag_id, name in ((LUMA_DAG, "LumaGenerateOperator"), (HTTP_DAG, "HttpOperator")):
        mine = [one for one in results if one.operator == dag_id]
        blocks.append(table(mine, name))
        blocks += [
            table(some, f"{name}, kill -9 of the {target}")
            for target in Target
            if (some := [one for one in mine if one.target == target])
        ]
    mine = [one for one in results if one.operator == LUMA_DAG]
    phases = Counter(one.phase for one in mine)
    blocks.append(
        "When the LumaGenerateOperator was killed, its record said: "
        + ", ".join(f"{phase} ({phases[phase]})" for phase in ("nothing", "intent", "submitted", "done"))
        + f"; {sum(not one.struck for one in mine)} blows fell when it had just returned."
    )
    return "\n\n".join(blocks)


def _report(experiment: Experiment, *, runs: int, seed: int, seconds: float) -> dict[str, Any]:
    packages = ("apache-airflow-core", "apache-airflow-providers-http", "airflow-provider-luma")
    return {
        "what": "kill -9 at a random moment of a submit; see dev/crash.py",
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "settings": {
            "runs": runs,
            "seed": seed,
            "executor": "LocalExecutor",
            "database": "SQLite",
            "batch": BATCH,
            "seconds_until_the_gateway_answers": {"usual": DELAY, "scheduler": LONG_DELAY},
            "environment": dict(QUICK_RECOVERY),
        },
        "seconds": round(seconds, 1),
        "seconds_of_a_submit": {
            f"{dag_id}{', slow' if slow else ''}": round(window, 3)
            for (dag_id, slow), window in experiment.windows.items()
        },
        "table": {
            dag_id: {
                f"{ending}, paid {paid}": count
                for (ending, paid), count in sorted(
                    Counter(
                        (str(one.ending), one.paid) for one in experiment.results if one.operator == dag_id
                    ).items()
                )
            }
            for dag_id in (LUMA_DAG, HTTP_DAG)
        },
        "results": [asdict(one) for one in experiment.results],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.crash", description="Kill submitting tasks and count what is paid."
    )
    parser.add_argument("--runs", type=int, default=100, help="runs of each operator (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills (default 1)")
    parser.add_argument("--minutes", type=float, default=60, help="begin nothing after that (default 60)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the raw results there")
    options = parser.parse_args(arguments)
    return alone("crash", lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    began = time.monotonic()
    home = CACHE / "crash"
    shutil.rmtree(home, ignore_errors=True)
    print("Airflow is starting …", flush=True)
    with CrashSite(home, delay=DELAY, long_delay=LONG_DELAY) as site:
        experiment = Experiment(site, say=lambda line: print(line, flush=True))
        try:
            experiment.run(draw(options.runs, options.seed), stop_at=began + 60 * options.minutes)
        except (StackError, TimeoutError, requests.RequestException) as error:
            # What was seen until then is worth being told.
            print(f"\nThe experiment ends early: {error}", file=sys.stderr)
    seconds = time.monotonic() - began
    results = experiment.results
    print(f"\n{_tables(results)}\n\n{seconds:.0f} s; all is stopped again.")
    if options.json:
        report = _report(experiment, runs=options.runs, seed=options.seed, seconds=seconds)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    violations = [one for one in results if one.violation]
    for one in violations:
        print(f"\nVIOLATION ({one.target}, at {one.seconds:.2f} s): {one.violation}", file=sys.stderr)
    complete = sum(one.operator == LUMA_DAG for one in results) == options.runs
    return 0 if complete and not violations else 1


if __name__ == "__main__":
    sys.exit(main())
