"""
Wait for a generation: holding a worker (poke), coming back to one (reschedule), or holding none (deferrable).

All modes fold their looks into the same :class:`~airflow_provider_luma.api.polling.Wait`, end in the same
event and go through the same ending: the same return value, XComs and errors. A wait never costs anything,
and a wait that gave up is resumed by clearing the sensor.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import pendulum
from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_luma.api.events import event_of
from airflow_provider_luma.api.models import rendered_request_id
from airflow_provider_luma.api.polling import DEFAULT_POKE_INTERVAL, Pending, Wait
from airflow_provider_luma.hooks.luma import DEFAULT_WAIT_TIMEOUT, LumaHook
from airflow_provider_luma.hooks.metrics import failures_counted
from airflow_provider_luma.links.luma import LumaVideoLink
from airflow_provider_luma.steps.wait import (
    deadline,
    defer,
    ended,
    last_look,
    look_until_ended,
    poke_interval_of,
)
from airflow_provider_luma.version_compat import (
    AirflowRescheduleException,
    TaskDeferralError,
    TaskDeferralTimeout,
    first_poke_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

_T = TypeVar("_T")

#: Key of the task state store under which a rescheduled wait keeps its memory.
WAIT_KEY = "luma_wait"


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

    :raises LumaInvalidRequest: ``request_id`` is blank, or rendered to ``'None'``. Airflow does not retry it.
    :raises LumaConnectionNotFound: there is no such connection, or it cannot be looked up just now. Airflow's
        retries apply.
    :raises LumaConfigurationError: the connection cannot be used. Airflow does not retry it.
    :raises LumaGenerationFailed: the gateway says that it failed, with its reason. It may have been charged.
    :raises LumaGenerationNotFound: the gateway did not know the id for a minute.
    :raises LumaCompletedWithoutVideo: it is complete, and two minutes later had no address yet.
    :raises LumaWaitTimeout: time is out; the generation is paid for and may still be running. Airflow does
        not retry it; a clear resumes the wait for free.
    :raises LumaError: the gateway refuses to be asked, for the key, say. What was paid for stays so.
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
        self.request_id = request_id
        self.luma_conn_id = luma_conn_id
        self.deferrable = deferrable
        self._own_interval = poke_interval_of(poke_interval)

    def execute(self, context: Context) -> str:
        """Wait, and return the video's address."""
        return self._under_skip_rules(lambda: self._wait(context))

    def poke(self, context: Context) -> PokeReturnValue:
        """
        Look once; for those who call a sensor by hand. :meth:`execute` does not use it.

        Each call is a wait of its own: it has no time-out, and bears what only a window would end.
        """
        wait = self._new_wait(rendered_request_id(self.request_id))
        now = wait.started_at
        with LumaHook(self.luma_conn_id) as hook:
            decision = wait.after(hook.look(wait.request_id), now)
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
        wait = self._begun(context, rendered_request_id(self.request_id))
        with LumaHook(self.luma_conn_id) as hook:

            def hand_over(pending: Pending) -> None:
                if self.deferrable:
                    defer(self, wait, hook.status_id_field)
                if self.reschedule:
                    _remember(context, wait)
                    raise AirflowRescheduleException(pendulum.now("UTC").add(seconds=pending.seconds))

            return self._end(context, look_until_ended(hook, wait, self.log, hand_over))

    def _begun(self, context: Context, request_id: str) -> Wait:
        """Return the wait as of its first look, which in reschedule mode may lie in an earlier process."""
        if self.reschedule:
            return _resumed(context, self._new_wait(request_id), self.retries or 0)
        now = time.time()
        ends = deadline(now, self.timeout, now, self.execution_timeout)
        return Wait(request_id, now, ends, self._own_interval, conn_id=self.luma_conn_id)

    def _last_look(self, context: Context, broken_off: Exception) -> str:
        with LumaHook(self.luma_conn_id) as hook:
            event = last_look(hook, self._new_wait(rendered_request_id(self.request_id)), broken_off)
        return self._end(context, event)

    def _end(self, context: Context, event: Any) -> str:
        request_id = rendered_request_id(self.request_id)
        return ended(context, self.log, event, request_id, self.luma_conn_id)

    def _new_wait(self, request_id: str) -> Wait:
        now = time.time()
        return Wait(request_id, now, now + self.timeout, self._own_interval, conn_id=self.luma_conn_id)

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
        last_status = known.get("last_status")
        wait.last_status = last_status if isinstance(last_status, str) else ""
    return wait


def _remember(context: Context, wait: Wait) -> None:
    """Keep what the next process of a rescheduled wait should know (Airflow 3.3+)."""
    store: Any = context.get("task_state_store")
    if store is not None:
        known: dict[str, Any] = {
            "request_id": wait.request_id,
            "answered": wait.answered,
            "looks": wait.looks,
            "last_status": wait.last_status,
        }
        with suppress(Exception):
            store.set(WAIT_KEY, known)
