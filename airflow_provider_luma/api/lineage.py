"""What went into a task and what came out of it, by the names that OpenLineage gives to data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_luma.api.models import is_web_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_luma.api.cost import Cost
    from airflow_provider_luma.api.manifest import Manifest
    from airflow_provider_luma.api.models import GenerationRequest


@dataclass(frozen=True)
class TaskLineage:
    """
    What is known of one task.

    :param conn_id: id of its Airflow connection.
    :param requests: what it asks for; empty where a function decides that.
    :param request_ids: the generations that it has submitted or taken up.
    :param sources: the addresses that it has fetched, where that is all that it does.
    :param kept: the videos that it has kept.
    :param cost: what its requests are estimated to cost together.
    """

    conn_id: str
    requests: Sequence[GenerationRequest] = ()
    request_ids: Sequence[str] = ()
    sources: Sequence[str] = ()
    kept: Sequence[Manifest] = ()
    cost: Cost | None = None

    @property
    def inputs(self) -> list[str]:
        """The addresses of what goes in, images and sources, each once."""
        frames = [frame for one in self.requests for frame in (one.image_url, one.end_frame)]
        images = [frame for frame in frames if frame is not None and is_web_address(frame)]
        return [*dict.fromkeys([*images, *self.sources])]


def dataset_name(address: str) -> tuple[str, str]:
    """
    Return namespace and name of what an address leads to, by OpenLineage's rules for naming data.

    Query, user and password are left out: they may be secrets, and change while the data does not. Of an
    ``ObjectStoragePath``, the id of the connection is no part of the name: ``s3://aws_default@films/a.mp4``
    is ``a.mp4`` in ``s3://films``.
    """
    scheme, there, rest = address.partition("://")
    if not there:
        return "file", address
    if scheme in ("http", "https"):
        # Of a file or an object, what looks like a query is a part of the name.
        rest = urlsplit(address)._replace(scheme="", query="", fragment="").geturl().removeprefix("//")
    place, slash, name = rest.partition("/")
    host = place.rpartition("@")[2]
    if not host:
        return scheme, f"{slash}{name}"
    return f"{scheme}://{host}", f"/{name}" if scheme in ("http", "https") else name
