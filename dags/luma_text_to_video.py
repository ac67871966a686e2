"""
Text to video: submit a prompt, wait without holding a worker, keep the file.

Trigger it from the UI with a prompt of your own. It needs the Airflow connection ``luma_default``. The
video goes to ``$LUMA_DEMO_VIDEOS`` (default: ``luma-videos`` where Airflow runs); in earnest, give a bucket
as destination.
"""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_luma.operators.luma import LumaGenerateOperator
from airflow_provider_luma.sensors.luma import LumaStatusSensor
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator

PROMPT = "A giant floating jellyfish gliding over a city skyline, its tentacles glowing softly in the night."
FOLDER = Path(os.environ.get("LUMA_DEMO_VIDEOS", "luma-videos")).absolute()

with DAG(
    dag_id="luma_text_to_video",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
    params={
        "prompt": Param(PROMPT, type="string", description="What the video shall show."),
        "aspect_ratio": Param("16:9", type="string", description="W:H, such as 16:9, 9:16 or 1:1."),
        "loop": Param(False, type="boolean", description="Whether the video shall end where it began."),
        "luma_conn_id": Param("luma_default", type="string", description="The Airflow connection."),
    },
):
    generate = LumaGenerateOperator(
        task_id="generate",
        prompt="{{ params.prompt }}",
        aspect_ratio="{{ params.aspect_ratio }}",
        loop="{{ params.loop }}",
        luma_conn_id="{{ params.luma_conn_id }}",
    )

    wait = LumaStatusSensor(
        task_id="wait",
        request_id="{{ ti.xcom_pull(task_ids='generate', key='requestId') }}",
        luma_conn_id="{{ params.luma_conn_id }}",
        timeout=1800,
        deferrable=True,
    )

    keep = LumaToObjectStorageOperator(
        task_id="keep",
        request_id="{{ ti.xcom_pull(task_ids='generate', key='requestId') }}",
        video_url="{{ ti.xcom_pull(task_ids='wait') }}",
        destination=f"file://{FOLDER}/",
        luma_conn_id="{{ params.luma_conn_id }}",
    )

    generate >> wait >> keep
