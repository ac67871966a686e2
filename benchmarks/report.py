"""
What all benchmarks have in common: a command line, a JSON file with every raw sample, tables, and verdicts.

A benchmark is a module with :data:`WHAT` it measures, ``measure`` (which runs it), and ``tables`` and
``targets``, which are functions of what ``measure`` returned and of nothing else: the terminal and
``docs/performance.md`` show the same, and the page can be made again from the committed file.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
#: Where the short forms leave what they saw: it is not to be committed.
SCRATCH = REPOSITORY / ".cache" / "benchmarks"

_PACKAGES = ("apache-airflow-core", "apache-airflow-providers-http", "aiohttp", "airflow-provider-luma")


@dataclass(frozen=True)
class Target:
    """
    One thing to reach, and whether it was.

    :param demand: what is demanded.
    :param measured: what was measured, for a person.
    :param reached: whether that is enough; ``None`` if this run has not measured it.
    """

    demand: str
    measured: str
    reached: bool | None


@dataclass(frozen=True)
class Table:
    """A table with its caption; the cells are text."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """Return it in Markdown, its columns aligned."""
        lines = [list(self.header), *map(list, self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        padded = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        ]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([f"{self.caption}", "", padded[0], rule, *padded[1:]])


class Benchmark(Protocol):
    """What a module of a benchmark holds."""

    WHAT: str

    def measure(self, short: bool, say: Callable[[str], None]) -> dict[str, Any]:
        """Run it, and return ``settings`` and ``samples``."""

    def tables(self, report: Mapping[str, Any]) -> list[Table]:
        """Return what it has measured."""

    def targets(self, report: Mapping[str, Any]) -> list[Target]:
        """Return what was to be reached."""


def figure(value: float | None) -> str:
    """Return a measured number as it is shown: three significant digits, no more than there are."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def verdicts(targets: Iterable[Target]) -> Table:
    """Return the targets as a table."""
    words = {True: "yes", False: "**no**", None: "not measured"}
    return Table(
        "To reach:",
        ("demanded", "measured", "reached"),
        [(one.demand, one.measured, words[one.reached]) for one in targets],
    )


def circumstances() -> dict[str, Any]:
    """Return where and with what this runs."""
    return {
        "commit": _commit(),
        "date": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def _commit() -> str:
    """Return the commit that is measured, with ``-dirty`` at its end if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _with_a_line_per_sample(report: Mapping[str, Any]) -> str:
    head = json.dumps({name: value for name, value in report.items() if name != "samples"}, indent=1)
    samples = ",\n  ".join(map(json.dumps, report["samples"]))
    return f'{head[:-2]},\n "samples": [\n  {samples}\n ]\n}}\n'


def run(name: str, benchmark: Benchmark) -> int:
    """Run one benchmark from the command line; return 0 if all that it has measured is reached."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=benchmark.WHAT)
    parser.add_argument(
        "--short", action="store_true", help="a minute's worth, to see that it works; its figures are rough"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where every sample goes (default: benchmarks/results)"
    )
    options = parser.parse_args()
    file = options.json or (SCRATCH if options.short else RESULTS) / f"{name}.json"
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    report = {"what": benchmark.WHAT, "form": "short" if options.short else "long", **circumstances()}
    try:
        report |= benchmark.measure(options.short, say)
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started is stopped.", file=sys.stderr)
        return 130
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_with_a_line_per_sample(report))
    targets = benchmark.targets(report)
    print()
    for table in [*benchmark.tables(report), verdicts(targets)]:
        print(f"{table}\n")
    print(f"{time.monotonic() - began:.0f} s; every sample is in {os.path.relpath(file)}")
    # The figures of a short run are too rough to be held against anybody.
    return 0 if options.short or all(target.reached is not False for target in targets) else 1
