"""
Write what the experiments have shown into ``docs/reliability.md``: ``python -m dev.distributed.page``.

Everything between two markers of the page follows from the committed files in
``benchmarks/results/reliability`` and from nothing else; a test holds the page against them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from benchmarks.report import Table
from dev.distributed.faults import FAULTS
from dev.distributed.flights import Ending
from dev.places import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PAGE = REPOSITORY / "docs" / "reliability.md"
RESULTS = REPOSITORY / "benchmarks" / "results" / "reliability"
HOSTILE = RESULTS / "hostile.json"
BLOCK = re.compile(r"(<!-- results: ([a-z-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
#: The experiments that are not of one fault.
LONG = ("at-random", "load", "soak")
#: Components in the tables of memory.
SHOWN = ("scheduler", "worker-1", "worker-2", "triggerer-1", "triggerer-2", "api-server", "dag-processor")

_HEADER = ("requests", "delivered", "id named", "outcome unknown", "not made", "lost", "submits", "paid")


def reports() -> dict[str, dict[str, Any]]:
    """Return the committed results, by experiment."""
    return {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in (*FAULTS, *LONG)}


def _ends(report: Mapping[str, Any]) -> list[str]:
    judged = report["judgement"]
    counts = [judged["endings"].get(ending, 0) for ending in Ending]
    assert sum(counts) == judged["requests"]
    submits = f"{judged['posts']:,}"
    if judged["refused"]:
        submits += f" ({judged['refused']:,} refused)"
    return [f"{judged['requests']:,}", *(f"{count:,}" for count in counts), submits, f"{judged['paid']:,}"]


def _became(report: Mapping[str, Any]) -> Table:
    return Table("What became of all:", _HEADER, [_ends(report)])


def _what(report: Mapping[str, Any]) -> str:
    """Return what was done, as a sentence begins."""
    what: str = report["what"]
    return what[0].upper() + what[1:]


def _revived(report: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}×" for name, count in report["revived"].items())


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} s"


def _faults(found: Mapping[str, Mapping[str, Any]]) -> str:
    endings = Table(
        "What became of a hundred generations:",
        ("fault", "when", *_HEADER[1:]),
        [(FAULTS[name].what, FAULTS[name].moment, *_ends(found[name])[1:]) for name in FAULTS],
    )
    recovery = Table(
        "How long recovery took: from the repair until all was submitted, or each wait was looked at again; "
        "and from the completion of all videos until all runs had ended:",
        (
            "fault",
            "under way",
            "lasted",
            "all submitted",
            "all looked at",
            "all ended",
            "started again by the supervisor",
        ),
        [
            (
                f"{FAULTS[name].what}, {FAULTS[name].moment}",
                str(found[name]["in_flight"]),
                _seconds(found[name]["seconds_of_fault"]),
                _seconds(found[name]["seconds_to_submit"]),
                _seconds(found[name]["seconds_to_look"]),
                _seconds(found[name]["seconds_to_end"]),
                _revived(found[name]) or "–",
            )
            for name in FAULTS
        ],
    )
    cleared = ", ".join(
        f"{found[name]['cleared']} after *{FAULTS[name].what}*" for name in FAULTS if found[name]["cleared"]
    )
    said = f"\n\nTasks that had failed and were cleared, as their errors say: {cleared}." if cleared else ""
    return f"{endings}\n\n{recovery}{said}"


def _random(found: Mapping[str, Mapping[str, Any]]) -> str:
    report = found["at-random"]
    struck = report["more"]["struck"]
    counts = {name: struck.count(name) for name in FAULTS if name in struck}
    faults = "; ".join(f"{FAULTS[name].what} ({count}×)" for name, count in counts.items())
    revived = _revived(report) or "none"
    said = (
        f"{report['more']['flights']} runs in {report['seconds_of_fault'] / 60:.0f} minutes, on the average "
        f"{report['in_flight']} generations in runs that were under way, and {len(struck)} faults: {faults}. "
        f"Started again by the supervisor: {revived}. All runs had ended {report['seconds_to_end']:.0f} s "
        f"after the last repair; {report['cleared']} failed tasks were then cleared."
    )
    return f"{said}\n\n{_became(report)}"


def _load(found: Mapping[str, Mapping[str, Any]]) -> str:
    report = found["load"]
    seconds, silence = report["more"]["seconds"], report["more"]["silence"]
    said = (
        f"{_what(report)}: the batch had ended after {seconds['batch']:.0f} s, all after "
        f"{seconds['mapped']:.0f} s. "
        f"The longest time without a heartbeat was {silence['SchedulerJob']:.1f} s for the scheduler "
        f"and {silence['TriggererJob']:.1f} s for the triggerers; Airflow calls them unhealthy after 30 s."
    )
    return f"{said}\n\n{_became(report)}"


def _soak(found: Mapping[str, Mapping[str, Any]]) -> str:
    report = found["soak"]
    more = report["more"]
    calls = sum(more["calls"].values())
    bad = sum(more["bad"].values())
    rows = []
    for name in SHOWN:
        samples, (factor, descriptors) = more["sizes"][name], more["drifts"][name]
        third = len(samples) // 3
        rows.append(
            (
                name,
                f"{samples[third][1]:.0f} MiB",
                f"{samples[-1][1]:.0f} MiB",
                f"{factor:.3f}",
                f"{descriptors:+.0f}",
            )
        )
    header = ("process", "after a third", "at the end", "last third by the one before", "descriptors")
    said = (
        f"{_what(report)}, {report['when']}: {more['flights']} runs; {bad:,} of {calls:,} answers were bad."
    )
    sizes = Table("Memory and descriptors, by the medians of thirds of the time:", header, rows)
    for violation, why in report.get("explained", {}).items():
        said += f"\n\nThe judge complained once, and was wrong: {violation.replace(chr(39), '`')}: {why}"
    return f"{said}\n\n{_became(report)}\n\n{sizes}"


def _hostile() -> str:
    rows: Sequence[Mapping[str, Any]] = json.loads(HOSTILE.read_text())
    tables = [
        Table(
            caption,
            ("what", "ends with", "submits", "paid"),
            [
                (one["what"], _name(one["ending"]), str(one["submits"]), str(one["paid"]))
                for one in rows
                if one["from"] == source
            ],
        )
        for source, caption in (
            ("gateway", "From the gateway, to a task that submits, waits and keeps:"),
            ("author", "From the author of a DAG, or a template, as a prompt:"),
        )
    ]
    return "\n\n".join(map(str, tables))


def _name(ending: str) -> str:
    return f"`{ending}`" if ending.startswith("Luma") else ending


def _where(found: Mapping[str, Mapping[str, Any]]) -> str:
    places: dict[str, list[str]] = {}
    for name, report in found.items():
        machine, versions = report["machine"], report["versions"]
        place = (
            f"{report['date'][:10]}, commit `{report['commit'][:12]}`: {machine['cores']} cores of "
            f"{machine['cpu']}, {machine['memory_gib']} GiB, {machine['system']}; "
            f"Python {versions['python']}, Airflow {versions['apache-airflow-core']}"
        )
        places.setdefault(place, []).append(name)
    return "\n".join(f"- {place}: {', '.join(names)}." for place, names in places.items())


SECTIONS: Mapping[str, Callable[[Mapping[str, Mapping[str, Any]]], str]] = {
    "where": _where,
    "faults": _faults,
    "at-random": _random,
    "load": _load,
    "soak": _soak,
    "hostile": lambda found: _hostile(),
}


def written(text: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page with its blocks filled."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{SECTIONS[block[2]](found)}\n\n{block[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), reports()))
