"""
May this call be sent again, when, and what is it called when it is over.

The two columns of :data:`SENDING_RULES` are the money rule of this provider. ``generate`` is paid for and
has no idempotency key: it is sent again only where nothing was delivered, or where the gateway refused
before any work. ``getStatus`` is free: it is sent again wherever that may help.

Pure: the attempt's number, the clock's reading and a random number are handed in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from airflow_provider_luma.api.exchange import Call, Fault, Miss
from airflow_provider_luma.exceptions import (
    LumaAccessRefused,
    LumaAddressRefused,
    LumaCreditRefused,
    LumaError,
    LumaFirewallRefused,
    LumaGatewayError,
    LumaInputRefused,
    LumaKeyRefused,
    LumaProtocolError,
    LumaRateRefused,
    LumaRefused,
    LumaSubmitOutcomeUnknown,
    LumaUnreachable,
)

#: Sends of one call at most, the first one included.
MAX_TRIES = 5
#: Sends at most where a second look is only a courtesy: keys rotate, firewalls blink.
FEW_TRIES = 3
#: Seconds before a firewall is tried again: what it takes for an attack, it blocks for longer.
LONG_PAUSE = 30.0

#: Seconds: the first pause's upper bound, what it grows by, and where it stops growing.
BACKOFF_BASE = 1.0
BACKOFF_FACTOR = 2.0
BACKOFF_CAP = 30.0

#: Seconds that a worker sleeps at most because the gateway asked for it. Beyond that the call ends with the
#: wait in the error: a worker slot is not for sleeping in.
MAX_WORKER_PAUSE = 180.0

#: Seconds that any ``Retry-After`` counts as at most. What is longer is a mistake or a joke.
MAX_RETRY_AFTER = 3600.0

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


class Again(StrEnum):
    """Whether a call may be sent again after a fault."""

    #: No.
    NO = "no"
    #: Yes, after a backoff, up to :data:`MAX_TRIES` sends.
    BACKOFF = "backoff"
    #: Yes, after what the gateway asked for (or a backoff), up to :data:`MAX_TRIES` sends.
    ASKED = "asked"
    #: Yes, after a backoff, up to :data:`FEW_TRIES` sends.
    FEW = "few"
    #: Yes, after :data:`LONG_PAUSE`, up to :data:`FEW_TRIES` sends.
    SELDOM = "seldom"


@dataclass(frozen=True)
class Rule:
    """
    One cell of the table.

    :param again: whether the call may be sent again.
    :param error: what it is when it is over.
    """

    again: Again
    error: type[LumaError]


_UNKNOWN = Rule(Again.NO, LumaSubmitOutcomeUnknown)

#: fault -> what it means for ``generate``, what it means for ``getStatus``.
SENDING_RULES: dict[Fault, tuple[Rule, Rule]] = {
    Fault.NOT_DELIVERED: (Rule(Again.BACKOFF, LumaUnreachable), Rule(Again.BACKOFF, LumaUnreachable)),
    Fault.LOST: (_UNKNOWN, Rule(Again.BACKOFF, LumaGatewayError)),
    Fault.UNUSABLE: (_UNKNOWN, Rule(Again.FEW, LumaProtocolError)),
    Fault.INPUT: (Rule(Again.NO, LumaInputRefused), Rule(Again.NO, LumaInputRefused)),
    Fault.KEY: (Rule(Again.NO, LumaKeyRefused), Rule(Again.FEW, LumaKeyRefused)),
    Fault.CREDIT: (Rule(Again.NO, LumaCreditRefused), Rule(Again.NO, LumaCreditRefused)),
    Fault.FIREWALL: (Rule(Again.NO, LumaFirewallRefused), Rule(Again.SELDOM, LumaFirewallRefused)),
    Fault.QUOTA: (Rule(Again.ASKED, LumaRateRefused), Rule(Again.ASKED, LumaRateRefused)),
    Fault.ACCESS: (Rule(Again.NO, LumaAccessRefused), Rule(Again.FEW, LumaAccessRefused)),
    Fault.ADDRESS: (Rule(Again.NO, LumaAddressRefused), Rule(Again.NO, LumaAddressRefused)),
    Fault.CONFLICT: (_UNKNOWN, Rule(Again.BACKOFF, LumaGatewayError)),
    Fault.RATE: (Rule(Again.ASKED, LumaRateRefused), Rule(Again.ASKED, LumaRateRefused)),
    Fault.UNAVAILABLE: (_UNKNOWN, Rule(Again.ASKED, LumaGatewayError)),
    Fault.SERVER: (_UNKNOWN, Rule(Again.BACKOFF, LumaGatewayError)),
    Fault.REDIRECT: (Rule(Again.NO, LumaAddressRefused), Rule(Again.NO, LumaAddressRefused)),
    Fault.OTHER_REFUSAL: (Rule(Again.NO, LumaRefused), Rule(Again.NO, LumaRefused)),
    Fault.OTHER: (_UNKNOWN, Rule(Again.BACKOFF, LumaGatewayError)),
}

#: The one cell that a switch of the connection (``retry_generate_on_503``) changes: the user vouches that
#: this gateway answers 503 only before any work.
_VOUCHED_503 = Rule(Again.ASKED, LumaGatewayError)


def rule(call: Call, fault: Fault, *, retry_generate_on_503: bool = False) -> Rule:
    """Return the cell of the table for one call and one fault."""
    if call is Call.GENERATE and fault is Fault.UNAVAILABLE and retry_generate_on_503:
        return _VOUCHED_503
    return SENDING_RULES[fault][0 if call is Call.GENERATE else 1]


def pause_before_next(
    call: Call,
    miss: Miss,
    *,
    tries: int,
    now: float,
    random: float,
    retry_generate_on_503: bool = False,
) -> float | None:
    """
    Return the seconds after which a worker may send the same call again, or ``None``: not at all.

    :param tries: how often it has been sent, the one that came to ``miss`` included.
    :param now: epoch seconds, for a ``Retry-After`` that is a date and comes without the gateway's own
        ``Date``.
    :param random: a number in [0, 1): full jitter, so that a thousand tasks do not come back in step.
    """
    again = rule(call, miss.fault, retry_generate_on_503=retry_generate_on_503).again
    if again is Again.NO or tries >= (FEW_TRIES if again in (Again.FEW, Again.SELDOM) else MAX_TRIES):
        return None
    if again is Again.SELDOM:
        return LONG_PAUSE + random * BACKOFF_BASE
    asked = retry_after_seconds(miss, now=now) if again is Again.ASKED else None
    if asked is None:
        return backoff(tries, random)
    if asked > MAX_WORKER_PAUSE:
        return None
    return asked + random * BACKOFF_BASE


def backoff(tries: int, random: float) -> float:
    """Return seconds of exponential backoff with full jitter after the ``tries``-th send."""
    bound = min(BACKOFF_CAP, BACKOFF_BASE * BACKOFF_FACTOR ** min(max(tries - 1, 0), 16))
    return bound * random


def retry_after_seconds(miss: Miss, *, now: float) -> float | None:
    """
    Return the seconds of a ``Retry-After``, in [0, :data:`MAX_RETRY_AFTER`], or ``None`` where it says
    nothing.

    RFC 9110 allows seconds or an HTTP date. A date is read against the answer's own ``Date`` where there is
    one, so that neither a wrong clock here nor a jump of it matters.
    """
    text = (miss.retry_after or "").strip()
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER)
    until = _epoch(text)
    if until is None:
        return None
    since = _epoch(miss.date or "")
    return min(max(until - (now if since is None else since), 0.0), MAX_RETRY_AFTER)


def error_for(
    call: Call,
    miss: Miss,
    *,
    now: float,
    tries: int = 1,
    request_id: str | None = None,
    conn_id: str = "",
    retry_generate_on_503: bool = False,
) -> LumaError:
    """Return the error that a fault ends in, with what it means for money."""
    error = rule(call, miss.fault, retry_generate_on_503=retry_generate_on_503).error
    asked = retry_after_seconds(miss, now=now)
    times = f" {tries} times" if tries > 1 else ""
    after = f" after {tries} tries" if tries > 1 else ""
    wait = f" The gateway asks for a pause of {asked:g} s." if asked is not None else ""
    through = f" through connection {conn_id!r}" if conn_id else ""
    if call is Call.GENERATE:
        what = f"Submitting{through} failed{after}: the gateway {miss.detail}.{wait}"
        money = (
            None
            if issubclass(error, LumaSubmitOutcomeUnknown)
            else "Nothing was generated, nothing is charged."
        )
        next_step = None
        if issubclass(error, LumaUnreachable):
            next_step = "Check the connection's host, and this machine's network and proxy; a retry is safe."
        elif not issubclass(error, (LumaSubmitOutcomeUnknown, LumaRefused)):
            next_step = "A retry is safe."
    else:
        what = f"Asking for the status{through}{times} failed: the gateway {miss.detail}.{wait}"
        money = "The generation itself is not affected: it may be running and is paid for."
        next_step = "Clear this task to resume the wait for free; do not submit again."
        if issubclass(error, LumaRefused) and error.next_step != LumaRefused.next_step:
            next_step = f"{error.next_step} That resumes the wait for free; do not submit again."
    return error(
        what,
        request_id=request_id,
        http_status=miss.http_status,
        retry_after=asked,
        money=money,
        next_step=next_step,
    )


def _epoch(http_date: str) -> float | None:
    """Return epoch seconds of an HTTP date, or ``None`` if it is none."""
    try:
        moment = parsedate_to_datetime(http_date[:64])
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
