"""
What OpenLineage is told of a task. Imported by its listener's calls alone, so it may need its client.

The prompt is never in it; its SHA-256 is, and tells one prompt from another.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar

import attr
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import JobFacet, RunFacet, output_statistics_output_dataset

from airflow_provider_luma.api.lineage import dataset_name

if TYPE_CHECKING:
    from airflow_provider_luma.api.lineage import TaskLineage
    from airflow_provider_luma.api.manifest import Manifest

#: Datasets of one kind, and ids, that an event names at most.
MAX_NAMED = 100


@attr.define
class LumaGenerationRunFacet(RunFacet):
    """
    What a run has made: facet ``luma_generation``.

    :param connId: id of the Airflow connection.
    :param requestIds: the first hundred of the generations that it has submitted or taken up.
    :param generations: how many there are.
    :param kept: how many videos were kept.
    :param estimatedCost: of what it asks for, by the connection's prices; ``None`` if that is not known.
    :param currency: of that.
    """

    connId: str
    requestIds: list[str]
    generations: int
    kept: int
    estimatedCost: float | None = None
    currency: str | None = None

    _additional_skip_redact: ClassVar[list[str]] = ["requestIds"]


@attr.define
class LumaRequestJobFacet(JobFacet):
    """
    What a job asks for: facet ``luma_request``, each list in the order of the first hundred requests.

    :param requests: how many there are.
    :param promptSha256: of the prompts, in hexadecimal.
    :param aspectRatios: of the videos.
    """

    requests: int
    promptSha256: list[str]
    aspectRatios: list[str]


def facets(lineage: TaskLineage) -> OperatorLineage[Any, Any]:
    """Return what OpenLineage is told of a task."""
    cost = lineage.cost
    run = LumaGenerationRunFacet(
        connId=lineage.conn_id,
        requestIds=list(lineage.request_ids[:MAX_NAMED]),
        generations=len(lineage.request_ids),
        kept=len(lineage.kept),
        estimatedCost=None if cost is None else float(cost.amount),
        currency=None if cost is None else cost.currency,
    )
    asked = lineage.requests[:MAX_NAMED]
    job = LumaRequestJobFacet(
        requests=len(lineage.requests),
        promptSha256=[hashlib.sha256(one.prompt.encode()).hexdigest() for one in asked],
        aspectRatios=[one.aspect_ratio for one in asked],
    )
    return OperatorLineage(
        inputs=[InputDataset(*dataset_name(address)) for address in lineage.inputs[:MAX_NAMED]],
        outputs=[_output(manifest) for manifest in lineage.kept[:MAX_NAMED]],
        run_facets={"luma_generation": run},
        job_facets={"luma_request": job} if asked else {},
    )


def _output(manifest: Manifest) -> OutputDataset:
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        size=manifest.bytes, fileCount=1
    )
    namespace, name = dataset_name(manifest.path)
    return OutputDataset(namespace, name, outputFacets={"outputStatistics": statistics})
