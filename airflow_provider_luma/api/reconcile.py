"""
Settle the unknown outcome of a submit by the gateway's own list of generations.

Pure: :func:`read_back` yields the calls to make, :func:`judge` says what the list means. It errs on the side
of paying once: an id is taken up only where nothing else could be meant, and "not listed" is said only of a
list that was read, without a gap, from now to before the request was sent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_luma.api.exchange import Answer, Miss

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping, Sequence

    from airflow_provider_luma.api.exchange import HttpCall
    from airflow_provider_luma.api.models import GenerationRequest

#: Pages of a list that are read at most.
MAX_PAGES = 40
#: Seconds by which the times of a list may differ from the gateway's ``Date``, which has no fractions.
MARGIN = 10.0
#: Seconds that two clocks may be apart: that of the machine which sent, and ours; the gateway's, and ours.
CLOCKS_APART = 300.0
#: Seconds for which "not listed" is not believed yet: a new generation takes a moment to appear.
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
    :param said: what the list says of it, for the gateway to compare with a request.
    """

    request_id: str
    created_at: float | None
    said: Mapping[str, Any]


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
class Reading:
    """
    What was read of a list.

    :param entries: each once, in the order of the list.
    :param whole: whether it was read, without a gap, as far back as was wanted.
    :param ahead: by how many seconds the gateway's clock is ahead of ours; ``None`` if that is not known.
    """

    entries: Sequence[Listed]
    whole: bool
    ahead: float | None

    @property
    def is_sound(self) -> bool:
        """Whether what is not in it, and when what is in it was made, can be believed."""
        return self.whole and self.ahead is not None


@dataclass(frozen=True)
class Doubt:
    """
    Requests, equal in everything, of which it is not known whether they were accepted.

    :param request: what was asked for.
    :param sent_from: epoch seconds before which none was sent, by the clock of whoever sent.
    :param sent_until: epoch seconds until which one may have been on its way; ``None``: that is over.
    :param slack: seconds by which that clock may be another than ours.
    :param wanted: how many there are.
    """

    request: GenerationRequest
    sent_from: float
    sent_until: float | None = None
    slack: float = 0.0
    wanted: int = 1


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

    def read_list(self, answer: Answer | Miss) -> Page | Miss:
        """Return the page, or the fault."""

    def likeness(self, request: GenerationRequest) -> Callable[[Mapping[str, Any]], Resemblance]:
        """Return what compares a request with what the list says of a generation."""


def is_short(verdict: Verdict, doubt: Doubt) -> bool:
    """Return whether some of what was looked for is not listed: it may be a moment later."""
    found = len(verdict.request_ids) if isinstance(verdict, Found) else 0
    return not isinstance(verdict, Unsettled) and found < doubt.wanted


def read_back(
    gateway: Lister, since: float, clock: Callable[[], float]
) -> Generator[HttpCall, Answer | Miss, Reading | Miss]:
    """
    Read the list back to a moment: yields the calls to make, returns what they came to.

    :param since: epoch seconds by our clock.
    :param clock: gives epoch seconds by our clock, to be compared with the gateway's ``Date``.
    """
    entries: dict[str, Listed] = {}
    offset, ahead, whole = 0, None, False
    #: What the next page begins with, unless a deletion has moved what follows it out of sight.
    seam: str | None = None
    for number in range(MAX_PAGES):
        answer = yield gateway.list_call(offset)
        now = clock()
        page = gateway.read_list(answer)
        if isinstance(page, Miss):
            return page
        if number == 0 and isinstance(answer, Answer):
            ahead = _ahead(answer.headers, now, page.entries)
        if seam is not None and seam not in [entry.request_id for entry in page.entries]:
            break
        if not page.entries and not page.is_last:
            break
        entries.update((entry.request_id, entry) for entry in page.entries)
        if page.is_last or _reaches(list(entries.values()), since + (ahead or 0.0) - MARGIN):
            whole = True
            break
        overlap = len(page.entries) > 1
        seam = page.entries[-1].request_id if overlap else None
        offset += len(page.entries) - overlap
    return Reading([*entries.values()], whole, ahead)


