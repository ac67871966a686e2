"""What every task that waits does alike, where it needs no gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_luma import exceptions
from airflow_provider_luma.exceptions import LumaError, LumaVideoNotDelivered
from airflow_provider_luma.steps.wait import (
    EXECUTION_TIMEOUT_MARGIN,
    deadline,
    not_delivered,
    poke_interval_of,
    seconds_of,
)

FAMILY = [
    error
    for error in vars(exceptions).values()
    if isinstance(error, type) and issubclass(error, LumaError) and error is not LumaVideoNotDelivered
]


class TestAnErrorOfATaskWithoutARecord:
    """A clear or a retry of such a task pays again, so no advice to do so may be left in its words."""

    @pytest.mark.parametrize("error", FAMILY, ids=lambda error: error.__name__)
    @pytest.mark.parametrize("by_event", [False, True])
    def test_says_what_happened_and_no_more(self, error: type[LumaError], by_event: bool) -> None:
        raised = error("It went wrong.", request_id="r-1", http_status=500)
        if by_event:
            raised = LumaError.of_kind(error.kind, str(raised), request_id="r-1")
        found = not_delivered(raised, "r-1")
        assert isinstance(found, LumaVideoNotDelivered)
        assert found.what.startswith("It went wrong.")
        assert "lear this task" not in found.what
        assert "etry" not in found.what
        assert found.request_id == "r-1"

    def test_that_is_none_of_ours_is_named_in_one_bounded_line(self) -> None:
        found = not_delivered(ValueError("odd\n" * 1000), "r-1")
        assert found.what.startswith("ValueError: odd odd")
        assert len(found.what) < 250


class TestTheDeadline:
    def test_is_the_time_out_from_now_on(self) -> None:
        assert deadline(1000.0, 60.0, 900.0, None) == 1060.0

    def test_is_never_after_the_execution_timeout_which_counts_from_the_tasks_start(self) -> None:
        assert deadline(1000.0, 60.0, 990.0, timedelta(seconds=20)) == 1010.0 - EXECUTION_TIMEOUT_MARGIN
        assert deadline(1000.0, 5.0, 990.0, timedelta(seconds=20)) == 1005.0

    def test_is_never_in_the_past(self) -> None:
        assert deadline(1000.0, 60.0, 900.0, timedelta(seconds=20)) == 1000.0


class TestSeconds:
    @pytest.mark.parametrize(
        ("value", "seconds"), [(5, 5.0), (0.5, 0.5), (0, 0.0), (timedelta(minutes=1), 60.0)]
    )
    def test_may_be_a_number_or_a_duration(self, value: Any, seconds: float) -> None:
        assert seconds_of("timeout", value) == seconds

    @pytest.mark.parametrize(
        "value", [True, "5", None, -1, float("nan"), float("inf"), timedelta(seconds=-1)]
    )
    def test_that_are_none_are_an_error_of_the_dag(self, value: Any) -> None:
        with pytest.raises(ValueError, match="timeout must be seconds or a timedelta"):
            seconds_of("timeout", value)

    def test_between_looks_are_not_too_few(self) -> None:
        assert poke_interval_of(None) is None
        assert poke_interval_of(0.1) == 0.1
        with pytest.raises(ValueError, match=r"at least 0\.1 seconds"):
            poke_interval_of(0.09)
