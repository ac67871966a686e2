"""
Many generations as one: the records of their submits, what has become of each, and when that is a failure.

Pure, as everything here: the store that keeps the records, and whoever sends, are elsewhere.

A request is told from another by what is asked (not by its place in the list), and from an equal one by
which of them it is: a list that has been reordered or has grown by the next try buys only what is new.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_luma.api.gateways import DEFAULT_GATEWAY
from airflow_provider_luma.api.models import GenerationStatus
from airflow_provider_luma.api.polling import error_of
from airflow_provider_luma.api.submission import (
    Decision,
    Phase,
    Submit,
    SubmitRecord,
    decide_by,
    fingerprint_of,
    gateway_of,
    read_record,
)
from airflow_provider_luma.api.text import one_line, quoted_prompt
from airflow_provider_luma.exceptions import (
    ErrorSummary,
    LumaError,
    LumaInvalidRequest,
    LumaSubmitOutcomeUnknown,
    LumaWaitTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from airflow_provider_luma.api.models import Generation, GenerationRequest

#: Requests of one batch at most: what is longer is a mistake upstream, and would be paid for.
MAX_BATCH = 10_000
#: Records in one value of the state store: its values should stay below 64 KiB.
RECORDS_PER_PAGE = 100
PAGE_VERSION = 1


class BatchStatus(StrEnum):
    """What has become of one request of a batch."""

    #: The video is there and, where it was to be kept, kept.
    COMPLETED = "completed"
    #: The gateway says that the generation failed. It may have been charged.
    FAILED = "failed"
    #: Accepted, and waited for.
    PENDING = "pending"
    #: Still pending when the time was over. It is paid for; a retry or a clear resumes the wait.
    TIMEOUT = "timeout"
    #: It is paid for, and could not be asked about or its video not be kept. A retry or a clear goes on.
    ERROR = "error"
    #: Sent, and neither accepted nor refused: it may be running and be billed. Never sent again unasked.
    UNKNOWN = "unknown"
    #: Refused by the gateway, or by this provider before anything was sent. Nothing is charged.
    REFUSED = "refused"
    #: Not sent yet. Nothing is charged; a retry sends it.
    NOT_SUBMITTED = "not_submitted"


#: What a retry of the task may change without paying for anything a second time.
MENDABLE = frozenset({BatchStatus.PENDING, BatchStatus.TIMEOUT, BatchStatus.ERROR, BatchStatus.NOT_SUBMITTED})


class BatchResult(TypedDict):
    """One request of a batch at its end, in the order of the requests."""

    index: int
    request_id: str | None
    status: str
    video_url: str | None
    path: str | None
    error: ErrorSummary | None


@dataclass
class Slot:
    """
    One request of a batch on its way.

    :param index: its place in the list, from 0.
    :param request: ``None`` if what was given is none.
    :param key: under which its record is kept.
    """

    index: int
    request: GenerationRequest | None
    key: str
    request_id: str | None = None
    status: BatchStatus = BatchStatus.NOT_SUBMITTED
    video_url: str | None = None
    path: str | None = None
    error: ErrorSummary | None = None
    #: Whether its POST may be under way.
    under_way: bool = False

    @property
    def maybe_paid(self) -> bool:
        """Whether something may have been accepted for it, so that sending it again may pay again."""
        return self.request_id is not None or self.status is BatchStatus.UNKNOWN or self.under_way

    @property
    def shown_prompt(self) -> str | None:
        """The start of its prompt, for an error that is about no id."""
        return None if self.request is None else quoted_prompt(self.request.prompt)

    def end(self, status: BatchStatus, error: LumaError | None = None) -> None:
        """Say what has become of it."""
        self.status = status
        self.error = None if error is None else error.summary
        if error is not None and self.request_id is None:
            self.request_id = error.request_id

    def see(self, seen: Generation, *, out_of_time: bool) -> None:
        """
        Take note of what one look at its generation showed.

        Only a status of failure is a failure, which a retry may pay for anew; whatever else there is to
        complain of is an error of a generation that is paid for, and is looked at again.

        :param out_of_time: whether what has not ended now is given up.
        """
        error = error_of(seen)
        complete = seen.status is GenerationStatus.COMPLETED
        if complete and error is None:
            self.video_url = seen.video_url
            self.end(BatchStatus.COMPLETED)
        elif seen.status is GenerationStatus.FAILED:
            self.end(BatchStatus.FAILED, error)
        elif error is not None and (complete or out_of_time):
            self.end(BatchStatus.ERROR, error)
        elif out_of_time:
            word = seen.raw_status or seen.status.value
            self.end(BatchStatus.TIMEOUT, LumaWaitTimeout(f"The time is over, and it is {word!r}."))
        else:
            self.end(BatchStatus.PENDING)

    @classmethod
    def from_result(cls, result: Any) -> Slot | None:
        """Return the slot of which ``result`` is the :attr:`result`, or ``None`` if it is none."""
        try:
            status, error = BatchStatus(result["status"]), result["error"]
            known = result["request_id"], status, result["video_url"], result["path"], error
            return cls(result["index"], None, "", *known)
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def result(self) -> BatchResult:
        """What is returned of it: JSON primitives only."""
        return {
            "index": self.index,
            "request_id": self.request_id,
            "status": self.status.value,
            "video_url": self.video_url,
            "path": self.path,
            "error": self.error,
        }


def slots_of(
    asked: Sequence[Any], conn_id: str, read: Callable[[Any], GenerationRequest], *, strict: bool
) -> list[Slot]:
    """
    Return a slot for each request of a list.

    :param asked: prompts, or mappings with a prompt.
    :param conn_id: of the connection, which is a part of what tells two requests apart.
    :param read: makes a request of one of them, or raises.
    :param strict: whether one that is no request is an error of all, before anything is sent; else it is
        refused alone.
    :raises LumaInvalidRequest: names the first that is none.
    """
    if len(asked) > MAX_BATCH:
        raise LumaInvalidRequest(
            f"{len(asked)} requests in one batch are too many; the most are {MAX_BATCH}."
        )
    slots, equals = [], Counter[str]()
    for index, one in enumerate(asked):
        try:
            request = read(one)
        except LumaInvalidRequest as error:
            if strict:
                raise LumaInvalidRequest(f"Request {index}: {error.what}") from error
            slots.append(Slot(index, None, ""))
            slots[-1].end(BatchStatus.REFUSED, error)
            continue
        asked_for = fingerprint_of(request, conn_id)[:32]
        slots.append(Slot(index, request, f"{asked_for}-{equals[asked_for]}"))
        equals[asked_for] += 1
    return slots


def refuse_what_cannot_be(
    slots: Iterable[Slot], check: Callable[[GenerationRequest], None], *, strict: bool
) -> None:
    """
    Refuse, before anything is sent, the requests that the gateway cannot honour.

    :param check: raises for one of them.
    :param strict: whether one is an error of all.
    :raises LumaInvalidRequest: names the first.
    """
    for slot in slots:
        if slot.request is None:
            continue
        try:
            check(slot.request)
        except LumaInvalidRequest as error:
            if strict:
                raise LumaInvalidRequest(f"Request {slot.index}: {error.what}") from error
            slot.request = None
            slot.end(BatchStatus.REFUSED, error)


@dataclass
class Ledger:
    """
    The records of a batch's submits, in pages as the state store keeps them.

    :param max_tries: this try's task instance's: what tells a retry from a clear.
    :param account: where new intents are for; ``None``: this try sends nothing.
    """

    max_tries: int
    account: str | None = None
    _pages: list[dict[str, SubmitRecord]] = field(default_factory=list)
    _page_of: dict[str, int] = field(default_factory=dict)
    _changed: set[int] = field(default_factory=set)

    def read(self, pages: Iterable[Any]) -> None:
        """
        Take over what earlier tries have stored, or what a person has made of it.

        :param pages: each page that was ever stored; one that has gone is ``None``.
        :raises LumaSubmitOutcomeUnknown: it cannot be read, and nobody knows what was paid for.
        """
        for number, stored in enumerate(pages):
            page = _typed(stored)
            records = page.get("records") if isinstance(page, dict) else None
            if not isinstance(records, dict) or page.get("v") != PAGE_VERSION:
                raise _unreadable(number, stored)
            read = {}
            for key, stored_record in records.items():
                record = _read_record(stored_record)
                if record is None:
                    raise _unreadable(number, {key: stored_record})
                read[key] = record
                self._page_of[key] = number
            self._pages.append(read)

    def decision(self, key: str) -> Decision:
        """Return what this try does with one request."""
        number = self._page_of.get(key)
        if number is None:
            return Submit()
        record, gateway = self._pages[number][key], gateway_of(self.account)
        return decide_by(record, fingerprint=None, max_tries=self.max_tries, gateway=gateway)

    def note(
        self,
        key: str,
        phase: Phase,
        request_id: str | None = None,
        *,
        at: float | None = None,
        sends: int = 1,
    ) -> None:
        """
        Change one record; :meth:`changed` has the pages to store.

        :param at: epoch seconds, of an intent: when it was sent first.
        :param sends: how often it was.
        """
        number = self._page_of.get(key)
        if number is None:
            if not self._pages or len(self._pages[-1]) >= RECORDS_PER_PAGE:
                self._pages.append({})
            number = self._page_of[key] = len(self._pages) - 1
        record = SubmitRecord(phase, None, request_id, self.max_tries, at, self.account, sends)
        self._pages[number][key] = record
        self._changed.add(number)

    @property
    def request_ids(self) -> set[str]:
        """All that are known to be of a request of this task."""
        known = (record.request_id for page in self._pages for record in page.values())
        return {request_id for request_id in known if request_id is not None}

    def leave(self, key: str) -> None:
        """Note that a generation is at another gateway: a clear is to look there first."""
        number = self._page_of[key]
        self._pages[number][key] = replace(self._pages[number][key], phase=Phase.SUBMITTED)
        self._changed.add(number)

    def forget(self, key: str) -> None:
        """Drop a record: it is certain that nothing was accepted."""
        number = self._page_of.pop(key, None)
        if number is not None:
            del self._pages[number][key]
            self._changed.add(number)

    def finish(self, delivered: Collection[str]) -> None:
        """Note that the task has delivered these request ids: a clear of it asks for new ones."""
        for number, page in enumerate(self._pages):
            for key, record in page.items():
                if record.request_id in delivered:
                    page[key] = replace(record, phase=Phase.DONE, max_tries=self.max_tries, at=None)
                    self._changed.add(number)

    def changed(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give number and value of each page that differs from what is stored; then it counts as stored."""
        for number in sorted(self._changed):
            records = {
                key: [
                    record.phase.value,
                    record.request_id,
                    record.max_tries,
                    record.at,
                    # What an earlier release reads of a record is four long.
                    *([] if record.gateway in (None, DEFAULT_GATEWAY) else [record.account, record.sends]),
                ]
                for key, record in self._pages[number].items()
            }
            yield number, {"v": PAGE_VERSION, "records": records}
            self._changed.discard(number)


