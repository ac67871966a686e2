"""
The hook inside tasks of one's own, for what no operator does.

A task that submits by the hook has no record of it: ``retries=0``, and all retries on the task that waits. A
``LumaGenerateOperator`` has one.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

with DAG(
    dag_id="luma_hook_in_a_task",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
):

    @task(retries=0)
    def submit() -> str:
        """Submit: paid for from here on."""
        from airflow_provider_luma.api.models import GenerationRequest
        from airflow_provider_luma.hooks.luma import LumaHook

        with LumaHook() as hook:
            return hook.generate(GenerationRequest("A clock without hands", loop=True))

    @task(retries=3)
    def fetch_address(request_id: str) -> str:
        """Wait in this process, which holds a worker; free, however often."""
        from airflow_provider_luma.hooks.luma import LumaHook

        with LumaHook() as hook:
            return str(hook.wait_for_completion(request_id, timeout=900).video_url)

    fetch_address(submit())
