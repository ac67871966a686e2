"""
Kill one of two triggerers while hundreds of generations are waited for: ``make takeover WAITING=500``.

In a real Airflow (LocalExecutor, SQLite) with two triggerers, one task submits the generations and as many
mapped ``LumaStatusSensor`` defer. The first triggerer holds half of the waits when it gets its ``kill -9``;
the second has the other half, and room for all. Nothing completes before it has taken over the rest and has
looked at everything. An emulated gateway notes who asks for what, and what would have been paid.

What the experiment demands, and exits with code 1 for when it does not hold:

- nothing is submitted again;
- each wait is as :data:`DEMANDS` says: it ends with its own video, and neither its deadline nor the first
  look from which it counts is moved by the take-over.

How soon a triggerer is taken for dead is left at Airflow's own settings: the seconds are those that a user
would see.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
import secrets
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_provider_luma.emulator import Emulator
from dev.airflow_rest import FINISHED_RUN
from dev.airflow_stack import AirflowStack, StackError
from dev.alone import alone
from dev.crash_site import PatientRest
from dev.places import CACHE, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DAG_ID = "luma_takeover"
DAG_FILE = REPOSITORY / "tests" / "system" / "dags" / f"{DAG_ID}.py"
#: The mapped sensor.
TASK = "wait"

#: The triggerers, by their names in the stack.
KILLED, SURVIVOR = "triggerer", "triggerer-2"
CAPACITY = "AIRFLOW__TRIGGERER__CAPACITY"
#: How many tasks run at once, be it to defer or to resume.
PARALLELISM = 3

#: Who asks the gateway, as the provider's User-Agent says.
CALLER = re.compile(r"\((task|triggerer); pid (\d+)\)")

#: In Airflow's database, the triggers of a run's waits.
TRIGGERS = (
    "FROM task_instance JOIN trigger ON trigger.id = trigger_id WHERE run_id = :run AND task_id = :task"
)

#: What every wait has to fulfil, by the name of its property.
DEMANDS: Mapping[str, str] = {
    "ended_with_its_video": "ended with the video of their own generation, in their only try",
    "kept_its_arguments": "had the same deadline and start, and all else, after the take-over",
    "counted_from_its_first_look": "told the seconds since the worker's look",
    "looked_at_once_by_a_worker": "were looked at by a worker once",
    "found_by_the_survivor": "were looked at last by the triggerer that was left",
}


@dataclass
class Wait:
    """One mapped sensor."""

    request_id: str
    #: The triggerer that held it at the kill.
    held_by: str
    #: The trigger's arguments at the kill, and after the take-over.
    arguments: dict[str, Any] = field(repr=False)
    arguments_afterwards: dict[str, Any] = field(default_factory=dict, repr=False)
    state: str = ""
    tries: int = 0
    #: What the sensor returned, and where the generation's own video is.
    video_url: str | None = None
    own_video_url: str = ""
    #: What it told in the XCom ``generation``.
    seconds_waited: float = 0.0
    #: When (in epoch seconds) and by whom it was looked at: ``task``, or a triggerer's name. Oldest first.
    looks: list[tuple[float, str]] = field(default_factory=list, repr=False)

    @property
    def ended_with_its_video(self) -> bool:
        """Whether it succeeded at once, with its own video."""
        return (self.state, self.tries, self.video_url) == ("success", 1, self.own_video_url)

    @property
    def kept_its_arguments(self) -> bool:
        """Whether the survivor was given what the worker had left for the triggerer."""
        return self.arguments == self.arguments_afterwards

    @property
    def counted_from_its_first_look(self) -> bool:
        """Whether the seconds it tells are those since the worker's look, whoever has waited them."""
        first, last = self.looks[0][0], self.looks[-1][0]
        return self.arguments["started_at"] <= first and self.seconds_waited >= last - first

    @property
    def looked_at_once_by_a_worker(self) -> bool:
        """Whether neither the kill nor the resume has made a worker look again."""
        return self.looks_by("task") == 1

    @property
    def found_by_the_survivor(self) -> bool:
        """Whether the survivor looked last."""
        return self.looks[-1][1] == SURVIVOR

    def looks_by(self, who: str) -> int:
        """Return how often somebody has looked."""
        return sum(looker == who for _, looker in self.looks)

    def seconds_unwatched(self, killed_at: float) -> float:
        """Return the seconds from the kill to the survivor's next look."""
        later = (at for at, who in self.looks if who == SURVIVOR and at >= killed_at)
        return next(later, math.inf) - killed_at


