"""
Errors and retries: what Airflow may try again, and what a person hears of.

Retries never pay twice: a retry takes up what was submitted. After a rate limit, ``LumaRetryPolicy`` (Airflow
3.3) has the task wait as long as the gateway asked. What no retry can mend (a refused key, a refused prompt,
an unknown outcome) is not retried, and the message says what it means for money.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_luma.operators.luma import LumaGenerateOperator
from airflow_provider_luma.retry_policy import LumaRetryPolicy

try:
    patience = {"retry_policy": LumaRetryPolicy()}
except RuntimeError:  # before Airflow 3.3
    patience = {}


def tell_somebody(context) -> None:
    """Say what happened: every error of the provider has its kind and the request id."""
    error = context.get("exception")
    print(f"{getattr(error, 'kind', 'error')}, request {getattr(error, 'request_id', None)}: {error}")


with DAG(
    dag_id="luma_retries",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
):
    LumaGenerateOperator(
        task_id="make",
        prompt="Rain on a tin roof",
        wait_for_completion=True,
        deferrable=True,
        retries=3,
        retry_delay=timedelta(seconds=30),
        on_failure_callback=tell_somebody,
        **patience,
    )
