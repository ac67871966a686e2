"""
The doors to Luma's models: a module each, of pure functions and facts, with the same names in all of them.

A connection names its gateway; everybody else goes through :class:`Gateway` and knows none by name. To add
one, write its module, and name it in :data:`GATEWAYS` and in the connection's form, which imports nothing.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Protocol, cast

from airflow_provider_luma.api.exchange import Miss
from airflow_provider_luma.api.gateways import appypie, luma, luma_agents, pixazo
from airflow_provider_luma.api.gateways.capabilities import Capability
from airflow_provider_luma.api.models import Generation, GenerationStatus, rendered_request_id
from airflow_provider_luma.exceptions import LumaInvalidRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from airflow_provider_luma.api.exchange import Answer, HttpCall
    from airflow_provider_luma.api.models import GenerationRequest
    from airflow_provider_luma.api.probe import Account
    from airflow_provider_luma.api.reconcile import Lister


class Gateway(Protocol):
    """What a module of this package holds."""

    @property
    def NAME(self) -> str:
        """What a connection calls it."""

    @property
    def TITLE(self) -> str:
        """What people call it."""

    @property
    def MODELS(self) -> Sequence[str]:
        """The models that it sells, the one that it takes unless told otherwise first; none if unnamed."""

    @property
    def PARAMETERS(self) -> Collection[str]:
        """The fields of a request that it can honour."""

    @property
    def CAPABILITIES(self) -> Collection[Capability]:
        """What it can do besides."""

    @property
    def DEFAULT_HOST(self) -> str:
        """The vendor's base address, used when the connection names no host."""

    @property
    def HEADERS(self) -> Mapping[str, str]:
        """Headers of every call besides the key."""

    @property
    def KEY_HEADER(self) -> str:
        """The header that carries the key."""

    @property
    def STATUS_ID_FIELDS(self) -> Sequence[str]:
        """The names under which an id may be asked about, where a connection can choose; else none."""

    def key_header(self, key: str) -> str:
        """Return what stands in that header."""

    def check(self, request: GenerationRequest) -> None:
        """
        Hold a request against the documented limits; its parameters are known to be among those it takes.

        :raises LumaInvalidRequest: names the parameter. Nothing was sent.
        """

    def submit_call(self, request: GenerationRequest) -> HttpCall:
        """Return the call that generates. Every delivery of it is paid for."""

    def read_submit(self, answer: Answer | Miss) -> str | Miss:
        """Return the request id of an accepted submit, or the fault."""

    def status_calls(self, request_id: str, status_id_field: str) -> Mapping[str, HttpCall]:
        """Return the calls by which a generation may be asked about, by id field, in the order of trying."""

    def read_status(self, answer: Answer | Miss, request_id: str) -> Generation | Miss:
        """Return what an answer to one of them says of the generation, or the fault."""

    def test_calls(self, request_id: str, status_id_field: str) -> Mapping[str, HttpCall]:
        """Return the calls by which a connection is tested, likewise, about an id that nobody has."""

    def read_test(self, answer: Answer | Miss, request_id: str) -> Account | Generation | Miss:
        """Return what an answer to one of them says."""


#: By the name that stands in a connection.
GATEWAYS: Mapping[str, Gateway] = {
    gateway.NAME: gateway for gateway in cast("tuple[Gateway, ...]", (appypie, luma, luma_agents, pixazo))
}
DEFAULT_GATEWAY = appypie.NAME


def check(gateway: Gateway, request: GenerationRequest) -> None:
    """
    See whether a gateway can honour a request, all of it: what it would ignore would be paid for.

    :raises LumaInvalidRequest: names the parameter. Nothing was sent, nothing is charged.
    """
    for field in fields(request):
        if field.name not in gateway.PARAMETERS and getattr(request, field.name) != field.default:
            takes = [known.name for known in fields(request) if known.name in gateway.PARAMETERS]
            raise LumaInvalidRequest(
                f"{field.name} is nothing that {gateway.TITLE} takes. It takes {', '.join(takes)}."
            )
    gateway.check(request)
    # Also what only shows when the body is put together.
    gateway.submit_call(request)


def lister(gateway: Gateway) -> Lister | None:
    """Return the gateway as one that lists its generations, or ``None`` if it does not."""
    return cast("Lister", gateway) if Capability.LISTING in gateway.CAPABILITIES else None


def look(
    gateway: Gateway, request_id: str, status_id_field: str
) -> Generator[HttpCall, Answer | Miss, tuple[Generation | Miss, str]]:
    """
    Ask once about a generation: yields the calls to make, returns what they came to and the id field to use
    next.

    Where a gateway has several fields, an answer that may mean "I do not know this field" (400, 404,
    ``NOT_FOUND``) is followed by one call with the next. The field is settled, and returned instead of
    ``auto``, once it has brought a status other than ``NOT_FOUND``. Both shells drive this generator.

    :raises LumaInvalidRequest: what is asked about cannot be an id; nothing was sent.
    """
    request_id = rendered_request_id(request_id)
    found: list[Generation | Miss] = []
    for name, call in gateway.status_calls(request_id, status_id_field).items():
        seen = gateway.read_status((yield call), request_id)
        if isinstance(seen, Generation) and seen.status is not GenerationStatus.NOT_FOUND:
            # Only a status settles the field: an error without one may be about the field itself.
            return seen, name if seen.raw_status or seen.video_url else status_id_field
        if isinstance(seen, Miss) and seen.http_status not in (400, 404):
            return seen, status_id_field
        found.append(seen)
    # All fields were turned down. "Not found" is the kindest word of them: a new generation takes a moment
    # to appear, while a refused body is final.
    return min(found, key=_severity), status_id_field


def _severity(seen: Generation | Miss) -> int:
    if isinstance(seen, Generation):
        return 0
    return 1 if seen.http_status == 404 else 2
