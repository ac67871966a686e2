"""
A real Airflow to order: api-server, scheduler, triggerer and dag-processor as processes of their own.

What it guarantees:

- The Airflow has a home of its own, a real Fernet key, free ports on loopback, and no setting of the
  caller's: no inherited ``AIRFLOW*`` or ``LUMA_*`` variable.
- When :meth:`AirflowStack.start` returns, every component is healthy and the execution API is warm. When a
  component dies, every wait fails at once with the last lines that it wrote.
- When :meth:`AirflowStack.stop` returns, no process of the stack is left, whoever its parent is by then. It
  also runs when the script is interrupted (SIGINT, SIGTERM, SIGHUP). Should the script be killed outright,
  the kernel sends the components a SIGTERM; the scheduler then still waits for the tasks it runs. Only
  processes that carry this stack's own mark are ever signalled.

``with AirflowStack(home, dags=folder) as stack: stack.api.trigger("some_dag")``. For crash tests,
:meth:`~AirflowStack.kill` and :meth:`~AirflowStack.start_component` take one down and bring it back.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib.metadata
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import psutil
import requests
from cryptography.fernet import Fernet

from dev.airflow_rest import AirflowRest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

#: The variable that every process of a stack carries; its value tells one stack from another.
MARK = "LUMA_DEV_STACK"

COMPONENTS: Mapping[str, Sequence[str]] = {
    # The api-server is the slowest to come up, and the others need it only for their first task.
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}

_MONITORED = ("scheduler", "triggerer", "dag_processor")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StackError(RuntimeError):
    """The stack cannot go on; the message carries what the process at fault wrote last."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, and SIGTERM or SIGHUP, which unwind like it, so that every ``with`` is left by its exit."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


