"""
The one event with which a wait ends, whichever way it was waited: made here, and read here again.

A trigger's event is stored as JSON and may have been written by another release of this provider, so reading
it back is a check against an allow-list: what is not known is an error, never a success.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_luma.api.models import GenerationStatus, is_web_address
from airflow_provider_luma.api.polling import Done, GaveUp, GenerationSummary, Wait
from airflow_provider_luma.api.text import one_line
from airflow_provider_luma.exceptions import (
    ErrorSummary,
    LumaCompletedWithoutVideo,
    LumaError,
    LumaGenerationFailed,
    LumaProtocolError,
    LumaWaitTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENT_VERSION = 1
#: Bytes of a batch's event at most: Airflow logs events whole.
MAX_BATCH_EVENT = 16 * 1024

_MONEY = "The generation is paid for and may be running or complete."
_NEXT = "Clear this task to resume the wait for free; do not submit again."


class LumaEvent(TypedDict):
    """How a wait ended. ``outcome`` is ``completed``, ``failed``, ``timeout`` or ``error``."""

    v: int
    outcome: str
    request_id: str
    generation: GenerationSummary | None
    error: ErrorSummary | None


class LumaBatchEvent(TypedDict):
    """
    How the waits of a batch ended: how many for each outcome, and which are not complete.

    ``more`` says how many further ids there was no room for.
    """

    v: int
    outcome: str
    counts: dict[str, int]
    not_completed: list[str]
    more: int


def event_of(wait: Wait, ended: Done | GaveUp, now: float) -> LumaEvent:
    """Return the event for the end of ``wait``."""
    if isinstance(ended, Done):
        return {
            "v": EVENT_VERSION,
            "outcome": "completed",
            "request_id": wait.request_id,
            "generation": wait.summary(ended.generation, now),
            "error": None,
        }
    outcome = "error"
    if isinstance(ended.error, (LumaGenerationFailed, LumaCompletedWithoutVideo)):
        outcome = "failed"
    elif isinstance(ended.error, LumaWaitTimeout):
        outcome = "timeout"
    return {
        "v": EVENT_VERSION,
        "outcome": outcome,
        "request_id": wait.request_id,
        "generation": wait.summary(ended.generation, now) if ended.generation else None,
        "error": ended.error.summary,
    }


def batch_event_of(waits: Sequence[Wait], ends: Sequence[Done | GaveUp]) -> LumaBatchEvent:
    """Return the event for the ends of a batch's waits, of at most :data:`MAX_BATCH_EVENT` bytes."""
    outcomes = [
        event_of(wait, end, wait.started_at)["outcome"] for wait, end in zip(waits, ends, strict=True)
    ]
    without = [
        wait.request_id for wait, outcome in zip(waits, outcomes, strict=True) if outcome != "completed"
    ]
    room, shown = MAX_BATCH_EVENT - 512, 0
    for request_id in without:
        # As JSON writes it, at worst: six characters for each.
        room -= 6 * len(request_id) + 4
        if room < 0:
            break
        shown += 1
    return {
        "v": EVENT_VERSION,
        "outcome": "batch",
        "counts": dict(Counter(outcomes)),
        "not_completed": without[:shown],
        "more": len(without) - shown,
    }


def is_batch_event(event: Any) -> bool:
    """Return whether a stored event says that the waits of a batch are over."""
    return isinstance(event, dict) and (event.get("v"), event.get("outcome")) == (EVENT_VERSION, "batch")


def says_failed(event: Any) -> bool:
    """Return whether the wait ended because the gateway gave the generation a status of failure."""
    generation = event.get("generation") if isinstance(event, dict) else None
    return isinstance(generation, dict) and generation.get("status") == GenerationStatus.FAILED.value


def generation_of(event: Any, request_id: str) -> GenerationSummary:
    """
    Return the completed generation that ``event`` reports.

    :raises LumaError: the error that the event reports, or :class:`LumaProtocolError` when it is not an event
        of ours about ``request_id``. The wait can be resumed for free.
    """
    if not isinstance(event, dict) or event.get("v") != EVENT_VERSION:
        raise _strange(event, request_id, "it is of no version that this release knows")
    if event.get("request_id") != request_id:
        raise _strange(event, request_id, "it is about another request")
    outcome = event.get("outcome")
    if outcome == "completed":
        generation = event.get("generation")
        if not isinstance(generation, dict) or not is_web_address(generation.get("video_url")):
            raise _strange(event, request_id, "it says completed without an address of a video")
        if generation.get("status") != GenerationStatus.COMPLETED.value:
            raise _strange(event, request_id, "it says completed of a generation that is not")
        return {
            "request_id": request_id,
            "status": str(generation.get("status")),
            "raw_status": str(generation.get("raw_status")),
            "video_url": generation["video_url"],
            "seconds_waited": float(_number(generation.get("seconds_waited"))),
            "looks": int(_number(generation.get("looks"))),
        }
    error = event.get("error")
    if outcome in ("failed", "timeout", "error") and isinstance(error, dict):
        raise LumaError.of_kind(str(error.get("kind")), str(error.get("message")), request_id=request_id)
    raise _strange(event, request_id, "its outcome is not known")


def _number(value: Any) -> float:
    """Return a count of a stored event; one that is none must not hide a video that is there."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12
    return value if usable else 0


def _strange(event: Any, request_id: str, why: str) -> LumaProtocolError:
    return LumaProtocolError(
        f"The wait ended with an event that cannot be used, {why}: {one_line(repr(event))}.",
        request_id=request_id,
        money=_MONEY,
        next_step=_NEXT,
    )
