"""
Image to video, the whole in one task: submit, wait without holding a worker, keep the file.

The image is fetched by the vendor, so its address must be a public one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_luma.operators.luma import LumaGenerateOperator

FOLDER = Path(os.environ.get("LUMA_DEMO_VIDEOS", "luma-videos")).absolute()

with DAG(
    dag_id="luma_image_to_video",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
    params={
        "image_url": Param("https://example.com/street.png", type="string", format="uri"),
        "prompt": Param("The camera moves slowly down the street.", type="string"),
    },
):
    LumaGenerateOperator(
        task_id="make",
        prompt="{{ params.prompt }}",
        image_url="{{ params.image_url }}",
        wait_for_completion=True,
        deferrable=True,
        destination=f"file://{FOLDER}/",
    )
