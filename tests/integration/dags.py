"""Bring a DAG file to where ``dag.test()`` of the Airflow at hand wants it. Not a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_luma.version_compat import AIRFLOW_3

if TYPE_CHECKING:
    from pathlib import Path


def bag_of(path: Path) -> Any:
    """Return the DAGs of a file, and its import errors."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

        return DagBag(str(path), include_examples=False)
    return DagBag(str(path), bundle_name="dags-folder")


def dag_from(path: Path, dag_id: str) -> Any:
    """Return a DAG of a file in the DAGs folder; Airflow 3 wants it stored in the database first."""
    bag = bag_of(path)
    assert not bag.import_errors, bag.import_errors
    if AIRFLOW_3:
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        DagBundlesManager().sync_bundles_to_db()
        _store(bag)
    return bag.dags[dag_id]


def _store(bag: Any) -> None:
    try:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:
        from airflow.models import dagbag

        if not hasattr(dagbag, "sync_bag_to_db"):  # Airflow 3.0
            bag.sync_to_db("dags-folder", None)
            return
        sync_bag_to_db = dagbag.sync_bag_to_db
    sync_bag_to_db(bag, "dags-folder", None)
