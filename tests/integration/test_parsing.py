"""The DAG processor reads every DAG file again and again: the examples must be quick to parse, and light."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.places import REPOSITORY

#: What takes long to import, or belongs to an extra, or does something when it is imported.
HEAVY = {"av", "PIL", "numpy", "pandas", "fsspec", "s3fs", "boto3", "flask", "flask_appbuilder", "wtforms"}

PARSE = """
import json, runpy, sys, time
import airflow.providers.common.compat.sdk as sdk
sdk.DAG, sdk.BaseOperator, sdk.BaseSensorOperator, sdk.task
from airflow.models.dagbag import DagBag
from airflow.providers_manager import ProvidersManager
ProvidersManager()  # Airflow 2 asks it for @task.anything, and with it come Flask and Pillow
seen = {}
for name in json.loads(sys.argv[1]):
    before, began = set(sys.modules), time.perf_counter()
    try:
        runpy.run_path(name)
        trouble = None
    except ImportError as error:
        trouble = str(error)
    took = time.perf_counter() - began
    seen[name] = {
        "seconds": took,
        "modules": sorted({one.split(".")[0] for one in set(sys.modules) - before}),
        "trouble": trouble,
    }
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parse the examples, one after the other, in a process that has imported Airflow and nothing of ours."""
    files = sorted(map(str, (REPOSITORY / "dags").glob("*.py")))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE, json.dumps(files)],
        cwd=tmp_path_factory.mktemp("parsing"),
        env={"AIRFLOW_HOME": str(tmp_path_factory.mktemp("home")), "PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name.rpartition("/")[2]: one for name, one in seen.items()}


@pytest.mark.parametrize("name", sorted(path.name for path in (REPOSITORY / "dags").glob("*.py")))
class TestAnExample:
    def test_parses_in_under_a_second(self, parsed: dict[str, Any], name: str) -> None:
        assert parsed[name]["seconds"] < 1, parsed[name]

    def test_imports_nothing_heavy(self, parsed: dict[str, Any], name: str) -> None:
        assert not HEAVY & set(parsed[name]["modules"])
