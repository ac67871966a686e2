"""Submit once by the operator, and print the processor time: ``python -m benchmarks.submit_luma URL KEY``."""

from __future__ import annotations

import json
import os
import sys
import time
from types import SimpleNamespace

import airflow.sdk.execution_time.supervisor  # noqa: F401 - a task's process has it anyway

from airflow_provider_luma.operators.luma import LumaGenerateOperator

url, key = sys.argv[1:]
os.environ["AIRFLOW_CONN_LUMA_DEFAULT"] = json.dumps({"conn_type": "luma", "host": url, "password": key})
# What Airflow's own calls cost (an XCom, a value of the state store) is not the submit's.
ti = SimpleNamespace(max_tries=0, xcom_push=lambda **_: None)
store = SimpleNamespace(get=lambda key: None, set=lambda key, value, retention: None)
operator = LumaGenerateOperator(task_id="generate", prompt="A jellyfish")
began = time.process_time()
assert operator.execute({"ti": ti, "task_state_store": store})  # type: ignore[typeddict-unknown-key]
print(time.process_time() - began)
