"""
Common ground of all tests: a private Airflow home inside the checkout, set before Airflow is imported.

Airflow reads its settings at import, so this happens at the top of the outermost conftest and not in a
fixture. No ``AIRFLOW*`` variable of the caller leaks in, and nothing is written outside the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.places import AIRFLOW_HOME, CACHE, REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

# CI decides whether a change lands, so there the examples are the same every time; at home they are new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Proxies of the caller's environment have nothing to do with a gateway on loopback.
for name in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)

os.environ.update(
    AIRFLOW_HOME=str(AIRFLOW_HOME),
    AIRFLOW__CORE__DAGS_FOLDER=str(REPOSITORY / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{AIRFLOW_HOME / 'airflow.db'}",
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=str(AIRFLOW_HOME / "logs"),
    AIRFLOW__CORE__FERNET_KEY="Zm9yLXRlc3RzLW9ubHktMzItYnl0ZXMtbG9uZy1rZXk=",
)
AIRFLOW_HOME.mkdir(parents=True, exist_ok=True)


def pytest_sessionfinish() -> None:
    """Leave nothing behind but the cache of migrated databases."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_database() -> Path:
    """Return the path of a migrated SQLite database; cached per Airflow and Python version."""
    from airflow import __version__ as airflow_version

    version = f"{airflow_version}-py{sys.version_info.major}{sys.version_info.minor}"
    cached = CACHE / f"migrated-{version}.db"
    database = AIRFLOW_HOME / "airflow.db"
    if not cached.exists():
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=180,
        )
        partial = cached.with_suffix(f".{os.getpid()}")
        shutil.copy(database, partial)
        partial.replace(cached)
    else:
        shutil.copy(cached, database)
    return database
