"""
Two DAGs: one makes a video every night and keeps it, the other starts when it is there.

What starts the second is the asset event of the kept file; its ``extra`` says which file, how long, how
large.
"""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, task

from airflow_provider_luma.operators.luma import LumaGenerateOperator
from airflow_provider_luma.sensors.luma import LumaStatusSensor
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator

FOLDER = Path(os.environ.get("LUMA_DEMO_VIDEOS", "luma-videos")).absolute()
VIDEOS = Asset("x-luma://videos/nightly")

with DAG(
    dag_id="luma_make_nightly",
    schedule="@daily",
    # Every run is paid for: it begins when somebody switches it on, also where DAGs start unpaused.
    is_paused_upon_creation=True,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
):
    generate = LumaGenerateOperator(task_id="generate", prompt="The northern lights on {{ ds }}")
    wait = LumaStatusSensor(task_id="wait", request_id=generate.output, deferrable=True)
    keep = LumaToObjectStorageOperator(
        task_id="keep",
        request_id=generate.output,
        video_url=wait.output,
        destination=f"file://{FOLDER}/nightly-{{{{ ds }}}}.mp4",
        overwrite=True,
        outlets=[VIDEOS],
    )

with DAG(
    dag_id="luma_publish",
    schedule=[VIDEOS],
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
):

    @task
    def publish(**context) -> list[str]:
        """Say what is new; put your own upload here."""
        # Airflow 2 calls the same thing a dataset.
        events = context.get("triggering_asset_events") or context.get("triggering_dataset_events") or {}
        published = []
        for news in events.values():
            for event in news:
                kept = event.extra
                print(f"{kept['path']}: {kept['seconds']} s, {kept['aspect_ratio']}, {kept['bytes']} bytes")
                published.append(kept["path"])
        return published

    publish()
