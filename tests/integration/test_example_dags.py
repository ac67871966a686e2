"""The example DAGs by ``dag.test()``: every task runs in one process, the gateway is on a real socket."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.integration.dags import dag_from
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connect", "airflow_database")


class TestTextToVideo:
    def test_ends_with_the_video_in_a_file(
        self, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LUMA_DEMO_VIDEOS", str(tmp_path))
        run = dag_from(REPOSITORY / "dags" / "luma_text_to_video.py", "luma_text_to_video").test(
            run_conf={"prompt": "a lighthouse", "aspect_ratio": "1:1"}
        )
        assert run.state == "success"
        (request_id,) = emulator.generations
        assert emulator.paid == 1
        kept = (tmp_path / f"{request_id}.mp4").read_bytes()
        assert (
            hashlib.sha256(kept).hexdigest() == hashlib.sha256(emulator.video_bytes(request_id)).hexdigest()
        )
