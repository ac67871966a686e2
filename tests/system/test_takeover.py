"""
Two real triggerers wait for generations, and one is killed: the other ends every wait.

Real Airflow, real ``kill -9``, an emulated gateway that knows who asked. ``make takeover`` does the same with
five hundred.
"""

from __future__ import annotations

import pytest

from dev.takeover import KILLED, SURVIVOR, Outcome, Takeover

WAITING = 30

#: Most of it is Airflow's time to defer and to resume the tasks, on a machine that others use as well.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Kill the triggerer that holds half of the waits, and wait for the end of all."""
    return Takeover(tmp_path_factory.mktemp("takeover"), WAITING, say=print).run()


class TestATriggererIsKilled:
    """``kill -9`` while it holds half of the waits; the other triggerer has the rest, and room for all."""

    def test_both_had_their_share(self, outcome: Outcome) -> None:
        assert [len(outcome.held_by(who)) for who in (KILLED, SURVIVOR)] == [WAITING // 2, WAITING // 2]
        assert all(wait.looks_by(KILLED) for wait in outcome.held_by(KILLED)), outcome.waits

    def test_every_wait_ends_with_the_video_of_its_own_generation(self, outcome: Outcome) -> None:
        assert not outcome.failing("ended_with_its_video")
        assert len({wait.video_url for wait in outcome.waits}) == WAITING

    def test_nothing_is_submitted_again(self, outcome: Outcome) -> None:
        assert (outcome.posts, outcome.paid) == (WAITING, WAITING)

    def test_the_other_triggerer_finds_each_video(self, outcome: Outcome) -> None:
        assert not outcome.failing("found_by_the_survivor")

    def test_deadline_and_start_of_a_wait_are_not_moved(self, outcome: Outcome) -> None:
        assert not outcome.failing("kept_its_arguments")

    def test_the_seconds_waited_count_from_the_workers_look(self, outcome: Outcome) -> None:
        assert not outcome.failing("counted_from_its_first_look")

    def test_no_worker_looks_a_second_time(self, outcome: Outcome) -> None:
        assert not outcome.failing("looked_at_once_by_a_worker")
