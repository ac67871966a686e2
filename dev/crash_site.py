"""
A place to kill submitting tasks in, for the system tests, :mod:`dev.crash` and :mod:`dev.takeover`.

:class:`CrashSite` is an Airflow that recovers quickly, with a gateway that answers at once and one that takes
its time; a :class:`Run` can be held at a step of its submit.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import psutil
import requests

from airflow_provider_luma.emulator import Emulator
from dev.airflow_rest import AirflowRest
from dev.airflow_stack import AirflowStack, StackError
from dev.places import CACHE, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from airflow_provider_luma.emulator import RecordedRequest
    from dev.airflow_rest import RunHistory

DAG_FILE = REPOSITORY / "tests" / "system" / "dags" / "luma_crash.py"

#: Airflow waits for minutes before it believes that something is dead; these make it seconds.
QUICK_RECOVERY: Mapping[str, str] = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "6",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
}

#: The task that submits, and the key of its record.
TASK = "generate"
KEY = "luma"

LUMA_DAG = "luma_crash"
HTTP_DAG = "http_crash"


class Ending(StrEnum):
    """How a run ended."""

    VIDEO = "video"
    #: Of the HttpOperator's DAG, which only submits.
    ID = "request id"
    #: The task failed, was not retried, and its log says that the outcome of its submit is unknown.
    UNKNOWN = "outcome unknown"
    OTHERWISE = "failed otherwise"


@dataclass(frozen=True)
class End:
    """How a run ended, and what it cost."""

    ending: Ending
    #: Requests to generate that reached a gateway.
    posts: int
    #: Generations that a gateway created, and bills.
    paid: int
    #: Of the task that submits.
    tries: int
    #: The log of the last try of the task that failed; empty if none did.
    log: tuple[str, ...]

    def __str__(self) -> str:
        log = "\n".join(self.log[-25:])
        return f"{self.ending}, {self.posts} POST(s), {self.paid} paid, {self.tries} tries\n{log}"


class Run:
    """One DAG run at a :class:`CrashSite`, told from the others by its prompt."""

    def __init__(self, site: CrashSite, dag_id: str, run_id: str, prompt: str) -> None:
        self.site = site
        self.dag_id = dag_id
        self.run_id = run_id
        self.prompt = prompt
        self._place = site.desk / run_id

    # Looking

    @property
    def held(self) -> bool:
        """Whether it has come to the step at which it is to be held."""
        return self._place.with_suffix(".held").exists()

    @property
    def through(self) -> bool:
        """Whether ``execute`` has returned, in whichever try."""
        return self._place.with_suffix(".took").exists()

    @property
    def took(self) -> float:
        """Seconds that ``execute`` took, from a hold at its start on."""
        return float(self._place.with_suffix(".took").read_text())

    @property
    def refused(self) -> str | None:
        """What a process was told whose write to the state store was not taken; None if there was none."""
        refused = self._place.with_suffix(".refused")
        return refused.read_text() if refused.exists() else None

    @property
    def posts(self) -> list[RecordedRequest]:
        """The requests to generate that reached a gateway for this run."""
        return [
            call
            for gateway in self.site.gateways
            for call in gateway.calls("generate")
            if isinstance(call.json, dict) and call.json.get("prompt") == self.prompt
        ]

    @property
    def paid(self) -> int:
        """How many generations were created for this run."""
        return sum(post.paid for post in self.posts)

    @property
    def record(self) -> Any:
        """What the operator keeps in the task's state store."""
        return self.site.api.stored_state(self.dag_id, self.run_id, TASK, KEY)

    @property
    def request_id(self) -> Any:
        """The id that the task has handed on."""
        return self.site.api.xcom(self.dag_id, self.run_id, TASK, "requestId")

    def task(self) -> dict[str, Any]:
        """Return the task that submits, as Airflow sees it now."""
        tasks = self.site.api.task_instances(self.dag_id, self.run_id)
        return next(one for one in tasks if one["task_id"] == TASK)

    def log(self, task_id: str = TASK) -> tuple[str, ...]:
        """Return the log of a task's last try."""
        last = self.site.api.tries(self.dag_id, self.run_id, task_id)[-1]["try_number"]
        return tuple(self.site.api.logs(self.dag_id, self.run_id, task_id, last))

    # Acting

    def go(self) -> None:
        """Let a held task go on."""
        self._place.with_suffix(".go").touch()

    def process(self) -> psutil.Process:
        """Return the process in which the task executes now."""
        process = self.site.stack.task_process(self.task())
        if process not in self.site.stack.processes():
            raise StackError(f"{process} is not of this Airflow")
        return process

    def worker(self) -> psutil.Process:
        """Return the executor's process that runs the task's supervisor."""
        worker = self.process().parent()
        if worker is None or "LocalExecutor" not in " ".join(worker.cmdline()):
            raise StackError(f"{worker} is not a worker of the LocalExecutor")
        return worker

    def clear(self) -> None:
        """Clear the task that submits, as a person would."""
        self.site.api.clear(self.dag_id, self.run_id, TASK)

    def end(self, *, timeout: float = 180) -> End:
        """Wait until the run has ended, and say how."""
        api = self.site.api
        history = api.wait_for_run(self.dag_id, self.run_id, timeout=timeout)
        failed = history.failed_tasks()
        log = self.log(failed[0]) if failed else ()
        tries = len(api.tries(self.dag_id, self.run_id, TASK))
        return End(self._ending(history, log), len(self.posts), self.paid, tries, log)

    def _ending(self, history: RunHistory, log: Sequence[str]) -> Ending:
        if history.state == "success":
            kept = self._place.with_suffix(".mp4")
            if not kept.exists():
                return Ending.ID
            return Ending.VIDEO if kept.read_bytes() == self._video() else Ending.OTHERWISE
        # The error's own line, not one that tells of it.
        unknown = any(line.startswith("LumaSubmitOutcomeUnknown:") for line in log)
        return Ending.UNKNOWN if unknown and self.task()["state"] == "failed" else Ending.OTHERWISE

    def _video(self) -> bytes | None:
        """Return the video of the generation that the task has handed on, if it was made for this run."""
        for gateway in self.site.gateways:
            generation = gateway.generations.get(self.request_id)
            if generation is not None and generation.prompt == self.prompt:
                return gateway.video_bytes(generation.request_id)
        return None


