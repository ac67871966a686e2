"""
What a task costs: many prompts in one batch against pairs of ``HttpOperator`` and ``HttpSensor``; one submit
against a bare ``requests.post``; an import against an import.

The batch and the pairs run in a real Airflow (LocalExecutor, SQLite) against an emulated gateway. Counted is
the processor time of all of Airflow's processes, the ended ones included, less what the same processes take
while nothing runs. The pairs are measured on :data:`PAIRS` and scaled.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator import Emulator
from benchmarks.report import REPOSITORY, Table, Target, figure, run
from dev.airflow_stack import AirflowStack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WHAT = "What a task costs: a batch beside pairs of HttpOperator and HttpSensor, a submit, an import."

DAG_FILE = Path(__file__).with_name("tasks_dag.py")
PAIRS, BATCH = 20, 1_000
#: Seconds for which the idle Airflow is measured.
IDLE = 20.0
KEY = "a-key-of-the-benchmarks"
IMPORTS = {
    "LumaGenerateOperator": "import airflow_provider_luma.operators.luma",
    "HttpOperator": "import airflow.providers.http.operators.http",
}
SUBMITS = {
    "LumaGenerateOperator": "benchmarks.submit_luma",
    "requests.post": "benchmarks.submit_bare",
}


def measure(short: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the three."""
    samples: list[dict[str, Any]] = []
    pairs, batch, repeats = (2, 20, 2) if short else (PAIRS, BATCH, 10)
    with Emulator(key=KEY, seconds=3, videos="tiny") as gateway:
        samples += _imports(repeats, say)
        samples += _submits(repeats, gateway, say)
        samples += _runs({"pairs": pairs, "batch": batch}, gateway, say)
    return {"settings": {"seconds_per_generation": 3}, "samples": samples}


