"""``@task.luma``: what a function returns is generated, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma.decorators.luma import LumaDecoratedOperator
from airflow_provider_luma.exceptions import LumaInvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_luma.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connect")


def decorated(function: Callable[..., Any], **kwargs: Any) -> LumaDecoratedOperator:
    return LumaDecoratedOperator(task_id="make", python_callable=function, op_args=(), op_kwargs={}, **kwargs)


class TestWhatTheFunctionReturns:
    def test_may_be_a_prompt(self, emulator: Emulator, context: dict[str, Any]) -> None:
        request_id = decorated(lambda: "a fox", aspect_ratio="1:1").execute(context)
        generation = emulator.generation(request_id)
        assert (generation.prompt, generation.aspect_ratio) == ("a fox", "1:1")

    def test_may_be_a_dict_which_goes_before_the_arguments(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        task = decorated(lambda: {"prompt": "a fox", "aspect_ratio": "9:16"}, aspect_ratio="1:1")
        assert emulator.generation(task.execute(context)).aspect_ratio == "9:16"

    def test_is_no_template(self, emulator: Emulator, context: dict[str, Any]) -> None:
        request_id = decorated(lambda: "{{ ds }}").execute(context)
        assert emulator.generation(request_id).prompt == "{{ ds }}"

    @pytest.mark.parametrize("returned", [None, "", 5, [], {}, {"prompt": ""}, {"text": "a fox"}])
    def test_that_is_no_request_is_sent_nowhere(
        self, returned: Any, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest):
            decorated(lambda: returned).execute(context)
        assert emulator.requests == []


class TestARetry:
    def test_does_not_ask_the_function_again(self, emulator: Emulator, context: dict[str, Any]) -> None:
        prompts = iter(["a fox", "an owl"])
        first = decorated(lambda: next(prompts)).execute(context)
        assert decorated(lambda: next(prompts)).execute(context) == first
        assert emulator.paid == 1
        assert next(prompts) == "an owl"


class TestWhatAirflowInfers:
    def test_no_outputs_of_a_dict_that_this_task_does_not_return(self) -> None:
        def make() -> dict[str, str]:
            return {"prompt": "a fox"}

        assert decorated(make, multiple_outputs=True).multiple_outputs is False
