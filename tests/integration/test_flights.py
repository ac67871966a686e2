"""How the experiments of a distributed Airflow judge: a broken promise is seen, a kept one is counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from airflow_provider_luma.api.models import GenerationRequest
from airflow_provider_luma.exceptions import LumaError
from airflow_provider_luma.hooks.luma import LumaHook
from dev.distributed.flights import DAG_ID, Ending, Fleet, Flight, judge
from dev.distributed.health import drift

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator
    from dev.distributed.flights import Judgement

pytestmark = pytest.mark.usefixtures("connect")

FLIGHT = Flight("run-1", "A jellyfish", Fleet(whole=1, batches=0, chains=0))
PROMPT = "A jellyfish, whole 0"


class Run:
    """What a run would leave."""

    def __init__(self, home: Path, emulator: Emulator) -> None:
        self.emulator = emulator
        self.videos = home / "videos"
        self.logs = home / "logs"
        (self.videos / "run-1").mkdir(parents=True)

    def submit(self) -> str:
        with LumaHook() as hook:
            return hook.generate(GenerationRequest(PROMPT))

    def keep(self, request_id: str, content: bytes | None = None) -> None:
        content = self.emulator.video_bytes(request_id) if content is None else content
        (self.videos / "run-1" / f"{request_id}.mp4").write_bytes(content)

    def log(self, message: str, level: str = "error") -> None:
        folder = self.logs / f"dag_id={DAG_ID}" / "run_id=run-1" / "task_id=whole"
        folder.mkdir(parents=True, exist_ok=True)
        detail = [{"exc_type": "LumaError", "exc_value": message}] if level == "error" else None
        entry = {"level": level, "event": "Task failed", "error_detail": detail}
        if level != "error":
            entry = {"level": level, "event": message}
        (folder / "attempt=1.log").write_text(json.dumps(entry, separators=(",", ":")) + "\n")

    def judged(self) -> Judgement:
        return judge([FLIGHT], self.emulator, self.videos, self.logs)


@pytest.fixture
def run(tmp_path: Path, emulator: Emulator) -> Run:
    return Run(tmp_path, emulator)


def only(judged: Judgement) -> str:
    (ending,) = judged.endings
    return str(ending)


class TestKept:
    def test_a_video_that_is_there_is_delivered(self, run: Run) -> None:
        run.keep(run.submit())
        judged = run.judged()
        assert (only(judged), judged.posts, judged.paid) == (Ending.DELIVERED, 1, 1)
        assert judged.violations == []

    def test_an_id_in_an_error_is_named(self, run: Run) -> None:
        run.log(f"The video of {run.submit()} is late.")
        judged = run.judged()
        assert only(judged) == Ending.NAMED
        assert judged.violations == []

    def test_a_prompt_in_an_error_is_unknown(self, run: Run) -> None:
        run.submit()
        run.log(f"The prompt: {PROMPT!r}.")
        judged = run.judged()
        assert only(judged) == Ending.UNKNOWN
        assert judged.violations == []

    def test_what_was_never_sent_is_not_made(self, run: Run) -> None:
        run.log("The disk is full.")
        judged = run.judged()
        assert (only(judged), judged.posts) == (Ending.NOT_MADE, 0)
        assert judged.violations == []

    @pytest.mark.parametrize("fault", ["400", "credit-402", "html-403", "redirect"])
    def test_what_was_refused_for_good_may_be_sent_again_by_a_person(self, fault: str, run: Run) -> None:
        run.emulator.misbehave("generate", fault)
        with pytest.raises(LumaError):
            run.submit()
        run.keep(run.submit())
        judged = run.judged()
        assert (judged.posts, judged.refused, judged.paid) == (2, 1, 1)
        assert judged.violations == []

    def test_what_was_refused_may_be_sent_again(self, run: Run) -> None:
        run.emulator.misbehave("generate", "429-seconds", seconds=0)
        run.emulator.misbehave("generate", "latency", seconds=0.01)
        run.keep(run.submit())
        judged = run.judged()
        assert (judged.posts, judged.refused, judged.paid) == (2, 1, 1)
        assert judged.violations == []

    def test_what_failed_may_be_made_again(self, run: Run) -> None:
        run.emulator.next(outcome="failed")
        run.submit()
        run.keep(run.submit())
        judged = run.judged()
        assert (judged.paid, judged.failed) == (2, 1)
        assert judged.violations == []

    def test_what_the_gateway_refuses_by_itself_may_be_sent_again(self, run: Run) -> None:
        key, run.emulator.key = run.emulator.key, "another-key-than-the-connections"
        with pytest.raises(LumaError):
            run.submit()
        run.emulator.key = key
        run.keep(run.submit())
        judged = run.judged()
        assert (judged.posts, judged.refused, judged.paid) == (2, 1, 1)
        assert judged.violations == []


class TestBroken:
    def test_never_made_and_nobody_says_why(self, run: Run) -> None:
        judged = run.judged()
        assert (only(judged), judged.posts) == (Ending.NOT_MADE, 0)
        (violation,) = judged.violations
        assert "nobody says why" in violation

    def test_paid_and_the_prompt_of_another_in_an_error(self, run: Run) -> None:
        run.submit()
        run.log("The prompt: 'A jellyfish, whole 01'.")
        judged = run.judged()
        assert only(judged) == Ending.LOST
        assert judged.violations

    def test_sent_and_nobody_says_so(self, run: Run) -> None:
        run.emulator.misbehave("generate", "500")
        with pytest.raises(LumaError):
            run.submit()
        judged = run.judged()
        assert only(judged) == Ending.LOST
        assert judged.violations

    def test_a_manifest_without_its_video(self, run: Run) -> None:
        run.keep(run.submit())
        (run.videos / "run-1" / "another.mp4.json").write_text("{}")
        assert run.judged().violations == ["another.mp4.json was left behind"]

    def test_paid_twice(self, run: Run) -> None:
        run.submit()
        run.keep(run.submit())
        (violation,) = run.judged().violations
        assert "was sent 2 times and made 2 times" in violation

    def test_sent_again_after_an_answer_that_is_none(self, run: Run) -> None:
        run.emulator.misbehave("generate", "500")
        with pytest.raises(LumaError):
            run.submit()
        run.keep(run.submit())
        (violation,) = run.judged().violations
        assert "was sent 2 times and made 1 times" in violation

    def test_paid_and_never_named(self, run: Run) -> None:
        request_id = run.submit()
        run.log(f"Submitted request {request_id}: {PROMPT}", level="info")
        judged = run.judged()
        assert only(judged) == Ending.LOST
        (violation,) = judged.violations
        assert f"was sent (and became {request_id}), and nobody says so" in violation

    def test_another_video(self, run: Run) -> None:
        run.keep(run.submit(), b"another")
        (violation,) = run.judged().violations
        assert "is not the video of" in violation

    def test_a_file_that_was_left_beside_it(self, run: Run) -> None:
        request_id = run.submit()
        run.keep(request_id)
        (run.videos / "run-1" / f".{request_id}.part").write_bytes(b"half")
        assert run.judged().violations == [f".{request_id}.part was left behind"]


class TestDrift:
    def test_of_what_is_flat_is_none(self) -> None:
        assert drift([(float(at), 100.0, 20) for at in range(90)]) == (1.0, 0)

    def test_ignores_the_warming_up(self) -> None:
        warming = [(float(at), 10.0 + 3 * at, at) for at in range(30)]
        assert drift([*warming, *((float(at), 100.0, 30) for at in range(30, 90))]) == (1.0, 0)

    def test_sees_what_grows(self) -> None:
        factor, descriptors = drift([(float(at), 100.0 + at, at) for at in range(90)])
        assert factor > 1.15
        assert descriptors == 30
