"""
Generations in each of the forms in which people make them, as many as the run's params say.

Whole (one mapped task submits, waits and keeps), in batches, and in chains of operator, sensor and transfer.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task, task_group

from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator, LumaGenerateOperator
from airflow_provider_luma.sensors.luma import LumaStatusSensor
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator

FOLDER = f"file://{os.environ.get('LUMA_FLIGHT_VIDEOS', '/nowhere')}/{{{{ run_id }}}}/"

with DAG(
    dag_id="luma_flight",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_tasks=2000,
    max_active_runs=100,
    default_args={"retries": 5, "retry_delay": timedelta(seconds=2)},
    params={
        "prompt": Param("A jellyfish", type="string"),
        "whole": Param(0, type="integer"),
        "batches": Param(0, type="integer"),
        "batch_size": Param(20, type="integer"),
        "chains": Param(0, type="integer"),
    },
):

    @task
    def say(form: str, params: dict | None = None) -> list:
        """Say what to show, for one of the forms."""
        assert params is not None

        def prompts(name: str, count: int) -> list[str]:
            return [f"{params['prompt']}, {name} {number}" for number in range(count)]

        if form == "batches":
            size = params["batch_size"]
            return [prompts(f"batch {batch} number", size) for batch in range(params["batches"])]
        return prompts(form, params[form])

    LumaGenerateOperator.partial(
        task_id="whole", wait_for_completion=True, deferrable=True, destination=FOLDER
    ).expand(prompt=say.override(task_id="say_whole")("whole"))

    LumaGenerateBatchOperator.partial(task_id="batch", deferrable=True, destination=FOLDER).expand(
        requests=say.override(task_id="say_batches")("batches")
    )

    @task_group
    def chain(prompt: str) -> None:
        """Make one video in three tasks."""
        generate = LumaGenerateOperator(task_id="generate", prompt=prompt)
        wait = LumaStatusSensor(task_id="wait", request_id=generate.output, deferrable=True)
        keep = LumaToObjectStorageOperator(task_id="keep", request_id=generate.output, destination=FOLDER)
        generate >> wait >> keep

    chain.expand(prompt=say.override(task_id="say_chains")("chains"))