def when_all_are_launched() -> datetime:
    """
    Return when the tasks of some runs may begin that are launched one after the other now.

    With SQLite, a request to start a run that meets the beginning of a task stops all of Airflow for 5 s.
    """
    return datetime.now(tz=UTC) + timedelta(seconds=3)


class PatientRest(AirflowRest):
    """Asks again when Airflow answers 500: under load, its SQLite is locked now and then."""

    def call(self, method: str, path: str, body: object = None, *, timeout: float = 30) -> Any:
        """Send one request below ``/api/v2``, up to five times."""
        for _ in range(4):
            try:
                return super().call(method, path, body, timeout=timeout)
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code < 500:
                    raise
                time.sleep(1)
        return super().call(method, path, body, timeout=timeout)


class CrashSite:
    """
    A real Airflow that recovers within seconds, its DAGs to be killed, and two gateways that count.

    :param home: for everything that is written.
    :param parallelism: how many tasks can run, and be held, at once.
    :param delay: seconds until the gateway answers a submit.
    :param long_delay: seconds until the other, slow one does.
    """

    def __init__(
        self, home: Path, *, parallelism: int = 12, delay: float = 0.0, long_delay: float = 60.0
    ) -> None:
        home = home.resolve()
        self.desk = home / "desk"
        self._dags = home / "dags"
        key = secrets.token_hex(16)
        self.gateway = Emulator(key=key, seconds=0.5, videos="tiny")
        self.slow_gateway = Emulator(key=key, seconds=0.5, videos="tiny")
        self.gateways = (self.gateway, self.slow_gateway)
        self.stack = AirflowStack(
            home / "airflow",
            dags=self._dags,
            env={**QUICK_RECOVERY, "LUMA_CRASH_DESK": str(self.desk)},
            parallelism=parallelism,
            migrated_copies=CACHE / "airflow",
            grace=3,
        )
        self.api = self.stack.api = PatientRest(self.stack.url, check=self.stack.check)
        self._key = key
        self._delays = ((self.gateway, delay), (self.slow_gateway, long_delay))
        self._open = contextlib.ExitStack()
        self._orphans: list[psutil.Process] = []

    def __enter__(self) -> Self:
        self.desk.mkdir(parents=True)
        self._dags.mkdir()
        shutil.copy(DAG_FILE, self._dags)
        with contextlib.ExitStack() as opening:
            for gateway, delay in self._delays:
                opening.enter_context(gateway)
                if delay:
                    gateway.misbehave("generate", "latency", times=None, seconds=delay)
            opening.enter_context(self.stack)
            for suffix, gateway in (("default", self.gateway), ("slow", self.slow_gateway)):
                self.api.add_connection(
                    f"luma_{suffix}", "luma", host=gateway.url, password=self._key, extra='{"timeout": 120}'
                )
                self.api.add_connection(
                    f"http_{suffix}",
                    "http",
                    host=gateway.url,
                    extra=json.dumps({"Ocp-Apim-Subscription-Key": self._key}),
                )
            self.api.wait_for_dag(HTTP_DAG)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything; safe to call twice."""
        self._open.close()

    def launch(
        self, dag_id: str, *, hold_at: str = "", slow: bool = False, run_after: datetime | None = None
    ) -> Run:
        """
        Start a run.

        :param hold_at: the step (of ``tests/system/dags/luma_crash.py``) at which its first try is held.
        :param slow: whether it submits to the gateway that takes its time.
        :param run_after: when its tasks may begin, at the earliest; by default, at once.
        """
        prompt = f"A jellyfish, number {secrets.token_hex(6)}"
        conn_id = f"{'http' if dag_id == HTTP_DAG else 'luma'}_{'slow' if slow else 'default'}"
        conf = {"prompt": prompt, "conn_id": conn_id, "hold_at": hold_at}
        return Run(self, dag_id, self.api.trigger(dag_id, conf, run_after=run_after), prompt)

    def wait_until(self, condition: Callable[[], object], what: str, *, timeout: float = 90) -> None:
        """Wait until something is so; fail when a process of Airflow dies or the time is over."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.stack.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"within {timeout} s it did not come about that {what}")
            time.sleep(0.01)

    def kill_scheduler(self) -> None:
        """Kill the scheduler. The tasks that it started go on, as orphans."""
        self._orphans += self.stack.kill("scheduler")

    def restart_scheduler(self) -> None:
        """Start a scheduler anew."""
        self.stack.start_component("scheduler")

    def bury_orphans(self) -> None:
        """End what the killed schedulers have left."""
        while self._orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._orphans.pop().kill()
