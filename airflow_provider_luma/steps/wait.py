"""
Wait for a generation: what every task that waits does alike, be it the sensor or an operator.

A wait never costs anything. It looks from the worker first, may go on in the triggerer, and comes back with
an event; the blocking, the already-complete and the deferred path end in :func:`ended`: the same XComs, the
same errors.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pendulum
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_luma.api.events import event_of, generation_of
from airflow_provider_luma.api.polling import MIN_POKE_INTERVAL, Done, GaveUp, Pending
from airflow_provider_luma.api.retry import MAX_WORKER_PAUSE
from airflow_provider_luma.api.text import one_line, shown_url
from airflow_provider_luma.exceptions import (
    LumaConnectionNotFound,
    LumaError,
    LumaVideoNotDelivered,
    LumaWaitTimeout,
)
from airflow_provider_luma.hooks.metrics import generation_completed
from airflow_provider_luma.triggers.luma import LumaStatusTrigger
from airflow_provider_luma.version_compat import TRIGGER_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import BaseOperator, Context

    from airflow_provider_luma.api.events import LumaEvent
    from airflow_provider_luma.api.polling import GenerationSummary, Wait
    from airflow_provider_luma.hooks.luma import LumaHook

#: Seconds by which the framework's own time-out of a deferral is later than ours: it is a backstop for a
#: triggerer that is down, and our own look at the deadline should come first.
DEFERRAL_BACKSTOP = 600.0

#: Seconds that are kept free at the end of an ``execution_timeout``, so that the wait ends with a word of
#: ours.
EXECUTION_TIMEOUT_MARGIN = 1.0


def deadline(now: float, timeout: float, began: float, execution_timeout: timedelta | None) -> float:
    """
    Return the epoch second at which a wait ends that begins now.

    :param timeout: seconds that the wait may take.
    :param began: when the task began, from which its ``execution_timeout`` counts. Airflow 3 ignores that
        while a task is deferred.
    """
    ends = now + timeout
    if execution_timeout is not None:
        left = execution_timeout.total_seconds() - EXECUTION_TIMEOUT_MARGIN
        ends = min(ends, max(began + left, now))
    return ends


def look_until_ended(hook: LumaHook, wait: Wait, log: Any, hand_over: Callable[[Pending], None]) -> LumaEvent:
    """
    Look from this process until the wait is over, and return its event.

    :param hand_over: is called after each look that found it pending, and may leave (defer, reschedule).
        What one more look confirms (a refused key, say) is said here and now, not minutes later: it is not
        called for that.
    """
    with LumaConnectionNotFound.of_a_wait(wait.request_id):
        wait.schedule = hook.schedule
    while True:
        try:
            seen = hook.look(wait.request_id)
        except AirflowTaskTimeout as timed_out:
            raise LumaWaitTimeout(
                "The task's execution_timeout ended the wait in the middle of a look.",
                request_id=wait.request_id,
            ) from timed_out
        now = time.time()
        decision = wait.after(seen, now)
        if not isinstance(decision, Pending):
            return event_of(wait, decision, now)
        if decision.note:
            log.info("Request %s: %s", wait.request_id, decision.note)
        if not decision.confirming:
            hand_over(decision)
        time.sleep(min(decision.seconds, MAX_WORKER_PAUSE))


def defer(task: BaseOperator, wait: Wait, status_id_field: str) -> None:
    """Hand the wait over to the triggerer, whose event ``task.execute_complete`` takes; never returns."""
    task.log.info(
        "Request %s is %s; waiting in the triggerer until %s at the latest.",
        wait.request_id,
        wait.last_status or "not answered for yet",
        pendulum.from_timestamp(wait.deadline).to_iso8601_string(),
    )
    task.defer(
        trigger=LumaStatusTrigger(
            request_id=wait.request_id,
            luma_conn_id=wait.conn_id,
            deadline=wait.deadline,
            started_at=wait.started_at,
            poke_interval=wait.poke_interval,
            status_id_field=status_id_field,
            answered=wait.answered,
            looks=wait.looks,
            last_status=wait.last_status,
        ),
        method_name="execute_complete",
        timeout=backstop(wait.deadline),
    )


def backstop(ends: float) -> timedelta:
    """Return the framework's time-out of a deferral whose wait ends at an epoch second."""
    return timedelta(seconds=max(ends - time.time(), 0.0) + DEFERRAL_BACKSTOP)