@dataclass
class Component:
    """One process that the stack started, the leader of a session of its own."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    started: datetime

    @property
    def pid(self) -> int:
        """Return the process id of the leader."""
        return self.process.pid

    def alive(self) -> bool:
        """Tell whether the leader still runs."""
        return self.process.poll() is None

    def kill_group(self) -> None:
        """Kill what is left in the component's session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self, count: int = 30) -> str:
        """Return the end of what this component wrote."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-count:])


class AirflowStack:
    """
    A real Airflow in a folder of its own.

    :param home: Airflow's home: database, logs, and each component's output as ``<component>.out``.
        Should be empty or not exist; what is in it is taken over.
    :param dags: the folder of DAG files. Have all of them there before the start: a later one may wait for
    minutes.
    :param env: further variables for every process; they win over the settings made here.
    :param executor: Airflow's executor.
    :param parallelism: how many tasks run at once, which is also the number of LocalExecutor's processes.
    :param migrated_copies: a folder where a migrated, empty SQLite database is kept per Airflow version,
    which saves the next stack the migration. None migrates each time.
    :param components: what to start, of :data:`COMPONENTS`.
    :param grace: seconds between SIGTERM and SIGKILL when stopping.
    :param port: of the UI and the API; 0 takes a free one.
    :param password: of the user ``admin``; None asks nobody for a login.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        env: Mapping[str, str] | None = None,
        executor: str = "LocalExecutor",
        parallelism: int = 2,
        migrated_copies: Path | None = None,
        components: Sequence[str] = tuple(COMPONENTS),
        grace: float = 15,
        port: int = 0,
        password: str | None = None,
    ) -> None:
        self.home = home.resolve()
        self.mark = secrets.token_hex(8)
        self.fernet_key = Fernet.generate_key().decode()
        self.database = self.home / "airflow.db"
        self.url = f"http://127.0.0.1:{port or free_port()}"
        self.api = AirflowRest(self.url, check=self.check, password=password)
        self.components: dict[str, Component] = {}
        self.env = self._environment(dags.resolve(), executor, parallelism) | dict(env or {})
        self._password = password
        if password is not None:
            self.env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] = "False"
            self.env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = "admin:admin"
            self.env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = str(self.home / "passwords.json")
        self._migrated_copies = migrated_copies
        self._names = tuple(components)
        self._grace = grace
        self._signals = _SignalsAsExceptions()
        self._started = False

    # Starting and stopping

    def __enter__(self) -> AirflowStack:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, timeout: float = 180) -> None:
        """Bring everything up and wait until it is healthy; on any failure nothing is left running."""
        self._started = True
        self._signals.install()
        atexit.register(self.stop)
        try:
            (self.home / "tmp").mkdir(parents=True, exist_ok=True)
            if self._password is not None:
                passwords = self.home / "passwords.json"
                passwords.touch(mode=0o600)
                passwords.write_text(json.dumps({"admin": self._password}))
            self._migrate()
            for name in self._names:
                self.start_component(name)
            self.wait_until_healthy(timeout=timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """
        End every process of this stack; safe to call twice.

        :raises StackError: when a process could not be ended.
        """
        if not self._started:
            return
        # An impatient second Ctrl-C shortens the wait, but must not leave anything behind.
        with self._signals.postponed() as another:
            self._started = False
            atexit.unregister(self.stop)
            for component in self.components.values():
                if component.alive():
                    component.process.terminate()
            deadline = time.monotonic() + self._grace
            while (
                any(c.alive() for c in self.components.values())
                and time.monotonic() < deadline
                and not another
            ):
                time.sleep(0.05)
            for component in self.components.values():
                component.kill_group()
                component.process.wait()
            left = self._sweep()
        self._signals.restore()
        if left:
            raise StackError("these processes of the stack could not be ended: " + ", ".join(map(str, left)))

    def _sweep(self, timeout: float = 10) -> list[psutil.Process]:
        """End what has left its session or lost its parent; return what withstands."""
        deadline = time.monotonic() + timeout
        # Looked for again and again: a process may have been forking at the moment of the last look.
        while (left := self.processes()) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
        return left

    def wait_until_healthy(self, *, timeout: float = 180) -> None:
        """Wait until Airflow's own monitor calls everything healthy, and take a token."""
        deadline = time.monotonic() + timeout
        status: object = "not asked yet"
        warm = False
        while time.monotonic() < deadline:
            self.check()
            try:
                if not warm:
                    self.api.warm_up()
                    self.api.login()
                    warm = True
                status = heartbeats = self.api.heartbeats()
                if all(
                    name in heartbeats and heartbeats[name] > since for name, since in self._awaited().items()
                ):
                    return
            except requests.RequestException as error:
                status = error
            time.sleep(0.2)
        raise StackError(f"not healthy within {timeout} s: {status}\n{self.last_lines()}")

    def _awaited(self) -> dict[str, datetime]:
        # A component which was killed and started again is still healthy by the heartbeat of the one before
        # it.
        running = {name.replace("-", "_"): component.started for name, component in self.components.items()}
        return {name: running[name] for name in _MONITORED if name in running}

    # Single processes

    def start_component(
        self, name: str, *, kind: str | None = None, env: Mapping[str, str] | None = None
    ) -> Component:
        """
        Start one of Airflow's components, for the first time or again.

        :param name: what to call it; it must not be running.
        :param kind: one of :data:`COMPONENTS` when the name is not, as for a second triggerer.
        """
        return self.spawn(name, [*self._airflow, *COMPONENTS[kind or name]], env=env)

    def spawn(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Component:
        """Start any process as a part of the stack: watched with it, stopped with it."""
        if name in self.components and self.components[name].alive():
            raise StackError(f"{name} is running already, as process {self.components[name].pid}")
        output = self.home / f"{name}.out"
        started = datetime.now(tz=UTC)
        # Files, never pipes: a scheduler whose pipe breaks hangs.
        with output.open("ab") as sink:
            process = subprocess.Popen(
                list(argv),
                env=self.env | dict(env or {}),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if _may_end_with_parent() else None,
            )
        self.components[name] = Component(name, process, output, started)
        self._signals.insist()
        return self.components[name]

    def kill(self, name: str, signum: int = signal.SIGKILL) -> list[psutil.Process]:
        """
        Kill the leader of one component, and nothing else, as a crash would.

        :return: its descendants of that moment; those still alive are orphans now, which :meth:`stop` will
        end.
        """
        component = self.components.pop(name)
        descendants: list[psutil.Process] = psutil.Process(component.pid).children(recursive=True)
        component.process.send_signal(signum)
        component.process.wait()
        return descendants

    def check(self) -> None:
        """Fail when a process has died that was not told to, or when the script was interrupted."""
        self._signals.insist()
        for component in self.components.values():
            if not component.alive():
                raise StackError(
                    f"{component.name} has ended with code {component.process.returncode}. "
                    f"Its last lines ({component.output}):\n{component.last_lines()}"
                )

    def last_lines(self, count: int = 15) -> str:
        """Return the end of what each process wrote."""
        return "\n".join(f"--- {one.name}\n{one.last_lines(count)}" for one in self.components.values())

    # Looking at processes

    def processes(self) -> list[psutil.Process]:
        """Return every living process of this stack, orphans included."""
        return marked_processes(self.mark)

    def tree(self, name: str) -> list[psutil.Process]:
        """Return a component's leader and all its descendants."""
        leader = psutil.Process(self.components[name].pid)
        descendants: list[psutil.Process] = leader.children(recursive=True)
        return [leader, *descendants]

    def task_process(self, task_instance: Mapping[str, Any]) -> psutil.Process:
        """
        Return the process in which a running task executes, its supervisor being the parent.

        :param task_instance: as :meth:`AirflowRest.task_instances` gives it, looked up while the task runs.
        """
        return psutil.Process(int(task_instance["pid"]))

    # Setting up

    @property
    def _airflow(self) -> list[str]:
        # -P: the working directory must not be importable.
        return [sys.executable, "-P", "-m", "airflow"]

    def run_airflow(self, *arguments: str, timeout: float = 180) -> str:
        """
        Run one command of Airflow's command line in this stack's settings.

        :return: what it printed.
        :raises StackError: when it fails, with what it printed last.
        """
        name = "cli"
        (self.home / f"{name}.out").unlink(missing_ok=True)
        command = self.spawn(name, [*self._airflow, *arguments])
        try:
            code = command.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill(name)
            raise StackError(
                f"airflow {arguments[0]} took over {timeout} s:\n{command.last_lines()}"
            ) from None
        del self.components[name]
        if code:
            raise StackError(f"airflow {' '.join(arguments)} ended with code {code}:\n{command.last_lines()}")
        return command.output.read_text(errors="replace")

    def _migrate(self) -> None:
        copy = None
        if self._migrated_copies and self.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].endswith(
            str(self.database)
        ):
            version = importlib.metadata.version("apache-airflow-core")
            copy = self._migrated_copies / f"migrated-airflow-{version}.sqlite"
            if copy.exists():
                shutil.copyfile(copy, self.database)
                return
        self.run_airflow("db", "migrate")
        if copy:
            copy.parent.mkdir(parents=True, exist_ok=True)
            unfinished = copy.with_suffix(f".{self.mark}")
            # SQLite's own backup also takes along what is still in the write-ahead log.
            with (
                contextlib.closing(sqlite3.connect(self.database)) as source,
                contextlib.closing(sqlite3.connect(unfinished)) as target,
            ):
                source.backup(target)
            unfinished.replace(copy)

    def _environment(self, dags: Path, executor: str, parallelism: int) -> dict[str, str]:
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "LUMA_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        no_proxy = ",".join(
            filter(None, [env.get("no_proxy") or env.get("NO_PROXY"), "127.0.0.1", "localhost"])
        )
        return env | {
            MARK: self.mark,
            # Airflow renames its processes; by default that overwrites the memory where the mark is read
            # from.
            "SPT_NOENV": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            "no_proxy": no_proxy,
            "NO_PROXY": no_proxy,
            "TMPDIR": str(self.home / "tmp"),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}",
            # They would be encrypted with this stack's key, and then kept in the migrated copy.
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": executor,
            "AIRFLOW__CORE__PARALLELISM": str(parallelism),
            "AIRFLOW__CORE__FERNET_KEY": self.fernet_key,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": self.url.rpartition(":")[2],
            # Without it, tasks call port 8080.
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(64),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            # Airflow may fail a task that was deferred only briefly (apache/airflow #71580); this avoids it.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }


