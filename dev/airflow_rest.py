"""
Airflow's public REST API, as far as the demo and the system tests ask it things.

A run is watched, not only awaited: :meth:`AirflowRest.wait_for_run` notes every state in which a task was
seen, so that a test can say "this task was deferred" after the fact. Requests go straight to the loopback
address: proxy settings of the environment are ignored.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FINISHED_RUN = frozenset({"success", "failed"})


class BrokenDag(RuntimeError):
    """A DAG file does not import; the message is its traceback."""


@dataclass(frozen=True)
class Sighting:
    """A task seen in a state it was not in at the look before."""

    task_id: str
    state: str
    try_number: int
    map_index: int
    #: Seconds since the watching began.
    at: float


@dataclass
class RunHistory:
    """What was seen of one DAG run while it was watched."""

    dag_id: str
    run_id: str
    state: str = "queued"
    #: How long the run has been watched.
    seconds: float = 0.0
    sightings: list[Sighting] = field(default_factory=list)

    def states(self, task_id: str) -> list[str]:
        """Return the states this task was seen in, oldest first (of all its map indexes and tries)."""
        return [seen.state for seen in self.sightings if seen.task_id == task_id]

    def last(self, task_id: str) -> Sighting | None:
        """Return the latest sighting of this task, or None when it was not seen yet."""
        return next((seen for seen in reversed(self.sightings) if seen.task_id == task_id), None)

    def seconds_of(self, task_id: str) -> float:
        """Return the seconds from the first to the last sighting of this task: its queueing is included."""
        times = [seen.at for seen in self.sightings if seen.task_id == task_id]
        return times[-1] - times[0] if times else 0.0

    def failed_tasks(self) -> list[str]:
        """Return the tasks whose last seen state is ``failed``, in the order in which they failed."""
        return [
            seen.task_id
            for seen in self.sightings
            if seen.state == "failed" and seen is self.last(seen.task_id)
        ]

    def __str__(self) -> str:
        steps = "\n".join(
            f"  {seen.at:7.2f} s  {seen.task_id} try {seen.try_number}: {seen.state}"
            for seen in self.sightings
        )
        return f"{self.dag_id} {self.run_id} is {self.state} after {self.seconds:.1f} s\n{steps}"


class AirflowRest:
    """
    A client for one Airflow on this machine.

    :param url: the api-server's address, without a path.
    :param check: called while waiting; raises when waiting further makes no sense (a process has died).
    :param password: of the user ``admin``; None where everybody is an admin.
    """

    def __init__(
        self, url: str, *, check: Callable[[], None] = lambda: None, password: str | None = None
    ) -> None:
        self.url = url
        self._password = password
        self._check = check
        self._session = requests.Session()
        self._session.trust_env = False

    def login(self) -> None:
        """Take a token."""
        if self._password is None:
            answer = self._session.get(f"{self.url}/auth/token", timeout=30)
        else:
            user = {"username": "admin", "password": self._password}
            answer = self._session.post(f"{self.url}/auth/token", json=user, timeout=30)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, body: object = None, *, timeout: float = 30) -> Any:
        """Send one request below ``/api/v2``, return its decoded answer; an HTTP error carries the body."""
        answer = self._session.request(method, f"{self.url}/api/v2/{path}", json=body, timeout=timeout)
        if not answer.ok:
            raise requests.HTTPError(
                f"{method} {path}: {answer.status_code} {answer.text[:2000]}", response=answer
            )
        return answer.json() if answer.content else None

    def warm_up(self) -> None:
        """Have the api-server build the execution API, which otherwise the first task waits for."""
        self._session.get(f"{self.url}/execution/health", timeout=60).raise_for_status()

    def heartbeats(self) -> dict[str, datetime]:
        """Return when each healthy component last gave a sign of life, by its name in Airflow's monitor."""
        report = self.call("GET", "monitor/health", timeout=10)
        return {
            name: datetime.fromisoformat(entry[f"latest_{name}_heartbeat"])
            for name, entry in report.items()
            if entry.get("status") == "healthy" and entry.get(f"latest_{name}_heartbeat")
        }

    # DAGs and runs

    def wait_for_dag(self, dag_id: str, *, timeout: float = 90) -> None:
        """Wait until the DAG can be triggered; a DAG file that does not import is an error."""
        for _ in self._until(timeout, f"the DAG {dag_id} was not listed"):
            try:
                self.call("GET", f"dags/{dag_id}")
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code != 404:
                    raise
            else:
                return
            broken = self.call("GET", "importErrors")["import_errors"]
            if broken:
                raise BrokenDag("\n".join(f"{one['filename']}: {one['stack_trace']}" for one in broken))

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, object] | None = None,
        *,
        run_id: str | None = None,
        run_after: datetime | None = None,
    ) -> str:
        """Start a run with these params, now or at a later time, and return its id."""
        # Airflow's generated ids hold characters which need quoting everywhere.
        run_id = run_id or f"run-{uuid.uuid4().hex[:12]}"
        body = {"logical_date": None, "dag_run_id": run_id, "conf": dict(conf or {})}
        if run_after is not None:
            body["run_after"] = run_after.isoformat()
        return str(self.call("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the run's state: ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.call("GET", self._run(dag_id, run_id))["state"])

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        *,
        until: Callable[[RunHistory], bool] = lambda history: history.state in FINISHED_RUN,
        timeout: float = 180,
        every: float = 0.25,
        history: RunHistory | None = None,
        on_sighting: Callable[[Sighting], None] = lambda sighting: None,
    ) -> RunHistory:
        """
        Watch a run until ``until`` says so, and return what was seen.

        :param until: asked after each look; by default, whether the run has ended.
        :param every: seconds between looks.
        :param history: of an earlier wait for the same run, to be carried on.
        :param on_sighting: called for every new state of a task.
        :raises TimeoutError: with the history so far.
        """
        history = history or RunHistory(dag_id, run_id)
        earlier = history.seconds
        known = {(seen.task_id, seen.map_index): (seen.state, seen.try_number) for seen in history.sightings}
        began = time.monotonic()
        while True:
            self._check()
            try:
                # The run first: when it has ended, its tasks have.
                state, tasks = self.run_state(dag_id, run_id), self.task_instances(dag_id, run_id)
            except (requests.ConnectionError, requests.Timeout, requests.HTTPError) as error:
                # SQLite under load answers 500 ("database is locked") now and then; a killed api-server,
                # nothing.
                if time.monotonic() - began > timeout:
                    raise TimeoutError(f"{history}\nthe last look failed: {error}") from error
                time.sleep(1)
                continue
            history.state, history.seconds = state, earlier + time.monotonic() - began
            for task in tasks:
                now = (task["state"], task["try_number"])
                key = (task["task_id"], task["map_index"])
                if task["state"] is not None and known.get(key) != now:
                    known[key] = now
                    seen = Sighting(task["task_id"], *now, task["map_index"], history.seconds)
                    history.sightings.append(seen)
                    on_sighting(seen)
            if until(history):
                return history
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"waited {timeout} s in vain. {history}")
            time.sleep(every)

    # Tasks

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's task instances as the API tells them (``state``, ``try_number``, ``pid``, …)."""
        tasks: list[dict[str, Any]] = self.call("GET", f"{self._run(dag_id, run_id)}/taskInstances")[
            "task_instances"
        ]
        return tasks

    def tries(self, dag_id: str, run_id: str, task_id: str) -> list[dict[str, Any]]:
        """Return every try of a task, the present one last."""
        tries: list[dict[str, Any]] = self.call("GET", f"{self._task(dag_id, run_id, task_id)}/tries")[
            "task_instances"
        ]
        return tries

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return one XCom, or None when the task has pushed nothing under this key."""
        try:
            return self.call(
                "GET", f"{self._task(dag_id, run_id, task_id)}/xcomEntries/{quote(key, safe='')}"
            )["value"]
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                return None
            raise

    def logs(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> list[str]:
        """Return the lines of a task's log as its page shows them, exceptions unfolded."""
        answer = self.call(
            "GET", f"{self._task(dag_id, run_id, task_id)}/logs/{try_number}?full_content=true"
        )
        return [line for message in answer["content"] for line in _log_lines(message)]

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear one task, whatever its state, as the button of that name does; its run goes on."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False}
        self.call("POST", f"dags/{dag_id}/clearTaskInstances", body)

    # A task's state store (Airflow 3.3)

    def stored_state(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        """Return what a task keeps in its state store under this key, or None."""
        path = f"{self._task(dag_id, run_id, task_id)}/state-store/{quote(key, safe='')}"
        try:
            return self.call("GET", path)["value"]
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                return None
            raise

    def store_state(self, dag_id: str, run_id: str, task_id: str, key: str, value: object) -> None:
        """Put something into a task's state store, to stay there."""
        path = f"{self._task(dag_id, run_id, task_id)}/state-store/{quote(key, safe='')}"
        self.call("PUT", path, {"value": value, "expires_at": None})

    def delete_state(self, dag_id: str, run_id: str, task_id: str, key: str) -> None:
        """Delete one key of a task's state store."""
        self.call("DELETE", f"{self._task(dag_id, run_id, task_id)}/state-store/{quote(key, safe='')}")

    # Connections

    def add_connection(
        self, conn_id: str, conn_type: str, *, replace: bool = False, **fields: object
    ) -> None:
        """
        Store a connection in the metadata database, its password encrypted by Airflow.

        By REST and not by the command line, where the password would stand in the process list.
        """
        if replace:
            try:
                self.call("DELETE", f"connections/{conn_id}")
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code != 404:
                    raise
        body = {"connection_id": conn_id, "conn_type": conn_type, **fields}
        for _ in self._until(60, f"the connection {conn_id} could not be stored"):
            try:
                self.call("POST", "connections", body)
            except requests.HTTPError as error:
                # SQLite under load ("database is locked"); the first task of a fresh Airflow is enough.
                if error.response is None or error.response.status_code != 500:
                    raise
            else:
                return

    def _until(self, timeout: float, complaint: str) -> Iterator[None]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._check()
            yield
            time.sleep(0.25)
        raise TimeoutError(f"{complaint} within {timeout} s")

    @staticmethod
    def _run(dag_id: str, run_id: str) -> str:
        return f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"

    def _task(self, dag_id: str, run_id: str, task_id: str) -> str:
        return f"{self._run(dag_id, run_id)}/taskInstances/{task_id}"


def _log_lines(message: str | dict[str, Any]) -> Iterator[str]:
    if isinstance(message, str):
        yield from message.splitlines()
        return
    event = str(message.get("event", ""))
    # The page folds what stands between these marks; they are no lines of the log.
    if not event.startswith(("::group::", "::endgroup::")):
        yield from f"{str(message.get('level', '')).upper()} {event}".strip().splitlines()
    for error in message.get("error_detail") or []:
        for frame in error.get("frames", []):
            yield f"  File {frame['filename']}:{frame['lineno']} in {frame['name']}"
        yield from f"{error['exc_type']}: {error['exc_value']}".splitlines()
