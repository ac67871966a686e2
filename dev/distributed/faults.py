"""
What goes wrong: one table, :data:`FAULTS`.

A fault is a context: to enter it is the blow, to leave it the repair. What Airflow's own service managers
would do, :class:`~dev.distributed.stack.DistributedStack` does at any time.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import psutil

from airflow_provider_luma.emulator.models import GENERATE, GET_STATUS, VIDEO
from dev.distributed.site import CONNECTION
from dev.distributed.stack import AIRFLOW, POSTGRES, REDIS, TRIGGERERS, WORKERS
from dev.places import REPOSITORY
from dev.postgres import STOP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dev.distributed.site import Site

#: What a flight asks of the gateway.
TARGETS = (GENERATE, GET_STATUS, VIDEO)

#: The commit whose package stands for the version before: its triggers have fewer arguments.
PREVIOUS_VERSION = "99bf52c688ea1edba9f13933f86e75e44b5fab4d"

#: An argument of the triggers that it does not know.
NEW_ARGUMENT = "last_status"


class Moment(StrEnum):
    """When a fault comes."""

    SUBMITTING = "while they are submitted"
    WAITING = "while they are waited for"
    KEEPING = "while the videos are kept"


@dataclass(frozen=True)
class Fault:
    """
    One thing that goes wrong.

    :ivar name: on the command line.
    :ivar what: what happens, for the report.
    :ivar moment: when it comes in an experiment of its own.
    :ivar begun: the blow and the repair.
    :ivar seconds: how long it lasts.
    :ivar prepared: what must be so before anything is submitted.
    :ivar possible: whether it can be had here.
    :ivar at_random: whether it may come at any time, beside other flights.
    :ivar cleared: whether a person clears what has failed afterwards, as its error says.
    """

    name: str
    what: str
    moment: Moment
    begun: Callable[[Site], AbstractContextManager[None]]
    seconds: float = 0.0
    prepared: Callable[[Site], None] = lambda site: None
    possible: Callable[[Site], bool] = lambda site: True
    at_random: bool = True
    cleared: bool = False


# --- processes ----------------------------------------------------------------------------------------------


def _killed(*names: str) -> Callable[[Site], AbstractContextManager[None]]:
    """Return the loss of machines, which come back at the end."""

    @contextlib.contextmanager
    def lost(site: Site) -> Iterator[None]:
        for name in names:
            site.stack.kill_whole(name)
        try:
            yield
        finally:
            for name in names:
                site.stack.start_component(name)

    return lost


def _triggerer_killed(busiest: bool) -> Callable[[Site], AbstractContextManager[None]]:
    """Return the loss of the triggerer that holds most, or of the other."""

    @contextlib.contextmanager
    def lost(site: Site) -> Iterator[None]:
        name = sorted(TRIGGERERS, key=site.held, reverse=busiest)[0]
        site.say(f"{name} is killed; it holds {site.held(name)} triggers")
        with _killed(name)(site):
            yield

    return lost


@contextlib.contextmanager
def _paused(site: Site) -> Iterator[None]:
    """Have the triggerer that holds most sleep until the other has taken over all of it, and wake it."""
    name = max(TRIGGERERS, key=site.held)
    job = site.stack.triggerer_job(name)
    site.say(f"{name} is paused; it holds {site.held(name)} triggers")
    sleeping = site.stack.pause(name)
    try:
        site.wait_until(lambda: job not in site.triggerer_jobs(), "the other has taken over", timeout=90)
        yield
    finally:
        for process in sleeping:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def _restarted(name: str) -> Callable[[Site], AbstractContextManager[None]]:
    """Return a restart of a server in order."""

    @contextlib.contextmanager
    def down(site: Site) -> Iterator[None]:
        site.stack.ask_to_stop(name, STOP)
        try:
            yield
        finally:
            site.stack.start_component(name)

    return down


def roll(site: Site) -> None:
    """Restart every component of Airflow, one after the other."""
    for name in AIRFLOW:
        site.stack.ask_to_stop(name)
        site.stack.start_component(name)
        site.stack.wait_until_healthy()


@contextlib.contextmanager
def _rolled(site: Site) -> Iterator[None]:
    roll(site)
    yield


def _go_back(site: Site) -> None:
    """Have all of Airflow run with the package of an earlier version."""
    earlier = site.home / "earlier"
    earlier.mkdir(exist_ok=True)
    archive = subprocess.run(
        ["git", "archive", PREVIOUS_VERSION, "airflow_provider_luma"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(earlier)], input=archive, check=True)
    site.stack.env["PYTHONPATH"] = str(earlier)
    roll(site)


@contextlib.contextmanager
def _upgraded(site: Site) -> Iterator[None]:
    arguments = [str(row) for (row,) in site.stack.select("SELECT kwargs FROM trigger")]
    assert arguments, "nothing waits"
    assert not any(NEW_ARGUMENT in one for one in arguments), "the earlier version did not run"
    del site.stack.env["PYTHONPATH"]
    roll(site)
    yield


# --- the gateway --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _gateway_down(site: Site) -> Iterator[None]:
    site.gateway.stop()
    try:
        yield
    finally:
        site.gateway.start()


def _misbehaving(*names: str) -> Callable[[Site], AbstractContextManager[None]]:
    """Return a gateway that answers everything by these faults in turn."""

    @contextlib.contextmanager
    def bad(site: Site) -> Iterator[None]:
        for target in TARGETS:
            # Each by dice of its own; the last takes what the others leave.
            for number, name in enumerate(names):
                rate = 1.0 / (len(names) - number)
                site.gateway.misbehave(target, name, times=None, rate=rate, seed=number)
        try:
            yield
        finally:
            site.gateway.behave()

    return bad


_GARBAGE = ("not-json", "truncated-json", "empty", "not-object", "odd-headers")


@contextlib.contextmanager
def _key_rotated(site: Site) -> Iterator[None]:
    """Have the old key refused; the new one comes into the connection at the end."""
    site.gateway.key = secrets.token_hex(16)
    try:
        yield
    finally:
        body = {"connection_id": CONNECTION, "conn_type": "luma", "password": site.gateway.key}
        path = f"connections/{CONNECTION}?update_mask=password"
        site.wait_until(lambda: site.api.call("PATCH", path, body), "the connection has the new key")


# --- the destination ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _disk_full(site: Site) -> Iterator[None]:
    # Never the disk that others write to, too.
    assert site.own_disk
    filler = site.videos / "filler"
    try:
        _fill(filler)
        yield
    finally:
        filler.unlink()


def _fill(file: Path) -> None:
    """Write until there is no room for a byte more."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as sink:
        while True:
            sink.write(bytes(4096))
    assert shutil.disk_usage(file.parent).free == 0


