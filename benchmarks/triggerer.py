"""
What waits cost in a real ``airflow triggerer`` on PostgreSQL: ``python -m benchmarks.triggerer``.

For each row, a triggerer of its own is started; one waiting task warms it up; then all the deferred tasks and
their triggers are put into the metadata database, and when all of them have started (or :data:`PATIENCE` is
over) the measurement begins. Counted is the processor time of the triggerer's processes and of PostgreSQL;
the gateway's, which is the vendor's affair, is not.

A connection is in the metadata database, which is where the UI puts it, or in an environment variable: each
look-up in the database goes through the triggerer's one supervisor, and makes all the difference to those
that do it often.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from benchmarks.designs import DAG_ID, DESIGNS, INTERVAL, RUN_ID, TASK_ID, connections
from benchmarks.gateway import Gateway, allow_many_sockets
from benchmarks.report import REPOSITORY, Table, Target, figure, run
from dev.airflow_stack import AirflowStack
from dev.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WHAT = "Waits in a real triggerer on PostgreSQL, TLS, a look every 5 s."

#: Seconds for which the first trigger of a round runs before the others come.
WARMING = 3.0
#: Seconds for which all triggers are given to start: Airflow takes a minute for ten thousand.
PATIENCE = 180.0
#: Seconds from then on until the measurement begins: every wait has looked once.
SETTLING = 6.0

SLEEPING = "sleep_only"


@dataclass(frozen=True)
class Round:
    """
    One row of the table.

    :param design: of :data:`benchmarks.designs.DESIGNS`.
    :param waiting: how many tasks wait.
    :param connection: where the connections are: ``database`` or ``environment``.
    :param windows: seconds of each measurement, one right after the other.
    """

    design: str
    waiting: int
    connection: str
    windows: tuple[float, ...] = (30.0,)


def _plan(short: bool) -> list[Round]:
    if short:
        return [Round(design, 200, "database", (10.0,)) for design in ("ours", "http_event_trigger")]
    peers = ("http_event_trigger", "http_sensor_trigger", "session_per_look", "session_per_trigger")
    return [
        *(
            one
            for place in ("database", "environment")
            for peer in peers
            # Ours again and again between the others, and the median counts. The others are measured again
            # later: their first look-ups, which all queue for one supervisor, take some of them a minute.
            for one in (Round("ours", 1_000, place), Round(peer, 1_000, place, (30.0, 60.0)))
        ),
        Round(SLEEPING, 1_000, "database"),
    ]


class _OnlyTriggerers(AirflowStack):
    """An Airflow without an api-server to ask whether it is healthy."""

    def wait_until_healthy(self, *, timeout: float = 180) -> None:
        """Return at once: nothing runs yet."""


class _Site:
    """A migrated Airflow on PostgreSQL, and a gateway."""

    def __init__(self, home: Path, gateway: Gateway, database: Postgres) -> None:
        self.gateway = gateway
        self.database = database
        self.connections = connections(gateway.url, gateway.authority, {"max_concurrent_requests": 64})
        dags = home / "dags"
        dags.mkdir()
        self.stack = _OnlyTriggerers(
            home / "airflow",
            dags=dags,
            env={
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.url,
                "AIRFLOW__TRIGGERER__CAPACITY": "20000",
                # There is one triggerer: no other to leave something for.
                "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "1000",
                "PYTHONPATH": str(REPOSITORY),
                # For designs that make their own sessions; ours reads the extra "verify".
                "SSL_CERT_FILE": gateway.authority,
            },
            components=(),
        )

    def samples(self, one: Round) -> list[dict[str, Any]]:
        """Have the tasks of one round wait, and measure."""
        stack = self.stack
        env = {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(connection)
            for conn_id, connection in self.connections.items()
        }
        shutil.rmtree(stack.home / "logs", ignore_errors=True)
        stack.start_component("triggerer", env=env if one.connection == "environment" else None)
        try:
            return self._measured(one)
        finally:
            for left in stack.kill("triggerer"):
                left.kill()

    def _measured(self, one: Round) -> list[dict[str, Any]]:
        # The first trigger has Airflow import what it needs for any: that is nobody's memory per wait.
        self._put_rows(one, 1)
        self._wait_for(1, 60)
        time.sleep(WARMING)
        idle = self._pss_mib()
        self.gateway.reset()
        self._put_rows(one, one.waiting)
        seconds_to_start = self._wait_for(one.waiting, PATIENCE)
        started = {"started": self._started(), "seconds_to_start": seconds_to_start}
        time.sleep(SETTLING)
        return [self._window(one, number, idle) | started for number in range(len(one.windows))]

    def _window(self, one: Round, number: int, idle: float) -> dict[str, Any]:
        before, cpu_before = self.gateway.counts(), self._cpu_seconds()
        time.sleep(one.windows[number])
        after, cpu_after = self.gateway.counts(), self._cpu_seconds()
        pss = self._pss_mib()
        self.stack.check()
        looks, seconds = after.requests - before.requests, after.at - before.at
        triggerer, postgres = (now - then for now, then in zip(cpu_after, cpu_before, strict=True))
        return {
            "design": one.design,
            "waiting": one.waiting,
            "connection": one.connection,
            "window": number,
            "since": sum(one.windows[:number]),
            "seconds": seconds,
            "asked_about": after.generations,
            "looks": looks,
            "looks_per_second": looks / seconds,
            "cpu_seconds": {"triggerer": triggerer, "postgres": postgres},
            "cores": (triggerer + postgres) / seconds,
            "cpu_seconds_per_1000_looks": 1000 * (triggerer + postgres) / looks if looks else None,
            "sockets": after.most_connections,
            "pss_mib": pss,
            "idle_pss_mib": idle,
            "kib_per_waiting": 1024 * (pss - idle) / one.waiting,
            "gateway_cores": (after.cpu_seconds - before.cpu_seconds) / seconds,
        }

    def _wait_for(self, count: int, timeout: float) -> float:
        """Wait until so many triggers have started, or the time is over; return the seconds."""
        began = time.monotonic()
        while self._started() < count and time.monotonic() < began + timeout:
            self.stack.check()
            time.sleep(0.2)
        return time.monotonic() - began

    def _put_rows(self, one: Round, count: int) -> None:
        command = [sys.executable, "-P", "-m", "benchmarks.rows", one.design, str(count)]
        rows = self.stack.spawn("rows", [*command, json.dumps(self.connections)])
        code = rows.process.wait(120)
        if code:
            raise RuntimeError(f"The rows could not be put into the database:\n{rows.last_lines()}")
        del self.stack.components["rows"]

    def _started(self) -> int:
        """Return how many triggers have written that they start: each into a log of its task's own."""
        logs = self.stack.home / "logs" / f"dag_id={DAG_ID}" / f"run_id={RUN_ID}" / f"task_id={TASK_ID}"
        return sum(1 for _ in logs.iterdir()) if logs.exists() else 0

    def _cpu_seconds(self) -> tuple[float, float]:
        """Return the processor time of the triggerer's processes, and of PostgreSQL's."""
        times = [process.cpu_times() for process in self.stack.tree("triggerer")]
        return sum(one.user + one.system for one in times), self.database.cpu_seconds()

    def _pss_mib(self) -> float:
        """Return the memory of the triggerer's processes; what they share counts once."""
        return sum(process.memory_full_info().pss for process in self.stack.tree("triggerer")) / 2**20


