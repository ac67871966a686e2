"""Many generations in one task: submit, wait for all by one trigger, keep, and say what became of each."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pendulum
from airflow.providers.common.compat.sdk import Asset, BaseOperator, TaskDeferred, conf

from airflow_provider_luma.api.batch import (
    MENDABLE,
    BatchStatus,
    Ledger,
    Slot,
    counts,
    refuse_what_cannot_be,
    slots_of,
    summary,
    too_many_failed,
)
from airflow_provider_luma.api.events import is_batch_event
from airflow_provider_luma.api.lineage import TaskLineage
from airflow_provider_luma.api.models import GenerationRequest, rendered_bool
from airflow_provider_luma.api.polling import Wait
from airflow_provider_luma.api.text import one_line
from airflow_provider_luma.exceptions import (
    LumaBatchFailed,
    LumaBatchFailedForGood,
    LumaConnectionNotFound,
    LumaError,
    LumaGatewayError,
    LumaInvalidRequest,
    LumaProtocolError,
    LumaSubmitOutcomeUnsettled,
)
from airflow_provider_luma.hooks.luma import DEFAULT_WAIT_TIMEOUT, LumaHook
from airflow_provider_luma.hooks.metrics import failures_counted
from airflow_provider_luma.steps.batch import (
    DOWNLOADS_AT_ONCE,
    BatchRecords,
    Crew,
    Progress,
    Submitter,
    keep,
    look_at,
)
from airflow_provider_luma.steps.keep import (
    NO_REQUEST,
    VideoKeeper,
    file_name,
    rendered_destination,
    target_at,
)
from airflow_provider_luma.steps.lineage import WithLineage
from airflow_provider_luma.steps.reconcile import check_policy
from airflow_provider_luma.steps.submit import Policy, check_cost, max_cost_of, policy_of, state_store
from airflow_provider_luma.steps.wait import backstop, deadline, not_delivered, poke_interval_of, seconds_of
from airflow_provider_luma.triggers.channel import wait_for_all
from airflow_provider_luma.triggers.luma import LumaBatchTrigger
from airflow_provider_luma.version_compat import TaskDeferralError, TaskDeferralTimeout

if TYPE_CHECKING:
    from datetime import timedelta
    from decimal import Decimal

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_luma.api.batch import BatchResult
    from airflow_provider_luma.api.cost import Cost
    from airflow_provider_luma.api.manifest import Manifest

#: In the place of an event, where there is none.
_BROKEN_OFF = object()
#: What a destination may name of each request.
_INDEX, _REQUEST_ID = "{index}", "{request_id}"
#: Generations in a row that could not be asked about after which no more are.
SILENT_IN_A_ROW = 32
#: Requests that are paid for and have no video, which the log names one by one at most.
MOST_TOLD = 200
#: Paths that an asset event carries at most.
_MAX_PATHS = 100


class LumaGenerateBatchOperator(WithLineage, BaseOperator):
    """
    Submit many generations, wait for all of them, and keep their videos. **Each accepted one is paid for.**

    A thousand requests cost two starts of a worker (``deferrable=True``) and one trigger. Each request is
    recorded on its own (``durable``): a retry submits only what was never submitted, and goes on waiting for
    and keeping the rest, for free.

    ``requests``, ``luma_conn_id``, ``destination`` and ``overwrite`` are templated.

    :param requests: a list of prompts, or of dicts with ``prompt`` and, if wanted, other fields of
        :class:`~airflow_provider_luma.api.models.GenerationRequest`; mixed, if wanted. From an upstream task,
        or as text of a JSON list, too. At most 10,000.
    :param luma_conn_id: id of the Airflow connection; default ``luma_default``. Its
        ``max_concurrent_requests`` are under way at once.
    :param deferrable: whether to wait in the triggerer, holding no worker; default: Airflow's
        ``[operators] default_deferrable``.
    :param timeout: seconds from the end of submitting until what is still pending is given up; default 3600.
        What is left of the task's ``execution_timeout`` counts too.
    :param poke_interval: seconds between looks at one generation, at least 0.1; default ``None``: the
        provider's own schedule.
    :param destination: where to keep the videos: a folder with ``/`` at its end (files are named after the
        request ids), or an address with ``{index}`` or ``{request_id}`` in it. Tried before anything is sent.
    :param overwrite: whether another file under such a name is replaced; default ``False``: an error of that
        request.
    :param max_bytes: bytes that each video may have at most; default 16 GiB.
    :param fail_on: when the task fails, after all requests have ended: ``"any"`` (default) if more than
        ``max_failures`` have no video, ``"all"`` if none has one, ``"none"`` never. With ``"any"``, a request
        that is none (a blank prompt, say) fails the task before anything is sent.
    :param max_failures: how many may have no video with ``fail_on="any"``; default 0.
    :param max_cost: what the whole batch may be estimated to cost at most, in the currency of the
        connection's ``price_table``, which it needs; default ``None``: anything. More is an error before
        anything is sent.
    :param durable: whether later tries take up what earlier ones submitted; default ``True``. It needs the
        task state store of Airflow 3.3; without one, a warning says what is not protected, and the task is
        not retried once something was accepted.
    :param on_unknown_outcome: what to do about requests of an earlier try of which it is not known whether
        they were accepted. ``"fail"`` (default) reports them, and sends the others. ``"resubmit"`` sends them
        again: **each may be a second charge**, and is logged as one. ``"reconcile"`` asks the gateway's list
        of generations, where it has one (Luma's own API): it takes up what is there, and a retry sends what
        is still not listed.

    Returns a list in the order of the requests, each
    ``{"index", "request_id", "status", "video_url", "path", "error"}``; ``status`` is one of
    :class:`~airflow_provider_luma.api.batch.BatchStatus`, ``error`` is ``{"kind", "message"}`` or ``None``.
    The same is pushed as XCom ``results``, also where the task fails.

    :raises LumaInvalidRequest: an argument cannot be what was meant; nothing was sent.
    :raises LumaConnectionNotFound: there is no such connection, or it cannot be looked up just now. Airflow's
        retries apply.
    :raises LumaConfigurationError: the connection cannot be used; nothing was sent.
    :raises LumaMaxCostExceeded: it would cost more than ``max_cost``; nothing was sent.
    :raises LumaBatchFailed: by ``fail_on``; a retry may mend it and pays for nothing again.
    :raises LumaBatchFailedForGood: the same, where no retry can mend it, or where one would pay again.
    """

    template_fields: Sequence[str] = ("requests", "luma_conn_id", "destination", "overwrite")
    template_fields_renderers: ClassVar[dict[str, str]] = {"requests": "json"}
    ui_color = "#d3c4f3"

    def __init__(
        self,
        *,
        requests: Sequence[str | Mapping[str, Any]] | str,
        luma_conn_id: str = LumaHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: float | timedelta = DEFAULT_WAIT_TIMEOUT,
        poke_interval: float | timedelta | None = None,
        destination: str | None = None,
        overwrite: bool | str = False,
        max_bytes: int | None = None,
        fail_on: Literal["any", "all", "none"] = "any",
        max_failures: int = 0,
        max_cost: float | Decimal | None = None,
        durable: bool = True,
        on_unknown_outcome: Policy = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if fail_on not in ("any", "all", "none"):
            raise ValueError(f"fail_on must be 'any', 'all' or 'none', not {fail_on!r:.80}.")
        if isinstance(max_failures, bool) or not isinstance(max_failures, int) or max_failures < 0:
            raise ValueError(f"max_failures must be a number from 0, not {max_failures!r:.80}.")
        self.requests = requests
        self.luma_conn_id = luma_conn_id
        self.deferrable = deferrable
        self.timeout = seconds_of("timeout", timeout)
        self.poke_interval = poke_interval_of(poke_interval)
        self.destination = destination
        self._keeps = destination is not None
        self.overwrite = overwrite
        self.max_bytes = max_bytes
        self.fail_on = fail_on
        self.max_failures = max_failures
        self.max_cost = max_cost_of(max_cost)
        self.durable = durable
        self.on_unknown_outcome = policy_of(on_unknown_outcome)
        self._killed = False
        #: This process's, while it may have to be stopped.
        self._hook: LumaHook | None = None
        self._costs: dict[int, Cost | None] = {}

    @failures_counted
    def execute(self, context: Context) -> list[BatchResult]:
        """Submit what was not submitted yet, and go on to the wait."""
        began = time.time()
        slots = slots_of(
            _listed(self.requests), self.luma_conn_id, GenerationRequest.of, strict=self.fail_on == "any"
        )
        with LumaHook(self.luma_conn_id) as hook, self._stoppable(hook):
            # Looked up before anything is recorded: a connection that cannot be used leaves no trace.
            settings = hook.settings
            keeper = self._keeper(hook, context)
            ledger = Ledger(int(context["ti"].max_tries or 0), settings.account)
            records = BatchRecords(state_store(context, durable=self.durable, log=self.log), ledger, self.log)
            try:
                try:
                    with Crew(hook, settings.max_concurrent_requests) as crew:
                        self._submit(slots, ledger, records, crew, keeper)
                finally:
                    self._push(context, slots)
                    self._learn(hook, slots, slots)
                pending = [slot for slot in slots if slot.status is BatchStatus.PENDING]
                if pending:
                    self._wait(pending, began)
                return self._conclude(context, hook, slots, records, ledger)
            except TaskDeferred:
                raise
            except BaseException as error:
                if (
                    records.ids_stored
                    or isinstance(error, LumaBatchFailedForGood)
                    or not any(slot.maybe_paid for slot in slots)
                ):
                    raise
                raise not_delivered(error, None) from error

    @contextmanager
    def _stoppable(self, hook: LumaHook) -> Iterator[None]:
        self._hook = hook
        try:
            yield
        finally:
            self._hook = None

    def execute_complete(self, context: Context, event: Any) -> list[BatchResult]:
        """Take the trigger's event, ask once what has become of each, and go on to what is wanted of them."""
        return self._resumed(context, event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from the triggerer, with an event or because the framework ended the deferral."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as broken_off:
            self.log.warning(
                "The wait in the triggerer broke off (%s): what is pending is given up.", broken_off
            )
        return self._resumed(context)

    def on_kill(self) -> None:
        """Take note. ``execute`` runs on for seconds after this; no submit must start in them."""
        self._killed = True
        if self._hook is not None:
            # No lock, not even an event's: this may be called by a signal, between any two lines.
            self._hook.killed = True

    @failures_counted
    def _resumed(self, context: Context, event: Any = _BROKEN_OFF) -> list[BatchResult]:
        ti: Any = context["ti"]
        store = state_store(context, durable=self.durable)
        try:
            if event is not _BROKEN_OFF and not is_batch_event(event):
                raise LumaProtocolError(
                    f"The wait ended with an event that cannot be used: {one_line(repr(event))}.",
                    money="What was accepted is paid for; the XCom results says which.",
                    next_step="A retry of this task takes it up.",
                )
            slots = _slots_from(ti.xcom_pull(task_ids=self.task_id, key="results", map_indexes=ti.map_index))
            ledger = Ledger(int(ti.max_tries or 0))
            records = BatchRecords(store, ledger, self.log)
            with LumaHook(self.luma_conn_id) as hook:
                self._learn(hook, slots, self._slots_at_hand())
                return self._conclude(context, hook, slots, records, ledger)
        except BaseException as error:
            if isinstance(error, LumaConnectionNotFound) and store is not None:
                raise error.about(
                    None, "What was accepted is paid for, as the XCom results says; a retry goes on with it."
                ) from None
            if store is not None or isinstance(error, LumaBatchFailedForGood):
                raise
            raise not_delivered(error, None) from error

    def _submit(
        self, slots: list[Slot], ledger: Ledger, records: BatchRecords, crew: Crew, keeper: VideoKeeper | None
    ) -> None:
        submitter = Submitter(
            crew,
            ledger,
            records,
            self.log,
            killed=lambda: self._killed,
            policy=self.on_unknown_outcome,
        )
        fresh, cleared = submitter.sort(slots)
        try:
            strict = self.fail_on == "any" and not any(slot.maybe_paid for slot in slots)
            refuse_what_cannot_be(fresh, crew.hook.check, strict=strict)
            fresh = [slot for slot in fresh if slot.request is not None]
            known = [slot for slot in slots if slot.status is BatchStatus.PENDING]
            if known:
                self.log.info(
                    "%d requests were submitted by an earlier try; nothing is sent for them.", len(known)
                )
                self._look(crew, known, out_of_time=False)
                # Under this try's number, or a retry would take itself for the clear that this one may be.
                records.write_ids([])
            failed = [slot for slot in cleared if slot.status is BatchStatus.FAILED]
            if (fresh or failed) and not self._may_be_sent(slots, crew.hook, fresh):
                return
            for slot in failed:
                self.log.warning(
                    "Request %s, submitted before this task was cleared, has failed. A new one is submitted, "
                    "which is a new charge.",
                    slot.request_id,
                )
                slot.request_id, slot.error, slot.status = None, None, BatchStatus.NOT_SUBMITTED
                fresh.append(slot)
            if keeper is not None and fresh:
                self._check(crew, keeper, fresh)
            submitter.submit(fresh, slots)
        finally:
            submitter.keep_doubts(slots)

    def _may_be_sent(self, slots: Sequence[Slot], hook: LumaHook, fresh: Sequence[Slot]) -> bool:
        """
        See whether the gateway can do what is asked of it, and whether the batch may cost so much; what is
        paid for already is waited for in any case.
        """
        try:
            check_policy(self.on_unknown_outcome, hook)
            cost = hook.estimate(*_requests_of(slots).values())
            check_cost(cost, self.max_cost, self.luma_conn_id)
        except LumaError as error:
            if not any(slot.maybe_paid for slot in slots):
                raise
            self.log.error("Nothing more is submitted: %s", error)
            for slot in fresh:
                slot.end(BatchStatus.NOT_SUBMITTED, error)
            return False
        if cost is not None:
            self.log.info("The whole batch is estimated to cost %s.", cost)
        return True

    def _check(self, crew: Crew, keeper: VideoKeeper, fresh: Sequence[Slot]) -> None:
        """See whether the videos could be kept, before anything is paid for."""
        destination = str(self.destination)
        # By the id, nobody knows the names yet: only the store is asked.
        checked = fresh if _INDEX in destination and _REQUEST_ID not in destination else fresh[:1]
        targets = {
            slot.index: self._target(Slot(slot.index, None, "", request_id=NO_REQUEST)) for slot in checked
        }
        crew.each(checked, lambda hook, slot: keeper.check(targets[slot.index]), lambda: None)

    def _look(self, crew: Crew, slots: Sequence[Slot], *, out_of_time: bool) -> None:
        progress = Progress("Asked about", slots, len(slots), self.log)
        silent = 0

        def look(hook: LumaHook, slot: Slot) -> None:
            nonlocal silent
            progress.done += 1
            if silent >= SILENT_IN_A_ROW:
                # A gateway that answers nobody is not asked about thousands, each with the hook's patience.
                if out_of_time:
                    slot.end(BatchStatus.ERROR, _not_asked(slot))
                return
            silent = 0 if look_at(hook, slot, out_of_time=out_of_time) else silent + 1

        crew.each(slots, look, progress.tell)

    def _wait(self, pending: Sequence[Slot], began: float) -> None:
        """Wait here, or in the triggerer: then this does not return."""
        now = time.time()
        ends = deadline(now, self.timeout, began, self.execution_timeout)
        ids = [str(slot.request_id) for slot in pending]
        self.log.info(
            "Waiting for %d generations until %s at the latest.",
            len(ids),
            pendulum.from_timestamp(ends).to_iso8601_string(),
        )
        if not self.deferrable:
            told: dict[str, set[str]] = {}
            waits = [
                Wait(one, now, ends, self.poke_interval, answered=True, conn_id=self.luma_conn_id, told=told)
                for one in ids
            ]
            asyncio.run(wait_for_all(waits, self.luma_conn_id, caller="task"))
            return
        self.defer(
            trigger=LumaBatchTrigger(ids, self.luma_conn_id, ends, now, self.poke_interval),
            method_name="execute_complete",
            timeout=backstop(ends),
        )

    def _conclude(
        self, context: Context, hook: LumaHook, slots: list[Slot], records: BatchRecords, ledger: Ledger
    ) -> list[BatchResult]:
        """The one ending: ask once about each, keep, push, and return the results or raise."""
        pending = [slot for slot in slots if slot.status is BatchStatus.PENDING]
        try:
            with Crew(hook, hook.settings.max_concurrent_requests) as crew:
                self._look(crew, pending, out_of_time=True)
            keeper = self._keeper(hook, context)
            if keeper is not None:
                self._keep(hook, keeper, slots)
        finally:
            results = self._push(context, slots)
        self._tell_assets(context, slots)
        self.log.info("%d requests: %s", len(slots), summary(slots) or "none")
        self._name_what_is_missing(slots)
        if too_many_failed(slots, self.fail_on, self.max_failures):
            raise self._failed(slots, records)
        ledger.finish({str(slot.request_id) for slot in slots if slot.status is BatchStatus.COMPLETED})
        records.write_ids([])
        return results

    def _keep(self, hook: LumaHook, keeper: VideoKeeper, slots: Sequence[Slot]) -> None:
        targets = {}
        for slot in slots:
            if slot.status is BatchStatus.COMPLETED:
                try:
                    # Here, because the storage's connection is looked up by this process's main thread only.
                    targets[slot.index] = self._target(slot)
                except LumaError as error:
                    slot.end(BatchStatus.ERROR, error)
        kept = [slot for slot in slots if slot.index in targets]
        progress = Progress("Kept", kept, len(kept), self.log)

        def keep_one(own_hook: LumaHook, slot: Slot) -> None:
            manifest = keep(own_hook, slot, keeper, targets[slot.index], self._costs.get(slot.index))
            if manifest is not None:
                manifests.append(manifest)
            progress.done += 1

        manifests: list[Manifest] = []
        with Crew(hook, DOWNLOADS_AT_ONCE) as crew:
            crew.each(kept, keep_one, progress.tell)
        self._known = replace(self._lineage(), kept=manifests)

    def _learn(self, hook: LumaHook, slots: Sequence[Slot], asked: Sequence[Slot]) -> None:
        """
        Note what the task is about: for manifests, and for OpenLineage. Nothing of it ends the task.

        :param asked: those that have their requests, which ``slots`` have not after a deferral.
        """
        ids = [slot.request_id for slot in slots if slot.request_id is not None]
        requests = _requests_of(asked)
        self._known = known = TaskLineage(self.luma_conn_id, [*requests.values()], ids)
        self._costs = {}
        with suppress(Exception):
            if requests:
                self._known = replace(known, cost=hook.estimate(*requests.values()))
            self._costs = {index: hook.estimate(request) for index, request in requests.items()}

    def _requests_at_hand(self) -> list[GenerationRequest]:
        return [*_requests_of(self._slots_at_hand()).values()]

    def _slots_at_hand(self) -> list[Slot]:
        """
        Return a slot for each request, where the requests are at hand.

        What a mapped task upstream gives is not: reading it asks Airflow for each item, and may call a
        function anew. Here that could only harm.
        """
        if not isinstance(self.requests, (str, list, tuple)):
            return []
        try:
            return slots_of(_listed(self.requests), self.luma_conn_id, GenerationRequest.of, strict=False)
        except LumaInvalidRequest:
            return []

    def _keeper(self, hook: LumaHook, context: Context) -> VideoKeeper | None:
        if not self._keeps:
            return None
        rendered_destination(self.destination)
        return VideoKeeper(
            hook,
            context,
            self.log,
            overwrite=rendered_bool("overwrite", self.overwrite),
            max_bytes=self.max_bytes,
            log_level=logging.DEBUG,
        )

    def _target(self, slot: Slot) -> ObjectStoragePath:
        destination = str(self.destination).strip()
        if not destination.endswith("/") and _INDEX not in destination and _REQUEST_ID not in destination:
            raise LumaInvalidRequest(
                "destination is one file, which many videos cannot share: end it with '/', or put {index} or "
                "{request_id} into it."
            )
        named = destination.replace(_INDEX, str(slot.index))
        named = named.replace(_REQUEST_ID, file_name(str(slot.request_id)))
        return target_at(named, slot.request_id)

    def _push(self, context: Context, slots: Sequence[Slot]) -> list[BatchResult]:
        results = [slot.result for slot in slots]
        context["ti"].xcom_push(key="results", value=results)
        return results

    def _tell_assets(self, context: Context, slots: Sequence[Slot]) -> None:
        paths = [slot.path for slot in slots if slot.path is not None]
        extra: dict[str, Any] = {"counts": counts(slots), "paths": paths[:_MAX_PATHS]}
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(extra)

    def _name_what_is_missing(self, slots: Sequence[Slot]) -> None:
        """Name in the log each request that is paid for, or may be, and has no video."""
        paid = [(slot, error["message"]) for slot in slots if slot.maybe_paid and (error := slot.error)]
        for slot, message in paid[:MOST_TOLD]:
            self.log.error("Request %d (%s): %s", slot.index, slot.request_id or "no id", message)
        if len(paid) > MOST_TOLD:
            self.log.error("And %d more, which stand in the XCom results.", len(paid) - MOST_TOLD)

    def _failed(self, slots: Sequence[Slot], records: BatchRecords) -> LumaBatchFailed:
        what = f"Of {len(slots)} requests: {summary(slots)}."
        if not records.ids_stored and any(slot.maybe_paid for slot in slots):
            return LumaBatchFailedForGood(
                what,
                next_step="There is no record of what was submitted, so a retry or a clear would pay for "
                "everything again: wait for what is missing with sensors and the ids in the XCom results.",
            )
        unknown = any(slot.status is BatchStatus.UNKNOWN for slot in slots)
        unsettled = any(
            slot.error and slot.error["kind"] == LumaSubmitOutcomeUnsettled.kind for slot in slots
        )
        if unsettled:
            return LumaBatchFailed(
                what,
                next_step="A retry asks the gateway's list for the unknown ones again, and submits only what "
                "is still not listed.",
            )
        if unknown and self.on_unknown_outcome == "resubmit":
            return LumaBatchFailed(
                what, next_step="A retry sends the unknown ones again: POSSIBLE SECOND CHARGE."
            )
        if any(slot.status in MENDABLE for slot in slots):
            return LumaBatchFailed(what)
        return LumaBatchFailedForGood(what)


def _requests_of(slots: Sequence[Slot]) -> dict[int, GenerationRequest]:
    """Return the requests by their places; a slot whose request was none has none."""
    return {slot.index: slot.request for slot in slots if slot.request is not None}


def _not_asked(slot: Slot) -> LumaGatewayError:
    return LumaGatewayError(
        f"The gateway did not answer for {SILENT_IN_A_ROW} others in a row, so it was not asked.",
        request_id=slot.request_id,
        money="The generation is paid for and may be complete.",
        next_step="A retry of this task asks for free.",
    )


def _listed(requests: Any) -> Sequence[Any]:
    """Return the list that a rendered value means."""
    if isinstance(requests, str):
        try:
            requests = json.loads(requests)
        except (ValueError, RecursionError):
            requests = None
    if requests is None or isinstance(requests, (str, bytes, Mapping)) or not hasattr(requests, "__iter__"):
        raise LumaInvalidRequest(
            "requests must be a list of prompts or of dicts (or a JSON list as text); the upstream task that "
            "should give it probably gave something else, or nothing."
        )
    return list(requests)


def _slots_from(results: Any) -> list[Slot]:
    """Return the slots as they were before the deferral."""
    listed = results if isinstance(results, list) else [None]
    slots = [slot for slot in map(Slot.from_result, listed) if slot is not None]
    if len(slots) < len(listed):
        raise LumaBatchFailed(
            "The XCom results of this task has gone or was changed: what it had submitted is not known here.",
            next_step="A retry of this task takes it up.",
        )
    return slots
