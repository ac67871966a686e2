"""
The few names of Airflow that ``airflow.providers.common.compat.sdk`` does not carry.

Everything else is imported from there.
"""

from __future__ import annotations

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

#: The word by which Airflow says that a deferral outlived its ``timeout``.
TRIGGER_TIMEOUT = "Trigger timeout"

__all__ = [
    "NEVER_EXPIRE",
    "TRIGGER_TIMEOUT",
    "AirflowRescheduleException",
    "TaskDeferralError",
    "TaskDeferralTimeout",
]