def last_look(hook: LumaHook, wait: Wait, broken_off: Exception) -> LumaEvent:
    """
    Look once more when the framework ended a deferral, and return the event if the wait is over.

    A video that is ready is a success, whatever has become of the triggerer.

    :raises LumaWaitTimeout: no triggerer ended the wait in time.
    :raises LumaError: the trigger broke off, and the generation is pending.
    """
    now = time.time()
    decision = wait.after(hook.look(wait.request_id), now)
    if isinstance(decision, (Done, GaveUp)):
        return event_of(wait, decision, now)
    status = wait.last_status or "not answered for"
    if str(broken_off) == TRIGGER_TIMEOUT:
        raise LumaWaitTimeout(
            f"No triggerer ended this wait in time, and the generation is {status} now. "
            "Is a triggerer running?",
            request_id=wait.request_id,
        )
    raise LumaError(
        f"The trigger that waited broke off ({broken_off}), and the generation is {status} now.",
        request_id=wait.request_id,
        money="The generation is paid for and may still be running.",
        next_step="A retry or a clear of this task resumes the wait for free; do not submit again.",
    )


def ended(context: Context, log: Any, event: Any, request_id: str, conn_id: str) -> str:
    """
    End a wait: push what is known, and return the video's address.

    Pushes the XComs ``video_url`` and ``generation``.

    :param event: of this process or of a trigger, which may be of another release.
    :raises LumaError: what the event reports, or that it is none of ours about this request.
    """
    generation: GenerationSummary = generation_of(event, request_id)
    video_url = cast("str", generation["video_url"])  # generation_of has checked it
    context["ti"].xcom_push(key="video_url", value=video_url)
    context["ti"].xcom_push(key="generation", value=dict(generation))
    generation_completed(generation["seconds_waited"], conn_id)
    log.info(
        "Request %s is complete after %.0f s and %d looks: %s",
        generation["request_id"],
        generation["seconds_waited"],
        generation["looks"],
        shown_url(video_url),
    )
    return video_url


def not_delivered(error: BaseException, request_id: str | None) -> LumaVideoNotDelivered:
    """Return what an error becomes in a task without a record: its advice to clear the task would cost."""
    if not isinstance(error, LumaError):
        return LumaVideoNotDelivered(
            f"{type(error).__name__}: {one_line(str(error))}.", request_id=request_id
        )
    # The text of an error that came with a trigger's event is whole: what happened, the id, what it means for
    # money and what to do about it. Only the first is true of a task that has no record.
    what = error.what
    for mark in filter(None, ("Request id: ", error.money, error.next_step)):
        what, _, _ = what.partition(f" {mark}")
    return LumaVideoNotDelivered(what, request_id=request_id, http_status=error.http_status)


def seconds_of(name: str, value: float | timedelta) -> float:
    """Return a duration that an operator was given, in seconds; an error of the DAG if it is none."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} must be seconds or a timedelta, not {value!r:.80}.")
    return float(seconds)


def poke_interval_of(value: float | timedelta | None) -> float | None:
    """Return an operator's ``poke_interval`` in seconds; an error of the DAG if it is none."""
    if value is None:
        return None
    seconds = seconds_of("poke_interval", value)
    if seconds < MIN_POKE_INTERVAL:
        raise ValueError(f"poke_interval must be at least {MIN_POKE_INTERVAL} seconds.")
    return seconds
