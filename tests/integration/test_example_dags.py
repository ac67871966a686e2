"""The example DAGs by ``dag.test()``: every task runs in one process, the gateway is on a real socket."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.dags import bag_of, dag_from
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.models import DagRun

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


def ended(name: str, **conf: object) -> DagRun:
    """Run the example of a name to its end, by ``dag.test()``."""
    run = dag_from(REPOSITORY / "dags" / f"{name}.py", name).test(run_conf=conf or None)
    assert run.state == "success"
    return run


class TestTheWholeInOneTask:
    def test_from_an_image(self, emulator: Emulator, folder: Path) -> None:
        ended("luma_image_to_video", image_url="https://example.org/a.png")
        (generation,) = emulator.generations.values()
        assert generation.image_url == "https://example.org/a.png"
        assert (folder / f"{generation.request_id}.mp4").exists()

    def test_by_a_decorated_function(self, emulator: Emulator) -> None:
        ended("luma_task_decorator", mood="calm")
        (generation,) = emulator.generations.values()
        assert (generation.prompt, generation.aspect_ratio) == ("A calm sea", "21:9")

    def test_with_retries(self, emulator: Emulator) -> None:
        ended("luma_retries")
        assert emulator.paid == 1

    def test_that_is_watched(self, emulator: Emulator) -> None:
        dag = dag_from(REPOSITORY / "dags" / "luma_watched.py", "luma_watched")
        if getattr(dag, "deadline", None):
            # dag.test() of Airflow 3.3.2 breaks on any DAG with one; tests/system runs this one with it.
            dag.deadline = None
        assert dag.test().state == "success"
        assert emulator.paid == 1


class TestMany:
    def test_by_mapping(self, emulator: Emulator, folder: Path) -> None:
        ended("luma_many_by_mapping", animals=["a fox", "an owl"])
        assert sorted(one.prompt for one in emulator.generations.values()) == [
            "a fox in the snow, at dawn",
            "an owl in the snow, at dawn",
        ]
        assert len(list(folder.glob("*.mp4"))) == 2

    def test_by_batch(self, emulator: Emulator, folder: Path) -> None:
        ended("luma_many_by_batch", count=5)
        assert emulator.paid == 5
        assert sorted(path.name for path in folder.glob("*.mp4")) == [f"day-{day}.mp4" for day in range(5)]


class TestByHand:
    def test_the_hook_in_a_task(self, emulator: Emulator) -> None:
        ended("luma_hook_in_a_task")
        assert emulator.paid == 1

    def test_a_generation_from_elsewhere(self, emulator: Emulator, folder: Path) -> None:
        emulator.add(request_id="from-elsewhere", seconds=0)
        ended("luma_adopt", request_id="from-elsewhere")
        assert emulator.paid == 0
        assert (folder / "from-elsewhere.mp4").exists()


class TestEveryExample:
    @pytest.mark.parametrize("path", sorted((REPOSITORY / "dags").glob("*.py")), ids=lambda path: path.stem)
    def test_imports_without_a_word(self, path: Path) -> None:
        bag = bag_of(path)
        assert not bag.import_errors
        assert bag.dags or path.stem == "luma_review_before_publishing"
