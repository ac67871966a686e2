"""
A retry policy for Airflow 3.3's ``retry_policy=``: a rate limit's own pause instead of the task's delay.

Airflow asks a policy only about errors that it would retry: never about an ``AirflowFailException`` (a
refused key, moderation, an unknown outcome) and never about a sensor's time-out. So there is one thing to
decide here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.exceptions import LumaError, LumaRateRefused

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, RetryDecision, RetryPolicy
else:
    try:
        from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
    except (ImportError, AttributeError):  # before Airflow 3.3
        RetryDecision = None
        RetryPolicy = object


class LumaRetryPolicy(RetryPolicy):
    """
    Retry a rate-limited task after the pause that the gateway asked for, anything else as the task says.

    Use it as ``LumaGenerateOperator(..., retries=3, retry_policy=LumaRetryPolicy())``. It never adds a try.

    :raises RuntimeError: on Airflow before 3.3, which has no retry policies.
    """

    def __init__(self) -> None:
        if RetryDecision is None:
            raise RuntimeError(
                "LumaRetryPolicy needs Airflow 3.3 or later; use retries and retry_delay instead."
            )

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Return the decision for one failed try."""
        if isinstance(exception, LumaError) and exception.retry_after:
            reason = "the gateway asked for this pause"
            if isinstance(exception, LumaRateRefused):
                reason = f"rate limit: {reason}"
            return RetryDecision.retry(delay=timedelta(seconds=exception.retry_after), reason=reason)
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Return what Airflow keeps of the policy: it has no settings."""
        return {"__type": f"{type(self).__module__}.{type(self).__qualname__}"}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> LumaRetryPolicy:
        """Return the policy again."""
        return cls()