@dataclass
class Outcome:
    """What was seen."""

    waits: list[Wait]
    #: Requests to generate, and generations that were created.
    posts: int
    paid: int
    #: In epoch seconds.
    killed_at: float
    #: From the kill until the survivor held every wait.
    seconds_to_take_over: float
    #: How many processes the killed triggerer has left, just after the kill and after the take-over.
    orphans: tuple[int, int]
    #: How long each part of the experiment took.
    seconds: dict[str, float]

    def held_by(self, who: str) -> list[Wait]:
        """Return the waits that a triggerer held at the kill."""
        return [wait for wait in self.waits if wait.held_by == who]

    def failing(self, demand: str) -> list[Wait]:
        """Return the waits that do not fulfil one of :data:`DEMANDS`."""
        return [wait for wait in self.waits if not getattr(wait, demand)]

    @property
    def seconds_unwatched(self) -> list[float]:
        """How long after the kill each wait of the killed triggerer was looked at again."""
        return [wait.seconds_unwatched(self.killed_at) for wait in self.held_by(KILLED)]

    @property
    def seconds_haunted(self) -> float:
        """How long after the kill what the killed triggerer has left went on looking."""
        last = max((at for wait in self.waits for at, who in wait.looks if who == KILLED), default=0.0)
        return max(last - self.killed_at, 0.0)


