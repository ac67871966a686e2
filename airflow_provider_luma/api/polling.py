"""
When to look next, and what one look means for the wait. Without a clock and without I/O.

A :class:`Schedule` places the looks of a wait whose user named no interval: one look where the first few
generations are done by experience, then one every few seconds. A look that is free still costs the gateway
and this side a request, and a well-placed first one saves a third of them. :class:`Durations` is the
experience.

A :class:`Wait` is one wait for one generation. Every mode (poke, reschedule, deferred, the hook's own loop)
folds its looks into one with :meth:`Wait.after` and does as the answer says: :class:`Pending` (look again
later), :class:`Done` (there is a video) or :class:`GaveUp` (there is an error).

State first, deadline second: a video that is ready is a success however late the look. The bounds below the
deadline are wall-clock windows from the first look of the wait, so that neither a triggerer's restart nor a
reschedule moves them. A window alone never ends a wait: what it complains of must also have been seen
:data:`CONFIRMING_LOOKS` times in a row, so that one odd answer late in a wait throws no paid video away.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypedDict

from airflow_provider_luma.api.exchange import TOO_MANY, Call, Fault, Miss
from airflow_provider_luma.api.models import Cause, Generation, GenerationStatus
from airflow_provider_luma.api.retry import FEW_TRIES, error_for, retry_after_seconds
from airflow_provider_luma.exceptions import (
    LumaCompletedWithoutVideo,
    LumaError,
    LumaGenerationBudgetExhausted,
    LumaGenerationFailed,
    LumaGenerationInputUnusable,
    LumaGenerationModerated,
    LumaGenerationNotFound,
    LumaWaitTimeout,
)

#: Seconds between two looks where the user names no interval, at least.
DEFAULT_POKE_INTERVAL = 5.0
#: Seconds that a generation takes, as long as nothing better is known: the middle of what was seen elsewhere
#: of this model, one to three minutes, nearer to its lower end.
TYPICAL_SECONDS = 60.0
#: The default schedule's first look, as a share of the typical duration: by then one in twenty is complete,
#: if durations are spread as they were measured of siblings (log-normal, sigma 0.5).
FIRST_LOOK_SHARE = 0.44
#: The same where durations are known: the share of them that are complete at the first look.
FIRST_LOOK_QUANTILE = 0.05
#: Seconds between looks as a share of the typical duration: a video is seen late by half of this, on average.
INTERVAL_SHARE = 0.05
#: How many generations a channel must have seen end before it trusts them more than the setting, and how many
#: it remembers.
DURATIONS_NEEDED = 20
DURATIONS_KEPT = 100
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
#: How many notes of a kind a person is told: a gateway may put a new number into each of its words.
MOST_NOTES = 20
#: Seconds for which looks pause at most on one answer's word. Then one of them asks whether it still holds:
#: what was a mistake, or somebody's joke, must not keep thousands for an hour.
MAX_PAUSE = 300.0
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


_FAILED: dict[Cause, type[LumaGenerationFailed]] = {
    Cause.CONTENT: LumaGenerationModerated,
    Cause.INPUT: LumaGenerationInputUnusable,
    Cause.BUDGET: LumaGenerationBudgetExhausted,
    Cause.OTHER: LumaGenerationFailed,
}
#: What a failure means for money where the gateway says so.
_REFUNDED = "By its documentation, the gateway charges nothing for a generation that has failed."


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    When to look at a generation for which the user named no interval.

    :param first: seconds from the first look of the wait to the second, which the first one is not likely to
        have made needless.
    :param interval: seconds between the looks after that.
    """

    first: float = TYPICAL_SECONDS * FIRST_LOOK_SHARE
    interval: float = DEFAULT_POKE_INTERVAL

    @classmethod
    def of(cls, typical_seconds: float) -> Schedule:
        """Return the schedule for generations that usually take so many seconds (their median)."""
        return cls(typical_seconds * FIRST_LOOK_SHARE, _interval(typical_seconds))


def _interval(typical_seconds: float) -> float:
    return max(DEFAULT_POKE_INTERVAL, typical_seconds * INTERVAL_SHARE)


