"""Where things go wrong: a distributed Airflow in front of an emulated gateway, and the flights in it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import requests
import tenacity

from airflow_provider_luma.emulator import Emulator
from airflow_provider_luma.emulator.models import GENERATE
from dev.crash_site import QUICK_RECOVERY, PatientRest
from dev.distributed.flights import DAG_ID, Fleet, Flight, Judgement, judge
from dev.distributed.stack import DatabaseAway, DistributedStack
from dev.places import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

DAG_FILE = REPOSITORY / "tests" / "system" / "dags" / f"{DAG_ID}.py"
CONNECTION = "luma_default"
#: Bytes of the file system that videos are kept in, where it is one of its own.
DISK = 24 * 2**20
#: Seconds for an answer of the gateway, and to connect to it: short, so that its bad times are.
EXTRA = '{"timeout": 10, "connect_timeout": 3, "typical_seconds": 20}'

#: Longer than an api-server takes to restart, as it is in production (300 s).
HEARTBEAT_TIMEOUT = "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"

#: States of a task from which nothing moves it any more.
FINAL = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})


class Site:
    """
    A distributed Airflow, a gateway, and a place for the videos.

    :param home: for everything that is written.
    :param say: is told what happens.
    """

    def __init__(self, home: Path, say: Callable[[str], None] = print) -> None:
        self.home = home.resolve()
        self.say = say
        self.videos = self.home / "videos"
        self._dags = self.home / "dags"
        self.gateway = Emulator(key=secrets.token_hex(16), videos="tiny", record_limit=2_000_000)
        self.stack = DistributedStack(
            self.home / "airflow",
            dags=self._dags,
            env={**QUICK_RECOVERY, HEARTBEAT_TIMEOUT: "20", "LUMA_FLIGHT_VIDEOS": str(self.videos)},
        )
        self.api = self.stack.api = PatientRest(self.stack.url, check=self.stack.check)
        #: Whether the videos have a file system of their own, which can be full.
        self.own_disk = False
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._dags.mkdir(parents=True)
        self.videos.mkdir()
        shutil.copy(DAG_FILE, self._dags)
        with contextlib.ExitStack() as opening:
            self._mount(opening)
            opening.enter_context(self.gateway)
            opening.enter_context(self.stack)
            key, host = self.gateway.key, self.gateway.url
            self.api.add_connection(CONNECTION, "luma", host=host, password=key, extra=EXTRA)
            self.api.wait_for_dag(DAG_ID)
            self.stack.reviving = True
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _mount(self, opening: contextlib.ExitStack) -> None:
        """Give the videos a small file system, where this user may."""
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(self.videos)]
        if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
            self.own_disk = True
            opening.callback(subprocess.run, ["umount", "--lazy", str(self.videos)], check=True)

    # Flights

    def launch(self, fleet: Fleet) -> Flight:
        """Start a run, which may have to wait for an api-server that comes up."""
        name = secrets.token_hex(6)
        flight = Flight(f"flight-{name}", f"A jellyfish of {name}", fleet)

        def launched() -> bool:
            try:
                self.api.trigger(DAG_ID, fleet.params(flight.prompt), run_id=flight.run_id)
            except requests.HTTPError as error:
                # An answer may be lost, and the run be there.
                if error.response is None or error.response.status_code != 409:
                    raise
            return True

        self.wait_until(launched, "the run is there")
        return flight

    def hold(self) -> None:
        """Have generations take for ever."""
        self.gateway.next(outcome="pending", times=None)

    def release(self) -> None:
        """Have all generations complete, those of later submits after a second."""
        self.gateway.next(outcome="completed", seconds=1, times=None)
        for request_id, generation in self.gateway.generations.items():
            if generation.outcome == "pending":
                self.gateway.set(request_id, outcome="completed", seconds=0)

    def judge(self, *flights: Flight) -> Judgement:
        """Say what became of each request, and of Airflow's own; then remove the videos."""
        verdict = judge(flights, self.gateway, self.videos, self.stack.home / "logs")
        for flight in flights:
            shutil.rmtree(self.videos / flight.run_id, ignore_errors=True)
            stuck = [
                (task, index, state) for task, index, state, _ in self.tasks(flight) if state not in FINAL
            ]
            verdict.violations += [f"{task} {index} has been left {state}" for task, index, state in stuck]
        left = self._select("SELECT count(*) FROM trigger")[0][0]
        if left:
            verdict.violations.append(f"{left} triggers were left in the database")
        return verdict

    # Looking

    def tasks(self, flight: Flight) -> list[tuple[str, int, str, int]]:
        """Return task, map index, state and number of the try of each task of a flight."""
        return self._select(
            "SELECT task_id, map_index, state, try_number FROM task_instance WHERE run_id = %(run)s "
            "AND dag_id = %(dag)s ORDER BY task_id, map_index",
            run=flight.run_id,
            dag=DAG_ID,
        )

    def submitted(self, flight: Flight) -> int:
        """Return how many generations were created for a flight."""
        return sum(one.prompt.startswith(flight.prompt) for one in self.gateway.generations.values())

    def posted(self, flight: Flight) -> int:
        """Return how many requests to generate have come for a flight."""
        posts = self.gateway.calls(GENERATE)
        return sum(
            isinstance(one.json, dict) and one.json["prompt"].startswith(flight.prompt) for one in posts
        )

    def deferred(self, flight: Flight) -> int:
        """Return how many tasks of a flight wait in a triggerer that has them."""
        return int(
            self._select(
                "SELECT count(*) FROM task_instance JOIN trigger ON trigger.id = trigger_id "
                "WHERE run_id = %(run)s AND triggerer_id IS NOT NULL",
                run=flight.run_id,
            )[0][0]
        )

    def _select(self, query: str, **parameters: str) -> list[Any]:
        """Return the rows of a query; wait for a server that is just coming up."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(DatabaseAway),
            stop=tenacity.stop_after_delay(30),
            wait=tenacity.wait_fixed(0.5),
            reraise=True,
        ):
            with attempt:
                rows = self.stack.select(query, **parameters)
        return rows

    def held(self, name: str) -> int:
        """Return how many triggers a triggerer of this name holds."""
        job = self.stack.triggerer_job(name)
        return 0 if job is None else self.triggerer_jobs().get(job, 0)

    def triggerer_jobs(self) -> dict[int, int]:
        """Return how many triggers each triggerer's job holds."""
        query = "SELECT triggerer_id, count(*) FROM trigger WHERE triggerer_id IS NOT NULL GROUP BY 1"
        return dict(self._select(query))

    def ended(self, flight: Flight) -> bool:
        """Tell whether a flight's run has ended."""
        rows = self._select(
            "SELECT state FROM dag_run WHERE run_id = %(run)s AND dag_id = %(dag)s",
            run=flight.run_id,
            dag=DAG_ID,
        )
        return bool(rows and rows[0][0] in ("success", "failed"))

    def failed_tasks(self, flight: Flight) -> list[tuple[str, int]]:
        """Return the tasks of a flight that have failed."""
        return [(task, index) for task, index, state, _ in self.tasks(flight) if state == "failed"]

    def clear(self, flight: Flight) -> None:
        """Clear the failed tasks of a flight and what comes after them, as the button does."""
        body = {"dry_run": False, "dag_run_id": flight.run_id, "only_failed": True}
        self.api.call("POST", f"dags/{DAG_ID}/clearTaskInstances", body)

    def wait_until(
        self,
        condition: Callable[[], object],
        what: str,
        *,
        timeout: float = 300,
        progress: Callable[[], object] = lambda: "",
    ) -> float:
        """
        Wait until something is so, and return the seconds; what cannot be asked just now is not so.

        :raises TimeoutError: it did not come about, or Airflow goes on dying.
        """
        began = told_at = time.monotonic()
        trouble: Exception | None = None
        while True:
            self.stack.check()
            try:
                if condition():
                    return time.monotonic() - began
            except (requests.RequestException, DatabaseAway) as error:
                trouble = error
            now = time.monotonic()
            if now > began + timeout:
                raise TimeoutError(
                    f"within {timeout:.0f} s it did not come about that {what}; {trouble or progress()}"
                )
            if now > told_at + 15:
                told_at = now
                self.say(f"… until {what}: {progress()}")
            time.sleep(0.25)

    def wait_for_a_look_at_each(self, flight: Flight, *, timeout: float = 300) -> float:
        """Wait until every generation of a flight is looked at once more; return the seconds."""
        before = {
            name: one.looks
            for name, one in self.gateway.generations.items()
            if one.prompt.startswith(flight.prompt)
        }

        def missing() -> int:
            now = self.gateway.generations
            return sum(now[name].looks <= looks for name, looks in before.items())

        return self.wait_until(
            lambda: not missing(),
            "each is looked at again",
            timeout=timeout,
            progress=lambda: f"{missing()} of {len(before)} are not",
        )
