"""The record of a submit: what is written, and which errors of that may stop a task."""

from __future__ import annotations

import logging
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_luma.api.cost import Cost
from airflow_provider_luma.api.submission import OutcomeUnknown, Phase, Reattach, Submit
from airflow_provider_luma.exceptions import LumaConfigurationError, LumaMaxCostExceeded
from airflow_provider_luma.steps.submit import (
    SUBMIT_KEY,
    Record,
    check_cost,
    max_cost_of,
    policy_of,
    state_store,
)

LOG = logging.getLogger(__name__)


class Broken(Exception):
    """What a state store raises."""


class Away(Exception):
    """What Airflow's SDK raises when its api-server does not answer (no status), or answers an error."""

    def __init__(self, status: int | None, exception: str = "ConnectError") -> None:
        detail = {"status_code": status, "message": "away", "exception_type": exception}
        self.error = SimpleNamespace(error="API_SERVER_ERROR", detail=detail)


class Store:
    """A task state store that can fail from some write on, or for some writes."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.broken = False
        self.failures: list[Exception] = []

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any, **_: Any) -> None:
        if self.broken:
            raise Broken
        if self.failures:
            raise self.failures.pop()
        self.values[key] = value

    def delete(self, key: str) -> None:
        if self.broken:
            raise Broken
        del self.values[key]


def context(max_tries: int = 2, **more: Any) -> Any:
    return {"ti": SimpleNamespace(max_tries=max_tries), **more}


def record(store: Store | None, fingerprint: str | None = "f", max_tries: int = 2) -> Record:
    return Record(store, fingerprint, context(max_tries), LOG)


@pytest.fixture
def store() -> Store:
    return Store()


class TestARecord:
    def test_of_nothing_says_submit(self, store):
        assert isinstance(record(store).decision(), Submit)
        assert record(store).taken_over() is None

    def test_of_an_intent_says_that_the_outcome_is_unknown(self, store):
        first = record(store)
        first.intend()

        assert first.intended
        assert not first.id_stored
        assert store.values[SUBMIT_KEY]["phase"] == "intent"
        assert isinstance(record(store).decision(), OutcomeUnknown)

    def test_of_an_id_says_which_to_take_up(self, store):
        first = record(store)
        first.intend()

        assert first.write_id(Phase.SUBMITTED, "a-1")
        assert first.id_stored
        decision = record(store).decision()
        assert isinstance(decision, Reattach)
        assert decision.request_id == "a-1"

    def test_goes_on_in_the_process_after_the_wait(self, store):
        record(store).write_id(Phase.SUBMITTED, "a-1")
        after = record(store, fingerprint=None)

        assert after.taken_over() == "a-1"
        assert after.id_stored
        assert after.fingerprint == "f"

    def test_that_was_withdrawn_leaves_nothing(self, store):
        first = record(store)
        first.intend()
        first.withdraw()

        assert store.values == {}
        assert not first.intended

    def test_that_was_never_intended_is_not_taken_back(self, store):
        store.values[SUBMIT_KEY] = {"of": "another try"}
        record(store).withdraw()

        assert store.values == {SUBMIT_KEY: {"of": "another try"}}


class TestAStoreThatFails:
    def test_stops_what_is_about_to_be_sent(self, store):
        """It is how Airflow tells a process that another try has its task."""
        store.broken = True
        first = record(store)

        with pytest.raises(Broken):
            first.intend()
        assert first.intended, "the write may have arrived"

    def test_stops_nothing_of_what_is_paid_for_and_the_log_has_the_id(self, store, caplog):
        store.broken = True
        first = record(store)

        assert not first.write_id(Phase.SUBMITTED, "a-1")
        assert not first.id_stored
        assert "request a-1 (submitted)" in caplog.text

    @pytest.mark.parametrize("status", [None, 500, 503])
    def test_for_a_while_is_asked_again_until_the_id_is_stored(self, store, monkeypatch, status, caplog):
        monkeypatch.setattr("airflow_provider_luma.steps.submit.PAUSE", 0.0)
        store.failures = [Away(status)] * 5
        first = record(store)

        assert first.write_id(Phase.SUBMITTED, "a-1")
        assert store.values[SUBMIT_KEY]["request_id"] == "a-1"
        assert store.failures == []
        told = [one for one in caplog.records if "Not stored yet" in one.message]
        assert len(told) == 1, "at once, and once"
        assert "request a-1 (submitted)" in told[0].message

    def test_that_refuses_is_not_asked_again(self, store):
        for refusal in (Away(404), Away(None, "JSONDecodeError"), Away(None, "ValidationError"), Broken()):
            store.failures = [refusal, refusal]

            assert not record(store).write_id(Phase.SUBMITTED, "a-1")
            assert len(store.failures) == 1, refusal

    def test_that_never_comes_back_is_given_up_once_for_all_writes(self, store, monkeypatch):
        monkeypatch.setattr("airflow_provider_luma.steps.submit.PATIENCE", 0.2)
        monkeypatch.setattr("airflow_provider_luma.steps.submit.PAUSE", 0.05)
        store.failures = [Away(None)] * 1000
        first = record(store)

        assert not first.write_id(Phase.SUBMITTED, "a-1")
        left = len(store.failures)
        assert left < 999, "asked again"
        assert not first.write_id(Phase.DONE, "a-1")
        assert len(store.failures) == left - 1, "one attempt"

    def test_leaves_an_intent_and_says_what_to_do(self, store, caplog):
        first = record(store)
        first.intend()
        store.broken = True
        first.withdraw()

        assert "delete the key 'luma' to submit anew" in caplog.text


class TestWithoutAStore:
    def test_nothing_is_written_and_nothing_known(self):
        first = record(None)
        first.intend()
        first.withdraw()

        assert not first.intended
        assert not first.has_store
        assert not first.write_id(Phase.SUBMITTED, "a-1")
        assert first.taken_over() is None
        assert isinstance(first.decision(), Submit)

    def test_it_is_told_once_where_a_log_is_given(self, caplog):
        assert state_store(context(), durable=True) is None
        assert caplog.text == ""
        assert state_store(context(), durable=True, log=LOG) is None
        assert "Set retries=0 on this task" in caplog.text

    def test_it_is_not_told_where_none_is_wanted(self, store, caplog):
        assert state_store(context(task_state_store=store), durable=False, log=LOG) is None
        assert caplog.text == ""

    def test_the_one_that_is_there_is_used(self, store):
        assert state_store(context(task_state_store=store), durable=True, log=LOG) is store


class TestThePolicyForUnknownOutcomes:
    @pytest.mark.parametrize("policy", ["fail", "resubmit"])
    def test_is_one_of_two(self, policy: Any):
        assert policy_of(policy) == policy

    @pytest.mark.parametrize("wrong", ["retry", "", None, True, "x" * 10_000])
    def test_is_nothing_else(self, wrong: Any):
        with pytest.raises(ValueError, match="must be 'fail', 'resubmit' or 'reconcile'") as raised:
            policy_of(wrong)
        assert len(str(raised.value)) < 200


class TestTheMostThatATaskMayCost:
    @pytest.mark.parametrize("given", [0, 2, 0.1, Decimal("0.1"), "12.50"])
    def test_is_an_amount(self, given: Any):
        assert max_cost_of(given) == Decimal(str(given))

    def test_or_anything(self):
        assert max_cost_of(None) is None
        check_cost(None, None, "luma_default")
        check_cost(Cost(Decimal(10**9), "USD"), None, "luma_default")

    @pytest.mark.parametrize("wrong", [-1, True, "much", float("nan"), float("inf"), [], "9" * 10_000])
    def test_is_nothing_else(self, wrong: Any):
        with pytest.raises(ValueError, match="max_cost must be an amount of money") as raised:
            max_cost_of(wrong)
        assert len(str(raised.value)) < 200

    def test_may_be_reached_and_not_passed(self):
        check_cost(Cost(Decimal("0.30"), "USD"), max_cost_of(0.3), "luma_default")
        with pytest.raises(
            LumaMaxCostExceeded, match=r"estimated to cost 0.31 USD, and max_cost is 0.30 USD"
        ):
            check_cost(Cost(Decimal("0.31"), "USD"), max_cost_of(0.3), "luma_default")

    def test_cannot_be_kept_where_nobody_knows_the_prices(self):
        with pytest.raises(
            LumaConfigurationError, match="'luma_films' has no price for this in a price_table"
        ):
            check_cost(None, Decimal(1), "luma_films")
