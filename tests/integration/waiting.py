"""
Drive a task that waits through all of it, in each mode of waiting, as Airflow does, against the gateway on a
real socket.

Not a test. ``outcome_of(task, context)`` returns what Airflow would make of it: success with the value,
failed (retried or not), or skipped. The deferred mode goes through the trigger's serialised form and an event
loop.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_luma.sensors.luma import LumaStatusSensor
from airflow_provider_luma.version_compat import AirflowRescheduleException

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator
    from airflow.triggers.base import BaseTrigger

MODES = ("poke", "reschedule", "deferred")


@dataclass(frozen=True)
class Outcome:
    """How a task ended: ``success``, ``failed``, ``up_for_retry`` or ``skipped``."""

    state: str
    value: Any = None
    error: BaseException | None = None


def sensor_in(mode: str, request_id: str, **kwargs: Any) -> LumaStatusSensor:
    """Return a sensor that waits for ``request_id`` in ``mode``, looking every 0.1 s."""
    fields: dict[str, Any] = {"task_id": "wait", "poke_interval": 0.1, "timeout": 20, **kwargs}
    if mode == "reschedule":
        fields["mode"] = "reschedule"
    return LumaStatusSensor(request_id=request_id, deferrable=mode == "deferred", **fields)


def outcome_of(task: BaseOperator, context: dict[str, Any]) -> Outcome:
    """Run the task to its end and say what Airflow makes of it."""
    try:
        return Outcome("success", value=run(task, context))
    except AirflowSkipException as skipped:
        return Outcome("skipped", error=skipped.__cause__)
    except (AirflowFailException, AirflowSensorTimeout) as error:
        return Outcome("failed", error=error)
    except Exception as error:
        return Outcome("up_for_retry", error=error)


def events_of(trigger: BaseTrigger) -> list[Any]:
    """Run a trigger to its end, from its serialised form; return its events' payloads."""
    path, kwargs = trigger.serialize()
    assert path == f"{type(trigger).__module__}.{type(trigger).__qualname__}"
    again = type(trigger)(**json.loads(json.dumps(kwargs)))

    async def run() -> list[Any]:
        return [json.loads(json.dumps(event.payload)) async for event in again.run()]

    return asyncio.run(run())


def run(task: BaseOperator, context: dict[str, Any]) -> Any:
    """Run the task to its end and return its value, or raise what it raises."""
    while True:
        try:
            return task.execute(context)
        except AirflowRescheduleException as later:
            # As Airflow does: the first reschedule's start is remembered, and the next poke is a new process.
            if context["ti"].first_reschedule is None:
                context["ti"].first_reschedule = pendulum.now("UTC")
            pause = (later.reschedule_date - pendulum.now("UTC")).total_seconds()
            asyncio.run(asyncio.sleep(max(pause, 0)))
        except TaskDeferred as deferred:
            (event,) = events_of(deferred.trigger)
            return task.resume_execution(deferred.method_name, {"event": event}, context)
