"""
What the emulator keeps and hands out: recorded requests, generations, plans for generations, answers.

Plain data. Everything that leaves the emulator is a copy or frozen, so that a test may keep it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy

#: The header that carries the subscription key.
KEY_HEADER = "Ocp-Apim-Subscription-Key"

GENERATE = "generate"
GENERATE_FROM_IMAGE = "generateRequestFromImage"
GET_STATUS = "getStatus"
VIDEO = "video"
#: The account's list of generations, where a door has one.
LIST = "list"
#: The free call about the account that a test of the connection makes, where a door has one.
ACCOUNT = "account"
#: Requests to any other address, or with a method that the address does not take.
UNKNOWN = "unknown"

#: What :meth:`Emulator.misbehave` can be aimed at.
TARGETS = (GENERATE, GENERATE_FROM_IMAGE, GET_STATUS, VIDEO, LIST, ACCOUNT)

#: What a generation can become, with what ``getStatus`` then says.
OUTCOMES = {
    "completed": "its status word and its video_url",
    "failed": "a status word and the reason in `error`",
    "pending": "a pending word, for ever",
    "no-address": "completed, but without a video_url",
    "no-status": "a video_url without a status",
    "error-no-status": "an `error` without a status",
    "not-found": "as if the id were unknown",
}


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it came in. It stands in the record before its answer is sent."""

    #: Seconds since the epoch.
    at: float
    #: One of :data:`TARGETS`, or ``unknown``.
    target: str
    method: str
    #: With the query string, as sent.
    path: str
    #: Case-insensitive, repeated headers kept. Not in the repr: they hold the subscription key.
    headers: CIMultiDictProxy[str] = field(repr=False)
    #: Empty when a fault dropped the connection before reading it.
    body: bytes = field(repr=False)
    #: The parsed body, or None when it is not JSON.
    json: Any
    client_port: int
    #: The generation concerned: the one created, asked for or served. None when there is none.
    request_id: str | None
    #: The name of the fault that was applied; several are joined with ``+``.
    fault: str | None
    #: True when this request created a generation, whether or not its answer arrived.
    paid: bool


@dataclass(frozen=True)
class Plan:
    """What a generation will become."""

    #: One of :data:`OUTCOMES`.
    outcome: str = "completed"
    #: Seconds from submitting to the outcome; None means the emulator's own.
    seconds: float | None = None
    #: Status word in place of the usual one.
    status: str | None = None
    #: Text of ``error``.
    reason: str | None = None
    #: Address in place of the emulator's own video.
    video_url: str | None = None
    #: The id to give, in place of a random one (for the next generation only).
    request_id: str | None = None
    #: Why it failed, where a door has codes for that.
    failure_code: str | None = None

    def __post_init__(self) -> None:
        """Refuse an outcome that does not exist."""
        if self.outcome not in OUTCOMES:
            raise ValueError(f"Unknown outcome {self.outcome!r}; there are: {', '.join(OUTCOMES)}")


@dataclass(frozen=True)
class Incoming:
    """A call as a door reads it."""

    path: str
    query: Mapping[str, str]
    content_type: str
    #: The parsed body, or None when it is not JSON.
    parsed: Any
    #: Whether an id is that of a generation.
    knows: Callable[[Any], bool]


@dataclass(frozen=True)
class Asked:
    """What a submit asks for: what a video shows of it, and the whole body."""

    prompt: str
    aspect_ratio: str
    loop: bool
    image_url: str | None
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Sight:
    """What a look at a generation shows, before a door puts it into its form."""

    #: ``pending``, or one of :data:`OUTCOMES`.
    kind: str
    #: A status word in place of the door's own.
    word: str | None = None
    reason: str | None = None
    #: Of the video.
    address: str | None = None
    #: That was asked at.
    path: str = ""


@dataclass
class EmulatedGeneration:
    """One generation, as the emulator knows it."""

    request_id: str
    prompt: str
    aspect_ratio: str
    loop: bool
    image_url: str | None
    #: Seconds since the epoch.
    submitted_at: float
    #: Seconds from submitting to the outcome.
    seconds: float
    outcome: str
    status: str | None
    reason: str | None
    video_url: str | None
    #: Created by a request to this emulator; False for one "made elsewhere".
    paid: bool
    #: How often ``getStatus`` asked for it.
    looks: int = 0
    #: ``time.monotonic()`` at submitting, which the outcome is timed by.
    submitted_monotonic: float = field(default=0.0, repr=False)
    #: Through which door it was asked for.
    door: str = "appypie"
    #: The body that asked for it.
    request: Mapping[str, Any] = field(default_factory=dict)
    failure_code: str | None = None
    #: What a look shows now; set on the copies that leave the emulator.
    seen: Sight = field(default=Sight("pending"), repr=False)

    @classmethod
    def of(
        cls, plan: Plan, asked: Asked, door: str, seconds: float, *, paid: bool = False
    ) -> EmulatedGeneration:
        """Return a generation that is submitted now; it takes ``seconds`` unless the plan says otherwise."""
        return cls(
            request_id=str(uuid.uuid4()) if plan.request_id is None else plan.request_id,
            prompt=asked.prompt,
            aspect_ratio=asked.aspect_ratio,
            loop=asked.loop,
            image_url=asked.image_url,
            submitted_at=time.time(),
            seconds=seconds if plan.seconds is None else plan.seconds,
            outcome=plan.outcome,
            status=plan.status,
            reason=plan.reason,
            video_url=plan.video_url,
            paid=paid,
            submitted_monotonic=time.monotonic(),
            door=door,
            request=asked.body,
            failure_code=plan.failure_code,
        )


#: Gives a page of generations, newest first, and how many there are, by offset and limit.
Paged = Callable[[int, int], tuple[list[EmulatedGeneration], int]]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that is whole and in memory."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer whose body is ``value`` as JSON."""
        return cls(status=status, body=json.dumps(value).encode(), headers=headers or {})


def is_text(value: object) -> bool:
    """Return whether a value is text, and not blank."""
    return isinstance(value, str) and value.strip() != ""
