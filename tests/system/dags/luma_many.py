"""Many generations in a real Airflow: mapped, and in one batch. The runs' params say how many."""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator, LumaGenerateOperator

FOLDER = os.environ.get("LUMA_DEMO_VIDEOS", "/nowhere")


def dag(dag_id: str) -> DAG:
    """Return a DAG with the params that both take."""
    return DAG(
        dag_id=dag_id,
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        max_active_tasks=100,
        params={"count": Param(10, type="integer"), "prompt": Param("A jellyfish", type="string")},
    )


@task
def write_prompts(params: dict | None = None) -> list[str]:
    """Say what to show."""
    assert params is not None
    return [f"{params['prompt']}, number {number}" for number in range(params["count"])]


with dag("luma_mapped"):
    LumaGenerateOperator.partial(
        task_id="make",
        wait_for_completion=True,
        deferrable=True,
        destination=f"file://{FOLDER}/{{{{ run_id }}}}/",
        map_index_template="{{ task.prompt }}",
    ).expand(prompt=write_prompts())

with dag("luma_batch"):
    LumaGenerateBatchOperator(
        task_id="make",
        requests=write_prompts(),
        deferrable=True,
        destination=f"file://{FOLDER}/{{{{ run_id }}}}/",
    )
