"""Where things are. Imports nothing, so that a process of its own can use it too."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

#: Whether this is a checkout; else a copy of one, in which nothing is tracked and the package is installed.
IS_CHECKOUT = (REPOSITORY / ".git").exists()

#: Everything that tests leave between runs: migrated databases.
CACHE = REPOSITORY / ".cache" / "tests"

#: The Airflow home of this test process.
AIRFLOW_HOME = CACHE / f"airflow-{os.getpid()}"
