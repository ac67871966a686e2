"""
Adopt a generation that was made elsewhere: by hand, by another tool, or by a task whose outcome was unknown.

Nothing is submitted, nothing is charged.
"""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_luma.sensors.luma import LumaStatusSensor
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator

FOLDER = Path(os.environ.get("LUMA_DEMO_VIDEOS", "luma-videos")).absolute()

with DAG(
    dag_id="luma_adopt",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
    params={"request_id": Param("the-id-from-the-vendors-dashboard", type="string", minLength=1)},
):
    wait = LumaStatusSensor(task_id="wait", request_id="{{ params.request_id }}", deferrable=True)
    LumaToObjectStorageOperator(
        task_id="keep",
        request_id="{{ params.request_id }}",
        video_url=wait.output,
        destination=f"file://{FOLDER}/",
    )