# --- the table ----------------------------------------------------------------------------------------------

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "worker-killed",
            "kill -9 of a worker and all its tasks",
            Moment.SUBMITTING,
            _killed(WORKERS[0]),
            5,
        ),
        Fault(
            "triggerer-killed",
            "kill -9 of the triggerer that holds more",
            Moment.WAITING,
            _triggerer_killed(busiest=True),
            5,
        ),
        Fault(
            "other-triggerer-killed",
            "kill -9 of the triggerer that holds less",
            Moment.WAITING,
            _triggerer_killed(busiest=False),
            5,
        ),
        Fault(
            "triggerers-killed",
            "kill -9 of both triggerers",
            Moment.WAITING,
            _killed(*TRIGGERERS),
            10,
        ),
        Fault(
            "triggerer-paused",
            "a triggerer is paused, and woken after the other has taken over",
            Moment.WAITING,
            _paused,
            5,
        ),
        Fault("scheduler-killed", "kill -9 of the scheduler", Moment.SUBMITTING, _killed("scheduler"), 5),
        Fault(
            "api-server-killed",
            "kill -9 of the api-server, away for longer than the tasks' heartbeat time-out",
            Moment.SUBMITTING,
            _killed("api-server"),
            35,
        ),
        Fault("postgres-restarted", "PostgreSQL is restarted", Moment.SUBMITTING, _restarted(POSTGRES), 3),
        Fault("redis-restarted", "Redis is restarted", Moment.SUBMITTING, _restarted(REDIS), 3),
        Fault(
            "rolling-restart",
            "every component is restarted, one after the other",
            Moment.SUBMITTING,
            _rolled,
            at_random=False,
        ),
        Fault(
            "upgrade",
            "this provider is upgraded while an earlier version's triggers wait",
            Moment.WAITING,
            _upgraded,
            prepared=_go_back,
            at_random=False,
        ),
        Fault("gateway-down", "nobody listens at the gateway's address", Moment.WAITING, _gateway_down, 30),
        Fault(
            "gateway-hanging",
            "the gateway takes requests and answers none",
            Moment.WAITING,
            _misbehaving("hang"),
            30,
        ),
        Fault(
            "rate-limited",
            "the gateway refuses everything for coming too often",
            Moment.WAITING,
            _misbehaving("429-seconds"),
            30,
        ),
        Fault(
            "garbage",
            "the gateway answers with what is no answer",
            Moment.WAITING,
            _misbehaving(*_GARBAGE),
            30,
        ),
        Fault(
            "gateway-down-at-submit",
            "nobody listens at the gateway's address",
            Moment.SUBMITTING,
            _gateway_down,
            20,
            at_random=False,
        ),
        Fault(
            "rate-limited-at-submit",
            "the gateway refuses everything for coming too often",
            Moment.SUBMITTING,
            _misbehaving("429-seconds"),
            20,
            at_random=False,
        ),
        Fault(
            "garbage-at-submit",
            "the gateway answers with what is no answer",
            Moment.SUBMITTING,
            _misbehaving(*_GARBAGE),
            5,
            at_random=False,
        ),
        Fault(
            "key-rotated",
            "the key is rotated: the old one is refused, the connection has the new one later",
            Moment.WAITING,
            _key_rotated,
            5,
        ),
        Fault(
            "disk-full",
            "the disk at the destination is full",
            Moment.KEEPING,
            _disk_full,
            30,
            possible=lambda site: site.own_disk,
            cleared=True,
        ),
    )
}


def shuffled(site: Site, seed: int) -> Iterator[Fault]:
    """Return faults that may come at any time, in random order, for ever; none comes twice in a row."""
    dice = random.Random(seed)
    choices = [fault for fault in FAULTS.values() if fault.at_random and fault.possible(site)]
    last = None
    while True:
        fault = dice.choice([fault for fault in choices if fault is not last])
        last = fault
        yield fault


def hold_for(site: Site, seconds: float) -> None:
    """Let a fault last, while what dies is started again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        site.stack.check()
        time.sleep(0.2)
