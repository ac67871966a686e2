"""
What is left of a DAG run, and what was paid, when a process is killed at each step of a submit.

Real Airflow, real ``kill -9``. A run that is killed before it recorded its intent, or after it stored the id,
ends with its video; between the two it may end as "outcome unknown"; nothing is ever sent twice. The DAG file
holds the tasks at their step, all at once, so that Airflow's recovery is waited for only twice.

``make crash`` does the same a hundred times, at random moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from dev.crash import Target
from dev.crash_site import LUMA_DAG, End, Ending, when_all_are_launched

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dev.crash_site import CrashSite, Run

#: The request has left, and the gateway has created the generation; its answer is on its way for a minute.
IN_FLIGHT = "in-flight"

BEFORE = ("start", "before-intent")
BETWEEN = ("after-intent", IN_FLIGHT, "answer-read")
AFTER = ("id-stored", "xcom-pushed", "done-stored")

WITHOUT_RETRIES = "luma_crash_without_retries"
IN_TIME = "luma_crash_in_time"

#: The generations that were created by the time the task was killed, and that its run must have paid for.
PAID_BY_THEN = {"after-intent": 0, IN_FLIGHT: 1, "answer-read": 1}


def launch(site: CrashSite, step: str, dag_id: str = LUMA_DAG, run_after: datetime | None = None) -> Run:
    """Start a run that comes to a step and stays there."""
    in_flight = step == IN_FLIGHT
    return site.launch(dag_id, hold_at="" if in_flight else step, slow=in_flight, run_after=run_after)


def arrived(run: Run, step: str) -> bool:
    """Tell whether the run has come to its step."""
    return bool(run.posts) if step == IN_FLIGHT else run.held


def kill_each(
    site: CrashSite, runs: dict[tuple[Target, str], Run], kill: Callable[[Target, Run], None]
) -> None:
    """Kill each run's process as soon as it has come to its step."""
    waiting = dict(runs)

    def next_one() -> bool:
        for key, run in list(waiting.items()):
            if arrived(run, key[1]):
                del waiting[key]
                kill(key[0], run)
        return not waiting

    site.wait_until(next_one, f"all of {list(waiting)} came to their step")


@pytest.fixture(scope="module")
def killed(site: CrashSite) -> dict[tuple[Target, str], End]:
    """Kill a task's process at each step, and an executor's worker; give how the runs ended."""

    def kill(target: Target, run: Run) -> None:
        victim = run.process() if target is Target.TASK else run.worker()
        victim.kill()
        # Without its supervisor, a task's process goes on for a while.
        run.go()

    steps = [(Target.TASK, step) for step in (*BEFORE, *BETWEEN, *AFTER)]
    steps += [(Target.WORKER, step) for step in ("before-intent", "after-intent", IN_FLIGHT, "id-stored")]
    begin = when_all_are_launched()
    runs = {(target, step): launch(site, step, run_after=begin) for target, step in steps}
    kill_each(site, runs, kill)
    return {key: run.end() for key, run in runs.items()}


@dataclass(frozen=True)
class Orphaned:
    """What became of the runs whose scheduler was killed, by DAG and step."""

    ends: dict[tuple[str, str], End]
    #: What the first try's process was told when it went on and wanted to write; None if it never did.
    refusals: dict[tuple[str, str], str | None]


@pytest.fixture(scope="module")
def orphaned(site: CrashSite) -> Orphaned:
    """Kill the scheduler once, while tasks of two DAGs are at three steps."""
    begin = when_all_are_launched()
    runs = {
        (dag_id, step): launch(site, step, dag_id, begin)
        for dag_id in (LUMA_DAG, WITHOUT_RETRIES)
        for step in ("before-intent", IN_FLIGHT, "id-stored")
    }
    site.wait_until(
        lambda: all(arrived(run, step) for (_, step), run in runs.items()), "all tasks came to their step"
    )
    site.kill_scheduler()
    site.restart_scheduler()
    for run in runs.values():
        site.wait_until(lambda run=run: run.task()["try_number"] > 1, "the second try was decided")
        # The first try's process is there for some seconds yet; now it wants to write its intent, and send.
        run.go()
    ends = {key: run.end() for key, run in runs.items()}
    site.bury_orphans()
    return Orphaned(ends, {key: run.refused for key, run in runs.items()})


