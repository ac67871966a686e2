"""
What a test of the connection comes to: how to read the answer to a question that is free and needs the key.

Accepted is only what the gateway itself says: of the account, or of an id that nobody has. There it must be a
``status`` of its own, "not found" above all.
Whatever else may answer at an address (a management layer, another service, a start page) has not judged
the key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_luma.api.exchange import Fault, Miss
from airflow_provider_luma.api.models import GenerationStatus

if TYPE_CHECKING:
    from collections.abc import Generator

    from airflow_provider_luma.api.exchange import Answer, HttpCall
    from airflow_provider_luma.api.gateways import Gateway
    from airflow_provider_luma.api.models import Generation

_NOT_THIS_GATEWAY = (
    "Something answered, but not as this gateway does, so the key was not judged: check the base URL"
)
_ACCEPTED, _FREE = "The gateway answered and accepted the key.", "Nothing was generated or charged."
_ABOUT_THE_KEY = re.compile(r"subscription|\bkeys?\b|auth|denied|forbidden", re.IGNORECASE)
_WORDS = {
    Fault.NOT_DELIVERED: "The host cannot be reached: check the base URL, the port, and a proxy in between",
    Fault.LOST: "The host was reached but gave no whole answer, so the key was not judged; try again",
    Fault.KEY: "The gateway refused the key: check the subscription key",
    Fault.ACCESS: "The gateway knows the key but denies access: check what its subscription covers",
    Fault.CREDIT: "The gateway accepted the key, but the account is out of credit",
    Fault.RATE: "The gateway limits requests right now, so the key was not judged; try again later",
    Fault.QUOTA: "The gateway's quota is used up for now; try again later",
    Fault.FIREWALL: "A firewall in front of the gateway turned the request away, so the key was not judged",
    Fault.INPUT: "The gateway did not take the question: check the id field of getStatus, and the base URL",
    Fault.CONFLICT: "The gateway was busy, so the key was not judged; try again later",
    Fault.REDIRECT: "The host points somewhere else, where the key is not sent: check the base URL",
    Fault.SERVER: "The gateway has a problem of its own, so the key was not judged; try again later",
    Fault.UNAVAILABLE: "The gateway is out of service, so the key was not judged; try again later",
}


@dataclass(frozen=True)
class Account:
    """
    The gateway has answered about the account that the key belongs to.

    :param balance: what is left of its credit, for a person; ``None`` if the gateway does not say.
    """

    balance: str | None = None


def probe(
    gateway: Gateway, request_id: str, status_id_field: str
) -> Generator[HttpCall, Answer | Miss, tuple[bool, str]]:
    """
    Ask for something that is free and needs the key: yields the calls to make, returns whether the gateway
    accepted the key, and a sentence for a person.

    One question is enough, unless it may have been the field's name that was not understood.
    """
    for call in gateway.test_calls(request_id, status_id_field).values():
        seen = gateway.read_test((yield call), request_id)
        if not (isinstance(seen, Miss) and seen.http_status in (400, 404)):
            break
    return _verdict(seen)


def _verdict(seen: Account | Generation | Miss) -> tuple[bool, str]:
    if isinstance(seen, Account):
        left = f" The balance is {seen.balance}." if seen.balance else ""
        return True, f"{_ACCEPTED}{left} {_FREE}"
    if isinstance(seen, Miss):
        return False, f"{_WORDS.get(seen.fault, _NOT_THIS_GATEWAY)}. It {seen.detail}."
    is_own = seen.raw_status or seen.status is GenerationStatus.NOT_FOUND
    if seen.status is GenerationStatus.UNKNOWN or not is_own:
        # Many a service says {"status": "ok"}.
        said = f" It says {seen.raw_status!r}." if seen.raw_status else ""
        return False, f"{_NOT_THIS_GATEWAY}.{said}"
    if seen.status is GenerationStatus.FAILED and seen.reason and _ABOUT_THE_KEY.search(seen.reason):
        return False, f"{_WORDS[Fault.KEY]}. It says: {seen.reason.rstrip('.')}."
    return True, f"{_ACCEPTED} {_FREE}"
