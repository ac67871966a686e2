"""What the tests of keeping a video share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from airflow_provider_luma.emulator.video import tiny_video

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once; how long to pause is tenacity's business."""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def video() -> bytes:
    return tiny_video()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


@pytest.fixture
def done(emulator: Emulator) -> str:
    """The id of a generation that is complete."""
    return emulator.add(seconds=0)
