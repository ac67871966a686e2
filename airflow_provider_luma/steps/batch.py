"""
Take the requests of a batch through submit, look and keep, several at once, from one task process.

The main thread alone decides, reads and writes the state store; the others only send. So a record is kept as
for a single submit: the intent of each request is stored before its POST starts (those that start together,
in one write), its id as soon as it is known. A process that is killed leaves as many unknown outcomes as it
had POSTs under way, and no more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_luma.api.batch import BatchStatus, counts
from airflow_provider_luma.api.reconcile import CLOCKS_APART, Doubt, Found, Unsettled
from airflow_provider_luma.api.retry import MAX_WORKER_PAUSE
from airflow_provider_luma.api.submission import Elsewhere, LookFirst, OutcomeUnknown, Phase, Reattach
from airflow_provider_luma.api.text import one_line
from airflow_provider_luma.exceptions import (
    LumaAccessRefused,
    LumaAddressRefused,
    LumaCreditRefused,
    LumaError,
    LumaFirewallRefused,
    LumaKeyRefused,
    LumaLookInterrupted,
    LumaRateRefused,
    LumaRefused,
    LumaSubmitInterrupted,
    LumaSubmitOutcomeUnknown,
    LumaSubmitOutcomeUnsettled,
)
from airflow_provider_luma.hooks.metrics import cost_estimated
from airflow_provider_luma.steps.reconcile import MAX_SENDS, check_policy, doubt_of, why_not
from airflow_provider_luma.steps.submit import Patience, elsewhere
from airflow_provider_luma.version_compat import NEVER_EXPIRE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_luma.api.batch import Ledger, Slot
    from airflow_provider_luma.api.cost import Cost
    from airflow_provider_luma.api.manifest import Manifest
    from airflow_provider_luma.api.models import GenerationRequest
    from airflow_provider_luma.api.reconcile import Verdict
    from airflow_provider_luma.hooks.luma import LumaHook
    from airflow_provider_luma.steps.keep import VideoKeeper
    from airflow_provider_luma.steps.submit import Policy

_T = TypeVar("_T")

#: Key of the task state store that says how many pages of records there are.
PAGES_KEY = "luma_batch"
#: Keys under which the records are kept: this and the page's number.
PAGE_KEY = "luma_batch_"
#: Refusals that would befall every request: nothing more is sent.
_OF_ALL = (
    LumaKeyRefused,
    LumaAccessRefused,
    LumaAddressRefused,
    LumaCreditRefused,
    LumaFirewallRefused,
)
#: Unknown outcomes without an accepted request between them after which nothing more is sent: a gateway that
#: loses every answer may bill every request.
UNKNOWN_IN_A_ROW = 5
#: How often one request is taken up again after the gateway has refused it for being one too many, each time
#: with the hook's own patience.
RATE_REFUSALS = 5
#: Seconds between two lines that say how far it is.
PROGRESS_EVERY = 10.0
#: Downloads at once: they share one line, and each holds a buffer.
DOWNLOADS_AT_ONCE = 4


class BatchRecords:
    """
    A batch's records in the task state store.

    :param store: Airflow's, or ``None``: then nothing is kept and nothing is known.
    """

    def __init__(self, store: Any, ledger: Ledger, log: Any) -> None:
        self._store = store
        self._stored_pages = 0
        self._ledger = ledger
        self._log = log
        self._patience = Patience(log)
        #: Whether every id that is known is stored, so that a retry pays for nothing again.
        self.ids_stored = store is not None
        if store is not None:
            ledger.read(self._pages())

    def _pages(self) -> list[Any]:
        stored = self._store.get(PAGES_KEY)
        try:
            self._stored_pages = int(stored or 0)
        except (TypeError, ValueError):
            raise LumaSubmitOutcomeUnknown(
                f"{PAGES_KEY} in this task's state store is no number of pages: "
                f"{one_line(repr(stored), 80)}. Nothing was sent by this try."
            ) from None
        return [self._store.get(f"{PAGE_KEY}{number}") for number in range(self._stored_pages)]

    def write(self) -> None:
        """Store what has changed. An error before a POST is never caught: it is the fence of another try."""
        if self._store is None:
            return
        for number, page in self._ledger.changed():
            # The page first: one that is counted and not there is an error, as it must be if it has gone.
            self._store.set(f"{PAGE_KEY}{number}", page, retention=NEVER_EXPIRE)
            if number >= self._stored_pages:
                self._store.set(PAGES_KEY, number + 1, retention=NEVER_EXPIRE)
                self._stored_pages = number + 1

    def write_ids(self, request_ids: Sequence[str]) -> None:
        """Store ids that are paid for: an error of that stops nothing."""
        try:
            self._patience.write(
                self.write, f"ids of paid generations, {', '.join(request_ids) or 'see above'}"
            )
        except Exception:
            self.ids_stored = False
            self._log.exception(
                "Ids of paid generations could not be stored: %s. Note them: a retry may not find them.",
                ", ".join(request_ids) or "see above",
            )
        else:
            self.ids_stored = self._store is not None


class Crew:
    """
    Several threads, each with a hook of its own, that share the connection's limits; for a ``with`` block.

    :param hook: whose siblings they use.
    :param size: how many.
    """

    def __init__(self, hook: LumaHook, size: int) -> None:
        self.hook = hook
        self._hooks: list[LumaHook] = []
        self._local = threading.local()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="luma")
        self.size = size

    def start(self, work: Callable[[LumaHook], _T]) -> Future[_T]:
        """Have a thread do something with its hook."""
        return self._threads.submit(lambda: work(self._own_hook()))

    def _own_hook(self) -> LumaHook:
        hook: LumaHook | None = getattr(self._local, "hook", None)
        if hook is None:
            with self._lock:
                hook = self.hook.sibling(self._stopped)
                self._hooks.append(hook)
            self._local.hook = hook
        return hook

    def each(
        self, slots: Iterable[Slot], work: Callable[[LumaHook, Slot], None], tell: Callable[[], None]
    ) -> None:
        """Do something for each slot, as many at once as there are threads; raises what is no LumaError."""
        waiting, under_way = deque(slots), set[Future[None]]()
        try:
            while waiting or under_way:
                while waiting and len(under_way) < self.size:
                    slot = waiting.popleft()
                    under_way.add(self.start(lambda hook, slot=slot: work(hook, slot)))  # type: ignore[misc]
                done, under_way = wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()
                tell()
        finally:
            for one in under_way:
                one.cancel()

    def stop(self) -> None:
        """Have the threads send nothing more, and sleep no longer."""
        self._stopped.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the threads to end what is under way, and close their sessions."""
        self.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for hook in self._hooks:
            hook.close()


