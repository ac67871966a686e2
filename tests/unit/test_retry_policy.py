"""What LumaRetryPolicy tells Airflow, for each kind of error that Airflow asks it about."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_luma import exceptions as luma
from airflow_provider_luma import retry_policy
from airflow_provider_luma.retry_policy import LumaRetryPolicy

NEEDS_RETRY_POLICIES = pytest.mark.skipif(
    retry_policy.RetryDecision is None, reason="retry policies came with Airflow 3.3"
)


@NEEDS_RETRY_POLICIES
class TestLumaRetryPolicy:
    def decide(self, error: BaseException) -> object:
        return LumaRetryPolicy().evaluate(error, try_number=1, max_tries=3)

    def test_a_rate_limit_takes_its_own_pause(self) -> None:
        decision = self.decide(luma.LumaRateRefused("429", retry_after=240))
        assert decision.action.value == "retry"
        assert decision.retry_delay == timedelta(seconds=240)
        assert "rate limit" in decision.reason

    def test_a_rate_limit_without_a_pause_takes_the_tasks_delay(self) -> None:
        assert self.decide(luma.LumaRateRefused("429")).action.value == "default"

    @pytest.mark.parametrize(
        "error", [luma.LumaUnreachable("x"), luma.LumaGatewayError("x"), ValueError("x"), KeyboardInterrupt()]
    )
    def test_anything_else_takes_the_tasks_own_rules(self, error: BaseException) -> None:
        decision = self.decide(error)
        assert (decision.action.value, decision.retry_delay) == ("default", None)

    def test_it_can_be_stored_and_read_again(self) -> None:
        assert isinstance(LumaRetryPolicy.deserialize(LumaRetryPolicy().serialize()), LumaRetryPolicy)


@pytest.mark.skipif(retry_policy.RetryDecision is not None, reason="this Airflow has retry policies")
def test_an_older_airflow_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match=r"needs Airflow 3\.3"):
        LumaRetryPolicy()
