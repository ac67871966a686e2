"""
Many generations in a real Airflow, mapped and in one batch: each once, each video playable, logs readable.

``make many`` does it with fifty mapped tasks and a batch of a thousand.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.mp4 import decode

if TYPE_CHECKING:
    from airflow_provider_luma.emulator import Emulator
    from dev.airflow_rest import RunHistory
    from dev.airflow_stack import AirflowStack

MAPPED = int(os.environ.get("LUMA_MAPPED", "6"))
BATCH = int(os.environ.get("LUMA_BATCH", "60"))

pytestmark = pytest.mark.timeout(60 + 20 * MAPPED + BATCH)


def made(airflow: AirflowStack, dag_id: str, count: int) -> tuple[str, RunHistory]:
    """Run a DAG for so many videos; return what its prompts begin with, and the run."""
    prompt = f"A jellyfish of {secrets.token_hex(6)}"
    airflow.api.wait_for_dag(dag_id)
    run_id = airflow.api.trigger(dag_id, {"prompt": prompt, "count": count})
    history = airflow.api.wait_for_run(dag_id, run_id, timeout=60 + 20 * MAPPED + BATCH)
    assert history.state == "success", history
    return prompt, history


def posts(gateway: Emulator, prompt: str) -> Counter[str]:
    """Return how often each of a run's prompts was sent."""
    sent = [call.json["prompt"] for call in gateway.calls("generate")]
    return Counter(one for one in sent if one.startswith(prompt))


def videos(airflow: AirflowStack, history: RunHistory) -> list[Path]:
    return list(Path(airflow.env["LUMA_DEMO_VIDEOS"], history.run_id).glob("*.mp4"))


class TestMapped:
    def test_each_is_sent_once_and_kept_and_plays(self, airflow: AirflowStack, gateway: Emulator) -> None:
        prompt, history = made(airflow, "luma_mapped", MAPPED)
        assert posts(gateway, prompt) == {f"{prompt}, number {number}": 1 for number in range(MAPPED)}
        kept = videos(airflow, history)
        assert len(kept) == MAPPED
        assert all(decode(video).seconds >= 1 for video in kept)


class TestABatch:
    def test_each_is_sent_once_and_kept_and_plays(self, airflow: AirflowStack, gateway: Emulator) -> None:
        prompt, history = made(airflow, "luma_batch", BATCH)
        assert posts(gateway, prompt) == {f"{prompt}, number {number}": 1 for number in range(BATCH)}
        kept = videos(airflow, history)
        assert len(kept) == BATCH
        assert all(decode(video).seconds >= 1 for video in kept)
        lines = airflow.api.logs("luma_batch", history.run_id, "make")
        assert sum("Submitted request" in line for line in lines) == BATCH
        assert sum("Submitted request" not in line for line in lines) < 40, "readable"
        assert any(f"{BATCH} requests: {BATCH} completed" in line for line in lines), lines[-10:]
