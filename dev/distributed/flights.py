"""
Generations under way, as DAG runs of :data:`DAG_ID`, and what became of each of them.

A :class:`Flight` is one run. :func:`judge` goes by what the emulated gateway was asked and what lies in the
folder of videos, not by what Airflow says; of Airflow it takes the errors that its logs tell.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator.models import GENERATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator, RecordedRequest

DAG_ID = "luma_flight"

#: Answers with which nothing was created and nothing will be: sending again pays nothing twice.
REFUSALS = frozenset(
    {"400", "401", "403", "404", "429", "apim-401", "apim-429", "quota-403", "credit-402", "credit-403",
     "html-403", "429-seconds", "429-date", "429-bare", "429-absurd", "redirect", "drop-before-reading"}
)  # fmt: skip
#: Of ``getStatus``: with these the gateway says that a generation failed. A task that submits and waits asks
#: for another one then.
FAILED = "failed"


class Ending(StrEnum):
    """What became of one request."""

    #: Its own video, whole, lies where it was to be kept.
    DELIVERED = "delivered"
    #: It is paid for, there is no video, and an error names its id.
    NAMED = "named"
    #: It was sent and its answer is lost; an error says so and names the prompt.
    UNKNOWN = "unknown"
    #: Nothing was created for it.
    NOT_MADE = "not made"
    #: It is paid for, and nobody says so.
    LOST = "lost"


@dataclass(frozen=True)
class Fleet:
    """How many generations of each form one run makes."""

    whole: int = 28
    batches: int = 3
    batch_size: int = 20
    chains: int = 12

    @property
    def size(self) -> int:
        """How many these are."""
        return self.whole + self.batches * self.batch_size + self.chains

    def params(self, prompt: str) -> dict[str, Any]:
        """Return the params of the run."""
        return {"prompt": prompt, **asdict(self)}

    def prompts(self, prompt: str) -> Iterator[str]:
        """Say what the DAG will ask for."""
        for number in range(self.whole):
            yield f"{prompt}, whole {number}"
        for batch in range(self.batches):
            for number in range(self.batch_size):
                yield f"{prompt}, batch {batch} number {number}"
        for number in range(self.chains):
            yield f"{prompt}, chains {number}"


@dataclass(frozen=True)
class Flight:
    """One run."""

    run_id: str
    #: What each of its prompts begins with.
    prompt: str
    fleet: Fleet

    @property
    def prompts(self) -> list[str]:
        """Each of its prompts."""
        return list(self.fleet.prompts(self.prompt))


@dataclass
class Judgement:
    """What became of all requests of some flights."""

    requests: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    #: Requests to generate that reached the gateway; those of them that it refused; generations created.
    posts: int = 0
    refused: int = 0
    paid: int = 0
    #: Generations that the gateway said had failed.
    failed: int = 0
    #: What is against a promise; empty where all were kept.
    violations: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return {**asdict(self), "endings": dict(self.endings)}


def judge(flights: Iterable[Flight], gateway: Emulator, videos: Path, logs: Path) -> Judgement:
    """
    Say what became of each request of these flights, which have ended.

    :param videos: the folder in which each run has one of its own.
    :param logs: Airflow's folder of logs.
    """
    posts: dict[str, list[RecordedRequest]] = defaultdict(list)
    for post in gateway.calls(GENERATE):
        if isinstance(post.json, dict):
            posts[str(post.json.get("prompt"))].append(post)
    made: dict[str, list[str]] = defaultdict(list)
    for request_id, generation in gateway.generations.items():
        made[generation.prompt].append(request_id)
    failed = {str(look.request_id) for look in gateway.calls("getStatus") if look.fault == FAILED}
    failed |= {name for name, one in gateway.generations.items() if one.outcome == FAILED}

    verdict = Judgement()
    for flight in flights:
        folder = videos / flight.run_id
        errors = errors_of(logs / f"dag_id={DAG_ID}" / f"run_id={flight.run_id}")
        for prompt in flight.prompts:
            sent, ids = posts[prompt], made[prompt]
            _judge_one(verdict, prompt, sent, ids, failed, gateway, folder, errors)
        verdict.violations += left_in(folder)
    return verdict


def _judge_one(
    verdict: Judgement,
    prompt: str,
    sent: list[RecordedRequest],
    ids: list[str],
    failed: set[str],
    gateway: Emulator,
    folder: Path,
    errors: str,
) -> None:
    refused = [post for post in sent if not post.paid and _refused(post.fault)]
    said = f"The prompt: {prompt!r}." in errors
    excused = [one for one in ids if one in failed]
    verdict.requests += 1
    verdict.posts += len(sent)
    verdict.refused += len(refused)
    verdict.paid += len(ids)
    verdict.failed += len(excused)
    if len(sent) - len(refused) > 1 + len(excused) or len(ids) > 1 + len(excused):
        verdict.violations.append(f"{prompt!r} was sent {len(sent)} times and made {len(ids)} times: {ids}")
    last = ids[-1] if ids else None
    kept = folder / f"{last}.mp4"
    if last is not None and kept.exists():
        ending = Ending.DELIVERED
        if kept.read_bytes() != gateway.video_bytes(last):
            verdict.violations.append(f"{kept.name} is not the video of {prompt!r}")
    elif last is not None and last in errors:
        ending = Ending.NAMED
    elif said and len(sent) > len(refused):
        ending = Ending.UNKNOWN
    elif last is not None or len(sent) > len(refused):
        ending = Ending.LOST
        verdict.violations.append(f"{prompt!r} was sent (and became {last}), and nobody says so")
    else:
        ending = Ending.NOT_MADE
        if not errors:
            verdict.violations.append(f"{prompt!r} was never made, and nobody says why")
    verdict.endings[ending] += 1


def _refused(faults: str | None) -> bool:
    """Return whether an answer that created nothing was a refusal; it may have come late, besides."""
    names = {*(faults or "").split("+")} - {"", "latency"}
    # Without a fault, it is the emulator's own: of a wrong key, say.
    return not names or bool(names & REFUSALS)


def left_in(folder: Path) -> list[str]:
    """Return what lies in a folder of videos that is neither a video nor its manifest."""
    if not folder.exists():
        return []
    files = {file.name for file in folder.rglob("*") if file.is_file()}
    videos = {name for name in files if name.endswith(".mp4")}
    manifests = {f"{name}.json" for name in videos}
    return [f"{name} was left behind" for name in sorted(files - videos - manifests)]


def errors_of(folder: Path) -> str:
    """Return all that a run's logs say in errors, of whichever try."""
    said: list[str] = []
    for file in sorted(folder.rglob("*.log")):
        for line in file.read_text(errors="replace").splitlines():
            if '"level":"error"' not in line and '"error_detail"' not in line:
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                said.append(line)
                continue
            said.append(str(entry.get("event")))
            said += [str(one.get("exc_value")) for one in entry.get("error_detail") or []]
    return "\n".join(said)
