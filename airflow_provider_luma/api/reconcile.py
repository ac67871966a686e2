"""
Settle the unknown outcome of a submit by the gateway's own list of generations.

Pure: :func:`search` yields the calls to make. What it says errs on the side of paying once: an id is taken up
only where nothing else could be meant, and "not listed" is said only where the list was read, without a gap,
from now to before the request was sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from airflow_provider_luma.api.exchange import Answer, Miss

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

    from airflow_provider_luma.api.exchange import HttpCall
    from airflow_provider_luma.api.models import GenerationRequest

#: Pages of a list that are read at most.
MAX_PAGES = 20
#: Seconds by which the times of a list may differ from the gateway's ``Date``, which has no fractions.
MARGIN = 10.0
#: Seconds after the last moment at which a request can have arrived until "not listed" is believed: a new
#: generation takes a moment to appear.
LISTED_WITHIN = 60.0
#: Seconds between two looks at the list.
LOOK_EVERY = 5.0


class Resemblance(Enum):
    """How much a listed generation resembles a request."""

    #: In everything that the list repeats of a request.
    SAME = "same"
    #: In its prompt; what else the list says proves nothing either way.
    UNCLEAR = "unclear"
    #: It is another one.
    NONE = "none"


@dataclass(frozen=True)
class Listed:
    """
    One generation of a list.

    :param request_id: its id.
    :param created_at: epoch seconds by the gateway's clock; ``None`` if the list does not say.
    :param resemblance: to the request that is looked for.
    """

    request_id: str
    created_at: float | None
    resemblance: Resemblance


@dataclass(frozen=True)
class Page:
    """
    A page of a list.

    :param entries: in the order of the list.
    :param is_last: whether there are no more.
    """

    entries: Sequence[Listed]
    is_last: bool


@dataclass(frozen=True)
class Found:
    """
    These generations are of the request, and nobody's else.

    :param request_ids: as many as were wanted, or fewer: then the others are not listed.
    """

    request_ids: tuple[str, ...]


@dataclass(frozen=True)
class NotListed:
    """
    The list holds no such generation.

    :param read: how many generations it held, back to before the request was sent.
    """

    read: int


@dataclass(frozen=True)
class Unsettled:
    """
    The list does not settle it.

    :param why: one line for a person.
    :param request_ids: the generations that may be meant.
    """

    why: str
    request_ids: tuple[str, ...] = ()


Verdict = Found | NotListed | Unsettled


class Lister(Protocol):
    """A gateway that lists its generations."""

    def list_call(self, offset: int) -> HttpCall:
        """Return the call that asks for a page of the list, newest first. It is free."""

    def read_list(self, answer: Answer | Miss, request: GenerationRequest) -> Page | Miss:
        """Return the page, each generation with how much it resembles ``request``; or the fault."""


def search(
    gateway: Lister,
    request: GenerationRequest,
    *,
    sent_from: float,
    sent_until: float,
    taken: Collection[str],
    clock: Callable[[], float],
    wanted: int = 1,
) -> Generator[HttpCall, Answer | Miss, Verdict | Miss]:
    """
    Look for a request in the gateway's list: yields the calls to make, returns what they came to.

    :param sent_from: epoch seconds by our clock before which it cannot have arrived.
    :param sent_until: and after which it cannot.
    :param taken: ids that are known to be of other requests.
    :param clock: gives epoch seconds by our clock, to be compared with the gateway's ``Date``.
    :param wanted: how many requests, equal in everything, are looked for.
    """
    entries: dict[str, Listed] = {}
    offset, ahead, whole = 0, None, False
    #: What the next page begins with, unless a deletion has moved what follows it out of sight.
    seam: str | None = None
    for number in range(MAX_PAGES):
        answer = yield gateway.list_call(offset)
        now = clock()
        page = gateway.read_list(answer, request)
        if isinstance(page, Miss):
            return page
        if number == 0 and isinstance(answer, Answer):
            ahead = _ahead(answer.headers.get("date", ""), now, page.entries)
        if seam is not None and seam not in [entry.request_id for entry in page.entries]:
            break
        entries.update((entry.request_id, entry) for entry in page.entries)
        if page.is_last or _reaches(list(entries.values()), sent_from + (ahead or 0.0) - MARGIN):
            whole = True
            break
        overlap = len(page.entries) > 1
        seam = page.entries[-1].request_id if overlap else None
        offset += len(page.entries) - overlap
    shift = ahead or 0.0
    start, end = sent_from + shift - MARGIN, sent_until + shift + MARGIN
    meant = [
        entry
        for entry in entries.values()
        if entry.resemblance is not Resemblance.NONE
        and entry.request_id not in taken
        and (entry.created_at is None or start <= entry.created_at <= end)
    ]
    same = tuple(
        entry.request_id
        for entry in meant
        if entry.resemblance is Resemblance.SAME and entry.created_at is not None
    )
    ids = tuple(entry.request_id for entry in meant)
    if len(same) < len(meant):
        return Unsettled("the gateway lists generations of the same prompt that cannot be told apart", ids)
    if len(same) > wanted:
        return Unsettled(f"the gateway lists {len(same)} generations of this very request", ids)
    if not whole:
        said = f"the gateway's list could not be read back far enough ({len(entries)} generations)"
        return Unsettled(said, ids)
    if len(same) < wanted and ahead is None:
        return Unsettled("the gateway does not say what time it has, or its list contradicts it", ids)
    return Found(same) if same else NotListed(len(entries))


def _reaches(entries: Sequence[Listed], start: float) -> bool:
    """Return whether a list, newest first throughout, has been read back to before ``start``."""
    times = [entry.created_at for entry in entries]
    known = [time for time in times if time is not None]
    ordered = len(known) == len(times) and known == sorted(known, reverse=True)
    return ordered and bool(known) and known[-1] < start


def _ahead(date: str, now: float, entries: Sequence[Listed]) -> float | None:
    """
    Return by how many seconds the gateway's clock is ahead of ours; ``None`` if it does not say, or if its
    list holds what was made later than that.
    """
    try:
        moment = parsedate_to_datetime(date[:64])
        # RFC 9110 has dates in UTC, whether or not they say so.
        told = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if any(entry.created_at is not None and entry.created_at > told + MARGIN for entry in entries):
        return None
    return told - now
