"""The methods by which OpenLineage asks an operator of ours what it does and has done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_luma.api.lineage import TaskLineage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_luma.api.models import GenerationRequest


class WithLineage:
    """An operator that OpenLineage is told of; without Airflow's provider for it, nobody asks."""

    luma_conn_id: str
    #: What the task is about, once there is something: a generation, a video.
    _known: TaskLineage | None = None

    def _requests_at_hand(self) -> Sequence[GenerationRequest]:
        """Return what is asked for, where that is known without asking anybody."""
        return ()

    def _lineage(self) -> TaskLineage:
        """Return what is known by now: before it is executed, what it asks for."""
        if self._known is None:
            return TaskLineage(self.luma_conn_id, self._requests_at_hand())
        return self._known

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return inputs, and what is asked for."""
        from airflow_provider_luma.steps.openlineage import facets

        return facets(self._lineage())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the same with what was made and kept; also of a task that has failed."""
        return self.get_openlineage_facets_on_start()