def marked_processes(mark: str | None = None) -> list[psutil.Process]:
    """Return the living processes of one stack or, without its mark, of any."""
    found = []
    for process in psutil.process_iter():
        # Other users' processes cannot be read, and some end while being looked at.
        with contextlib.suppress(psutil.Error, OSError):
            value = process.environ().get(MARK)
            if value is not None and mark in (None, value) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class _SignalsAsExceptions:
    """Has SIGINT, SIGTERM and SIGHUP unwind the main thread, unless they are handled already."""

    #: What has arrived and is not dealt with. Signals are the process's: all of its stacks share this.
    _arrived: ClassVar[int | None] = None

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):
                self._before[signum] = signal.signal(signum, self._raise)

    def restore(self) -> None:
        _SignalsAsExceptions._arrived = None
        while self._before:
            signal.signal(*self._before.popitem())

    def insist(self) -> None:
        """Raise once more what has arrived: Python drops what is raised during a fork, or in a finalizer."""
        if self._arrived is not None:
            raise Interrupted(self._arrived)

    @staticmethod
    def _raise(signum: int, frame: FrameType | None) -> NoReturn:
        _SignalsAsExceptions._arrived = signum
        raise Interrupted(signum)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[list[int]]:
        """Give a list which fills with the signals that arrive meanwhile."""
        arrived: list[int] = []
        if threading.current_thread() is not threading.main_thread():
            yield arrived
            return

        def note(signum: int, frame: FrameType | None) -> None:
            arrived.append(signum)

        before = {
            signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            yield arrived
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


def _may_end_with_parent() -> bool:
    # The kernel ties the child to the *thread* that started it, not to the process.
    return _libc is not None and threading.current_thread() is threading.main_thread()


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # type: ignore[union-attr]


def free_port(wanted: int = 0) -> int:
    """Return a port of loopback that nobody has: the wanted one, or another if somebody has that."""
    with socket.socket() as probe:
        # As servers do: a port on which a connection has just been closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
