"""
Wait for a generation: holding a worker (poke), coming back to one (reschedule), or holding none (deferrable).

All modes fold their looks into the same :class:`~airflow_provider_luma.api.polling.Wait`, end in the same
event and go through the same ending: the same return value, XComs and errors. A wait never costs anything,
and a wait that gave up is resumed by clearing the sensor.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pendulum
from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_luma.api.events import event_of, generation_of
from airflow_provider_luma.api.models import rendered_request_id
from airflow_provider_luma.api.polling import (
    DEFAULT_POKE_INTERVAL,
    MIN_POKE_INTERVAL,
    Done,
    GaveUp,
    Pending,
    Wait,
)
from airflow_provider_luma.api.retry import MAX_WORKER_PAUSE
from airflow_provider_luma.api.text import shown_url
from airflow_provider_luma.exceptions import LumaError, LumaWaitTimeout
from airflow_provider_luma.hooks.luma import DEFAULT_WAIT_TIMEOUT, LumaHook
from airflow_provider_luma.hooks.metrics import failures_counted, generation_completed
from airflow_provider_luma.links.luma import LumaVideoLink
from airflow_provider_luma.triggers.luma import LumaStatusTrigger
from airflow_provider_luma.version_compat import (
    TRIGGER_TIMEOUT,
    AirflowRescheduleException,
    TaskDeferralError,
    TaskDeferralTimeout,
    first_poke_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import Context

_T = TypeVar("_T")

#: Seconds by which the framework's own time-out of a deferral is later than ours: it is a backstop for a
#: triggerer that is down, and our own look at the deadline should come first.
DEFERRAL_BACKSTOP = 600.0

#: Key of the task state store under which a rescheduled wait keeps its memory.
WAIT_KEY = "luma_wait"

#: Seconds that are kept free at the end of an ``execution_timeout``, so that the wait ends with a word of
#: ours.
EXECUTION_TIMEOUT_MARGIN = 1.0


class LumaStatusSensor(BaseSensorOperator):
    """
    Wait until a generation is complete, and return the address of its video.

    Looking is free. A failed sensor loses nothing: clear it, and it looks again at the same generation. A
    literal ``request_id`` adopts a generation that was made elsewhere.

    :param request_id: the generation, usually ``"{{ ti.xcom_pull('generate', key='requestId') }}"`` or the
        output of a :class:`~airflow_provider_luma.operators.luma.LumaGenerateOperator`. Templated.
    :param luma_conn_id: id of the Airflow connection; default ``luma_default``. Templated.
    :param timeout: seconds from the first look until a generation that is still pending is given up; default
        3600. What is left of the task's ``execution_timeout`` counts too, also while deferred. A video that
        is ready at the last look is a success however late that look is.
    :param poke_interval: seconds between looks, at least 0.1; default ``None``: the provider's own schedule.
    :param deferrable: whether to wait in the triggerer, holding no worker; default: Airflow's
        ``[operators] default_deferrable``.
    :param soft_fail: skip, instead of fail, when the time is out. Any other error still fails.
    :param never_fail: skip on any error.

    ``exponential_backoff``, ``max_wait`` and ``silent_fail`` of other sensors have no effect: when to look,
    and which failed looks to bear, is decided by the rules of the gateway.

    Returns the video's address. Pushes the XComs ``video_url`` and ``generation``
    (``{"request_id", "status", "raw_status", "video_url", "seconds_waited", "looks"}``).

    :raises LumaGenerationFailed: the gateway says that it failed, with its reason.
    :raises LumaWaitTimeout: time is out; the generation may still be running. Airflow does not retry it.
    :raises LumaError: the gateway could not be asked, or the request id is not known there.
    """

    template_fields: Sequence[str] = ("request_id", "luma_conn_id")
    operator_extra_links = (LumaVideoLink(),)
    ui_color = "#e4dcf7"

    def __init__(
        self,
        *,
        request_id: str,
        luma_conn_id: str = LumaHook.default_conn_name,
        timeout: float | timedelta = DEFAULT_WAIT_TIMEOUT,
        poke_interval: float | timedelta | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        # The base class takes no None; what it is given here is used by nothing but the UI.
        super().__init__(
            timeout=timeout,
            poke_interval=DEFAULT_POKE_INTERVAL if poke_interval is None else poke_interval,
            **kwargs,
        )
        if self.poke_interval < MIN_POKE_INTERVAL:
            raise ValueError(f"poke_interval must be at least {MIN_POKE_INTERVAL} seconds.")
        self.request_id = request_id
        self.luma_conn_id = luma_conn_id
        self.deferrable = deferrable
        self._own_interval = None if poke_interval is None else self.poke_interval

    def execute(self, context: Context) -> str:
        """Wait, and return the video's address."""
        return self._under_skip_rules(lambda: self._wait(context))

    def poke(self, context: Context) -> PokeReturnValue:
        """
        Look once; for those who call a sensor by hand. :meth:`execute` does not use it.

        Each call is a wait of its own: it has no time-out, and bears what only a window would end.
        """
        request_id = rendered_request_id(self.request_id)
        now = time.time()
        wait = Wait(request_id, now, now + self.timeout, self._own_interval, conn_id=self.luma_conn_id)
        with LumaHook(self.luma_conn_id) as hook:
            decision = wait.after(hook.look(request_id), now)
        if isinstance(decision, Pending):
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._end(context, event_of(wait, decision, now)))

    def execute_complete(self, context: Context, event: Any) -> str:
        """Take the trigger's event and return the video's address."""
        return self._end(context, event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from the triggerer, with an event or because the framework ended the deferral."""

        @failures_counted
        def resume(_: LumaStatusSensor) -> Any:
            try:
                # Past BaseSensorOperator, which skips on every error under soft_fail.
                return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
            except (TaskDeferralError, TaskDeferralTimeout) as broken_off:
                return self._last_look(context, broken_off)

        return self._under_skip_rules(lambda: resume(self))

    @failures_counted
    def _wait(self, context: Context) -> str:
        request_id = rendered_request_id(self.request_id)
        wait = self._begun(context, request_id)
        with LumaHook(self.luma_conn_id) as hook:
            wait.schedule = hook.schedule
            while True:
                try:
                    seen = hook.look(request_id)
                except AirflowTaskTimeout as timed_out:
                    raise LumaWaitTimeout(
                        "The task's execution_timeout ended the wait in the middle of a look.",
                        request_id=request_id,
                    ) from timed_out
                now = time.time()
                decision = wait.after(seen, now)
                if not isinstance(decision, Pending):
                    return self._end(context, event_of(wait, decision, now))
                if decision.note:
                    self.log.info("Request %s: %s", request_id, decision.note)
                # What one more look confirms (a refused key, say) is said here and now, not minutes later.
                if self.deferrable and not decision.confirming:
                    self._defer(wait, hook.status_id_field)
                if self.reschedule and not decision.confirming:
                    _remember(context, wait)
                    raise AirflowRescheduleException(pendulum.now("UTC").add(seconds=decision.seconds))
                time.sleep(min(decision.seconds, MAX_WORKER_PAUSE))

    def _begun(self, context: Context, request_id: str) -> Wait:
        """Return the wait as of its first look, which in reschedule mode may lie in an earlier process."""
        now = time.time()
        if self.reschedule:
            return _resumed(
                context,
                Wait(request_id, now, now + self.timeout, self._own_interval, conn_id=self.luma_conn_id),
                self.retries or 0,
            )
        deadline = now + self.timeout
        if self.execution_timeout is not None:
            deadline = min(
                deadline, now + max(self.execution_timeout.total_seconds() - EXECUTION_TIMEOUT_MARGIN, 0.0)
            )
        return Wait(request_id, now, deadline, self._own_interval, conn_id=self.luma_conn_id)

    def _defer(self, wait: Wait, status_id_field: str) -> None:
        self.log.info(
            "Request %s is %s; waiting in the triggerer until %s at the latest.",
            wait.request_id,
            wait.last_status or "not answered for yet",
            pendulum.from_timestamp(wait.deadline).to_iso8601_string(),
        )
        self.defer(
            trigger=LumaStatusTrigger(
                request_id=wait.request_id,
                luma_conn_id=self.luma_conn_id,
                deadline=wait.deadline,
                started_at=wait.started_at,
                poke_interval=self._own_interval,
                status_id_field=status_id_field,
                answered=wait.answered,
                looks=wait.looks,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(wait.deadline - time.time(), 0.0) + DEFERRAL_BACKSTOP),
        )

    def _last_look(self, context: Context, broken_off: Exception) -> str:
        """Look once more when the framework ended the deferral: a video that is ready is a success."""
        request_id = rendered_request_id(self.request_id)
        now = time.time()
        wait = Wait(request_id, now, now + self.timeout, self._own_interval, conn_id=self.luma_conn_id)
        with LumaHook(self.luma_conn_id) as hook:
            decision = wait.after(hook.look(request_id), now)
        if isinstance(decision, (Done, GaveUp)):
            return self._end(context, event_of(wait, decision, now))
        status = wait.last_status or "not answered for"
        if str(broken_off) == TRIGGER_TIMEOUT:
            raise LumaWaitTimeout(
                f"No triggerer ended this wait in time, and the generation is {status} now. "
                "Is a triggerer running?",
                request_id=request_id,
            )
        raise LumaError(
            f"The trigger that waited broke off ({broken_off}), and the generation is {status} now.",
            request_id=request_id,
            money="The generation is paid for and may still be running.",
            next_step="A retry or a clear of this task resumes the wait for free; do not submit again.",
        )

    def _end(self, context: Context, event: Any) -> str:
        """The one ending: push what is known, return the video's address, or raise."""
        generation = generation_of(event, rendered_request_id(self.request_id))
        video_url = cast("str", generation["video_url"])  # generation_of has checked it
        context["ti"].xcom_push(key="video_url", value=video_url)
        context["ti"].xcom_push(key="generation", value=dict(generation))
        generation_completed(generation["seconds_waited"], self.luma_conn_id)
        self.log.info(
            "Request %s is complete after %.0f s and %d looks: %s",
            generation["request_id"],
            generation["seconds_waited"],
            generation["looks"],
            shown_url(video_url),
        )
        return video_url

    def _under_skip_rules(self, wait: Callable[[], _T]) -> _T:
        """
        Apply ``soft_fail`` and ``never_fail`` alike in every mode.

        Airflow's own rules differ between poking and resuming, and skip more than was asked for: under
        ``soft_fail`` a refused key would be skipped, as would every error after a deferral.
        """
        try:
            return wait()
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except (Exception, AirflowTaskTimeout) as error:
            timed_out = isinstance(error, (AirflowSensorTimeout, AirflowTaskTimeout))
            if self.never_fail or (self.soft_fail and timed_out):
                raise AirflowSkipException(str(error)) from error
            raise


def _resumed(context: Context, wait: Wait, retries: int) -> Wait:
    """Return ``wait`` as of its first process, if a reschedule came before this one."""
    first = first_poke_at(context, retries)
    if first is None:
        return wait
    timeout = wait.deadline - wait.started_at
    wait.started_at = first.timestamp()
    wait.deadline = wait.started_at + timeout
    store: Any = context.get("task_state_store")
    known = None
    if store is not None:
        # Only a convenience: a wait is free, and must not fail for what it might have known.
        with suppress(Exception):
            known = store.get(WAIT_KEY)
    if isinstance(known, dict) and known.get("request_id") == wait.request_id:
        wait.answered = known.get("answered") is True
        looks = known.get("looks")
        wait.looks = looks if isinstance(looks, int) else 0
    return wait


def _remember(context: Context, wait: Wait) -> None:
    """Keep what the next process of a rescheduled wait should know (Airflow 3.3+)."""
    store: Any = context.get("task_state_store")
    if store is not None:
        known: dict[str, Any] = {
            "request_id": wait.request_id,
            "answered": wait.answered,
            "looks": wait.looks,
        }
        with suppress(Exception):
            store.set(WAIT_KEY, known)
