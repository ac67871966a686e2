"""DAGs that keep a video which is there already: one with a retry, to be killed in, and one with a wait."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_luma.sensors.luma import LumaStatusSensor
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator


def dag(dag_id: str) -> DAG:
    """Return a DAG with the params that both take."""
    return DAG(
        dag_id=dag_id,
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        params={
            "request_id": Param("", type="string"),
            "video_url": Param("", type="string"),
            "destination": Param("", type="string"),
        },
    )


with dag("luma_keep"):
    LumaToObjectStorageOperator(
        task_id="keep",
        request_id="{{ params.request_id }}",
        video_url="{{ params.video_url }}",
        destination="{{ params.destination }}",
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

with dag("luma_wait_and_keep"):
    wait = LumaStatusSensor(task_id="wait", request_id="{{ params.request_id }}", deferrable=True)
    wait >> LumaToObjectStorageOperator(
        task_id="keep",
        request_id="{{ params.request_id }}",
        video_url="{{ ti.xcom_pull(task_ids='wait') }}",
        destination="{{ params.destination }}",
    )