class Progress:
    """Says how far a step is, every :data:`PROGRESS_EVERY` seconds."""

    def __init__(self, what: str, slots: Sequence[Slot], total: int, log: Any) -> None:
        self._what, self._slots, self._total, self._log = what, slots, total, log
        self._began = self._told = time.monotonic()
        self.done = 0

    def tell(self) -> None:
        """Say it, if it is time."""
        now = time.monotonic()
        if now < self._told + PROGRESS_EVERY or not self.done:
            return
        self._told = now
        left = (now - self._began) / self.done * (self._total - self.done)
        self._log.info(
            "%s: %d of %d, about %.0f s left. %s",
            self._what,
            self.done,
            self._total,
            left,
            ", ".join(f"{count} {status}" for status, count in counts(self._slots).items()),
        )


class Submitter:
    """
    Submits what is to be submitted, each at most once.

    :param crew: whose size is how many POSTs are under way at once.
    :param killed: whether the task was told to stop: nothing is sent any more.
    :param policy: what to do with unknown outcomes (``on_unknown_outcome``).
    """

    def __init__(
        self,
        crew: Crew,
        ledger: Ledger,
        records: BatchRecords,
        log: Any,
        *,
        killed: Callable[[], bool],
        policy: Policy,
    ) -> None:
        self._crew = crew
        self._ledger = ledger
        self._records = records
        self._log = log
        self._killed = killed
        self._policy = policy
        #: What the threads have got, from the moment they know it.
        self._accepted: deque[tuple[Slot, str]] = deque()
        #: Accepted ones whose cost the metric has not been told: that comes after their ids are stored.
        self._uncounted: list[Slot] = []
        #: Whose each id is: two requests of one id are one video too few.
        self._owners: dict[str, Slot] = {}
        self._unknown_in_a_row = 0
        self._refusals: dict[int, int] = {}
        #: When each request was about to be sent first, in epoch seconds, by its place.
        self._sent_at: dict[int, float] = {}
        #: What earlier tries left of those that are sent again, by their places.
        self._again: dict[int, OutcomeUnknown] = {}
        #: Generations that were this task's when this try began, those included that have failed.
        self._earlier_ids: set[str] = set()
        #: Why nothing more is sent.
        self._stopped: LumaError | None = None

    def sort(self, slots: Iterable[Slot]) -> tuple[list[Slot], list[Slot]]:
        """Return what is to be submitted, and what is to be looked at before that is decided."""
        self._earlier_ids = self._ledger.request_ids
        fresh, to_look_at = [], []
        unknown: list[tuple[Slot, OutcomeUnknown]] = []
        for slot in slots:
            if slot.request is None:
                continue
            decision = self._ledger.decision(slot.key)
            if isinstance(decision, Elsewhere):
                slot.request_id = decision.request_id
                slot.end(BatchStatus.ERROR, elsewhere(decision, self._crew.hook))
                self._ledger.leave(slot.key)
                continue
            if isinstance(decision, (Reattach, LookFirst)):
                slot.request_id = decision.request_id
                self._ledger.note(slot.key, Phase.SUBMITTED, decision.request_id)
                slot.status = BatchStatus.PENDING
                if isinstance(decision, LookFirst):
                    to_look_at.append(slot)
                continue
            if isinstance(decision, OutcomeUnknown) and self._policy == "reconcile":
                unknown.append((slot, decision))
                continue
            if isinstance(decision, OutcomeUnknown) and self._policy == "fail":
                slot.end(BatchStatus.UNKNOWN, _left_unknown(slot, decision))
                continue
            if isinstance(decision, OutcomeUnknown):
                self._log.warning("Request %d: %s. POSSIBLE SECOND CHARGE.", slot.index, decision.why)
            elif decision.note:
                self._log.warning("Request %d: %s", slot.index, decision.note)
            fresh.append(slot)
        if unknown:
            fresh += self._settle_earlier(unknown)
        return fresh, to_look_at

    def _settle_earlier(self, unknown: Sequence[tuple[Slot, OutcomeUnknown]]) -> list[Slot]:
        """Take up what the gateway lists of what earlier tries may have sent; return what it does not."""
        # What is found goes first to those that are not sent again.
        sent_most_first = sorted(unknown, key=lambda one: -one[1].sends)
        groups = _by_request(sent_most_first, lambda one: one[0])
        doubts: list[tuple[Doubt, list[tuple[Slot, OutcomeUnknown]]]] = []
        for group in groups:
            doubt = doubt_of(self._crew.hook, group[0][0].request, [decision for _, decision in group])
            if isinstance(doubt, Doubt):
                doubts.append((doubt, group))
            else:
                self._stay_unknown(group, why_not(doubt))
        if not doubts:
            return []
        try:
            check_policy(self._policy, self._crew.hook)
            verdicts = self._crew.hook.reconcile_all(
                [doubt for doubt, _ in doubts], taken=self._ledger.request_ids
            )
        except LumaError as error:
            # What is paid for is waited for all the same.
            for _, group in doubts:
                self._stay_unknown(group, error.what, retried=not isinstance(error, AirflowFailException))
            return []
        fresh: list[Slot] = []
        for (_, group), verdict in zip(doubts, verdicts, strict=True):
            found = self._take_up([slot for slot, _ in group], verdict)
            left = group[len(found) :]
            if isinstance(verdict, Unsettled):
                self._stay_unknown(left, why_not(verdict))
                continue
            sent = [one for one in left if one[1].sends >= MAX_SENDS]
            self._stay_unknown(sent, "It was sent again already, and the gateway's list holds none of it.")
            for slot, decision in (one for one in left if one[1].sends < MAX_SENDS):
                self._log.warning(
                    "Request %d: %s. The gateway's list does not hold it, so it is sent again.",
                    slot.index,
                    decision.why,
                )
                self._again[slot.index] = decision
                fresh.append(slot)
        return fresh

    def _stay_unknown(
        self, group: Iterable[tuple[Slot, OutcomeUnknown]], said: str, *, retried: bool = False
    ) -> None:
        for slot, decision in group:
            if retried:
                what = f"Nothing was sent by this try: {decision.why}. {said}"
                slot.end(BatchStatus.UNKNOWN, LumaSubmitOutcomeUnsettled(what, prompt=slot.shown_prompt))
            else:
                slot.end(BatchStatus.UNKNOWN, _left_unknown(slot, decision, f" {said}"))

    def _take_up(self, slots: Sequence[Slot], verdict: Verdict) -> tuple[str, ...]:
        found = verdict.request_ids if isinstance(verdict, Found) else ()
        for slot, request_id in zip(slots, found, strict=False):
            self._log.info("Request %d: the gateway lists it as %s.", slot.index, request_id)
            slot.request_id, slot.error, slot.status = request_id, None, BatchStatus.PENDING
            self._ledger.note(slot.key, Phase.SUBMITTED, request_id)
        if found:
            self._records.write_ids(found)
        return found

    def _settle_now(self, everything: Sequence[Slot]) -> None:
        """Take up what the gateway lists of what this try has sent with an unknown outcome."""
        unknown = [
            (slot, slot.request)
            for slot in everything
            if slot.status is BatchStatus.UNKNOWN and slot.index in self._sent_at and slot.request is not None
        ]
        if self._killed():
            for slot, _ in unknown:
                self._leave_unsettled(slot)
        if not unknown or self._killed():
            return
        groups = _by_request(unknown, lambda one: one[0])
        doubts = [
            Doubt(
                group[0][1],
                min(self._sent_at[slot.index] for slot, _ in group),
                slack=CLOCKS_APART if any(slot.index in self._again for slot, _ in group) else 0.0,
                wanted=len(group),
            )
            for group in groups
        ]
        taken = {slot.request_id for slot in everything if slot.request_id is not None}
        taken |= self._ledger.request_ids | self._earlier_ids
        try:
            verdicts: list[Verdict] = self._crew.hook.reconcile_all(doubts, taken=taken)
        except LumaError as error:
            self._log.error("Unknown outcomes could not be settled: %s", error)
            for slot, _ in unknown:
                self._leave_unsettled(slot)
            return
        for group, verdict in zip(groups, verdicts, strict=True):
            slots = [slot for slot, _ in group]
            for slot in slots[len(self._take_up(slots, verdict)) :]:
                if isinstance(verdict, Unsettled):
                    said = f"{_what_of(slot)} {why_not(verdict)}"
                    slot.end(BatchStatus.UNKNOWN, LumaSubmitOutcomeUnknown(said))
                else:
                    self._log.warning("Request %d: the gateway's list holds none so far.", slot.index)
                    self._leave_unsettled(slot)

    def _leave_unsettled(self, slot: Slot) -> None:
        """Have a retry ask the list again for a slot, if it finds the record, and was not sent twice yet."""
        if self._records.ids_stored and slot.index not in self._again:
            slot.end(BatchStatus.UNKNOWN, LumaSubmitOutcomeUnsettled(_what_of(slot)))

    def keep_doubts(self, slots: Iterable[Slot]) -> None:
        """Have what was to be sent again, and was not, stay what it was: it may have been accepted."""
        for slot in slots:
            earlier = self._again.get(slot.index)
            if earlier is not None and slot.status in (BatchStatus.NOT_SUBMITTED, BatchStatus.REFUSED):
                said = slot.error["message"] if slot.error else "This try ended before."
                what = f"{earlier.why}. It was not sent again: {said}"
                slot.end(BatchStatus.UNKNOWN, LumaSubmitOutcomeUnsettled(what, prompt=slot.shown_prompt))

    def submit(self, slots: Sequence[Slot], everything: Sequence[Slot]) -> None:
        """Submit; each slot says afterwards what has become of it."""
        waiting = deque(slots)
        self._owners = {slot.request_id: slot for slot in everything if slot.request_id is not None}
        under_way: dict[Future[None], Slot] = {}
        progress = Progress("Submitted", everything, len(slots), self._log)
        try:
            while (waiting and self._stopped is None) or under_way:
                if self._stopped is None:
                    self._start(waiting, under_way)
                wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
                self._settle(under_way, waiting)
                progress.done = len(slots) - len(waiting) - len(under_way)
                progress.tell()
        except BaseException:
            # An alarm, say. What is under way may be paid for, and its ids are to be known.
            self._stopped = self._stopped or LumaSubmitInterrupted("This task was interrupted.")
            self._crew.stop()
            while under_way:
                wait(under_way, return_when=FIRST_COMPLETED)
                self._settle(under_way, waiting)
            # Intents that were taken back are not to look as if they had been sent.
            self._records.write_ids([])
            raise
        if self._stopped is not None:
            for slot in waiting:
                slot.end(BatchStatus.NOT_SUBMITTED, self._stopped)
            if waiting:
                self._log.error("%d requests were not submitted: %s", len(waiting), self._stopped)
        if self._policy == "reconcile":
            self._settle_now(everything)

    def _start(self, waiting: deque[Slot], under_way: dict[Future[None], Slot]) -> None:
        starting: list[tuple[Slot, GenerationRequest]] = []
        while waiting and len(under_way) + len(starting) < self._crew.size:
            slot = waiting.popleft()
            if slot.request is not None:
                earlier = self._again.get(slot.index)
                at = self._sent_at[slot.index] = (earlier and earlier.at) or time.time()
                sends = 1 if earlier is None else earlier.sends + 1
                self._ledger.note(slot.key, Phase.INTENT, at=at, sends=sends)
                starting.append((slot, slot.request))
        if not starting:
            return
        try:
            self._records.write()
        except BaseException:
            # Nothing of them is sent, so nothing of them is to be taken up.
            for slot, _ in reversed(starting):
                self._take_back(slot)
                waiting.appendleft(slot)
            raise
        for slot, request in starting:
            slot.under_way = True
            under_way[self._crew.start(self._post(slot, request))] = slot

    def _post(self, slot: Slot, request: GenerationRequest) -> Callable[[LumaHook], None]:
        def before_send() -> None:
            if self._killed() or self._stopped is not None:
                raise LumaSubmitInterrupted("This task was told to stop before its request was sent.")

        def post(hook: LumaHook) -> None:
            # The hook logs the id at once: whatever happens next, it is not lost.
            self._accepted.append((slot, hook.generate(request, before_send=before_send)))

        return post

    def _settle(self, under_way: dict[Future[None], Slot], waiting: deque[Slot]) -> None:
        """Note and store what has become of those that have ended."""
        ended = [future for future in under_way if future.done()]
        ids = []
        while self._accepted:
            slot, request_id = self._accepted[0]
            self._note_accepted(slot, request_id, waiting)
            ids.append(request_id)
            self._accepted.popleft()
        for future in ended:
            slot = under_way[future]
            error = future.exception()
            if isinstance(error, LumaError) and error.request_id is not None:
                self._note_accepted(slot, error.request_id, waiting)
                ids.append(error.request_id)
            elif isinstance(error, LumaError):
                self._refused(slot, error, waiting)
            elif error is not None:
                # It is not certain that nothing was delivered, so the intent stands.
                self._log.error("Request %d", slot.index, exc_info=error)
                unknown = LumaSubmitOutcomeUnknown(
                    f"Submitting failed with {type(error).__name__}.",
                    prompt=slot.shown_prompt,
                )
                self._refused(slot, unknown, waiting)
            slot.under_way = False
            del under_way[future]
        self._records.write_ids(ids)
        while self._uncounted:
            request = self._uncounted.pop().request
            cost = None if request is None else self._crew.hook.estimate(request)
            if cost is not None:
                cost_estimated(cost, self._crew.hook.luma_conn_id)

    def _note_accepted(self, slot: Slot, request_id: str, waiting: deque[Slot]) -> None:
        owner = self._owners.setdefault(request_id, slot)
        if owner is not slot:
            lie = LumaSubmitOutcomeUnknown(
                f"The gateway answered with {request_id}, which is request {owner.index}'s.",
                prompt=slot.shown_prompt,
            )
            self._refused(slot, lie, waiting)
            return
        self._unknown_in_a_row = 0
        self._uncounted.append(slot)
        slot.request_id, slot.status = request_id, BatchStatus.PENDING
        self._ledger.note(slot.key, Phase.SUBMITTED, request_id)

    def _take_back(self, slot: Slot) -> None:
        """Drop an intent of this try; that of an earlier one, which has sent before, stays."""
        earlier = self._again.get(slot.index)
        if earlier is None:
            self._ledger.forget(slot.key)
        else:
            self._ledger.note(slot.key, Phase.INTENT, at=earlier.at, sends=earlier.sends)

    def _refused(self, slot: Slot, error: LumaError, waiting: deque[Slot]) -> None:
        if isinstance(error, LumaSubmitOutcomeUnknown):
            slot.end(BatchStatus.UNKNOWN, error)
            self._unknown_in_a_row += 1
            if self._unknown_in_a_row >= UNKNOWN_IN_A_ROW and self._stopped is None:
                self._stopped = LumaSubmitInterrupted(
                    f"{self._unknown_in_a_row} submits in a row had no usable answer, so no more were sent."
                )
            return
        # Certain that nothing was accepted: nothing is to be taken up.
        self._take_back(slot)
        if isinstance(error, LumaRateRefused):
            self._refusals[slot.index] = self._refusals.get(slot.index, 0) + 1
            if (error.retry_after or 0) > MAX_WORKER_PAUSE or self._refusals[slot.index] >= RATE_REFUSALS:
                self._stopped = self._stopped or error
            waiting.appendleft(slot)
        elif isinstance(error, LumaRefused) and not isinstance(error, _OF_ALL):
            slot.end(BatchStatus.REFUSED, error)
        else:
            self._stopped = self._stopped or error
            waiting.appendleft(slot)


