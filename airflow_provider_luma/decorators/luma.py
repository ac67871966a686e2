"""``@task.luma``: a function that says what to generate, as a task that generates it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_luma.api.models import GenerationRequest
from airflow_provider_luma.operators.luma import LumaGenerateOperator
from airflow_provider_luma.version_compat import SET_DURING_EXECUTION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context, TaskDecorator


class LumaDecoratedOperator(DecoratedOperator, LumaGenerateOperator):
    """
    What ``@task.luma`` makes of a function.

    The function returns a prompt, or a dict with ``prompt`` and, if wanted, other fields of
    :class:`~airflow_provider_luma.api.models.GenerationRequest`; what it leaves out are the decorator's
    arguments, which are those of :class:`~airflow_provider_luma.operators.luma.LumaGenerateOperator`. What it
    returns is sent as it is: no template is rendered in it.

    The function is called only where something is to be submitted. A retry that takes up what an earlier try
    submitted does not call it, so a function that returns another prompt each time (a language model, say)
    does not buy a second video.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *LumaGenerateOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **LumaGenerateOperator.template_fields_renderers,
    }
    custom_operator_name: str = "@task.luma"
    _repeatable = False

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("prompt", SET_DURING_EXECUTION)
        # Airflow infers it from a function that returns a dict. This task returns a request id.
        kwargs["multiple_outputs"] = False
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def execute(self, context: Context) -> str:
        # Not by DecoratedOperator.execute: in Airflow 3.0 that raises after what was asked for is paid for.
        return LumaGenerateOperator.execute(self, context)

    def _request(self, context: Context) -> GenerationRequest:
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        asked = self.python_callable(*self.op_args, **arguments)
        request = GenerationRequest.of(asked, **self._asked())
        self.prompt = request.prompt
        return request


def luma_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """
    Make a function a task that generates what it returns; use it as ``@task.luma``.

    :param python_callable: the function.
    :param kwargs: of :class:`~airflow_provider_luma.operators.luma.LumaGenerateOperator`, but ``prompt``.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=LumaDecoratedOperator, **kwargs
    )
