"""
What it takes to hold this provider against an official client: what is compared of a request, how a client's
types are read, and which of our errors is which of theirs.

The clients are made by one generator and look alike. What is read of them is what the installed release says,
so that these tests fail when a newer one says more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pydantic
import pytest

from airflow_provider_luma.api import retry
from airflow_provider_luma.exceptions import (
    LumaAccessRefused,
    LumaAddressRefused,
    LumaError,
    LumaGatewayError,
    LumaInputRefused,
    LumaKeyRefused,
    LumaProtocolError,
    LumaRateRefused,
    LumaSubmitOutcomeUnknown,
    LumaUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from airflow_provider_luma.emulator.models import RecordedRequest

#: Seconds for an answer: plenty where one comes, few where none does.
PLENTY, FEW_SECONDS = 10.0, 0.15

#: Headers that are compared.
COMPARED = ("authorization", "accept", "content-type")
#: Headers of theirs that are not, by how they begin. A new one is none of these, and fails a test.
NOT_COMPARED = {
    "accept-encoding": "ours asks for no compression: what is read is bounded, and so it is before decoding",
    "user-agent": "each says who it is",
    "x-stainless-": "what the generator of the clients wants to know of who uses them",
    "host": "the HTTP library's",
    "connection": "the HTTP library's",
    "content-length": "that of the same JSON, spelt with other white space",
}


@dataclass(frozen=True)
class Case:
    """One request, as it is put to this provider and to the official client."""

    name: str
    ours: dict[str, Any]
    theirs: dict[str, Any]


def every(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Return the mark that runs a test with each of them."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@dataclass(frozen=True)
class Wire:
    """What is compared of a request."""

    method: str
    path: str
    headers: dict[str, list[str]]
    body: Any


def wire(request: RecordedRequest) -> Wire:
    """Return what is compared. Of a request without a body, what it would be a body of is not."""
    names = [name for name in COMPARED if request.body or name != "content-type"]
    headers = {name: request.headers.getall(name, []) for name in names}
    return Wire(request.method, request.path, headers, request.json)


def not_accounted_for(request: RecordedRequest) -> set[str]:
    """Return the headers of a request that are neither compared nor left out for a reason."""
    known = (*COMPARED, *NOT_COMPARED)
    return {name for name in map(str.lower, request.headers) if not name.startswith(known)}


def words(hint: Any) -> set[str]:
    """Return the words that a type allows, however deep they stand in it; there must be some."""

    def within(hint: Any) -> set[str]:
        if get_origin(hint) is Literal:
            return set(get_args(hint))
        return set().union(*map(within, get_args(hint)))

    found = within(hint)
    assert found, f"{hint} names no words any more"
    return found


def strictly(model: type[pydantic.BaseModel], raw: bytes) -> Any:
    """Read an answer with a client's model: nothing is turned into what it is not, nothing is unknown."""
    read = model.model_validate_json(raw, strict=True)
    assert list(_unknown(read)) == []
    return read


def _unknown(read: Any, at: str = "") -> Iterator[str]:
    if isinstance(read, pydantic.BaseModel):
        yield from (f"{at}.{name}" for name in read.model_extra or {})
        for name in type(read).model_fields:
            yield from _unknown(getattr(read, name), f"{at}.{name}")
    elif isinstance(read, list):
        for number, one in enumerate(read):
            yield from _unknown(one, f"{at}[{number}]")


#: Their error for a status -> ours, for a submit and for a status call.
REFUSALS: dict[str, tuple[type[LumaError], type[LumaError]]] = {
    "BadRequestError": (LumaInputRefused, LumaInputRefused),
    "AuthenticationError": (LumaKeyRefused, LumaKeyRefused),
    "PermissionDeniedError": (LumaAccessRefused, LumaAccessRefused),
    "NotFoundError": (LumaAddressRefused, LumaAddressRefused),
    "ConflictError": (LumaSubmitOutcomeUnknown, LumaGatewayError),
    "UnprocessableEntityError": (LumaInputRefused, LumaInputRefused),
    "RateLimitError": (LumaRateRefused, LumaRateRefused),
    "InternalServerError": (LumaSubmitOutcomeUnknown, LumaGatewayError),
}


@dataclass(frozen=True)
class Break:
    """An exchange without an answer: their error, and ours for a submit and for a status call."""

    #: The fault of the emulator; none: nobody listens.
    fault: str | None
    theirs: str
    generate: type[LumaError]
    get_status: type[LumaError]


#: Theirs do not say whether the request was delivered. Ours do: on that depends whether it may be paid for.
BREAKS = [
    Break(None, "APIConnectionError", LumaUnreachable, LumaUnreachable),
    Break("drop-after-reading", "APIConnectionError", LumaSubmitOutcomeUnknown, LumaGatewayError),
    Break("hang", "APITimeoutError", LumaSubmitOutcomeUnknown, LumaGatewayError),
    # Raised by theirs only in a mode that they do not promise to keep; else they take it for an answer.
    Break("not-object", "APIResponseValidationError", LumaSubmitOutcomeUnknown, LumaProtocolError),
]
every_break = pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.fault or "nobody-listens")


def _below(root: type) -> Iterator[type]:
    for child in root.__subclasses__():
        yield child
        yield from _below(child)


def refusals(client: ModuleType) -> list[tuple[type[Exception], int]]:
    """Return the errors that a client has for a status, with that status; there is one of many statuses."""
    found = []
    for error in _below(client.APIStatusError):
        code = getattr(error, "status_code", None)
        codes = (500, 502, 503, 504) if error.__name__ == "InternalServerError" else (code,)
        found += [(error, code) for code in codes]
    assert found
    return found


def every_refusal(client: ModuleType) -> pytest.MarkDecorator:
    """Return the mark that runs a test with each of them."""
    return pytest.mark.parametrize(
        ("error", "status"),
        [pytest.param(*one, id=f"{one[0].__name__}-{one[1]}") for one in refusals(client)],
    )


def breaks(client: ModuleType) -> set[str]:
    """Return the names of a client's errors that are not for a status."""
    family = set(_below(client.APIError)) - {client.APIStatusError} - set(_below(client.APIStatusError))
    assert family
    return {error.__name__ for error in family}


@pytest.fixture(autouse=True)
def _no_settings_of_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of the caller's environment lead the clients elsewhere, or add headers to theirs."""
    for name in [name for name in os.environ if name.startswith(("LUMAAI_", "LUMA_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF_BASE", 0.002)
    monkeypatch.setattr(retry, "BACKOFF_CAP", 0.01)
