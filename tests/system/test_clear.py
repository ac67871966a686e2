"""
What a person's clear of the submitting task does, and what an entry by hand into its state store does.

Real Airflow, by the REST calls that ``docs/money.md`` names. Each test counts what reached the gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.crash_site import KEY, TASK, Ending

if TYPE_CHECKING:
    from dev.crash_site import CrashSite, Run

#: One task, which submits; without retries, a killed one stays as it was left.
DAG_ID = "luma_clear"


def killed_at(site: CrashSite, step: str, dag_id: str = DAG_ID) -> Run:
    """Return a run whose task was killed at a step of its submit, after which the run has ended."""
    run = site.launch(dag_id, hold_at=step)
    site.wait_until(lambda: run.held, f"the task came to {step}")
    run.process().kill()
    run.end()
    return run


def looks(site: CrashSite, request_id: str) -> int:
    """Return how often the gateway was asked about a generation."""
    return site.gateway.generation(request_id).looks


def only_id(run: Run) -> str:
    """Return the id of the one generation of a run."""
    (post,) = run.posts
    assert post.request_id is not None
    return post.request_id


@pytest.fixture(scope="module")
def unknown(site: CrashSite) -> Run:
    """Give a run whose task was killed between intent and id, retried by Airflow, and ended as unknown."""
    run = killed_at(site, "answer-read", "luma_clear_with_retries")
    end = run.end()
    assert (end.ending, end.posts, end.paid, end.tries) == (Ending.UNKNOWN, 1, 1, 2), end
    return run


class TestClearOfATaskThatWasDone:
    """A person asks again for what was delivered."""

    def test_a_new_generation_is_made_and_called_a_new_charge(self, site: CrashSite) -> None:
        run = site.launch(DAG_ID)
        assert run.end().paid == 1
        run.clear()
        end = run.end()
        assert (end.posts, end.paid, end.tries) == (2, 2, 2), end
        assert run.request_id == run.posts[-1].request_id
        assert any("new charge" in line for line in run.log()), run.log()


class TestClearOfATaskThatWasSubmittedAndNotDone:
    """What was submitted is looked at first: clearing a stuck task must not buy a second video."""

    @pytest.mark.parametrize("outcome", ["pending", "completed"])
    def test_a_generation_that_may_still_be_had_is_taken_up(self, site: CrashSite, outcome: str) -> None:
        run = killed_at(site, "id-stored")
        request_id = only_id(run)
        assert run.record["phase"] == "submitted"
        site.gateway.set(request_id, outcome=outcome)
        run.clear()
        end = run.end()
        assert (end.posts, end.paid, end.tries) == (1, 1, 2), end
        assert run.request_id == request_id
        assert looks(site, request_id) == 1

    def test_one_that_has_failed_is_made_anew(self, site: CrashSite) -> None:
        run = killed_at(site, "id-stored")
        request_id = only_id(run)
        site.gateway.set(request_id, outcome="failed", reason="The frame could not be rendered")
        run.clear()
        end = run.end()
        assert (end.posts, end.paid, end.tries) == (2, 2, 2), end
        assert run.request_id != request_id
        assert any("new charge" in line for line in run.log()), run.log()


class TestClearOfATaskThatEndedUnknown:
    """Nobody knows what became of the request: a clear alone is no reason to send it again."""

    def test_nothing_is_sent(self, unknown: Run) -> None:
        unknown.clear()
        end = unknown.end()
        assert (end.ending, end.posts, end.tries) == (Ending.UNKNOWN, 1, 3), end
        assert "state store" in "\n".join(end.log)


class TestTheStateStoreIsSetByHand:
    """The way out of an unknown outcome."""

    def test_with_its_key_deleted_a_clear_generates_anew(self, site: CrashSite) -> None:
        run = killed_at(site, "after-intent")
        assert run.posts == []
        site.api.delete_state(DAG_ID, run.run_id, TASK, KEY)
        assert run.record is None
        run.clear()
        end = run.end()
        assert (end.posts, end.paid) == (1, 1), end
        assert run.request_id == only_id(run)

    @pytest.mark.parametrize("as_object", [False, True], ids=["bare-id", "object"])
    def test_with_an_id_entered_a_clear_takes_that_up(self, site: CrashSite, as_object: bool) -> None:
        run = killed_at(site, "after-intent")
        found_at_the_vendor = site.gateway.add()
        site.api.store_state(
            DAG_ID,
            run.run_id,
            TASK,
            KEY,
            {"request_id": found_at_the_vendor} if as_object else found_at_the_vendor,
        )
        run.clear()
        end = run.end()
        assert (end.ending, end.posts) == (Ending.ID, 0), end
        assert run.request_id == found_at_the_vendor
        assert run.record["phase"] == "done"