def measure(short: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every round, one after the other."""
    return measured(_plan(short), say)


def measured(rounds: Sequence[Round], say: Callable[[str], None]) -> dict[str, Any]:
    """Run rounds, one after the other, on one PostgreSQL and one gateway."""
    allow_many_sockets()
    home = Path(mkdtemp(prefix="triggerer-"))
    samples = []
    try:
        with Gateway() as gateway, Postgres() as database:
            site = _Site(home, gateway, database)
            with site.stack:
                say("Airflow's database is migrated.")
                for one in rounds:
                    for sample in site.samples(one):
                        samples.append(sample)
                        say(
                            f"{one.design} × {one.waiting}, {one.connection}: "
                            f"{sample['looks_per_second']:.1f} looks/s, "
                            f"{figure(sample['cpu_seconds_per_1000_looks'])} CPU-s per 1,000"
                        )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    settings = {"interval": INTERVAL, "tls": True, "patience": PATIENCE, "max_concurrent_requests": 64}
    return {"settings": settings, "samples": samples}


def of(
    report: Mapping[str, Any], design: str, waiting: int, connection: str, window: int = 0
) -> Mapping[str, Any] | None:
    """Return the sample of a row or, of several, the one with the median processor time per look."""
    wanted = {"design": design, "waiting": waiting, "connection": connection, "window": window}
    found: list[Mapping[str, Any]] = [one for one in report["samples"] if wanted.items() <= one.items()]
    found.sort(key=lambda one: one["cpu_seconds_per_1000_looks"] or 0.0)
    return found[len(found) // 2] if found else None


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Return a table for each number of waiting tasks and place of the connection."""
    found = []
    for waiting, connection in dict.fromkeys(
        (one["waiting"], one["connection"]) for one in report["samples"]
    ):
        rows = []
        ours = of(report, "ours", waiting, connection)
        for design, window in product(DESIGNS, (0, 1)):
            one = of(report, design, waiting, connection, window)
            if one is None:
                continue
            rows.append(
                (
                    DESIGNS[design].title if window == 0 else "… later",
                    f"{one['since']:.0f}–{one['since'] + one['seconds']:.0f}",
                    figure(one["looks_per_second"]) if design != SLEEPING else "–",
                    _cpu_per_look(one) if design != SLEEPING else "–",
                    _times(one, ours) if design != SLEEPING else "–",
                    f"{one['cores']:.2f}",
                    str(one["sockets"]) if design != SLEEPING else "–",
                    f"{one['pss_mib']:.0f}",
                    f"{one['kib_per_waiting']:.1f}",
                    f"{one['asked_about']:,}" if design != SLEEPING else "–",
                )
            )
        place = "the metadata database" if connection == "database" else "an environment variable"
        found.append(
            Table(
                f"In a real triggerer, {waiting:,} waiting, {waiting / INTERVAL:,.0f} looks/s wanted, "
                f"connection in {place}:",
                (
                    "",
                    "seconds",
                    "looks/s",
                    "CPU-s per 1,000 looks",
                    "× ours",
                    "cores",
                    "sockets",
                    "MiB",
                    "KiB per wait",
                    "asked about",
                ),
                rows,
            )
        )
    return found


def _cpu_per_look(one: Mapping[str, Any]) -> str:
    return figure(one["cpu_seconds_per_1000_looks"]) if one["looks"] else "no look"


def _times(one: Mapping[str, Any], ours: Mapping[str, Any] | None) -> str:
    ratio = _ratio(one, ours)
    return "–" if ratio is None else figure(ratio)


def _ratio(one: Mapping[str, Any] | None, ours: Mapping[str, Any] | None) -> float | None:
    name = "cpu_seconds_per_1000_looks"
    if one is None or ours is None or not ours[name]:
        return None
    return float(one[name] / ours[name]) if one[name] else math.inf


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return what was to be reached in a real triggerer."""
    found = []
    ours = of(report, "ours", 1_000, "database")
    looks = ours["looks_per_second"] if ours else None
    cpu = ours["cpu_seconds_per_1000_looks"] if ours else None
    found.append(
        Target("1,000 waiting: ≥ 195 looks/s", figure(looks), None if looks is None else looks >= 195)
    )
    found.append(
        Target(
            "… ≤ 0.6 CPU-s per 1,000 looks, PostgreSQL included",
            figure(cpu),
            None if cpu is None else cpu <= 0.6,
        )
    )
    for connection, times in (("database", 100), ("environment", 5)):
        mine = of(report, "ours", 1_000, connection)
        for window, when in enumerate(("at first", "later")):
            ratio = _ratio(of(report, "http_event_trigger", 1_000, connection, window), mine)
            found.append(
                Target(
                    f"… ≥ {times} × less CPU per look than `HttpEventTrigger` {when}, connection in the "
                    f"{connection}",
                    f"{figure(ratio)} ×",
                    None if ratio is None else ratio >= times,
                )
            )
    return found


if __name__ == "__main__":
    sys.exit(run("triggerer", sys.modules[__name__]))
