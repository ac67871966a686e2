"""What the emulator's tests share: an emulator on a real socket, and a small client for it."""

from __future__ import annotations

import pytest
import requests

from airflow_provider_luma.emulator import Emulator

KEY = "the-emulators-own-test-key"


class Gateway:
    """The calls of the vendor's page, made with ``requests`` as they stand: no retries, no checks."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.headers = {"Ocp-Apim-Subscription-Key": emulator.key, "Cache-Control": "no-cache"}

    def post(self, path: str, body: object, **options: object) -> requests.Response:
        settings = {"headers": self.headers, "timeout": 5, "allow_redirects": False, **options}
        return requests.post(self.emulator.url + path, json=body, **settings)  # type: ignore[arg-type]

    def generate(self, prompt: object = "A jellyfish over a city", **fields: object) -> requests.Response:
        return self.post("/lumalabs-ai/v1/generate", {"prompt": prompt, **fields})

    def submit(self, prompt: str = "A jellyfish over a city", **fields: object) -> str:
        answer = self.generate(prompt, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["requestId"])

    def get_status(self, request_id: object, field: str = "task_id") -> requests.Response:
        return self.post("/lumalabs-ai-polling/v1/getStatus", {field: request_id})


@pytest.fixture
def emulator():
    with Emulator(key=KEY, seconds=0) as running:
        yield running


@pytest.fixture
def gateway(emulator):
    return Gateway(emulator)
