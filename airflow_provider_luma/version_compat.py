"""
The few names of Airflow that ``airflow.providers.common.compat.sdk`` does not carry.

Everything else is imported from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.version import version as airflow_version

if TYPE_CHECKING:
    from datetime import datetime

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout
except ImportError:  # Airflow 2, and the early 3.x that kept them in core
    from airflow.exceptions import AirflowRescheduleException, TaskDeferralError  # type: ignore[no-redef]

    try:
        from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef]
    except ImportError:  # Airflow 2 knows one class for both
        TaskDeferralTimeout = TaskDeferralError  # type: ignore[misc,assignment]

try:
    from airflow.sdk.execution_time.context import NEVER_EXPIRE
except ImportError:  # before Airflow 3.3, which brought the task state store
    NEVER_EXPIRE = None  # type: ignore[assignment]

try:
    from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
except ImportError:  # Airflow 2
    from airflow.utils.types import NOTSET as SET_DURING_EXECUTION  # type: ignore[attr-defined,no-redef]

#: Whether this is Airflow 3 or later.
AIRFLOW_3 = not airflow_version.startswith("2.")

#: The word by which Airflow says that a deferral outlived its ``timeout``.
TRIGGER_TIMEOUT = "Trigger timeout"


def triggerer_stats() -> Any:
    """
    Return Airflow's metrics as a triggerer has set them up.

    From Airflow 3.2 on there are two copies of that module: a task sets up the SDK's, a triggerer core's.
    """
    try:
        from airflow.observability import stats
    except ImportError:
        from airflow.providers.common.compat.sdk import Stats

        return Stats
    # Functions of the module from Airflow 3.3 on, methods of a class in it before.
    return stats if hasattr(stats, "gauge") else stats.Stats


def first_poke_at(context: Any, retries: int) -> datetime | None:
    """
    Return when the first process of a rescheduled sensor started, or ``None`` if this is the first.

    Airflow 3 has a method for it; Airflow 2 has the function that its own sensors use, and no other way:
    a task instance's ``start_date`` is that of the current process.
    """
    ti = context["ti"]
    if hasattr(ti, "get_first_reschedule_date"):
        first: datetime | None = ti.get_first_reschedule_date(context)
        return first
    from airflow.sensors.base import _orig_start_date

    found: datetime | None = _orig_start_date(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
        try_number=(ti.max_tries or 0) - retries + 1,
    )
    return found


__all__ = [
    "AIRFLOW_3",
    "NEVER_EXPIRE",
    "SET_DURING_EXECUTION",
    "TRIGGER_TIMEOUT",
    "AirflowRescheduleException",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "first_poke_at",
    "triggerer_stats",
]