def assert_video(end: End) -> None:
    assert (end.ending, end.posts, end.paid) == (Ending.VIDEO, 1, 1), end


def assert_unknown(end: End, *, paid: int, tries: int) -> None:
    """The task failed for good, nothing was sent by the later try, and the log says what to do."""
    assert (end.ending, end.posts, end.paid, end.tries) == (Ending.UNKNOWN, paid, paid, tries), end
    last_words = "\n".join(end.log)
    assert "may be billed" in last_words, end
    assert "vendor's dashboard" in last_words, end
    assert "state store" in last_words, end


class TestTheTasksProcessIsKilled:
    """``kill -9`` of the process in which ``execute`` runs; Airflow retries it twice."""

    @pytest.mark.parametrize("step", [*BEFORE, *AFTER])
    def test_before_the_intent_and_after_the_id_is_stored_the_run_ends_with_its_video(
        self, killed: dict[tuple[Target, str], End], step: str
    ) -> None:
        assert_video(killed[Target.TASK, step])

    @pytest.mark.parametrize("step", BETWEEN)
    def test_between_them_it_ends_as_unknown_and_is_not_sent_again(
        self, killed: dict[tuple[Target, str], End], step: str
    ) -> None:
        assert_unknown(killed[Target.TASK, step], paid=PAID_BY_THEN[step], tries=2)


class TestTheExecutorsWorkerIsKilled:
    """``kill -9`` of the supervisor's process; the task's own process lives on without it."""

    @pytest.mark.parametrize("step", ["before-intent", "id-stored"])
    def test_before_the_intent_and_after_the_id_is_stored_the_run_ends_with_its_video(
        self, killed: dict[tuple[Target, str], End], step: str
    ) -> None:
        assert_video(killed[Target.WORKER, step])

    def test_between_them_it_ends_as_unknown_and_is_not_sent_again(
        self, killed: dict[tuple[Target, str], End]
    ) -> None:
        assert_unknown(killed[Target.WORKER, IN_FLIGHT], paid=1, tries=2)

    def test_what_goes_on_to_send_without_its_supervisor_is_sent_once(
        self, killed: dict[tuple[Target, str], End]
    ) -> None:
        # Whether the forsaken process still sends is a matter of luck; nobody else may.
        end = killed[Target.WORKER, "after-intent"]
        assert end.paid <= 1, end
        assert_unknown(end, paid=end.paid, tries=2)


@pytest.mark.parametrize("dag_id", [LUMA_DAG, WITHOUT_RETRIES])
class TestTheSchedulerIsKilled:
    """``kill -9`` of the scheduler: the next one starts a second try, at ``retries=0`` too."""

    @pytest.mark.parametrize("step", ["before-intent", "id-stored"])
    def test_before_the_intent_and_after_the_id_is_stored_the_run_ends_with_its_video(
        self, orphaned: Orphaned, dag_id: str, step: str
    ) -> None:
        end = orphaned.ends[dag_id, step]
        assert_video(end)
        assert end.tries == 2, end

    def test_between_them_it_ends_as_unknown_and_is_not_sent_again(
        self, orphaned: Orphaned, dag_id: str
    ) -> None:
        assert_unknown(orphaned.ends[dag_id, IN_FLIGHT], paid=1, tries=2)

    def test_the_first_try_is_refused_its_intent_once_there_is_a_second(
        self, orphaned: Orphaned, dag_id: str
    ) -> None:
        refusal = orphaned.refusals[dag_id, "before-intent"]
        if refusal is None:
            pytest.skip("Airflow had ended the first try's process before it could go on")
        assert refusal.startswith("intent:"), refusal
        assert "404" in refusal, refusal


class TestTheTimeIsUpWhileTheAnswerIsAwaited:
    """``execution_timeout`` fires while the request is on its way."""

    def test_it_ends_as_unknown_and_is_not_retried(self, site: CrashSite) -> None:
        end = launch(site, IN_FLIGHT, IN_TIME).end()
        assert_unknown(end, paid=1, tries=1)
        assert any("AirflowTaskTimeout" in line for line in end.log), end
