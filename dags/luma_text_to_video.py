"""
Text to video: submit a prompt, wait without holding a worker, keep the file.

Trigger it from the UI with a prompt of your own. It needs the Airflow connection ``luma_default``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_luma.operators.luma import LumaGenerateOperator
from airflow_provider_luma.sensors.luma import LumaStatusSensor

PROMPT = "A giant floating jellyfish gliding over a city skyline, its tentacles glowing softly in the night."

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
        poke_interval=1,
        timeout=1800,
        deferrable=True,
    )

    @task
    def keep(request_id: str, video_url: str) -> str:
        """Download the video into ``$LUMA_DEMO_VIDEOS`` (default ``./luma-videos``) and return its path."""
        import requests

        folder = Path(os.environ.get("LUMA_DEMO_VIDEOS", "luma-videos")).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{request_id}.mp4"
        part = path.with_suffix(".part")
        with requests.get(video_url, stream=True, timeout=(10, 60)) as response:
            response.raise_for_status()
            with part.open("wb") as file:
                for chunk in response.iter_content(1024 * 1024):
                    file.write(chunk)
        part.replace(path)
        return str(path)

    generate >> wait
    keep(request_id=generate.output, video_url=wait.output)
