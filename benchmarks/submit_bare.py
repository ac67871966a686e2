"""Submit by ``requests.post``, print the processor time: ``python -m benchmarks.submit_bare URL KEY``."""

from __future__ import annotations

import sys
import time

import airflow.sdk.execution_time.supervisor  # noqa: F401 - a task's process has it anyway
import requests

from airflow_provider_luma.api.gateways.appypie import HEADERS, KEY_HEADER, TEXT_TO_VIDEO_PATH

url, key = sys.argv[1:]
began = time.process_time()
answer = requests.post(
    url + TEXT_TO_VIDEO_PATH,
    json={"prompt": "A jellyfish", "aspect_ratio": "16:9", "loop": False},
    headers={**HEADERS, KEY_HEADER: key},
    timeout=30,
)
assert answer.json()["requestId"]
print(time.process_time() - began)
