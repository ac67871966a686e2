"""
``@task.luma``: a function says what to generate, and is the task that generates it.

The function is called where something is to be submitted, and not by a retry that takes up what was.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

with DAG(
    dag_id="luma_task_decorator",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
    params={"mood": "calm"},
):

    @task.luma(wait_for_completion=True, deferrable=True)
    def make(params: dict | None = None) -> dict:
        """Say what to show."""
        mood = (params or {})["mood"]
        return {"prompt": f"A {mood} sea", "aspect_ratio": "21:9" if mood == "calm" else "16:9"}

    make()
