"""One task submits many generations, and as many mapped sensors wait for them in the triggerers."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_luma.sensors.luma import LumaStatusSensor

with DAG(
    dag_id="luma_takeover",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={"waiting": Param(30, type="integer", minimum=2)},
):

    @task
    def submit(params: dict[str, int] | None = None) -> list[str]:
        """Submit each generation once, and return the request ids."""
        from airflow_provider_luma.api.models import GenerationRequest
        from airflow_provider_luma.hooks.luma import LumaHook

        assert params is not None
        with LumaHook() as hook:
            return [
                hook.generate(GenerationRequest(prompt=f"A jellyfish, number {number}"))
                for number in range(params["waiting"])
            ]

    LumaStatusSensor.partial(task_id="wait", timeout=timedelta(hours=4), deferrable=True).expand(
        request_id=submit()
    )