def judge(
    gateway: Lister, reading: Reading, doubts: Sequence[Doubt], taken: Collection[str]
) -> list[Verdict]:
    """
    Return what a list means for each doubt.

    What is the very request of one doubt, and only resembles another's, is not taken for the other's; but it
    is no proof either that the other's is missing: a list need not repeat all that tells two requests apart.

    :param reading: back to before the first of them was sent.
    :param doubts: no two of equal requests.
    :param taken: ids that are known to be of other requests.
    """
    like = [_like(gateway, reading, doubt, taken) for doubt in doubts]
    owners = Counter(
        request_id for found in like for request_id, one in found.items() if one is Resemblance.SAME
    )
    return [_verdict(reading, doubt, found, owners) for doubt, found in zip(doubts, like, strict=True)]


def _like(gateway: Lister, reading: Reading, doubt: Doubt, taken: Collection[str]) -> dict[str, Resemblance]:
    """
    Return the generations that may be meant, with how much they resemble the request.

    There is no last moment: a request may have been held back on its way for long. What was made so early
    that only another clock explains it may be meant, and is not taken for the very same; nor is anything
    where it is not known what time the gateway has.
    """
    start = doubt.sent_from + (reading.ahead or 0.0) - MARGIN
    earliest = start - doubt.slack - (CLOCKS_APART if reading.ahead is None else 0.0)
    compare = gateway.likeness(doubt.request)
    found: dict[str, Resemblance] = {}
    for entry in reading.entries:
        made = entry.created_at
        if entry.request_id in taken or (made is not None and made < earliest):
            continue
        resemblance = compare(entry.said)
        if resemblance is not Resemblance.NONE:
            certain = reading.ahead is not None and made is not None and made >= start
            found[entry.request_id] = resemblance if certain else Resemblance.UNCLEAR
    return found


def _verdict(reading: Reading, doubt: Doubt, found: dict[str, Resemblance], owners: Counter[str]) -> Verdict:
    ids = tuple(found)
    same = tuple(name for name, one in found.items() if one is Resemblance.SAME and owners[name] == 1)
    anothers = [name for name, one in found.items() if one is Resemblance.UNCLEAR and owners[name] == 1]
    if reading.ahead is None:
        return Unsettled("it is not known what time the gateway has, so that its list proves nothing", ids)
    if len(same) + len(anothers) < len(ids):
        return Unsettled("the gateway lists generations of the same prompt that cannot be told apart", ids)
    if len(same) > doubt.wanted:
        return Unsettled(f"the gateway lists {len(same)} generations of this very request", ids)
    if not reading.whole:
        read = len(reading.entries)
        return Unsettled(f"the gateway's list could not be read back far enough ({read} generations)", ids)
    if len(same) < doubt.wanted and anothers:
        return Unsettled("what the gateway lists of the same prompt may be another request's", ids)
    return Found(same) if same else NotListed(len(reading.entries))


def _reaches(entries: Sequence[Listed], start: float) -> bool:
    """Return whether a list, newest first throughout, has been read back to before ``start``."""
    times = [entry.created_at for entry in entries]
    known = [time for time in times if time is not None]
    ordered = len(known) == len(times) and known == sorted(known, reverse=True)
    return ordered and bool(known) and known[-1] < start


def _ahead(headers: Mapping[str, str], now: float, entries: Sequence[Listed]) -> float | None:
    """
    Return by how many seconds the gateway's clock is ahead of ours; ``None`` if that is not known.

    It is not known where the answer may be an old one, from a cache, where the clocks are too far apart for
    both to be right, and where the list holds what was made later than that.
    """
    if headers.get("age", "0").strip() not in ("", "0"):
        return None
    try:
        moment = parsedate_to_datetime(headers.get("date", "")[:64])
        # RFC 9110 has dates in UTC, whether or not they say so.
        told = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if any(entry.created_at is not None and entry.created_at > told + MARGIN for entry in entries):
        return None
    return told - now if abs(told - now) <= CLOCKS_APART else None
