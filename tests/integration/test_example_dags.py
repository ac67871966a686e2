"""The example DAGs by ``dag.test()``: every task runs in one process, the gateway is on a real socket."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.dags import dag_from
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connect", "airflow_database")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples keep their videos."""
    monkeypatch.setenv("LUMA_DEMO_VIDEOS", str(tmp_path))
    return tmp_path


class TestTextToVideo:
    def test_ends_with_the_video_in_a_file(self, emulator: Emulator, folder: Path) -> None:
        run = dag_from(REPOSITORY / "dags" / "luma_text_to_video.py", "luma_text_to_video").test(
            run_conf={"prompt": "a lighthouse", "aspect_ratio": "1:1"}
        )
        assert run.state == "success"
        (request_id,) = emulator.generations
        assert emulator.paid == 1
        kept = (folder / f"{request_id}.mp4").read_bytes()
        assert (
            hashlib.sha256(kept).hexdigest() == hashlib.sha256(emulator.video_bytes(request_id)).hexdigest()
        )


class TestKeepAndPublish:
    def test_keeps_the_nights_video_with_its_manifest(self, emulator: Emulator, folder: Path) -> None:
        run = dag_from(REPOSITORY / "dags" / "luma_keep_and_publish.py", "luma_make_nightly").test()
        assert run.state == "success"
        (video,) = folder.glob("nightly-*.mp4")
        manifest = json.loads((folder / f"{video.name}.json").read_text())
        (request_id,) = emulator.generations
        assert manifest["request_id"] == request_id
        assert manifest["bytes"] == video.stat().st_size
        assert manifest["seconds"] > 0
        assert sorted(path.name for path in folder.iterdir()) == [video.name, f"{video.name}.json"]