def _typed(page: Any) -> Any:
    """Return a page that a person may have typed into a form as text."""
    if isinstance(page, str):
        try:
            return json.loads(page)
        except (ValueError, RecursionError):
            return None
    return page


def _read_record(stored: Any) -> SubmitRecord | None:
    """Return a stored record, or ``None`` if it is none."""
    # Three, where an earlier release has written it.
    if not isinstance(stored, list) or len(stored) not in (3, 4, 6):
        return None
    names = ("phase", "request_id", "max_tries", "at", "account", "sends")
    return read_record(dict(zip(names, stored, strict=False)))


def _unreadable(number: int, found: Any) -> LumaSubmitOutcomeUnknown:
    shown = "has gone" if found is None else f"cannot be read: {one_line(repr(found), 200)}"
    return LumaSubmitOutcomeUnknown(
        f"Page {number} of this task's stored records {shown}. Nothing was sent by this try.",
        next_step=f"Look at the vendor's dashboard. To have its requests, up to {RECORDS_PER_PAGE}, "
        f'submitted (and paid for) anew, make the page {{"v": {PAGE_VERSION}, "records": {{}}}} in the '
        "task's state store; then clear this task.",
    )


def counts(slots: Iterable[Slot]) -> dict[str, int]:
    """Return how many there are of each status, those that there are."""
    found = Counter(slot.status.value for slot in slots)
    return {status.value: found[status.value] for status in BatchStatus if found[status.value]}


def too_many_failed(slots: Sequence[Slot], fail_on: str, max_failures: int) -> bool:
    """
    Return whether a batch has failed.

    :param fail_on: ``any``: more than ``max_failures`` have no video; ``all``: none has one; ``none``: never.
    """
    without = sum(slot.status is not BatchStatus.COMPLETED for slot in slots)
    if fail_on == "all":
        return bool(slots) and without == len(slots)
    return fail_on == "any" and without > max_failures


def summary(slots: Sequence[Slot]) -> str:
    """Return in one bounded line how many came to what, and the first that have no video."""
    said = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts(slots).items())
    without = [slot for slot in slots if slot.status is not BatchStatus.COMPLETED]
    if not without:
        return said
    shown = []
    for slot in without[:3]:
        named = f" ({slot.request_id})" if slot.request_id else ""
        why = f", {one_line(slot.error['message'], 200)}" if slot.error else ""
        shown.append(f"request {slot.index}{named}: {slot.status.value}{why}")
    more = f"; and {len(without) - 3} more" if len(without) > 3 else ""
    return f"{said}. {'; '.join(shown)}{more}"
