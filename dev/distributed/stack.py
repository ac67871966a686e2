"""
A distributed Airflow: PostgreSQL, Redis, CeleryExecutor with two workers, two triggerers, and the rest.

:class:`DistributedStack` is an :class:`~dev.airflow_stack.AirflowStack`, and promises what that does.
Besides, what dies unasked is started again, as a service manager would; how often,
:attr:`DistributedStack.revived` tells.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import psutil

from dev.airflow_stack import AirflowStack, StackError, free_port
from dev.postgres import Postgres, comes_up

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from dev.airflow_stack import Component

POSTGRES, REDIS = "postgres", "redis"
WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer-1", "triggerer-2")
#: In the order in which they start. The triggerers are the last, so that the first has its job first.
AIRFLOW = ("api-server", "scheduler", "dag-processor", *WORKERS, *TRIGGERERS)

#: Seconds for which a component may take to stop when it is asked to.
GRACE = 40.0
#: How often a component may die unasked.
MOST_REVIVALS = 20


class DatabaseAway(Exception):
    """PostgreSQL cannot be reached, or has ended the session."""


class DistributedStack(AirflowStack):
    """
    A distributed Airflow in a folder of its own.

    :param home: Airflow's home; also the files of Redis.
    :param dags: the folder of DAG files.
    :param env: further variables for every process.
    :param concurrency: how many tasks each worker runs at once.
    """

    def __init__(
        self, home: Path, *, dags: Path, env: Mapping[str, str] | None = None, concurrency: int = 4
    ) -> None:
        self._postgres = Postgres()
        self._redis_port = free_port()
        super().__init__(
            home,
            dags=dags,
            env={
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._postgres.url,
                "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{self._redis_port}/0",
                "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self._postgres.url}",
                "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(concurrency),
                # What a dead worker had fetched and not begun, nobody else would get for ten minutes.
                "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
                "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
                **(env or {}),
            },
            executor="CeleryExecutor",
            # As many as the workers can run: what is queued beyond that would look stuck.
            parallelism=len(WORKERS) * concurrency,
            components=AIRFLOW,
        )
        #: How often a component has died unasked and was started again.
        self.revived: Counter[str] = Counter()
        #: Whether it is; not while it comes up, when a component that dies is a mistake of ours.
        self.reviving = False
        #: Where in its file each component's output begins.
        self._offsets: dict[str, int] = {}

    # Starting and stopping

    def stop(self) -> None:
        """End every process of this stack; safe to call twice."""
        self.reviving = False
        try:
            super().stop()
        finally:
            self._postgres.remove()

    def start_component(
        self, name: str, *, kind: str | None = None, env: Mapping[str, str] | None = None
    ) -> Component:
        """Start one component, for the first time or again: of :data:`AIRFLOW`, or a server."""
        if name == POSTGRES:
            return self._start_server(name, self._postgres.command, self._postgres.port)
        if name == REDIS:
            return self._start_server(name, self._redis_command, self._redis_port)
        if name in WORKERS:
            pid_file = self.home / f"{name}.pid"
            pid_file.unlink(missing_ok=True)
            own = ["--celery-hostname", f"{name}@%h", "--pid", str(pid_file)]
            return self.spawn(name, [*self._airflow, "celery", "worker", *own, "--skip-serve-logs"], env=env)
        if name not in TRIGGERERS:
            return super().start_component(name, kind=kind, env=env)
        # One after the other, so that it is known whose job is whose; but not for long, since somebody who
        # starts them may be about to start the database, too.
        deadline = time.monotonic() + 20
        with contextlib.suppress(DatabaseAway):
            while any(self._has_no_job(other) for other in TRIGGERERS) and time.monotonic() < deadline:
                time.sleep(0.2)
        return super().start_component(name, kind="triggerer", env=env)

    def _start_server(self, name: str, command: Sequence[str], port: int) -> Component:
        component = self.spawn(name, command)
        if not comes_up(port, component.alive):
            raise StackError(f"{name} did not start:\n{component.last_lines()}")
        return component

    @property
    def _redis_command(self) -> list[str]:
        # Written down at once, as a broker of production does: a restart loses no message.
        kept = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(self.home)]
        # Under its own name, by which it can be found.
        kept += ["--set-proc-title", "no"]
        return ["redis-server", "--port", str(self._redis_port), "--bind", "127.0.0.1", *kept]

    def _migrate(self) -> None:
        self._postgres.initialize()
        self.start_component(POSTGRES)
        self.start_component(REDIS)
        super()._migrate()

    def wait_until_healthy(self, *, timeout: float = 180) -> None:
        """Wait until Airflow calls everything healthy, every worker takes tasks and every triggerer lives."""
        super().wait_until_healthy(timeout=timeout)
        deadline = time.monotonic() + timeout
        while missing := [*filter(self._is_not_ready, self.components)]:
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"not ready within {timeout} s: {missing}\n{self.last_lines()}")
            time.sleep(0.2)

    def _awaited(self) -> dict[str, datetime]:
        # Airflow's monitor tells of one triggerer; all of them are looked for in the database.
        return {name: since for name, since in super()._awaited().items() if name != "triggerer"}

    def _is_not_ready(self, name: str) -> bool:
        component = self.components[name]
        if name in WORKERS:
            # Celery's own word. Earlier processes of this name have written into the same file.
            return b" ready." not in component.output.read_bytes()[self._offsets[name] :]
        if name in TRIGGERERS:
            query = (
                "SELECT count(*) FROM job WHERE job_type = 'TriggererJob' AND latest_heartbeat > %(since)s"
            )
            oldest = min(self.components[one].started for one in TRIGGERERS if one in self.components)
            return bool(
                self.select(query, since=oldest)[0][0] < sum(one in self.components for one in TRIGGERERS)
            )
        return False

    def spawn(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Component:
        """Start any process as a part of the stack: watched with it, stopped with it."""
        output = self.home / f"{name}.out"
        self._offsets[name] = output.stat().st_size if output.exists() else 0
        return super().spawn(name, argv, env=env)

    def triggerer_job(self, name: str) -> int | None:
        """Return the id of a triggerer's job; None while it has none."""
        query = "SELECT min(id) FROM job WHERE job_type = 'TriggererJob' AND start_date > %(since)s"
        found: int | None = self.select(query, since=self.components[name].started)[0][0]
        return found

    def _has_no_job(self, name: str) -> bool:
        component = self.components.get(name)
        return component is not None and component.alive() and self.triggerer_job(name) is None

    # What happens to components

    def check(self) -> None:
        """Start again what has died unasked; fail when it goes on dying, or the script was interrupted."""
        if not self.reviving:
            super().check()
            return
        for name in AIRFLOW:
            component = self.components.get(name)
            if component is None or component.alive():
                continue
            if self.revived[name] >= MOST_REVIVALS:
                break
            self.revived[name] += 1
            component.kill_group()
            self.start_component(name)
        super().check()

    def kill_whole(self, name: str) -> None:
        """Kill a component and all that it has started, as the loss of its machine would."""
        processes = self.tree(name)
        component = self.components.pop(name)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        component.kill_group()
        component.process.wait()

    def ask_to_stop(self, name: str, signum: int = signal.SIGTERM) -> None:
        """Stop a component in order, as a deployment does; kill it when it takes too long."""
        component = self.components[name]
        component.process.send_signal(signum)
        deadline = time.monotonic() + GRACE
        while component.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        if component.alive():
            self.kill_whole(name)
        else:
            del self.components[name]
            component.kill_group()

    def pause(self, name: str) -> list[psutil.Process]:
        """Stop the clock of a component and all that it has started; return what is to be resumed."""
        processes = self.tree(name)
        for process in processes:
            process.suspend()
        return processes

    # The database

    def select(self, query: str, **parameters: Any) -> list[Any]:
        """
        Return the rows of a query.

        :raises DatabaseAway: the server cannot be reached just now.
        """
        # Here, so that what has been seen can be looked at where there is no driver.
        import psycopg2

        database = None
        try:
            database = psycopg2.connect(self._postgres.url.replace("+psycopg2", ""))
            with database.cursor() as cursor:
                cursor.execute(query, parameters)
                return list(cursor.fetchall())
        except psycopg2.OperationalError as error:
            raise DatabaseAway(str(error)) from error
        finally:
            if database is not None:
                database.close()
