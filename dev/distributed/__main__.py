"""
Break a distributed Airflow, and see what holds: ``make distributed``.

Each experiment writes its raw results into a file of its own, from which ``docs/reliability.md`` is made.
Exit code 1 means that a promise was not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.report import circumstances
from dev.alone import alone
from dev.distributed.experiment import Result, at_random, load, one_fault, soak
from dev.distributed.faults import FAULTS
from dev.distributed.flights import Fleet
from dev.distributed.page import RESULTS
from dev.distributed.site import Site
from dev.places import CACHE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: By name; each returns what it has shown.
EXPERIMENTS: dict[str, Callable[[Site], Result]] = {
    **{name: partial(one_fault, fault=fault) for name, fault in FAULTS.items()},
    "at-random": partial(at_random, seconds=600, fleet=Fleet(whole=7, batches=1, batch_size=15, chains=3)),
    "load": load,
    "soak": soak,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiments that are asked for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.distributed", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        default=[*EXPERIMENTS],
        metavar="EXPERIMENT",
        help=f"which; by default, all: {', '.join(EXPERIMENTS)}",
    )
    parser.add_argument("--no-record", action="store_true", help="write no results")
    options = parser.parse_args(arguments)
    return alone("distributed", lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    home = CACHE / "distributed"
    where = circumstances()
    kept = True
    names = [*options.names]
    while names:
        # After an experiment that came to no end, with another Airflow: nobody knows what it has left.
        _clear_up(home)
        with Site(home, say) as site:
            say("Airflow is up")
            while names:
                name = names.pop(0)
                if name in FAULTS and not FAULTS[name].possible(site):
                    say(f"{name} cannot be had here: it takes the right to mount a file system")
                    kept = False
                    continue
                try:
                    result = EXPERIMENTS[name](site)
                except Exception as error:
                    say(f"VIOLATION: {name} did not come to an end: {type(error).__name__}: {error}")
                    traceback.print_exc()
                    kept = False
                    break
                kept = told(result, say) and kept
                if not options.no_record:
                    record(result, where)
    say("all is stopped again")
    return 0 if kept else 1


def _clear_up(home: Path) -> None:
    """Remove what an earlier run has left, though it was killed."""
    if os.path.ismount(home / "videos"):
        subprocess.run(["umount", "--lazy", str(home / "videos")], check=True)
    shutil.rmtree(home, ignore_errors=True)


def told(result: Result, say: Callable[[str], None]) -> bool:
    """Say what an experiment has shown, and return whether all promises were kept."""
    verdict = result.judgement
    ends = ", ".join(f"{count} {ending}" for ending, count in verdict.endings.items())
    say(f"{result.name}: of {verdict.requests}, {ends}; {verdict.posts} submits, {verdict.paid} paid")
    said = {name: value for name, value in result.as_json().items() if name not in ("judgement", "more")}
    say(json.dumps(said))
    for violation in verdict.violations:
        say(f"VIOLATION: {violation}")
    return not verdict.violations


def record(result: Result, where: dict[str, object]) -> None:
    """Write the raw results of an experiment into its file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**where, **result.as_json()}, indent=1)
    # A sample a line.
    text = re.sub(r"\[\s+([\d.]+),\s+([\d.]+),\s+(\d+)\s+\]", r"[\1, \2, \3]", text)
    (RESULTS / f"{result.name}.json").write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
