"""
When to look next, and what one look means for the wait. Without a clock and without I/O.

A :class:`Wait` is one wait for one generation. Every mode (poke, reschedule, deferred, the hook's own loop)
folds its looks into one with :meth:`Wait.after` and does as the answer says: :class:`Pending` (look again
later), :class:`Done` (there is a video) or :class:`GaveUp` (there is an error).

State first, deadline second: a video that is ready is a success however late the look. The bounds below the
deadline are wall-clock windows from the first look of the wait, so that neither a triggerer's restart nor a
reschedule moves them. A window alone never ends a wait: what it complains of must also have been seen
:data:`CONFIRMING_LOOKS` times in a row, so that one odd answer late in a wait throws no paid video away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from airflow_provider_luma.api.gateway import Call, Fault, Miss
from airflow_provider_luma.api.models import Generation, GenerationStatus
from airflow_provider_luma.api.retry import FEW_TRIES, error_for, retry_after_seconds
from airflow_provider_luma.exceptions import (
    LumaCompletedWithoutVideo,
    LumaError,
    LumaGenerationFailed,
    LumaGenerationModerated,
    LumaGenerationNotFound,
    LumaWaitTimeout,
)

#: Seconds between two looks where the user names no interval.
DEFAULT_POKE_INTERVAL = 5.0
#: Seconds between two looks at least: what is more often than this is a mistake.
MIN_POKE_INTERVAL = 0.1
#: Seconds before a trigger's first look at least: an event in the same moment as the deferral can be taken
#: for a task that ended without a word.
MIN_FIRST_PAUSE = 0.2

#: Seconds from the first look of a wait for which an id may be unknown to the gateway.
NOT_FOUND_WINDOW = 60.0
#: Seconds from the first look of a wait for which "completed" may come without an address.
NO_ADDRESS_WINDOW = 120.0
#: Seconds from the first look of a wait for which an error may come without a status.
NO_STATUS_WINDOW = 120.0
#: Seconds from the first look of a wait in which not one look has succeeded.
NO_ANSWER_WINDOW = 300.0
#: How often in a row a complaint must have been seen before its window ends a wait.
CONFIRMING_LOOKS = 3
#: Seconds between confirming looks, where the interval is longer.
CONFIRMING_INTERVAL = 5.0
#: Seconds between looks that a firewall turns away.
FIREWALL_INTERVAL = 60.0

#: Faults that end a wait after :data:`~airflow_provider_luma.api.retry.FEW_TRIES` in a row.
_FEW = frozenset({Fault.KEY, Fault.ACCESS, Fault.REDIRECT})
#: Faults that end a wait at once: nothing that waiting could change.
_FINAL = frozenset({Fault.INPUT, Fault.CREDIT, Fault.OTHER_REFUSAL})


class GenerationSummary(TypedDict):
    """The XCom ``generation``: one generation at the end of a wait."""

    request_id: str
    status: str
    raw_status: str
    video_url: str | None
    seconds_waited: float
    looks: int


@dataclass(frozen=True)
class Pending:
    """
    Look again.

    :param seconds: after so many seconds.
    :param note: something new that a person should read once, such as an unknown status word.
    :param confirming: whether the next look only confirms a complaint: a mode that keeps no memory between
        looks (reschedule) makes it in this process, or it would never confirm anything.
    """

    seconds: float
    note: str | None = None
    confirming: bool = False


@dataclass(frozen=True)
class Done:
    """The generation is complete; ``generation.video_url`` is set."""

    generation: Generation


@dataclass(frozen=True)
class GaveUp:
    """The wait is over without a video."""

    error: LumaError
    generation: Generation | None = None


@dataclass
class Wait:
    """
    One wait for one generation.

    :param request_id: what is waited for.
    :param started_at: epoch seconds of the first look of this wait; windows count from here.
    :param deadline: epoch seconds after which a generation that is still pending is given up.
    :param poke_interval: seconds between looks; ``None`` takes the default schedule.
    :param answered: whether any look of this wait has had an answer yet. Once one has, failed looks no longer
        end the wait before its deadline: the gateway is known to be there.
    :param looks: how often this wait has looked already, in all its processes.
    :param conn_id: the connection's id, for messages.
    """

    request_id: str
    started_at: float
    deadline: float
    poke_interval: float | None = None
    answered: bool = False
    looks: int = 0
    conn_id: str = ""
    last_status: str = ""
    _complaint: str = ""
    _complaints: int = 0
    _told: set[str] = field(default_factory=set)

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        return (
            DEFAULT_POKE_INTERVAL
            if self.poke_interval is None
            else max(self.poke_interval, MIN_POKE_INTERVAL)
        )

    def first_pause(self, random: float, now: float) -> float:
        """Return the seconds before a trigger's first look, with jitter against a march in step."""
        pause = min(self.interval * (0.5 + 0.5 * random), self.deadline - now)
        return max(pause, MIN_FIRST_PAUSE)

    def after(self, seen: Generation | Miss, now: float) -> Pending | Done | GaveUp:
        """Fold one look into the wait and return what it means for it."""
        self.looks += 1
        decision = (
            self._of_generation(seen, now) if isinstance(seen, Generation) else self._of_miss(seen, now)
        )
        if not isinstance(decision, Pending):
            return decision
        if now >= self.deadline:
            return GaveUp(self._timeout(seen, now), seen if isinstance(seen, Generation) else None)
        return Pending(
            min(decision.seconds, max(self.deadline - now, 0.0)), decision.note, decision.confirming
        )

    def _of_generation(self, seen: Generation, now: float) -> Pending | Done | GaveUp:
        status = seen.status
        if status is not GenerationStatus.UNKNOWN or seen.raw_status:
            self.answered = True
        self.last_status = seen.raw_status or status.value
        if status is GenerationStatus.COMPLETED:
            if seen.video_url is not None:
                return Done(seen)
            return self._complain(
                "no address",
                NO_ADDRESS_WINDOW,
                now,
                LumaCompletedWithoutVideo(
                    f"The gateway says {self.last_status!r} and gives no usable video address.",
                    request_id=self.request_id,
                ),
                seen,
            )
        if status is GenerationStatus.FAILED:
            return GaveUp(_failure(seen), seen)
        if status is GenerationStatus.NOT_FOUND:
            return self._complain(
                "not found",
                NOT_FOUND_WINDOW,
                now,
                LumaGenerationNotFound(
                    "The gateway does not know this request id"
                    + (f": {seen.reason.rstrip('.')}." if seen.reason else "."),
                    request_id=self.request_id,
                ),
                seen,
            )
        if status is GenerationStatus.UNKNOWN and not seen.raw_status and seen.reason:
            return self._complain(
                "error without status",
                NO_STATUS_WINDOW,
                now,
                LumaGenerationFailed(
                    f"The gateway reports an error and no status: {seen.reason.rstrip('.')}.",
                    request_id=self.request_id,
                ),
                seen,
            )
        self._complaint, self._complaints = "", 0
        if status is GenerationStatus.UNKNOWN:
            return Pending(self.interval, self._once(f"unknown status {self.last_status!r}"))
        return Pending(self.interval)

    def _of_miss(self, miss: Miss, now: float) -> Pending | GaveUp:
        error = error_for(Call.STATUS, miss, now=now, request_id=self.request_id, conn_id=self.conn_id)
        if miss.fault in _FINAL:
            return GaveUp(error)
        if miss.fault is Fault.ADDRESS:
            return self._complain("not found", NOT_FOUND_WINDOW, now, error)
        if miss.fault in _FEW:
            return self._complain(miss.fault.value, 0.0, now, error, needed=FEW_TRIES)
        asked = retry_after_seconds(miss, now=now)
        pause = max(self.interval, asked or 0.0)
        if miss.fault is Fault.FIREWALL:
            pause = max(pause, FIREWALL_INTERVAL)
        if miss.fault in (Fault.RATE, Fault.QUOTA):
            # Refused for being too many: the gateway is there and works.
            self._complaint, self._complaints = "", 0
            return Pending(pause, self._once(f"the gateway {miss.detail}"))
        if self.answered:
            self._complaint, self._complaints = "", 0
            return Pending(pause, self._once(f"the gateway {miss.detail}"))
        return self._complain("no answer", NO_ANSWER_WINDOW, now, error, pause=pause)

    def _complain(
        self,
        complaint: str,
        window: float,
        now: float,
        error: LumaError,
        seen: Generation | None = None,
        *,
        needed: int = CONFIRMING_LOOKS,
        pause: float | None = None,
    ) -> Pending | GaveUp:
        """Count a complaint; give up when its window is over and it has been confirmed."""
        self._complaints = self._complaints + 1 if complaint == self._complaint else 1
        self._complaint = complaint
        over = now - self.started_at >= window
        if over and self._complaints >= needed:
            return GaveUp(error, seen)
        normal = self.interval if pause is None else pause
        note = self._once(f"{complaint}: {error.what}")
        if over:
            # A pause that the gateway asked for is kept; the user's own interval need not be.
            soon = normal if normal > self.interval else min(normal, CONFIRMING_INTERVAL)
            return Pending(soon, note, confirming=True)
        return Pending(normal, note)

    def _once(self, note: str) -> str | None:
        """Return ``note`` the first time, then ``None``; after twenty of them, ``None`` for good."""
        if note in self._told or len(self._told) >= 20:
            return None
        self._told.add(note)
        return note

    def _timeout(self, seen: Generation | Miss, now: float) -> LumaError:
        last = (
            f"The last look failed: the gateway {seen.detail}."
            if isinstance(seen, Miss)
            else f"The last status was {self.last_status!r}."
        )
        return LumaWaitTimeout(
            f"No video after {now - self.started_at:.0f} s of waiting ({self.looks} looks). {last}",
            request_id=self.request_id,
        )

    def summary(self, seen: Generation, now: float) -> GenerationSummary:
        """Return the XCom ``generation``: JSON primitives only."""
        return {
            "request_id": seen.request_id,
            "status": seen.status.value,
            "raw_status": seen.raw_status,
            "video_url": seen.video_url,
            "seconds_waited": round(max(now - self.started_at, 0.0), 3),
            "looks": self.looks,
        }


def _failure(seen: Generation) -> LumaError:
    said = f": {seen.reason.rstrip('.')}." if seen.reason else ", without a reason."
    error = LumaGenerationModerated if seen.moderated else LumaGenerationFailed
    return error(
        f"The gateway ended the generation with {seen.raw_status!r}{said}", request_id=seen.request_id
    )
