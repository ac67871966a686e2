"""
Many prompts by dynamic task mapping: a task instance for each, retried and cleared on its own.

Each has its own line in the grid, named after its prompt. For hundreds, see ``luma_many_by_batch``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_luma.operators.luma import LumaGenerateOperator

FOLDER = Path(os.environ.get("LUMA_DEMO_VIDEOS", "luma-videos")).absolute()

with DAG(
    dag_id="luma_many_by_mapping",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
    params={"animals": ["a fox", "an owl", "a hare"]},
):

    @task
    def write_prompts(params: dict | None = None) -> list[str]:
        """Say what to show."""
        return [f"{animal} in the snow, at dawn" for animal in (params or {})["animals"]]

    LumaGenerateOperator.partial(
        task_id="make",
        wait_for_completion=True,
        deferrable=True,
        destination=f"file://{FOLDER}/",
        # Of the many, so many are under way at once: those that wait count, though they hold no worker.
        max_active_tis_per_dag=8,
        map_index_template="{{ task.prompt }}",
    ).expand(prompt=write_prompts())
