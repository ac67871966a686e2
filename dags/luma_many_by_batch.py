"""
Many prompts in one task: submitted a few at a time, waited for by one trigger, kept, and told of one by one.

What has no video is in the results with the reason; the task fails if that is more than a tenth.
"""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator

FOLDER = Path(os.environ.get("LUMA_DEMO_VIDEOS", "luma-videos")).absolute()

with DAG(
    dag_id="luma_many_by_batch",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
    params={"count": 10},
):

    @task
    def write_requests(params: dict | None = None) -> list[dict]:
        """Say what to show: a prompt alone would do, a dict has room for more."""
        count = (params or {})["count"]
        return [{"prompt": f"Day {day} of a long voyage", "aspect_ratio": "9:16"} for day in range(count)]

    make = LumaGenerateBatchOperator(
        task_id="make",
        requests=write_requests(),
        deferrable=True,
        destination=f"file://{FOLDER}/day-{{index}}.mp4",
        overwrite=True,
        max_failures=1,
    )

    @task
    def report(results: list[dict]) -> int:
        """Say what became of each."""
        for one in results:
            print(one["index"], one["status"], one["path"] or (one["error"] or {}).get("message"))
        return sum(one["status"] == "completed" for one in results)

    report(make.output)