class Takeover:
    """
    The experiment.

    :param home: for everything that is written.
    :param waiting: how many generations are waited for.
    :param say: is told what happens.
    """

    def __init__(self, home: Path, waiting: int, say: Callable[[str], None]) -> None:
        home = home.resolve()
        self.waiting = waiting
        self._dags = home / "dags"
        self._say = say
        # Every look counts, so none may be forgotten.
        self._gateway = Emulator(key=secrets.token_hex(16), videos="tiny", record_limit=1_000_000)
        self._stack = AirflowStack(
            home / "airflow",
            dags=self._dags,
            env={CAPACITY: str(waiting // 2)},
            parallelism=PARALLELISM,
            migrated_copies=CACHE / "airflow",
        )
        self._api = self._stack.api = PatientRest(self._stack.url, check=self._stack.check)
        self._run_id = ""
        #: Which triggerer, or what is left of it, a process belongs to.
        self._lookers: dict[int, str] = {}

    def run(self) -> Outcome:
        """Start everything, kill, wait for the end, and stop everything."""
        self._dags.mkdir(parents=True)
        shutil.copy(DAG_FILE, self._dags)
        clock = _Clock()
        with self._gateway, self._stack:
            self._gateway.next(outcome="pending", times=None)
            self._api.add_connection(
                "luma_default", "luma", host=self._gateway.url, password=self._gateway.key
            )
            self._api.wait_for_dag(DAG_ID)
            clock.lap("start")

            self._run_id = self._api.trigger(DAG_ID, {"waiting": self.waiting})
            waits, survivor = self._defer()
            clock.lap("defer")

            killed_at = time.time()
            descendants = set(self._stack.kill(KILLED))
            orphans = len(descendants.intersection(self._stack.processes()))
            self._say(f"The first triggerer is killed; it leaves {orphans} process(es).")
            self._wait_until(
                lambda: self._shares()[survivor] == self.waiting,
                lambda: f"{self._shares()[survivor]} of {self.waiting} are the survivor's",
            )
            seconds_to_take_over = time.time() - killed_at
            orphans_afterwards = len(descendants.intersection(self._stack.processes()))
            for wait, (_, arguments) in zip(waits, self._triggers(), strict=True):
                wait.arguments_afterwards = arguments
            self._wait_for_a_look_at_each()
            clock.lap("take over")

            for wait in waits:
                self._gateway.set(wait.request_id, outcome="completed", seconds=0)
            self._wait_until(
                lambda: self._api.run_state(DAG_ID, self._run_id) in FINISHED_RUN,
                lambda: f"{self._states()['success']} of {self.waiting} have ended",
            )
            clock.lap("resume")
            self._look_up_the_end(waits)
        return Outcome(
            waits,
            posts=self._gateway.count("generate"),
            paid=self._gateway.paid,
            killed_at=killed_at,
            seconds_to_take_over=seconds_to_take_over,
            orphans=(orphans, orphans_afterwards),
            seconds=clock.laps,
        )

    def _defer(self) -> tuple[list[Wait], int]:
        """Have half of the waits in one triggerer and the rest in another; also return the latter's job."""

        def held(count: int) -> bool:
            if self._select("SELECT task_id FROM task_instance WHERE run_id = :run AND state = 'failed'"):
                raise StackError("a task failed before anything was killed")
            return self._shares().total() == count

        def progress() -> str:
            return f"{self._shares().total()} of {self.waiting} wait in a triggerer"

        # The second comes when the first is full, or luck would decide on their shares.
        self._wait_until(lambda: held(self.waiting // 2), progress)
        (killed,) = self._shares()
        self._stack.start_component(SURVIVOR, kind="triggerer", env={CAPACITY: str(self.waiting)})
        self._wait_until(lambda: held(self.waiting), progress)
        self._wait_for_a_look_at_each()
        survivor = max(self._shares())
        self._lookers = {
            process.pid: name for name in (KILLED, SURVIVOR) for process in self._stack.tree(name)
        }
        return [
            Wait(arguments["request_id"], KILLED if job == killed else SURVIVOR, arguments)
            for job, arguments in self._triggers()
        ], survivor

    def _wait_until(self, condition: Callable[[], bool], progress: Callable[[], str]) -> None:
        """Wait until something is so, and say every few seconds how far it is."""
        # To defer or to resume a task takes about two seconds of a processor.
        deadline = time.monotonic() + 180 + 6 * self.waiting
        told_at = time.monotonic()
        while not condition():
            self._stack.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"it goes no further: {progress()}\n{self._stack.last_lines()}")
            if time.monotonic() > told_at + 10:
                told_at = time.monotonic()
                self._say(progress())
            time.sleep(0.25)

    def _wait_for_a_look_at_each(self) -> None:
        """Wait until every generation is looked at once more, by whoever waits for it now."""
        before = self._gateway.generations

        def looked_at() -> int:
            return sum(one.looks > before[name].looks for name, one in self._gateway.generations.items())

        self._wait_until(
            lambda: looked_at() == self.waiting, lambda: f"{looked_at()} of {self.waiting} are looked at"
        )

    # Looking. Hundreds of task instances are asked of the database: the REST API tells them page by page.

    def _select(self, query: str) -> list[Any]:
        address = f"file:{self._stack.database}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=60)) as database:
            return database.execute(query, {"run": self._run_id, "task": TASK}).fetchall()

    def _shares(self) -> Counter[int]:
        """Return how many waits each triggerer's job holds."""
        return Counter(job for (job,) in self._select(f"SELECT triggerer_id {TRIGGERS}") if job is not None)

    def _triggers(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the triggerer's job and the arguments of each wait, by map index."""
        # Airflow 3 stores them in clear.
        rows = self._select(f"SELECT triggerer_id, kwargs {TRIGGERS} ORDER BY map_index")
        return [(job, json.loads(arguments)) for job, arguments in rows]

    def _states(self) -> Counter[str]:
        return Counter(state for state, _ in self._tasks())

    def _tasks(self) -> list[tuple[str, int]]:
        """Return the state and the number of the try of each wait, by map index."""
        return self._select(
            "SELECT state, try_number FROM task_instance "
            "WHERE run_id = :run AND task_id = :task ORDER BY map_index"
        )

    def _looks(self) -> dict[str, list[tuple[float, str]]]:
        """Return when and by whom each generation was looked at."""
        looks: dict[str, list[tuple[float, str]]] = {}
        for request in self._gateway.calls("getStatus"):
            caller = CALLER.search(request.headers["User-Agent"])
            assert caller is not None, request.headers["User-Agent"]
            kind, pid = caller.groups()
            who = self._lookers[int(pid)] if kind == "triggerer" else kind
            looks.setdefault(str(request.request_id), []).append((request.at, who))
        return looks

    def _look_up_the_end(self, waits: Sequence[Wait]) -> None:
        """Complete what is known of each wait."""
        looks = self._looks()
        for index, (wait, (state, tries)) in enumerate(zip(waits, self._tasks(), strict=True)):
            wait.state, wait.tries = state, tries
            wait.looks = looks[wait.request_id]
            wait.own_video_url = self._gateway.video_url(wait.request_id)
            if state == "success":
                wait.video_url = self._xcom(index, "return_value")
                wait.seconds_waited = self._xcom(index, "generation")["seconds_waited"]

    def _xcom(self, map_index: int, key: str) -> Any:
        path = f"dags/{DAG_ID}/dagRuns/{self._run_id}/taskInstances/{TASK}/xcomEntries/{key}"
        return self._api.call("GET", f"{path}?map_index={map_index}")["value"]


class _Clock:
    """Takes the time of one part after the other."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.monotonic()
        self.laps[name] = round(now - self._since, 1)
        self._since = now


def _summary(outcome: Outcome) -> str:
    waiting, unwatched = len(outcome.waits), outcome.seconds_unwatched
    left, left_afterwards = outcome.orphans
    lines = [f"{waiting} waits, {len(unwatched)} of them in the triggerer that was killed:"]
    lines += [f"  {waiting - len(outcome.failing(demand)):>5} {what}" for demand, what in DEMANDS.items()]
    lines += [
        f"{outcome.posts} POSTs to generate, {outcome.paid} generations paid.",
        f"All were taken over {outcome.seconds_to_take_over:.1f} s after the kill.",
        f"They were looked at again {statistics.median(unwatched):.1f} s after it (median).",
        f"The last was looked at again {max(unwatched):.1f} s after it.",
        f"Processes that the kill left: {left}, after the take-over: {left_afterwards}.",
        f"They went on looking for {outcome.seconds_haunted:.1f} s.",
        "Seconds: " + ", ".join(f"{part} {seconds}" for part, seconds in outcome.seconds.items()),
    ]
    return "\n".join(lines)


def _report(outcome: Outcome, commit: str) -> dict[str, Any]:
    packages = ("apache-airflow-core", "apache-airflow-providers-http", "airflow-provider-luma")
    return {
        "what": "kill -9 of one of two triggerers while generations are waited for; see dev/takeover.py",
        "commit": commit,
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "settings": {
            "waiting": len(outcome.waits),
            "executor": "LocalExecutor",
            "parallelism": PARALLELISM,
            "database": "SQLite",
            "capacity": {KILLED: len(outcome.waits) // 2, SURVIVOR: len(outcome.waits)},
        },
        "seconds": outcome.seconds,
        "posts": outcome.posts,
        "paid": outcome.paid,
        "fulfilled": {name: len(outcome.waits) - len(outcome.failing(name)) for name in DEMANDS},
        "seconds_to_take_over": round(outcome.seconds_to_take_over, 3),
        "orphans": {
            "after_the_kill": outcome.orphans[0],
            "after_the_take_over": outcome.orphans[1],
            "seconds_looking": round(outcome.seconds_haunted, 3),
        },
        "results": [
            {
                "held_by": wait.held_by,
                "state": wait.state,
                "tries": wait.tries,
                "seconds_waited": wait.seconds_waited,
                "seconds_unwatched": round(wait.seconds_unwatched(outcome.killed_at), 3),
                "looks": {who: wait.looks_by(who) for who in ("task", KILLED, SURVIVOR)},
            }
            for wait in outcome.waits
        ],
    }


def _commit() -> str:
    """Return the commit that is measured, with ``-dirty`` at its end if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.takeover", description="Kill one of two triggerers and see who ends the waits."
    )
    parser.add_argument("--waiting", type=int, default=500, help="how many generations (default 500)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the raw results there")
    options = parser.parse_args(arguments)
    return alone("takeover", lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    home = CACHE / "takeover"
    shutil.rmtree(home, ignore_errors=True)
    commit = _commit()
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    say("Airflow is starting …")
    outcome = Takeover(home, options.waiting, say).run()
    say("all is stopped again.")
    print(f"\n{_summary(outcome)}")
    if options.json:
        options.json.write_text(json.dumps(_report(outcome, commit), indent=1) + "\n")
    for demand in DEMANDS:
        for wait in outcome.failing(demand)[:5]:
            print(f"\nVIOLATION, not {demand}: {wait}", file=sys.stderr)
    once = outcome.posts == outcome.paid == options.waiting
    return 0 if once and not any(map(outcome.failing, DEMANDS)) else 1


if __name__ == "__main__":
    sys.exit(main())
