"""
What a task does with the record of an earlier submit: the decision that keeps a video from being paid for
twice.

One record per task instance, as JSON: ``{"v", "phase", "fingerprint", "request_id", "max_tries", "at",
"account", "sends"}``. Its phases:

* ``intent``: written as the last act before the POST. Alone, it says that a POST may have been sent.
* ``submitted``: the gateway accepted, the id is known.
* ``done``: the task has delivered: the id, or the video where it waits for one.
* ``failed``: the gateway said that the generation failed.

A *retry* (by Airflow, of the same request) is told from a *clear* (by a person) by the task instance's
``max_tries``, which a clear changes and a retry does not; it is the one discriminator that was measured to
err on the safe side. The decision is pure; reading and writing the record is the operator's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.api.gateways import DEFAULT_GATEWAY
from airflow_provider_luma.api.models import usable_request_id
from airflow_provider_luma.api.text import one_line

if TYPE_CHECKING:
    from airflow_provider_luma.api.models import GenerationRequest

RECORD_VERSION = 1
#: Epoch seconds that no calendar of ours goes beyond.
_END_OF_TIME = 200_000_000_000


class Phase(StrEnum):
    """How far a submit has come."""

    INTENT = "intent"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"


def gateway_of(account: str | None) -> str:
    """Return the name of an account's gateway. Releases that did not note it knew one."""
    return DEFAULT_GATEWAY if account is None else account.partition(":")[0]


@dataclass(frozen=True)
class SubmitRecord:
    """
    The record of one submit.

    :param phase: how far it has come.
    :param fingerprint: of the request and the connection id; ``None`` in a record that a person entered.
    :param request_id: set from ``submitted`` on.
    :param max_tries: the task instance's when the intent was written; ``None`` in a record that a person
        entered.
    :param at: epoch seconds at which it was written; ``None`` in a record that a person entered or an
        earlier release has written.
    :param account: where it was for: the gateway's name, and a digest of host and key; ``None`` in a record
        that a person entered or an earlier release has written.
    :param sends: how often it was sent, the list having said in between that it was not accepted.
    """

    phase: Phase
    fingerprint: str | None
    request_id: str | None
    max_tries: int | None
    at: float | None = None
    account: str | None = None
    sends: int = 1

    @property
    def gateway(self) -> str | None:
        """The name of the gateway that it was for; ``None`` if a person entered the record."""
        entered = self.account is None and self.max_tries is None
        return None if entered else gateway_of(self.account)

    def to_json(self) -> dict[str, Any]:
        """Return the record as the store keeps it."""
        return {
            "v": RECORD_VERSION,
            "phase": self.phase.value,
            "fingerprint": self.fingerprint,
            "request_id": self.request_id,
            "max_tries": self.max_tries,
            "at": self.at,
            "account": self.account,
            "sends": self.sends,
        }


def fingerprint_of(request: GenerationRequest, conn_id: str) -> str:
    """Return what tells this generation from another: the request and the connection."""
    return hashlib.sha256(f"{request.fingerprint()} {conn_id}".encode()).hexdigest()


@dataclass(frozen=True)
class Submit:
    """Send the request. ``note`` says why, where that is not the plain case."""

    note: str | None = None


@dataclass(frozen=True)
class Reattach:
    """Send nothing: the request was accepted as ``request_id``."""

    request_id: str


@dataclass(frozen=True)
class LookFirst:
    """Ask about ``request_id`` and send only if it failed: a person cleared a task that was not done."""

    request_id: str


@dataclass(frozen=True)
class OutcomeUnknown:
    """
    Send nothing: an earlier try may have sent the request, and nobody knows what became of it.

    :param at: epoch seconds at which it was about to; ``None`` if that is not known.
    :param account: as in the record.
    :param sends: likewise.
    """

    why: str
    at: float | None = None
    account: str | None = None
    sends: int = 1


@dataclass(frozen=True)
class Elsewhere:
    """
    Send nothing: the request was accepted as ``request_id`` by a gateway that is not asked now.

    :param account: as in the record.
    """

    request_id: str
    gateway: str
    account: str | None


Decision = Submit | Reattach | LookFirst | OutcomeUnknown | Elsewhere


