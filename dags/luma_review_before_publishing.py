"""
A person looks at the video before it is published: Airflow 3.1's human-in-the-loop, in the UI.

The video is kept first, because its address may die before anybody has looked. A rejection skips what comes
after; it does not generate another one. Before Airflow 3.1 there is no such DAG.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_luma.operators.luma import LumaGenerateOperator

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except Exception:  # the provider says by an error of its own that Airflow is too old
    ApprovalOperator = None

FOLDER = Path(os.environ.get("LUMA_DEMO_VIDEOS", "luma-videos")).absolute()

if ApprovalOperator is not None:
    with DAG(
        dag_id="luma_review_before_publishing",
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        tags=["luma", "example"],
        doc_md=__doc__,
        params={"prompt": "A paper boat on a river of light"},
    ):
        make = LumaGenerateOperator(
            task_id="make",
            prompt="{{ params.prompt }}",
            wait_for_completion=True,
            deferrable=True,
            destination=f"file://{FOLDER}/",
        )

        approve = ApprovalOperator(
            task_id="approve",
            subject="Publish this video?",
            body=(
                "{{ params.prompt }}\n\n"
                "[The video]({{ ti.xcom_pull(task_ids='make', key='video_url') }}), kept at "
                "{{ ti.xcom_pull(task_ids='make', key='path') }}"
            ),
            response_timeout=timedelta(days=2),
        )

        @task
        def publish(path: str) -> str:
            """Put your own upload here."""
            print(f"published: {path}")
            return path

        make >> approve >> publish(make.output["path"])
