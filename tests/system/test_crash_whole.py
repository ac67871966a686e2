"""
What is left of the operator that submits, waits and keeps, and of a batch, when they are killed at each step.

Real Airflow, real ``kill -9``, by the site of ``test_crash.py``: nothing is sent twice, and what was paid for
is kept, or its id is known.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from dev.crash_site import TASK, Ending, when_all_are_launched

if TYPE_CHECKING:
    from pathlib import Path

    from dev.crash_site import CrashSite, End, Run

WHOLE = "luma_crash_whole"
BATCH = "luma_crash_batch"
#: Requests of the batch, and how many of them are under way at once.
MANY, AT_ONCE = 50, 16

WHOLE_STEPS = ("before-intent", "answer-read", "id-stored", "resumed", "xcom-pushed", "done-stored")
#: The second write completes the first intents (a page, and the number of pages); the fourth lies amidst.
BATCH_STEPS = ("before-write-1", "after-write-2", "after-write-4", "resumed")

pytestmark = pytest.mark.timeout(900)


def killed_at(site: CrashSite, dag_id: str, steps: tuple[str, ...]) -> dict[str, Run]:
    """Return runs whose task was killed at their step, as soon as they came to it."""
    begin = when_all_are_launched()
    runs = {step: site.launch(dag_id, hold_at=step, run_after=begin) for step in steps}
    waiting = dict(runs)

    def next_one() -> bool:
        for step, run in list(waiting.items()):
            if run.held:
                del waiting[step]
                run.process().kill()
        return not waiting

    site.wait_until(next_one, f"all of {steps} came to their step", timeout=180)
    return runs


@pytest.fixture(scope="module")
def ends(site: CrashSite) -> dict[str, End]:
    """Kill an operator that waits and keeps at each step; give how the runs ended."""
    return {step: run.end() for step, run in killed_at(site, WHOLE, WHOLE_STEPS).items()}


@pytest.fixture(scope="module")
def runs(site: CrashSite) -> dict[str, Run]:
    """Kill a batch at each step; give the runs when they have ended."""
    runs = killed_at(site, BATCH, BATCH_STEPS)
    for run in runs.values():
        run.site.api.wait_for_run(run.dag_id, run.run_id, timeout=300)
    return runs


class TestTheWhole:
    @pytest.mark.parametrize("step", [step for step in WHOLE_STEPS if step != "answer-read"])
    def test_ends_with_its_video(self, ends: dict[str, End], step: str) -> None:
        end = ends[step]
        assert (end.ending, end.posts, end.paid, end.tries) == (Ending.VIDEO, 1, 1, 2), end

    def test_between_intent_and_id_ends_as_unknown(self, ends: dict[str, End]) -> None:
        end = ends["answer-read"]
        assert (end.ending, end.posts, end.paid, end.tries) == (Ending.UNKNOWN, 1, 1, 2), end


class TestTheWholeIsCleared:
    """What was killed without a retry, and is cleared by a person, is taken up as well."""

    def test_at_each_step_it_ends_with_its_video(self, site: CrashSite) -> None:
        runs = killed_at(site, "luma_clear_whole", ("id-stored", "resumed", "xcom-pushed"))
        for run in runs.values():
            site.api.wait_for_run(run.dag_id, run.run_id)
            run.clear()
        for step, run in runs.items():
            end = run.end()
            assert (end.ending, end.posts, end.paid, end.tries) == (Ending.VIDEO, 1, 1, 2), f"{step}: {end}"


class TestABatchOfFifty:
    @pytest.mark.parametrize("step", BATCH_STEPS)
    def test_sends_no_request_twice_and_tells_of_each(self, runs: dict[str, Run], step: str) -> None:
        run = runs[step]
        assert max(_posts(run).values(), default=0) == 1
        results = _results(run)
        counted = Counter(one["status"] for one in results)
        assert counted["completed"] + counted["unknown"] == MANY, counted
        assert counted["unknown"] <= AT_ONCE
        for one in results:
            if one["status"] == "completed":
                kept = _folder(run) / f"{one['request_id']}.mp4"
                assert kept.read_bytes() == run.site.gateway.video_bytes(one["request_id"])

    @pytest.mark.parametrize("step", ["before-write-1", "resumed"])
    def test_loses_nothing_where_nothing_was_under_way(self, runs: dict[str, Run], step: str) -> None:
        assert Counter(one["status"] for one in _results(runs[step])) == {"completed": MANY}
        assert sum(_posts(runs[step]).values()) == MANY

    def test_cleared_after_unknown_outcomes_sends_none_of_them(self, runs: dict[str, Run]) -> None:
        run = runs["after-write-2"]
        before = _posts(run)
        run.clear()
        run.site.api.wait_for_run(run.dag_id, run.run_id, timeout=300)
        assert _posts(run) == before


def _posts(run: Run) -> Counter[str]:
    """Return how often each request of a batch was sent."""
    sent = [call.json["prompt"] for call in run.site.gateway.calls("generate")]
    return Counter(prompt for prompt in sent if prompt.startswith(run.prompt))


def _results(run: Run) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = run.site.api.xcom(run.dag_id, run.run_id, TASK, "results")
    return results


def _folder(run: Run) -> Path:
    return run.site.desk / run.run_id
