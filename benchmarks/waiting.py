"""
Many waits in one event loop, in a process of its own, held as Airflow's trigger runner holds them.

Each trigger runs through ``TriggerRunner.run_trigger`` of the installed Airflow, beside the runner's own
watchdog and its clean-up every second: what it costs a design to be run by Airflow is counted. Only
:data:`BARE`, the yardstick, has no Airflow about it: one coroutine per generation on one shared ``aiohttp``
session.

A tenth of the generations complete during the measurement, at random moments, and each is followed by one
that does not, so that the load stays the same while the delay of detection is measured.

``LoopProcess`` starts one; the caller reads the counters of the gateway and the processor time from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.designs import DESIGNS, INTERVAL, KEY, connections
from benchmarks.gateway import allow_many_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Self

    from benchmarks.gateway import Gateway

#: The design without Airflow that others are held against.
BARE = "shared_session"
#: Seconds between two looks at the clock that measure how late the loop is.
LAG_EVERY = 0.05
#: Generations complete up to so many seconds before the end of the measurement: two intervals, in which a
#: design that keeps up has seen them.
UNDETECTED_FOR = 10.0
COMPLETING_SHARE = 0.1

_REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Spec:
    """
    What one process is to run.

    :param design: of :data:`benchmarks.designs.DESIGNS`, or :data:`BARE`.
    :param waiting: how many generations.
    :param warm_up: seconds from the first trigger to the measurement.
    :param seconds: of the measurement.
    :param extra: extras of the connection besides those to reach the gateway.
    """

    design: str
    waiting: int
    warm_up: float
    seconds: float
    extra: Mapping[str, Any] = field(default_factory=dict)


class LoopProcess:
    """A process that runs a :class:`Spec` against a gateway, for a ``with`` block."""

    def __init__(self, spec: Spec, gateway: Gateway) -> None:
        self.spec = spec
        self._home = Path(mkdtemp(prefix="loop-"))
        env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        env |= {
            "AIRFLOW_HOME": str(self._home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # For designs that make their own sessions; ours reads the extra "verify".
            "SSL_CERT_FILE": gateway.authority,
            "no_proxy": "127.0.0.1",
        }
        for conn_id, connection in connections(gateway.url, gateway.authority, spec.extra).items():
            env[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)
        self._env = env
        self._url = gateway.url

    def __enter__(self) -> Self:
        # A file, never a pipe: some designs log every look.
        with (self._home / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.waiting",
                    json.dumps(asdict(self.spec)),
                    self._url,
                    str(self._home),
                ],
                cwd=_REPOSITORY,
                env=self._env,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def begins_at(self, timeout: float = 120) -> float:
        """Return the epoch second at which the measurement begins, as soon as that is known."""
        return float(self._read("begins", timeout))

    def lags(self, timeout: float = 60) -> list[float]:
        """Wait for the end, and return by how many seconds the loop was late, again and again."""
        return [float(lag) for lag in self._read("lags", timeout)]

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has taken so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def peak_mib(self) -> float:
        """Return the most memory that was resident at once."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def _read(self, name: str, timeout: float) -> Any:
        file = self._home / name
        deadline = time.monotonic() + timeout
        while not file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = (self._home / "output").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.spec} has not come to write {name!r}:\n{output}")
            time.sleep(0.02)
        return json.loads(file.read_text())


# In the process


async def _wait(spec: Spec, url: str, home: Path) -> None:
    hold = _bare if spec.design == BARE else _trigger_runner()
    begins = time.time() + spec.warm_up
    ends = begins + spec.seconds
    completing = int(spec.waiting * COMPLETING_SHARE)
    last = max(ends - UNDETECTED_FOR, begins)
    ids = [f"g{number}" for number in range(spec.waiting)]
    ids[:completing] = [f"{one}@{random.uniform(begins, last):.6f}" for one in ids[:completing]]
    random.shuffle(ids)
    _tell(home, "begins", begins)
    holding = asyncio.create_task(hold(ids, url, spec))
    lags = []
    while (now := time.time()) < ends:
        if holding.done():
            holding.result()
        began = time.perf_counter()
        await asyncio.sleep(LAG_EVERY)
        if now >= begins:
            lags.append(round(time.perf_counter() - began - LAG_EVERY, 6))
    _tell(home, "lags", lags)
    # Until the caller has read what it wants, it goes on.
    await holding


def _tell(home: Path, name: str, value: object) -> None:
    unfinished = home / f"{name}.unfinished"
    unfinished.write_text(json.dumps(value))
    unfinished.replace(home / name)


def _trigger_runner() -> Callable[[list[str], str, Spec], Coroutine[Any, Any, None]]:
    """Import Airflow, which takes seconds, and return what holds triggers as ``TriggerRunner.arun`` does."""
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    async def held(ids: list[str], url: str, spec: Spec) -> None:
        runner = TriggerRunner()
        watchdog = asyncio.create_task(runner.block_watchdog())

        def hold(number: int, request_id: str) -> None:
            classpath, kwargs = DESIGNS[spec.design].trigger(request_id)
            trigger = resolve_name(classpath)(**kwargs)
            trigger.trigger_id = number
            task = asyncio.create_task(runner.run_trigger(number, trigger))
            runner.triggers[number] = {"task": task, "is_watcher": False, "name": str(number), "events": 0}

        for number, request_id in enumerate(ids, start=1):
            hold(number, request_id)
            await asyncio.sleep(0)
        while not watchdog.done():
            for number in await runner.cleanup_finished_triggers():
                hold(number, f"h{number}")
            runner.events.clear()
            await asyncio.sleep(1)

    return held


async def _bare(ids: list[str], url: str, spec: Spec) -> None:
    """Wait without Airflow: the same POST, the same number of connections, nothing else."""
    import aiohttp

    from airflow_provider_luma.api.gateways.appypie import HEADERS, KEY_HEADER, STATUS_PATH
    from airflow_provider_luma.hooks.connection import DEFAULT_MAX_CONCURRENT_REQUESTS
    from airflow_provider_luma.hooks.sockets import user_agent

    limit = spec.extra.get("max_concurrent_requests", DEFAULT_MAX_CONCURRENT_REQUESTS)
    headers = {**HEADERS, "User-Agent": user_agent("triggerer"), KEY_HEADER: KEY}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=limit), headers=headers) as session:

        async def completed(request_id: str) -> bool:
            body = json.dumps({"task_id": request_id}).encode()
            async with session.post(url + STATUS_PATH, data=body) as response:
                return bool((await response.json()).get("status") == "completed")

        async def one(number: int, request_id: str) -> None:
            await asyncio.sleep(INTERVAL * random.random())
            while True:
                if await completed(request_id):
                    request_id = f"h{number}"
                await asyncio.sleep(INTERVAL)

        await asyncio.gather(*(one(number, request_id) for number, request_id in enumerate(ids)))


if __name__ == "__main__":
    allow_many_sockets()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_wait(Spec(**json.loads(sys.argv[1])), sys.argv[2], Path(sys.argv[3])))