def _imports(repeats: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    samples = []
    for number in range(repeats):
        for what, statement in IMPORTS.items():
            code = (
                f"import time; began = time.process_time(); {statement}; print(time.process_time() - began)"
            )
            done = _python("-c", code)
            samples.append({"kind": "import", "what": what, "round": number, "cpu_seconds": float(done)})
    say("imports are measured")
    return samples


def _submits(repeats: int, gateway: Emulator, say: Callable[[str], None]) -> list[dict[str, Any]]:
    samples = []
    for number in range(repeats):
        for what, module in SUBMITS.items():
            done = _python("-m", module, gateway.url, KEY)
            samples.append({"kind": "submit", "what": what, "round": number, "cpu_seconds": float(done)})
    say("submits are measured")
    return samples


def _python(*arguments: str) -> str:
    """Run Python in a home of its own, and return the last line that it printed."""
    home = mkdtemp(prefix="tasks-")
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env={"PATH": "/usr/bin:/bin", "AIRFLOW_HOME": home, "HOME": home, "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return done.stdout.splitlines()[-1]


def _runs(counts: Mapping[str, int], gateway: Emulator, say: Callable[[str], None]) -> list[dict[str, Any]]:
    home = Path(mkdtemp(prefix="tasks-"))
    samples = []
    try:
        dags = home / "dags"
        dags.mkdir()
        shutil.copy(DAG_FILE, dags)
        with AirflowStack(home / "airflow", dags=dags, parallelism=4) as stack:
            stack.api.add_connection(
                "luma_default", "luma", host=gateway.url, password=KEY, extra='{"typical_seconds": 3}'
            )
            stack.api.add_connection(
                "http_default",
                "http",
                host=gateway.url,
                extra=json.dumps({"Ocp-Apim-Subscription-Key": KEY, "Content-Type": "application/json"}),
            )
            for kind in counts:
                stack.api.wait_for_dag(f"bench_{kind}")
            time.sleep(5)
            before, began = _cpu_seconds(stack), time.monotonic()
            time.sleep(IDLE)
            idle = (_cpu_seconds(stack) - before) / (time.monotonic() - began)
            for kind, count in counts.items():
                posts, before, began = gateway.count("generate"), _cpu_seconds(stack), time.monotonic()
                run_id = stack.api.trigger(f"bench_{kind}", {"count": count})
                history = stack.api.wait_for_run(f"bench_{kind}", run_id, timeout=900)
                if history.state != "success":
                    raise RuntimeError(f"{kind}: {history}")
                seconds = time.monotonic() - began
                cpu = _cpu_seconds(stack) - before
                samples.append(
                    {
                        "kind": "run",
                        "what": kind,
                        "count": count,
                        "posts": gateway.count("generate") - posts,
                        "cpu_seconds": cpu,
                        "idle_cores": idle,
                        "seconds": seconds,
                        "cpu_seconds_net": cpu - idle * seconds,
                        "worker_starts": _worker_starts(stack, f"bench_{kind}", run_id),
                    }
                )
                say(f"{count} {kind}: {cpu - idle * seconds:.1f} CPU-s in {seconds:.0f} s")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return samples


def _cpu_seconds(stack: AirflowStack) -> float:
    """Return the processor time of all of Airflow's processes, and of those that they have outlived."""
    total = 0.0
    for process in stack.processes():
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _worker_starts(stack: AirflowStack, dag_id: str, run_id: str) -> int:
    """Return how often the run's tasks were given to a worker: each writes of it into a log of its own."""
    logs = stack.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
    files = [*logs.glob("task_id=make*/**/attempt=*.log"), *logs.glob("task_id=wait*/**/attempt=*.log")]
    return sum(text.count("DAG bundles loaded") for text in (file.read_text() for file in files))


def _median(report: Mapping[str, Any], kind: str, what: str) -> float | None:
    found = [one["cpu_seconds"] for one in report["samples"] if (one["kind"], one["what"]) == (kind, what)]
    return statistics.median(found) if found else None


def _run(report: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    return next(one for one in report["samples"] if (one["kind"], one["what"]) == ("run", what))


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Return what the runs, and the submits and imports, have taken."""
    titles = {"pairs": "`HttpOperator` and `HttpSensor`, mapped", "batch": "`LumaGenerateBatchOperator`"}
    rows = [
        (
            titles[one["what"]],
            f"{one['count']:,}",
            str(one["worker_starts"]),
            figure(one["cpu_seconds_net"]),
            figure(1000 * one["cpu_seconds_net"] / one["count"]),
        )
        for one in report["samples"]
        if one["kind"] == "run"
    ]
    single = []
    for kind, names in (("submit", SUBMITS), ("import", IMPORTS)):
        for what in names:
            taken = _median(report, kind, what)
            single.append((f"{kind}: `{what}`", figure(None if taken is None else 1000 * taken)))
    header = ("", "prompts", "worker starts", "CPU-s", "CPU-s per 1,000 prompts")
    return [
        Table("Many prompts in a real Airflow (LocalExecutor, SQLite), idle load taken off:", header, rows),
        Table("One process each, median:", ("", "CPU, ms"), single),
    ]


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return items 7 and 8."""
    batch, pairs = _run(report, "batch"), _run(report, "pairs")
    share = (batch["cpu_seconds_net"] / batch["count"]) / (pairs["cpu_seconds_net"] / pairs["count"])
    ours, bare = (_median(report, "submit", what) for what in SUBMITS)
    imported, peer = (_median(report, "import", what) for what in IMPORTS)
    assert ours is not None and bare is not None and imported is not None and peer is not None  # noqa: PT018
    return [
        Target("a batch: ≤ 2 worker starts", str(batch["worker_starts"]), batch["worker_starts"] <= 2),
        Target(
            f"… ≤ 1/50 of the CPU of as many pairs (measured on {pairs['count']}, scaled)",
            f"1/{1 / share:.0f}",
            share <= 1 / 50,
        ),
        Target(
            "a submit: ≤ 15 ms of CPU beyond a bare `requests.post`",
            f"{1000 * (ours - bare):.1f} ms",
            ours - bare <= 0.015,
        ),
        Target(
            "importing the operator: ≤ 1.15 × importing `HttpOperator`",
            f"{figure(imported / peer)} ×",
            imported / peer <= 1.15,
        ),
    ]


if __name__ == "__main__":
    sys.exit(run("tasks", sys.modules[__name__]))
