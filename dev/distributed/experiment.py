"""
The experiments: one fault in a flight of a hundred, faults at random, many at once, and a long time.

Each returns a :class:`Result`, which says what was seen in figures and in whatever is against a promise.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator.faults import FAULTS as ANSWERS
from airflow_provider_luma.emulator.models import GENERATE
from dev.distributed.faults import TARGETS, Fault, Moment, hold_for, shuffled
from dev.distributed.flights import Ending, Fleet, Judgement
from dev.distributed.health import UNHEALTHY, Health, drift

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev.distributed.flights import Flight
    from dev.distributed.site import Site

#: Seconds that the gateway takes to answer a submit, so that a fault meets some under way.
SUBMIT_SECONDS = 2.5

#: Of a soak: the share of answers that are bad.
SHARE = 0.05
#: In which ways. Not by answering about somebody else's generation: an answer of ``getStatus`` does not say
#: whose it is, so nobody could tell.
BAD_ANSWERS = {name: fault for name, fault in ANSWERS.items() if name not in ("latency", "wrong-id")}
#: Where the fault's own options would take an hour, or all of the machine.
BAD_OPTIONS: dict[str, dict[str, Any]] = {
    "quota-403": {"seconds": 5},
    "huge": {"size": 4_000_000},
    "bomb": {"size": 20_000_000},
    "drip": {"every": 0.02},
}
#: By which factor memory, and by how many descriptors, a process may have grown when the soak ends.
MOST_GROWTH, MOST_DESCRIPTORS = 1.1, 10.0


@dataclass
class Result:
    """What one experiment has shown."""

    name: str
    what: str
    when: str
    judgement: Judgement
    #: Generations that were created and had no end when the fault came, and tasks that were submitting.
    in_flight: int = 0
    #: Seconds that the fault lasted.
    seconds_of_fault: float = 0.0
    #: From the repair until all was submitted, and until every generation was looked at again; None where
    #: that says nothing.
    seconds_to_submit: float | None = None
    seconds_to_look: float | None = None
    #: From the completion of all videos until every run had ended.
    seconds_to_end: float = 0.0
    #: How often the service manager had to start something again, by its name.
    revived: dict[str, int] = field(default_factory=dict)
    #: Tasks that had failed before a person cleared them.
    cleared: int = 0
    #: What else was measured.
    more: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return {**asdict(self), "judgement": self.judgement.as_json()}


def one_fault(site: Site, fault: Fault, fleet: Fleet | None = None) -> Result:
    """Have one thing go wrong while a flight is under way."""
    fleet = fleet or Fleet()
    # Some seconds for each start of a task, of which each generation needs a few.
    patience = 240.0 + 8 * fleet.size
    revived = site.stack.revived.copy()
    site.gateway.behave()
    site.hold()
    fault.prepared(site)
    flight = site.launch(fleet)
    waiting = fleet.whole + fleet.batches + fleet.chains
    if fault.moment is Moment.SUBMITTING:
        site.gateway.misbehave(GENERATE, "latency", times=None, seconds=SUBMIT_SECONDS)
        site.wait_until(
            lambda: site.posted(flight) >= 0.3 * fleet.size and site.gateway.in_flight.get(GENERATE, 0) >= 3,
            "a third is submitted, and more is under way",
            timeout=patience,
            progress=lambda: f"{site.posted(flight)} of {fleet.size}",
        )
    else:
        site.wait_until(
            lambda: site.deferred(flight) == waiting,
            "all are waited for",
            timeout=patience,
            progress=lambda: (
                f"{site.deferred(flight)} of {waiting} tasks wait, {site.submitted(flight)} submitted"
            ),
        )
    in_flight = site.submitted(flight)
    if fault.moment is Moment.KEEPING:
        site.release()
    site.say(f"{fault.name}: {fault.what}, {in_flight} in flight")
    began = time.monotonic()
    with fault.begun(site):
        hold_for(site, fault.seconds)
    mended = time.monotonic()
    to_look = site.wait_for_a_look_at_each(flight) if fault.moment is Moment.WAITING else None
    to_submit = None
    if fault.moment is Moment.SUBMITTING:
        # All that can be submitted is; then they complete.
        _wait_until_settled(site, flight, patience)
        to_submit = time.monotonic() - mended
    released = time.monotonic()
    site.release()
    _wait_for_the_end(site, flight, patience)
    to_end = time.monotonic() - (mended if fault.moment is Moment.KEEPING else released)
    cleared = site.failed_tasks(flight) if fault.cleared else []
    if cleared:
        site.say(f"{len(cleared)} tasks have failed, and are cleared")
        site.clear(flight)
        site.wait_until(lambda: not site.ended(flight), "the run goes on", timeout=60)
        _wait_for_the_end(site, flight, patience)
    site.gateway.behave()
    verdict = site.judge(flight)
    if fault.moment is not Moment.SUBMITTING:
        # Whatever befalls a wait or a download costs nobody a video.
        _demand_all_delivered(verdict)
    return Result(
        fault.name,
        fault.what,
        fault.moment,
        verdict,
        in_flight=in_flight,
        seconds_of_fault=mended - began,
        seconds_to_submit=to_submit,
        seconds_to_look=to_look,
        seconds_to_end=to_end,
        revived=dict(site.stack.revived - revived),
        cleared=len(cleared),
    )


def _demand_all_delivered(verdict: Judgement) -> None:
    missing = verdict.requests - verdict.endings[Ending.DELIVERED]
    if missing:
        verdict.violations.append(f"{missing} of {verdict.requests} videos were not delivered")


def _demand_calm(verdict: Judgement, health: Health, revived: Mapping[str, int]) -> None:
    """Nothing is broken here, so nothing may die or fall silent."""
    verdict.violations += [f"{name} has died {count} times" for name, count in revived.items()]
    for kind, silence in health.silence.items():
        if silence > UNHEALTHY:
            verdict.violations.append(f"{kind} gave no sign of life for {silence:.0f} s")


def _wait_until_settled(site: Site, flight: Flight, patience: float) -> None:
    """Wait until every task that submits has ended or waits."""

    def unsettled() -> int:
        submitting = ("whole", "batch", "chain.generate")
        states = [state for task, _, state, _ in site.tasks(flight) if task in submitting]
        return sum(state not in ("deferred", "success", "failed") for state in states)

    site.wait_until(
        lambda: not unsettled(),
        "all is submitted",
        timeout=patience,
        progress=lambda: f"{unsettled()} are not",
    )


def _wait_for_the_end(site: Site, flight: Flight, patience: float, health: Health | None = None) -> None:
    def left() -> int:
        return sum(state not in ("success", "failed") for _, _, state, _ in site.tasks(flight))

    def ended() -> bool:
        if health is not None:
            health.look()
        return site.ended(flight)

    site.wait_until(
        ended,
        "the run has ended",
        timeout=patience,
        progress=lambda: f"{left()} tasks have not",
    )


def at_random(site: Site, seconds: float, fleet: Fleet, *, most: int = 100, seed: int = 1) -> Result:
    """
    Have one thing after the other go wrong, while flights come as the others go.

    :param seconds: how long.
    :param most: generations under way at once, about.
    """
    revived = site.stack.revived.copy()
    site.gateway.behave()
    site.gateway.next(outcome="completed", seconds=20, times=None)
    flights: list[Flight] = []
    struck: list[str] = []
    in_flight: list[int] = []
    began = time.monotonic()
    faults = shuffled(site, seed)

    def fly() -> None:
        """Keep so many under way, and let a quarter of a minute pass."""
        until = time.monotonic() + 15
        while time.monotonic() < until:
            site.stack.check()
            under_way = [flight for flight in flights if not site.ended(flight)]
            if (len(under_way) + 1) * fleet.size <= most:
                flights.append(site.launch(fleet))
            else:
                time.sleep(1)

    while time.monotonic() < began + seconds:
        fly()
        fault = next(faults)
        in_flight.append(sum(fleet.size for flight in flights if not site.ended(flight)))
        site.say(f"{fault.name}: {fault.what}, in runs of {in_flight[-1]} generations")
        with fault.begun(site):
            hold_for(site, fault.seconds)
        struck.append(fault.name)
    mended = time.monotonic()
    patience = 240.0 + 8 * fleet.size * len(flights)
    for flight in flights:
        _wait_for_the_end(site, flight, patience)
    to_end = time.monotonic() - mended
    again = [flight for flight in flights if site.failed_tasks(flight)]
    cleared = sum(len(site.failed_tasks(flight)) for flight in again)
    for flight in again:
        site.clear(flight)
    if again:
        site.say(f"{cleared} tasks have failed, and are cleared")
        time.sleep(5)
    for flight in again:
        _wait_for_the_end(site, flight, patience)
    return Result(
        "at-random",
        f"one of {len({*struck})} things after the other goes wrong",
        f"for {seconds / 60:.0f} minutes",
        site.judge(*flights),
        in_flight=round(sum(in_flight) / len(in_flight)),
        seconds_of_fault=mended - began,
        seconds_to_end=to_end,
        revived=dict(site.stack.revived - revived),
        cleared=cleared,
        more={"struck": struck, "flights": len(flights), "seed": seed},
    )


def load(site: Site, batch: int = 2000, mapped: int = 300) -> Result:
    """Make many at once: in one batch, and by mapped tasks."""
    revived = site.stack.revived.copy()
    site.gateway.behave()
    site.gateway.next(outcome="completed", seconds=20, times=None)
    health = Health(site.stack)
    began = time.monotonic()
    flights = [
        site.launch(Fleet(whole=0, batches=1, batch_size=batch, chains=0)),
        site.launch(Fleet(whole=mapped, batches=0, chains=0)),
    ]
    seconds = {}
    for name, flight in zip(("batch", "mapped"), flights, strict=True):
        _wait_for_the_end(site, flight, 600.0 + 8 * (batch + mapped) / 4, health)
        seconds[name] = time.monotonic() - began
    verdict = site.judge(*flights)
    died = dict(site.stack.revived - revived)
    _demand_all_delivered(verdict)
    _demand_calm(verdict, health, died)
    return Result(
        "load",
        f"{batch:,} in one batch and {mapped} mapped tasks at once, through two workers",
        "",
        verdict,
        in_flight=batch + mapped,
        seconds_to_end=time.monotonic() - began,
        revived=died,
        more={"seconds": seconds, "silence": dict(health.silence), "sizes": dict(health.sizes)},
    )


def soak(site: Site, seconds: float = 1800, fleet: Fleet | None = None, *, every: float = 30) -> Result:
    """
    Have flights come steadily, at a gateway that answers five of a hundred in one of all bad ways.

    :param every: seconds from one flight to the next.
    """
    fleet = fleet or Fleet(whole=2, batches=1, batch_size=5, chains=1)
    revived = site.stack.revived.copy()
    site.gateway.behave()
    site.gateway.next(outcome="completed", seconds=20, times=None)
    for target in TARGETS:
        bad = [name for name, fault in BAD_ANSWERS.items() if target in fault.targets]
        for number, name in enumerate(bad):
            options = BAD_OPTIONS.get(name, {})
            rate = SHARE / (len(bad) - number * SHARE)
            site.gateway.misbehave(target, name, times=None, rate=rate, seed=number, **options)
    health = Health(site.stack, every=10)
    flights: list[Flight] = []
    began = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        site.stack.check()
        health.look()
        if now >= began + every * len(flights):
            flights.append(site.launch(fleet))
        time.sleep(0.25)
    site.gateway.behave()
    patience = 900.0 + 8 * fleet.size
    for flight in flights:
        _wait_for_the_end(site, flight, patience)
    verdict = site.judge(*flights)
    died = dict(site.stack.revived - revived)
    _demand_calm(verdict, health, died)
    drifts = {name: drift(samples) for name, samples in health.sizes.items()}
    for name, (factor, more) in drifts.items():
        if factor > MOST_GROWTH or more > MOST_DESCRIPTORS:
            verdict.violations.append(f"{name} grew by a factor of {factor:.2f}, and {more:.0f} descriptors")
    calls = {target: site.gateway.calls(target) for target in TARGETS}
    met = Counter(
        (target, call.fault) for target, made in calls.items() for call in made if call.fault is not None
    )
    return Result(
        "soak",
        f"{fleet.size} every {every:.0f} s; five of a hundred answers are bad, in {len(met)} ways",
        f"for {seconds / 60:.0f} minutes",
        verdict,
        in_flight=fleet.size * len(flights),
        seconds_of_fault=seconds,
        revived=died,
        more={
            "flights": len(flights),
            "calls": {target: len(made) for target, made in calls.items()},
            "bad": {f"{target} {name}": count for (target, name), count in sorted(met.items())},
            "silence": dict(health.silence),
            "drifts": drifts,
            "sizes": dict(health.sizes),
        },
    )