def _left_unknown(slot: Slot, decision: OutcomeUnknown, said: str = "") -> LumaSubmitOutcomeUnknown:
    return LumaSubmitOutcomeUnknown(
        f"Nothing was sent by this try: {decision.why}.{said}",
        prompt=slot.shown_prompt,
        next_step=f"Look at the vendor's dashboard. In this task's state store, give the record {slot.key} "
        "the id that you find there, or delete it; then clear this task.",
    )


def _what_of(slot: Slot) -> str:
    """Return what happened to a slot with an unknown outcome, without what that meant until now."""
    said = slot.error["message"] if slot.error else ""
    return said.partition(LumaSubmitOutcomeUnknown.money)[0].strip()


def _by_request(items: Iterable[_T], slot_of: Callable[[_T], Slot]) -> list[list[_T]]:
    """Return them in groups whose requests are equal in everything."""
    groups: dict[str, list[_T]] = {}
    for item in items:
        # A key is the request's fingerprint, and which of its equals it is.
        groups.setdefault(slot_of(item).key.rpartition("-")[0], []).append(item)
    return list(groups.values())


def look_at(hook: LumaHook, slot: Slot, *, out_of_time: bool) -> bool:
    """
    Ask once what has become of an accepted request; return whether there was an answer.

    :param out_of_time: whether what is pending now is given up, and what could not be asked about is an
        error.
    """
    try:
        seen = hook.get_status(str(slot.request_id))
    except LumaLookInterrupted:
        return False
    except LumaError as error:
        if out_of_time:
            slot.end(BatchStatus.ERROR, error)
        return False
    slot.see(seen, out_of_time=out_of_time)
    return True


def keep(
    hook: LumaHook, slot: Slot, keeper: VideoKeeper, target: ObjectStoragePath, cost: Cost | None
) -> Manifest | None:
    """Keep the video of a complete request; return ``None`` if it could not be."""
    try:
        manifest = keeper.keep(target, slot.request_id, slot.video_url, hook, cost)
    except LumaError as error:
        slot.end(BatchStatus.ERROR, error)
        return None
    slot.path = manifest.path
    return manifest
