"""
Put waiting tasks straight into Airflow's metadata database: mapped, deferred, each with its trigger.

What is there of an earlier round goes first. It is what a scheduler and workers would have left behind,
without the hours that they would take for ten thousand tasks. Run as a process in the environment of the
Airflow it is for: ``python -m benchmarks.rows DESIGN COUNT CONNECTIONS``.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.models.connection import Connection
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagbundle import DagBundleModel
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import delete, select, text

from benchmarks.designs import DAG_ID, DESIGNS, RUN_ID, TASK_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

_BUNDLE = "benchmarks"


def put(design: str, count: int, connections: Mapping[str, Mapping[str, Any]]) -> None:
    """Have ``count`` tasks wait by a design."""
    with create_session() as session:
        session.execute(delete(TaskInstance))
        session.execute(delete(Trigger))
        if session.scalar(select(DagModel)) is None:
            _put_run(session)
            for conn_id, fields in connections.items():
                extra = json.dumps(fields["extra"])
                session.add(Connection(conn_id=conn_id, **{**fields, "extra": extra}))
        version = DagVersion.get_latest_version(DAG_ID, session=session)
        serialized = SerializedDagModel.get_dag(DAG_ID, session=session)
        if version is None or serialized is None:
            raise RuntimeError("The DAG has not been stored.")
        task = serialized.get_task(TASK_ID)
        for index in range(count):
            classpath, kwargs = DESIGNS[design].trigger(f"g{index}")
            waiting = TaskInstance(
                task,
                dag_version_id=version.id,
                run_id=RUN_ID,
                state=TaskInstanceState.DEFERRED,
                map_index=index,
            )
            waiting.try_number = 1
            waiting.start_date = datetime.now(tz=UTC)
            waiting.next_method = "execute_complete"
            waiting.trigger = Trigger(classpath, kwargs)
            session.add(waiting)
        session.flush()
        # As on a server that has run for a while: PostgreSQL plans for empty tables until its autovacuum.
        session.execute(text("ANALYZE"))


def _put_run(session: Session) -> None:
    with DAG(DAG_ID, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        EmptyOperator(task_id=TASK_ID)
    session.add(DagBundleModel(name=_BUNDLE))
    session.flush()
    session.add(DagModel(dag_id=DAG_ID, bundle_name=_BUNDLE, fileloc=__file__, relative_fileloc="rows.py"))
    session.flush()
    SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name=_BUNDLE, session=session)
    session.flush()
    serialized = SerializedDagModel.get_dag(DAG_ID, session=session)
    if serialized is None:
        raise RuntimeError("The DAG has not been stored.")
    serialized.create_dagrun(
        run_id=RUN_ID,
        run_after=datetime.now(tz=UTC),
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        session=session,
    )
    # It comes with one instance of the task, not mapped.
    session.execute(delete(TaskInstance))


if __name__ == "__main__":
    put(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