def decide(
    stored: Any, *, fingerprint: str | None, max_tries: int, gateway: str = DEFAULT_GATEWAY
) -> Decision:
    """
    Return what a try does, given what is stored.

    :param stored: the record as the store gave it, ``None`` if there is none. A person may have entered it: a
        bare id, or an object with a ``request_id``, re-attaches.
    :param fingerprint: of this try's request and connection id; ``None`` where the request is not the same
        twice (a function makes it), so that another one says nothing.
    :param max_tries: this try's task instance's.
    :param gateway: the name of the one that this try's connection leads to.
    """
    if stored is None:
        return Submit()
    record = read_record(stored)
    if record is None:
        return OutcomeUnknown(f"the stored record cannot be read: {one_line(repr(stored), 300)}")
    return decide_by(record, fingerprint=fingerprint, max_tries=max_tries, gateway=gateway)


def decide_by(
    record: SubmitRecord, *, fingerprint: str | None, max_tries: int, gateway: str = DEFAULT_GATEWAY
) -> Decision:
    """Return what a try does, given a record that was read; the arguments are those of :func:`decide`."""
    if None not in (record.fingerprint, fingerprint) and record.fingerprint != fingerprint:
        earlier = f" (as {record.request_id})" if record.request_id else ""
        return Submit(
            f"an earlier try submitted another request{earlier}: the prompt, another argument or the "
            "connection has changed since. This is a new generation, and a new charge."
        )
    cleared = record.max_tries is not None and record.max_tries != max_tries
    if record.request_id is None:
        when = "" if record.at is None else f" at {_moment(record.at)}"
        return OutcomeUnknown(
            f"an earlier try was about to send the request{when} and left no word of its outcome",
            at=record.at,
            account=record.account,
            sends=record.sends,
        )
    if record.phase is Phase.FAILED:
        return Submit(
            f"the generation {record.request_id}, which an earlier try submitted, has failed. This is a new "
            "generation, and a new charge."
        )
    delivered = cleared and record.phase is Phase.DONE
    if not delivered and record.gateway not in (None, gateway):
        return Elsewhere(record.request_id, str(record.gateway), record.account)
    if not cleared:
        return Reattach(record.request_id)
    if delivered:
        return Submit(
            f"this task was cleared after it had delivered {record.request_id}. This is a new "
            "generation, and a new charge."
        )
    return LookFirst(record.request_id)


def _moment(epoch_seconds: float) -> str:
    """Return a time for a person who looks for it at the vendor's."""
    return f"{datetime.fromtimestamp(epoch_seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _typed(text: str) -> Any:
    """Return what a person typed into a form: an id, an id in quotes, or a record as JSON."""
    text = text.strip()
    if text.startswith(('"', "{")):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return {"request_id": value} if isinstance(value, str) else value
    return {"request_id": text}


def read_record(stored: Any) -> SubmitRecord | None:
    """Return the stored record, or ``None`` if it is none that this release understands."""
    if isinstance(stored, str):
        stored = _typed(stored)
    if not isinstance(stored, dict) or stored.get("v", RECORD_VERSION) != RECORD_VERSION:
        return None
    entered = stored.get("request_id")
    request_id = usable_request_id(entered)
    if entered is not None and request_id is None:
        return None
    try:
        phase = Phase(stored.get("phase", Phase.SUBMITTED.value if request_id else Phase.INTENT.value))
    except ValueError:
        return None
    fingerprint = stored.get("fingerprint")
    max_tries = stored.get("max_tries")
    if not isinstance(fingerprint, (str, type(None))) or not isinstance(max_tries, (int, type(None))):
        return None
    at = stored.get("at")
    if not isinstance(at, (int, float)) or not 0 <= at < _END_OF_TIME:
        # It only helps a person: a record is not thrown away for it.
        at = None
    account, sends = stored.get("account"), stored.get("sends")
    if not isinstance(account, str):
        account = None
    if not isinstance(sends, int) or sends < 1:
        sends = 1
    if phase is Phase.INTENT:
        # A person who adds an id to an intent means: this is what became of it.
        phase = Phase.SUBMITTED if request_id else Phase.INTENT
    elif request_id is None:
        return None
    return SubmitRecord(phase, fingerprint, request_id, max_tries, at, account, sends)
