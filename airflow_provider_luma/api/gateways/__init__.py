"""
The doors to Luma's models: a module each, of pure functions and facts, with the same names in all of them.

A connection names its gateway; everybody else goes through :class:`Gateway` and knows none by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from airflow_provider_luma.api.gateways import appypie

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from airflow_provider_luma.api.exchange import Answer, HttpCall, Miss
    from airflow_provider_luma.api.models import Generation, GenerationRequest


class Gateway(Protocol):
    """What a module of this package holds."""

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

    def submit_call(self, request: GenerationRequest) -> HttpCall:
        """Return the call that generates. Every delivery of it is paid for."""

    def read_submit(self, answer: Answer | Miss) -> str | Miss:
        """Return the request id of an accepted submit, or the fault."""

    def status_calls(self, request_id: str, status_id_field: str) -> Sequence[HttpCall]:
        """Return the calls by which a generation may be asked about, in the order in which they are tried."""

    def read_status(self, answer: Answer | Miss, request_id: str) -> Generation | Miss:
        """Return what an answer to one of them says of the generation, or the fault."""

    def look(
        self, request_id: str, status_id_field: str
    ) -> Generator[HttpCall, Answer | Miss, tuple[Generation | Miss, str]]:
        """Ask once: yields the calls to make, returns what they came to and the id field to use next."""


#: By the name that stands in a connection.
GATEWAYS: Mapping[str, Gateway] = {"appypie": appypie}
DEFAULT_GATEWAY = "appypie"
