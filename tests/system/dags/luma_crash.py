"""
DAGs to be killed: their first try can be held at one step of its submit until the killer is ready.

What is held is the operator as it is; the holding is done from outside, by what its ``execute`` is called
with. The run's param ``hold_at`` names the step (empty: none):

==================  ====================================================================================
``start``           ``execute`` has not begun
``before-intent``   nothing is recorded and nothing is sent
``after-intent``    the intent is recorded, nothing is sent
``answer-read``     the gateway has accepted, and the id is known to this process only
``id-stored``       the id is in the task's state store
``xcom-pushed``     the XCom is there, and the record says ``submitted``
``done-stored``     the record says ``done``, and Airflow does not know of the task's success
==================  ====================================================================================

A task that waits comes to ``resumed`` after its wait, before it keeps the video; ``xcom-pushed`` is then
after it has kept it. A batch comes to ``before-write-N`` and ``after-write-N`` of its records, and to
``resumed``.

A held task writes ``<run id>.held`` into the folder ``$LUMA_CRASH_DESK`` and goes on as soon as
``<run id>.go`` is there. How long ``execute`` took from then on is left in ``<run id>.took``, and the error
of a write that the state store did not take, in ``<run id>.refused``.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task
from airflow.providers.http.operators.http import HttpOperator

from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator, LumaGenerateOperator
from airflow_provider_luma.sensors.luma import LumaStatusSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Whoever is forgotten by its killer goes on by itself.
LONGEST_HOLD = 120.0

#: What is written to the state store before and after which each step lies.
STEPS_BY_PHASE = {
    "intent": ("before-intent", "after-intent"),
    "submitted": ("answer-read", "id-stored"),
    "done": ("xcom-pushed", "done-stored"),
}


def place(context: Context, kind: str) -> Path:
    """Return the file by which this run's task and its killer tell each other something."""
    return Path(os.environ["LUMA_CRASH_DESK"]) / f"{context['run_id']}.{kind}"


def hold_at(step: str, context: Context) -> None:
    """Hold this process if its run asks for it at this step. Later tries are never held."""
    if step != context["params"]["hold_at"] or context["ti"].try_number != 1:
        return
    place(context, "held").touch()
    until = time.monotonic() + LONGEST_HOLD
    while not place(context, "go").exists() and time.monotonic() < until:
        time.sleep(0.005)


class HoldingStore:
    """The task's state store, with a hold before and after each write."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context["task_state_store"]

    def set(self, key: str, value: dict[str, Any], **options: Any) -> None:
        """Write, and hold before or after."""
        before, after = STEPS_BY_PHASE[value["phase"]]
        hold_at(before, self._context)
        try:
            self._store.set(key, value, **options)
        except BaseException as refusal:
            place(self._context, "refused").write_text(f"{value['phase']}: {refusal!r}")
            raise
        hold_at(after, self._context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class HoldingPages(HoldingStore):
    """The same for a batch, whose writes are counted."""

    _writes = 0

    def set(self, key: str, value: dict[str, Any], **options: Any) -> None:
        """Write, and hold before or after."""
        self._writes += 1
        hold_at(f"before-write-{self._writes}", self._context)
        self._store.set(key, value, **options)
        hold_at(f"after-write-{self._writes}", self._context)


class Timed:
    """Holds before ``execute``, and notes how long it took from there."""

    store = HoldingStore

    def execute(self, context: Context) -> Any:
        """Run the operator's own ``execute``."""
        hold_at("start", context)
        began = time.monotonic()
        result = super().execute({**context, "task_state_store": self.store(context)})  # type: ignore[misc]
        place(context, "took").write_text(str(time.monotonic() - began))
        return result

    def resume_execution(self, next_method: str, next_kwargs: Any, context: Context) -> Any:
        """Run the operator's own, after a wait."""
        hold_at("resumed", context)
        stored = {**context, "task_state_store": self.store(context)}
        return super().resume_execution(next_method, next_kwargs, stored)  # type: ignore[misc]


class TimedGenerate(Timed, LumaGenerateOperator):
    """The operator under test."""


class TimedBatch(Timed, LumaGenerateBatchOperator):
    """The same for many."""

    store = HoldingPages


class TimedHttp(Timed, HttpOperator):
    """The operator that does nothing about crashes."""


def dag(dag_id: str) -> DAG:
    """Return a DAG with the params that all of these take."""
    return DAG(
        dag_id=dag_id,
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=100,
        max_active_tasks=100,
        params={
            "prompt": Param("A jellyfish", type="string"),
            "conn_id": Param("luma_default", type="string"),
            "hold_at": Param("", type="string"),
        },
    )


def generate(**options: Any) -> TimedGenerate:
    """Return the task that submits."""
    return TimedGenerate(
        task_id="generate",
        prompt="{{ params.prompt }}",
        luma_conn_id="{{ params.conn_id }}",
        retry_delay=timedelta(seconds=1),
        **options,
    )


def wait_and_keep(submit: TimedGenerate) -> None:
    """Add the tasks that wait for the video and keep it."""
    wait = LumaStatusSensor(
        task_id="wait",
        request_id="{{ ti.xcom_pull(task_ids='generate', key='requestId') }}",
        luma_conn_id="{{ params.conn_id }}",
        poke_interval=0.5,
        timeout=60,
        deferrable=True,
    )

    @task
    def keep(video_url: str, run_id: str | None = None) -> str:
        import requests

        path = Path(os.environ["LUMA_CRASH_DESK"]) / f"{run_id}.mp4"
        path.write_bytes(requests.get(video_url, timeout=30).content)
        return str(path)

    submit >> wait
    keep(video_url=wait.output)


with dag("luma_crash"):
    wait_and_keep(generate(retries=2))

with dag("luma_crash_without_retries"):
    wait_and_keep(generate(retries=0))

with dag("luma_crash_in_time"):
    wait_and_keep(generate(retries=2, execution_timeout=timedelta(seconds=4)))

for dag_id, retries in (("luma_crash_whole", 2), ("luma_clear_whole", 0)):
    with dag(dag_id):
        generate(
            retries=retries,
            wait_for_completion=True,
            deferrable=True,
            poke_interval=0.5,
            destination=f"file://{os.environ.get('LUMA_CRASH_DESK', '/nowhere')}/{{{{ run_id }}}}.mp4",
        )

with dag("luma_crash_batch"):
    TimedBatch(
        task_id="generate",
        requests=(
            "[{% for n in range(50) %}{{ (params.prompt ~ ', part ' ~ n) | tojson }}"
            "{{ ',' if not loop.last }}{% endfor %}]"
        ),
        luma_conn_id="{{ params.conn_id }}",
        deferrable=True,
        poke_interval=0.5,
        destination=f"file://{os.environ.get('LUMA_CRASH_DESK', '/nowhere')}/{{{{ run_id }}}}/",
        retries=2,
        retry_delay=timedelta(seconds=1),
    )

with dag("luma_clear"):
    generate(retries=0)

with dag("luma_clear_with_retries"):
    generate(retries=1)

with dag("http_crash"):
    TimedHttp(
        task_id="generate",
        http_conn_id="{{ params.conn_id }}",
        endpoint="/lumalabs-ai/v1/generate",
        method="POST",
        # The connection's extras are sent as headers, the key among them.
        headers={"Content-Type": "application/json"},
        data="{{ {'prompt': params.prompt} | tojson }}",
        response_filter=lambda response: response.json()["requestId"],
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
