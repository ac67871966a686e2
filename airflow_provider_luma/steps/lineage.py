"""The methods by which OpenLineage asks an operator of ours what it does and has done."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_luma.api.lineage import TaskLineage


class WithLineage:
    """An operator that OpenLineage is told of; without Airflow's provider for it, nobody asks."""

    @abstractmethod
    def _lineage(self) -> TaskLineage:
        """Return what is known by now: before it is executed, what it asks for."""

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return inputs, and what is asked for."""
        from airflow_provider_luma.steps.openlineage import facets

        return facets(self._lineage())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the same with what was made and kept; also of a task that has failed."""
        return self.get_openlineage_facets_on_start()