class Durations:
    """
    What a channel has learned of how long generations take, and the :class:`Schedule` that follows from it.

    :param typical_seconds: what to assume until :data:`DURATIONS_NEEDED` generations have been seen.
    """

    def __init__(self, typical_seconds: float = TYPICAL_SECONDS) -> None:
        self._seen: deque[float] = deque(maxlen=DURATIONS_KEPT)
        self.schedule = Schedule.of(typical_seconds)

    def learn(self, lower: float, upper: float) -> None:
        """
        Take note of a generation that was pending ``lower`` seconds and complete ``upper`` seconds after the
        first look of its wait.

        The middle counts. Of those that were complete at the first scheduled look no more is known than that
        they took less: their middle lies before it, which draws that look forward when there are many.
        """
        if not 0.0 <= lower <= upper < float("inf"):
            return
        self._seen.append((lower + upper) / 2)
        if len(self._seen) >= DURATIONS_NEEDED:
            known = sorted(self._seen)
            self.schedule = Schedule(
                first=known[int(len(known) * FIRST_LOOK_QUANTILE)],
                interval=_interval(known[len(known) // 2]),
            )


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


@dataclass(slots=True)
class Wait:
    """
    One wait for one generation.

    :param request_id: what is waited for.
    :param started_at: epoch seconds of the first look of this wait; windows count from here.
    :param deadline: epoch seconds after which a generation that is still pending is given up.
    :param poke_interval: seconds between looks; ``None`` takes ``schedule``.
    :param answered: whether any look of this wait has had an answer yet. Once one has, failed looks no longer
        end the wait before its deadline: the gateway is known to be there.
    :param looks: how often this wait has looked already, in all its processes.
    :param conn_id: the connection's id, for messages.
    :param schedule: when to look where ``poke_interval`` is ``None``.
    :param last_status: the gateway's word at the latest look that had one, be it an earlier process's.
    :param told: what a person was told of this wait, by kind. Waits that share one log share it, so that a
        thousand do not all say the same.
    """

    request_id: str
    started_at: float
    deadline: float
    poke_interval: float | None = None
    answered: bool = False
    looks: int = 0
    conn_id: str = ""
    schedule: Schedule = field(default_factory=Schedule)
    last_status: str = ""
    told: dict[str, set[str]] = field(default_factory=dict)
    #: Epoch seconds of the latest look that found it pending; ``None`` before there was one.
    pending_at: float | None = None
    _last_miss: str = ""
    _complaint: str = ""
    _complaints: int = 0

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        if self.poke_interval is None:
            return self.schedule.interval
        return max(self.poke_interval, MIN_POKE_INTERVAL)

    def first_pause(self, random: float, now: float) -> float:
        """
        Return the seconds before a trigger's first look.

        A thousand tasks that start at once must not march in step, so it lies anywhere within one interval:
        from now on, or around the schedule's first look, if that is still to come.

        :param random: a number in [0, 1).
        """
        pause = self.interval * random
        if self.before_first_look(now):
            pause += self.schedule.first - (now - self.started_at) - self.interval / 2
        return max(min(pause, self.deadline - now), MIN_FIRST_PAUSE)

    def before_first_look(self, now: float) -> bool:
        """Return whether the schedule's first look is still to come: until then, nothing is expected."""
        waited = now - self.started_at
        return self.poke_interval is None and self.answered and waited < self.schedule.first

    def due_after(self, due: float, now: float, pending: Pending) -> float:
        """
        Return when the next look is due, by the clock that ``due`` and ``now`` are of.

        The interval is kept from one due time to the next, so that the time which a look takes does not add
        up; whoever has fallen behind by more than an interval starts anew from now.
        """
        on_beat = due + pending.seconds
        return on_beat if pending.seconds == self.interval and on_beat > now else now + pending.seconds

    def after(self, seen: Generation | Miss, now: float) -> Pending | Done | GaveUp:
        """Fold one look into the wait and return what it means for it."""
        self.looks += 1
        if isinstance(seen, Generation):
            self._last_miss = ""
            decision = self._of_generation(seen, now)
        else:
            self._last_miss = seen.detail
            decision = self._of_miss(seen, now)
        if not isinstance(decision, Pending):
            return decision
        if now >= self.deadline:
            return GaveUp(self._timeout(now), seen if isinstance(seen, Generation) else None)
        left = self.deadline - now
        if decision.seconds > left:
            return Pending(left, decision.note, decision.confirming)
        return decision

    def gave_up_unasked(self, now: float) -> GaveUp:
        """Return the end of a wait whose deadline went by and that was not let through for a last look."""
        return GaveUp(self._timeout(now, "It could not be asked again in time."))

    def _of_generation(self, seen: Generation, now: float) -> Pending | Done | GaveUp:
        status = seen.status
        if status is not GenerationStatus.UNKNOWN or seen.raw_status:
            self.answered = True
        before, self.last_status = self.last_status, seen.raw_status or status.value
        if status is GenerationStatus.COMPLETED and seen.video_url is not None:
            return Done(seen)
        error = error_of(seen)
        if error is not None:
            if status is GenerationStatus.FAILED:
                return GaveUp(error, seen)
            complaint, window = {
                GenerationStatus.COMPLETED: ("no address", NO_ADDRESS_WINDOW),
                GenerationStatus.NOT_FOUND: ("not found", NOT_FOUND_WINDOW),
                GenerationStatus.UNKNOWN: ("error without status", NO_STATUS_WINDOW),
            }[status]
            return self._complain(complaint, window, now, error, seen)
        self._complaint, self._complaints = "", 0
        self.pending_at = now
        pause = self.interval
        if self.before_first_look(now):
            pause = max(self.schedule.first - (now - self.started_at), MIN_POKE_INTERVAL)
        if status is GenerationStatus.UNKNOWN:
            return Pending(pause, self._once("status", f"unknown status {self.last_status!r}"))
        if before and before != self.last_status:
            return Pending(pause, self._once("status", f"was {before!r}, is {self.last_status!r}"))
        return Pending(pause)

    def _of_miss(self, miss: Miss, now: float) -> Pending | GaveUp:
        error = error_for(Call.STATUS, miss, now=now, request_id=self.request_id, conn_id=self.conn_id)
        if miss.fault in _FINAL:
            return GaveUp(error)
        if miss.fault is Fault.ADDRESS:
            return self._complain("not found", NOT_FOUND_WINDOW, now, error)
        if miss.fault in _FEW:
            return self._complain(miss.fault.value, 0.0, now, error, needed=FEW_TRIES)
        asked = retry_after_seconds(miss, now=now)
        pause = max(self.interval, min(asked or 0.0, MAX_PAUSE))
        if miss.fault is Fault.FIREWALL:
            pause = max(pause, FIREWALL_INTERVAL)
        if miss.fault in TOO_MANY:
            # Refused for being too many: the gateway is there and works.
            self._complaint, self._complaints = "", 0
            return Pending(pause, self._once(miss.fault, f"the gateway {miss.detail}"))
        if self.answered:
            self._complaint, self._complaints = "", 0
            return Pending(pause, self._once(miss.fault, f"the gateway {miss.detail}"))
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
        note = self._once(complaint, f"{complaint}: {error.what}")
        if over:
            # A pause that the gateway asked for is kept; the user's own interval need not be.
            soon = normal if normal > self.interval else min(normal, CONFIRMING_INTERVAL)
            return Pending(soon, note, confirming=True)
        return Pending(normal, note)

    def _once(self, kind: str, note: str) -> str | None:
        """Return ``note`` the first time, then ``None``; after :data:`MOST_NOTES` of a kind, for good."""
        told = self.told.setdefault(kind, set())
        if note in told or len(told) >= MOST_NOTES:
            return None
        told.add(note)
        return f"{note} (the last note of this kind)" if len(told) == MOST_NOTES else note

    def _timeout(self, now: float, why: str = "") -> LumaError:
        if self._last_miss:
            last = f"The last look failed: the gateway {self._last_miss}."
        elif self.last_status:
            last = f"The last status was {self.last_status!r}."
        else:
            last = ""
        what = f"No video after {now - self.started_at:.0f} s of waiting ({self.looks} looks)."
        return LumaWaitTimeout(" ".join(filter(None, (what, why, last))), request_id=self.request_id)

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


def error_of(seen: Generation) -> LumaError | None:
    """
    Return the error for a look that shows something to complain of: a status of failure, an unknown id, a
    completion without an address, an error without a status.
    """
    because = f": {seen.reason.rstrip('.')}" if seen.reason else ""
    error: LumaError | None = None
    if seen.status is GenerationStatus.FAILED:
        because = because or ", without a reason"
        error = _FAILED[seen.cause](
            f"The gateway ended the generation with {seen.raw_status!r}{because}.",
            money=_REFUNDED if seen.refunded else None,
        )
    elif seen.status is GenerationStatus.NOT_FOUND:
        error = LumaGenerationNotFound(f"The gateway does not know this request id{because}.")
    elif seen.status is GenerationStatus.COMPLETED and seen.video_url is None:
        word = seen.raw_status or seen.status.value
        error = LumaCompletedWithoutVideo(
            f"The gateway says {word!r} and gives no usable video address{because}."
        )
    elif seen.status is GenerationStatus.UNKNOWN and not seen.raw_status and seen.reason:
        error = LumaGenerationFailed(f"The gateway reports an error and no status{because}.")
    if error is not None:
        error.request_id = seen.request_id
    return error
