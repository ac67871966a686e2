"""
The channel that all waits of one event loop for one connection share: ten thousand cost little more than one.

What it guarantees:

* One look-up of the connection, one session with a bounded pool, one coroutine that serves the due times.
  Nothing is done per look but the request itself.
* The longest due goes first, so nobody starves; how fast, :class:`~airflow_provider_luma.api.pacing.Pace`
  decides. A gateway that hangs holds no more than the pool.
* A wait that is not let through (a long pause, a gateway that hangs) ends :data:`LATE` seconds after its
  deadline all the same.
* It lives as long as anybody waits: opened by the first, closed when the last leaves, however that one leaves
  (cancelled, failed, its loop gone). Leaving never awaits.
* A failure of the channel itself reaches every wait as an exception; nobody is left hanging.

What an answer means for a wait is :class:`~airflow_provider_luma.api.polling.Wait`'s business.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import logging
import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow_provider_luma.api.exchange import TOO_MANY, Fault, Miss
from airflow_provider_luma.api.pacing import Pace
from airflow_provider_luma.api.polling import MAX_PAUSE, NO_ANSWER_WINDOW, Done, Durations, GaveUp, Pending
from airflow_provider_luma.api.retry import backoff, retry_after_seconds
from airflow_provider_luma.exceptions import LumaConnectionNotFound, LumaError
from airflow_provider_luma.hooks.connection import DEFAULT_MAX_CONCURRENT_REQUESTS
from airflow_provider_luma.hooks.luma import LumaAsyncHook
from airflow_provider_luma.hooks.metrics import ChannelMetrics
from airflow_provider_luma.hooks.sockets import plain_reason

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterator, Sequence

    from airflow_provider_luma.api.models import Generation
    from airflow_provider_luma.api.polling import Wait
    from airflow_provider_luma.hooks.connection import LumaSettings

log = logging.getLogger(__name__)

#: Seconds after its deadline at which a wait ends without a last look, if it was not let through for one.
#: Less than the sensor's backstop, so that the wait ends with a word of ours.
LATE = 300.0
#: Seconds that a look which is under way by then may still take.
LOOK_BOUND = 60.0
#: Seconds of a pause that is worth a line in the log, whatever went before.
LONG_PAUSE = 60.0
#: Seconds of a pause at least where the gateway refuses and names none.
MIN_BACKOFF = 1.0
#: Seconds before it is due that a look may start, so that one turn of the loop can serve several.
SLACK = 0.05
#: Seconds between two lines in which a wait for many says how far it is.
TELL_EVERY = 60.0
#: Seconds between two reports of the metrics.
REPORT_EVERY = 10.0

#: Faults that are the gateway's trouble, not an answer about a generation.
_TROUBLE = frozenset(
    {Fault.NOT_DELIVERED, Fault.LOST, Fault.SERVER, Fault.UNAVAILABLE, Fault.OTHER, Fault.FIREWALL}
)

#: Reentrant: a wait that its loop dropped leaves when the garbage is collected, which may be anywhere, also
#: in a thread that holds the lock. With a plain one that thread, and so the triggerer, would stand for ever.
_lock = threading.RLock()
#: The open channels by loop and connection id. Weak, because a channel holds its loop: a loop that was
#: dropped with all that waited in it takes its channels along.
_channels: WeakValueDictionary[tuple[int, str], Channel] = WeakValueDictionary()
#: What was learned outlives a channel, which closes whenever nobody waits, but not its loop.
_learned: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, float], Durations]] = (
    WeakKeyDictionary()
)


@contextmanager
def joined(conn_id: str, caller: str = "triggerer") -> Iterator[Channel]:
    """
    Join the running loop's channel for a connection, opened if there is none yet; leave it at the end.

    :param caller: what the process is, for the User-Agent.
    """
    key = (id(asyncio.get_running_loop()), conn_id)
    with _lock:
        channel = _channels.get(key)
        if channel is not None:
            channel.members += 1
        if channel is None or channel.closed:
            # Closed: its last member was collected between the two lines.
            channel = Channel(conn_id, caller)
            channel.members = 1
            _channels[key] = channel
    try:
        yield channel
    finally:
        with _lock:
            channel.members -= 1
            last = channel.members == 0
        if last:
            channel.close()


async def wait_for_all(waits: Sequence[Wait], luma_conn_id: str, *, caller: str) -> list[Done | GaveUp]:
    """
    Wait for many generations at once, through one channel, and return their ends in the same order.

    Says in the log how far it is, every :data:`TELL_EVERY` seconds.

    :param caller: what this process is, for the User-Agent.
    """
    with joined(luma_conn_id, caller) as channel:
        tasks = [asyncio.ensure_future(channel.wait(wait)) for wait in waits]
        began = time.monotonic()
        try:
            pending = set(tasks)
            while pending:
                _, pending = await asyncio.wait(pending, timeout=TELL_EVERY)
                if pending:
                    log.info("%s", _progress(tasks, began, channel.paused))
            return [task.result() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()


def _progress(tasks: Sequence[Future[Done | GaveUp]], began: float, paused: float) -> str:
    """Return in a line how far a batch is: done of how many, without a video, and for how long still."""
    done = [task for task in tasks if task.done() and task.exception() is None]
    failed = sum(isinstance(task.result(), GaveUp) for task in done)
    said = f"{len(done)} of {len(tasks)} generations have ended, {failed} of them without a video"
    if done:
        left = (time.monotonic() - began) / len(done) * (len(tasks) - len(done))
        said += f"; at this rate, about {left:.0f} s more"
    return f"{said}; the gateway refuses to be asked for {paused:.0f} s" if paused else said


class _Waiter:
    """One wait in the channel."""

    __slots__ = ("context", "due", "ended", "late", "load", "look", "queued", "wait")

    def __init__(self, wait: Wait, ended: asyncio.Future[Done | GaveUp]) -> None:
        self.wait = wait
        self.ended = ended
        #: For log lines: Airflow finds the task whose log they belong to by context variables.
        self.context = contextvars.copy_context()
        self.due = 0.0
        #: Requests per second that it makes.
        self.load = 0.0
        self.queued = False
        self.look: asyncio.Task[None] | None = None
        self.late: asyncio.TimerHandle | None = None


class Channel:
    """
    Looks at many generations through one connection; use it through :func:`joined`.

    :param conn_id: id of the Airflow connection.
    :param caller: what the process is, for the User-Agent.
    """

    def __init__(self, conn_id: str, caller: str = "triggerer") -> None:
        self.conn_id = conn_id
        self.members = 0
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._hook = LumaAsyncHook(conn_id, caller=caller)
        self._settings: LumaSettings | None = None
        self._concurrent = DEFAULT_MAX_CONCURRENT_REQUESTS
        self._pace = Pace()
        self._durations = Durations()
        self._metrics = ChannelMetrics(conn_id, of_task=caller == "task")
        self._report: asyncio.TimerHandle | None = None
        #: All waits that have not ended.
        self._waiters: set[_Waiter] = set()
        #: Since when Airflow gives no such connection, by the monotonic clock.
        self._missing_since: float | None = None
        #: Whether the connection has been looked up, or at least been tried: until then no look has a place.
        self._opened = False
        #: (due by the loop's clock, number, waiter); those that have left stay in it for a while.
        self._queue: list[tuple[float, int, _Waiter]] = []
        self._stale = 0
        self._numbers = itertools.count()
        self._looks: dict[asyncio.Task[None], _Waiter] = {}
        #: Requests per second that all waits make of themselves.
        self._load = 0.0
        self._changed = asyncio.Event()
        # A context of its own: what the first trigger has bound for its log is not the channel's.
        self._serving = self._loop.create_task(
            self._serve(), name=f"luma-channel-{conn_id}", context=contextvars.Context()
        )
        self._serving.add_done_callback(self._stopped)

    async def wait(self, wait: Wait, *, status_id_field: str = "auto") -> Done | GaveUp:
        """
        Look until the wait is over, and return its end.

        Cancelling it ends it at once, and nothing more is sent for it.

        :param status_id_field: the id field that an earlier look of this wait has settled, or ``auto``.
        """
        if status_id_field != "auto" and self._hook.status_id_field == "auto":
            self._hook.status_id_field = status_id_field
        waiter = _Waiter(wait, self._loop.create_future())
        self._waiters.add(waiter)
        try:
            late = max(wait.deadline - time.time(), 0.0) + LATE
            waiter.late = self._loop.call_later(late, self._end_unasked, waiter)
            if self._serving.done():
                self._stopped(self._serving)
            elif self._opened:
                self._place(waiter)
            return await waiter.ended
        finally:
            self._forget(waiter)

    @property
    def paused(self) -> float:
        """Seconds for which nothing is asked, because the gateway refused to be."""
        return self._pace.paused(self._loop.time())

    def close(self) -> None:
        """Stop serving; the loop's next turns close the sockets. Nothing is awaited."""
        self.closed = True
        self._unlist()
        if not self._loop.is_closed():
            self._serving.cancel()

    # Coming and going

    def _place(self, waiter: _Waiter) -> None:
        """Set when the first look of a wait in this channel is due."""
        wait, now = waiter.wait, time.time()
        wait.schedule = self._durations.schedule
        if wait.before_first_look(now):
            # The worker's look at the start of the wait found it pending, or nothing would wait here.
            wait.pending_at = wait.started_at
        waiter.load = 1.0 / wait.interval
        self._load += waiter.load
        self._put(waiter, self._loop.time() + wait.first_pause(random.random(), now))

    def _put(self, waiter: _Waiter, due: float) -> None:
        waiter.due = due
        waiter.queued = True
        heapq.heappush(self._queue, (due, next(self._numbers), waiter))
        if self._queue[0][2] is waiter:
            self._changed.set()

    def _forget(self, waiter: _Waiter) -> None:
        """Let go of a wait that has ended or whose trigger was cancelled. The loop may be gone."""
        self._waiters.discard(waiter)
        self._load = max(self._load - waiter.load, 0.0)
        if waiter.late is not None:
            waiter.late.cancel()
        if self._loop.is_closed():
            return
        waiter.ended.cancel()
        if waiter.look is not None:
            waiter.look.cancel()
        if waiter.queued:
            self._stale += 1
            if self._stale > 64 and self._stale > len(self._queue) // 2:
                self._queue = [entry for entry in self._queue if not entry[2].ended.done()]
                heapq.heapify(self._queue)
                self._stale = 0

    def _end_unasked(self, waiter: _Waiter, patient: bool = True) -> None:
        """End a wait whose deadline went by without a look; a look that is under way may end it first."""
        if patient and waiter.look is not None:
            waiter.late = self._loop.call_later(LOOK_BOUND, self._end_unasked, waiter, False)
        elif not waiter.ended.done():
            waiter.ended.set_result(waiter.wait.gave_up_unasked(time.time()))

    # Serving

    async def _serve(self) -> None:
        try:
            await self._open()
            while True:
                self._changed.clear()
                pause = self._start_looks()
                timer = None if pause is None else self._loop.call_later(pause, self._changed.set)
                try:
                    await self._changed.wait()
                finally:
                    if timer is not None:
                        timer.cancel()
        finally:
            if not self._loop.is_closed():
                await self._clear_up()

    async def _clear_up(self) -> None:
        if self._report is not None:
            self._report.cancel()
        for look in self._looks:
            look.cancel()
        try:
            await asyncio.gather(*self._looks, return_exceptions=True)
        finally:
            await self._hook.close()

    async def _open(self) -> None:
        """Look the connection up, and give everybody who has come so far a place."""
        try:
            await self._hook.open()
        except LumaConnectionNotFound as error:
            # Every look tries again.
            log.warning("%s The waits go on.", error.what)
        except LumaError:
            raise
        except Exception as error:
            # Passing, perhaps: every look tries again, and one that cannot is a failed look.
            log.warning("Connection %s could not be looked up: %s", self.conn_id, plain_reason(error))
        self._heed_settings()
        self._opened = True
        for waiter in self._waiters:
            if not waiter.ended.done():
                self._place(waiter)
        self._tell_metrics()

    def _heed_settings(self) -> None:
        """Let the connection's settings count, which may have changed since the last look."""
        settings = self._hook.settings
        if settings is None or settings is self._settings:
            return
        if self._settings is None or settings.requests_per_second != self._settings.requests_per_second:
            self._pace = Pace(settings.requests_per_second)
        self._settings = settings
        self._concurrent = settings.max_concurrent_requests
        with _lock:
            of_loop = _learned.setdefault(self._loop, {})
            self._durations = of_loop.setdefault(
                (self.conn_id, settings.typical_seconds), Durations(settings.typical_seconds)
            )

    def _start_looks(self) -> float | None:
        """Start every look that may start now; return the seconds until the next, if they are known."""
        self._heed_settings()
        while self._queue:
            due, _, waiter = self._queue[0]
            if waiter.ended.done():
                heapq.heappop(self._queue)
                waiter.queued = False
                self._stale = max(self._stale - 1, 0)
                continue
            now = self._loop.time()
            if due > now + SLACK:
                return due - now
            if len(self._looks) >= self._concurrent:
                return None
            pause = self._pace.turn(now, self._load)
            if pause > 0.0:
                return pause
            heapq.heappop(self._queue)
            waiter.queued = False
            waiter.look = self._loop.create_task(self._look(waiter, now))
            self._looks[waiter.look] = waiter
            waiter.look.add_done_callback(self._looked)
        return None

    async def _look(self, waiter: _Waiter, sent_at: float) -> None:
        seen: Generation | Miss
        try:
            seen = await self._hook.look(waiter.wait.request_id, turn=self._turn)
        except LumaConnectionNotFound as error:
            # The worker has found it, so Airflow's database may be away: for as long as that may take.
            self._missing_since = self._missing_since or time.monotonic()
            if time.monotonic() - self._missing_since > NO_ANSWER_WINDOW:
                waiter.ended.set_result(GaveUp(error))
                return
            seen = Miss(Fault.LOST, f"was not asked: {error.what.rstrip('.')}")
        except LumaError as error:
            waiter.ended.set_result(GaveUp(error))
            return
        except Exception as error:
            # The connection could not be looked up just now, say: a failed look, no more.
            seen = Miss(Fault.LOST, f"could not be asked: {plain_reason(error)}")
        else:
            self._missing_since = None
        self._heed_answer(seen, sent_at)
        now = time.time()
        decision = waiter.wait.after(seen, now)
        if isinstance(decision, Pending):
            if decision.note:
                waiter.context.run(log.info, "Request %s: %s", waiter.wait.request_id, decision.note)
            self._put(waiter, waiter.wait.due_after(waiter.due, self._loop.time(), decision))
            return
        if isinstance(decision, Done):
            self._learn(waiter.wait, now)
        if not waiter.ended.done():
            waiter.ended.set_result(decision)

    def _looked(self, look: asyncio.Task[None]) -> None:
        waiter = self._looks.pop(look)
        waiter.look = None
        if len(self._looks) == self._concurrent - 1:
            self._changed.set()
        error = None if look.cancelled() else look.exception()
        if error is not None and not waiter.ended.done():
            waiter.ended.set_exception(error)

    async def _turn(self) -> None:
        """Wait until a second request of one look may be sent."""
        pause = self._pace.turn(self._loop.time(), self._load)
        while pause > 0.0:
            await asyncio.sleep(pause)
            pause = self._pace.turn(self._loop.time(), self._load)

    def _heed_answer(self, seen: Generation | Miss, sent_at: float) -> None:
        """Let the pace learn from what came back."""
        self._metrics.looks += 1
        fault = seen.fault if isinstance(seen, Miss) else None
        if fault in TOO_MANY and isinstance(seen, Miss):
            pause = retry_after_seconds(seen, now=time.time())
            if pause is None:
                pause = max(backoff(self._pace.refusals + 1, random.random()), MIN_BACKOFF)
            pause = min(pause, MAX_PAUSE)
            now = self._loop.time()
            trusted = self._pace.share(now)
            if self._pace.refused(sent_at, now, pause):
                self._metrics.pauses += 1
                # One line for a bad time, however many pauses it has.
                level = logging.WARNING if trusted >= 1.0 or pause >= LONG_PAUSE else logging.DEBUG
                log.log(
                    level,
                    "Connection %s: the gateway %s. All %d waits pause for %.0f s, and go on more slowly.",
                    self.conn_id,
                    seen.detail,
                    len(self._waiters),
                    pause,
                )
        elif fault in _TROUBLE:
            self._pace.failed(self._loop.time())
        else:
            self._pace.answered()

    def _learn(self, wait: Wait, now: float) -> None:
        """Remember how long a generation took, if it was seen pending at a known time before."""
        if wait.pending_at is not None:
            self._durations.learn(wait.pending_at - wait.started_at, now - wait.started_at)

    def _tell_metrics(self) -> None:
        self._metrics.report(len(self._waiters))
        self._report = self._loop.call_later(REPORT_EVERY, self._tell_metrics)

    def _stopped(self, serving: asyncio.Task[None]) -> None:
        """Tell everybody who still waits why there is no channel any more."""
        self._unlist()
        error = None if serving.cancelled() else serving.exception()
        for waiter in self._waiters:
            if waiter.ended.done():
                continue
            if isinstance(error, LumaError):
                waiter.ended.set_result(GaveUp(error))
            else:
                why = "was stopped" if error is None else f"has failed: {plain_reason(error)}"
                waiter.ended.set_exception(RuntimeError(f"The channel of connection {self.conn_id!r} {why}"))
        self._metrics.report(0)

    def _unlist(self) -> None:
        """Have the next who comes open another channel."""
        with _lock:
            if _channels.get((id(self._loop), self.conn_id)) is self:
                _channels.pop((id(self._loop), self.conn_id), None)
