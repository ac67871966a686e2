"""
What a test of the connection comes to: how to read the answer to a question about an id that nobody has.

Accepted is only what the gateway itself says of a generation: a ``status`` word, "not found" above all.
Whatever else may answer at an address (a management layer, another service, a start page) has not judged
the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_luma.api.gateway import Fault, Miss

if TYPE_CHECKING:
    from airflow_provider_luma.api.models import Generation

_NOT_THIS_GATEWAY = (
    "Something answered, but not as this gateway does, so the key was not judged: check the base URL"
)
_WORDS = {
    Fault.NOT_DELIVERED: "The host cannot be reached: check the base URL, the port, and a proxy in between",
    Fault.LOST: "The host was reached but gave no whole answer, so the key was not judged; try again",
    Fault.KEY: "The gateway refused the key: check the subscription key",
    Fault.ACCESS: "The gateway knows the key but denies access: check what its subscription covers",
    Fault.CREDIT: "The gateway accepted the key, but the account is out of credit",
    Fault.RATE: "The gateway limits requests right now, so the key was not judged; try again later",
    Fault.QUOTA: "The gateway's quota is used up for now; try again later",
    Fault.FIREWALL: "A firewall in front of the gateway turned the request away, so the key was not judged",
    Fault.REDIRECT: "The host points somewhere else, where the key is not sent: check the base URL",
    Fault.SERVER: "The gateway has a problem of its own, so the key was not judged; try again later",
    Fault.UNAVAILABLE: "The gateway is out of service, so the key was not judged; try again later",
}


def verdict(seen: Generation | Miss) -> tuple[bool, str]:
    """
    Say what the answer to a question about an id that nobody has shows of the connection.

    :return: whether the gateway accepted the key, and a sentence for a person.
    """
    if isinstance(seen, Miss):
        return False, f"{_WORDS.get(seen.fault, _NOT_THIS_GATEWAY)}. It {seen.detail}."
    # A number is an HTTP status that somebody repeats in the body, not a word for a generation.
    if seen.raw_status and not seen.raw_status.isdigit():
        return True, "The gateway answered and accepted the key. Nothing was generated or charged."
    return False, f"{_NOT_THIS_GATEWAY}."
