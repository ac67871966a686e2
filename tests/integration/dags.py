"""Bring a DAG file to where ``dag.test()`` of the Airflow at hand wants it. Not a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    try:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:
        pass
    else:
        DagBundlesManager().sync_bundles_to_db()
        sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags[dag_id]
