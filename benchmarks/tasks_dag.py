"""The DAGs of :mod:`benchmarks.tasks`: pairs of the HTTP provider's tasks, and one batch."""

from __future__ import annotations

import json

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor

from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator


def dag(dag_id: str) -> DAG:
    """Return a DAG with the param that both take."""
    return DAG(
        dag_id=dag_id,
        schedule=None,
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        max_active_tasks=100,
        params={"count": Param(1, type="integer")},
    )


with dag("bench_pairs"):

    @task
    def write_bodies(params: dict | None = None) -> list[str]:
        """Return a body for each submit."""
        return [json.dumps({"prompt": f"A jellyfish, number {n}"}) for n in range((params or {})["count"])]

    @task
    def write_questions(ids) -> list[str]:
        """Return a body for each look."""
        return [json.dumps({"task_id": one}) for one in ids]

    make = HttpOperator.partial(
        task_id="make",
        method="POST",
        endpoint="/lumalabs-ai/v1/generate",
        response_filter=lambda response: response.json()["requestId"],
    ).expand(data=write_bodies())
    # Its deferrable form takes no check of the answer.
    HttpSensor.partial(
        task_id="wait",
        method="POST",
        endpoint="/lumalabs-ai-polling/v1/getStatus",
        response_check=lambda response: response.json().get("status") == "completed",
        poke_interval=5,
    ).expand(request_params=write_questions(make.output))

with dag("bench_batch"):

    @task
    def write_prompts(params: dict | None = None) -> list[str]:
        """Return the prompts."""
        return [f"A jellyfish, number {n}" for n in range((params or {})["count"])]

    LumaGenerateBatchOperator(task_id="make", requests=write_prompts(), deferrable=True)
