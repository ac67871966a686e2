"""
Write the measured figures into ``docs/performance.md``, and its charts: ``python -m benchmarks.page``.

Everything between two markers of the page, and every chart, follows from the committed files in
``benchmarks/results`` and from nothing else; a test holds the page against them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from benchmarks import chart, crowd, loop, refused, schedule, tasks, triggerer
from benchmarks.designs import DESIGNS
from benchmarks.report import REPOSITORY, RESULTS, verdicts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.report import Benchmark

PAGE = REPOSITORY / "docs" / "performance.md"
BENCHMARKS: Mapping[str, Benchmark] = {
    "triggerer": triggerer,
    "crowd": crowd,
    "loop": loop,
    "schedule": schedule,
    "refused": refused,
    "tasks": tasks,
}
#: A block of the page that is generated: its name, and what stands in it.
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def reports() -> dict[str, dict[str, Any]]:
    """Return the committed results."""
    return {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in BENCHMARKS}


def blocks(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what is to stand in each block of the page."""
    written = {"where": _where(found)}
    for name, benchmark in BENCHMARKS.items():
        shown = [*benchmark.tables(found[name]), verdicts(benchmark.targets(found[name]))]
        written[name] = "\n\n".join(map(str, shown))
    return written


def charts(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the charts by file name."""
    return {"performance-cpu.svg": _cpu(found["triggerer"]), "performance-429.svg": _return(found["refused"])}


def page(text: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page with its blocks filled."""
    written = blocks(found)
    return BLOCK.sub(lambda block: f"{block[1]}\n{written[block[2]]}\n\n{block[3]}", text)


def _where(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, report in found.items():
        machine, versions = report["machine"], report["versions"]
        lines.append(
            f"- **{name}** ({report['form']} form): {report['date'][:10]}, commit `{report['commit'][:12]}`; "
            f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB; "
            f"Python {versions['python']}, Airflow {versions['apache-airflow-core']}, "
            f"aiohttp {versions['aiohttp']}, providers-http {versions['apache-airflow-providers-http']}."
        )
    return "\n".join(lines)


def _cpu(report: Mapping[str, Any]) -> str:
    waiting = min(one["waiting"] for one in report["samples"])
    places = {
        "database": "connection in the database",
        "environment": "connection in an environment variable",
    }
    groups: dict[str, list[tuple[str, float]]] = {}
    for place, heading in places.items():
        # Of those that were measured twice the second, steady time: at first some had not looked at all.
        shown = [
            triggerer.of(report, design, waiting, place, 1) or triggerer.of(report, design, waiting, place)
            for design in DESIGNS
        ]
        groups[heading] = [
            (DESIGNS[one["design"]].title.replace("`", ""), one["cpu_seconds_per_1000_looks"])
            for one in shown
            if one is not None and one["cpu_seconds_per_1000_looks"]
        ]
    return chart.bars(
        f"CPU-seconds per 1,000 looks in a real triggerer, {waiting:,} steadily waiting (logarithmic)",
        {heading: group for heading, group in groups.items() if group},
        "CPU-s",
    )


def _return(report: Mapping[str, Any]) -> str:
    samples = report["samples"]
    return chart.lines(
        f"Requests in each second, {samples[0]['waiting']:,} waiting, from the first 429 on",
        {refused.title(one): refused.per_second(one) for one in samples},
        (samples[0]["retry_after"], f"Retry-After: {samples[0]['retry_after']}"),
    )


def _write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
        print(f"written: {file.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    measured = reports()
    _write(PAGE, page(PAGE.read_text(), measured))
    for name, drawing in charts(measured).items():
        _write(PAGE.with_name(name), drawing)
