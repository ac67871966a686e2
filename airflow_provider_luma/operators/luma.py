"""
Submit a generation from a task, and wait for its video and keep it, if that is wanted.

A generation is paid for and cannot be cancelled. What this operator promises:

* the request is sent once, and whatever the gateway has neither accepted nor refused ends as an error that
  Airflow does not retry;
* on Airflow 3.3 and later (``durable=True``) that holds across tries as well: a retry after a crash takes
  up the generation that an earlier try submitted, and submits only where it is certain that nothing was
  sent, or that the generation has failed;
* where it waits, a retry goes on at the step that was not finished. Without a record (``durable=False``, or
  Airflow before 3.3) what fails after the submit is not retried at all.

The decision what a try does is :func:`airflow_provider_luma.api.submission.decide`; how its record is read
and written, how the task waits and keeps, is :mod:`airflow_provider_luma.steps`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    BaseOperator,
    TaskDeferred,
    conf,
)

from airflow_provider_luma.api.events import says_failed
from airflow_provider_luma.api.lineage import TaskLineage
from airflow_provider_luma.api.models import (
    DEFAULT_ASPECT_RATIO,
    GenerationRequest,
    GenerationStatus,
    rendered_bool,
    usable_request_id,
)
from airflow_provider_luma.api.polling import Wait
from airflow_provider_luma.api.reconcile import CLOCKS_APART, Doubt, Found, NotListed, Unsettled
from airflow_provider_luma.api.submission import (
    Elsewhere,
    LookFirst,
    OutcomeUnknown,
    Phase,
    Reattach,
    fingerprint_of,
)
from airflow_provider_luma.api.text import quoted_prompt
from airflow_provider_luma.exceptions import (
    LumaConnectionNotFound,
    LumaError,
    LumaGenerationFailed,
    LumaInvalidRequest,
    LumaSubmitInterrupted,
    LumaSubmitOutcomeUnknown,
    LumaSubmitOutcomeUnknownResubmit,
    LumaSubmitOutcomeUnsettled,
    LumaVideoNotDelivered,
)
from airflow_provider_luma.hooks.luma import DEFAULT_WAIT_TIMEOUT, LumaHook
from airflow_provider_luma.hooks.metrics import cost_estimated, failures_counted
from airflow_provider_luma.links.luma import LumaVideoLink
from airflow_provider_luma.operators.batch import LumaGenerateBatchOperator
from airflow_provider_luma.steps.keep import NO_REQUEST, VideoKeeper, hand_on, rendered_destination, target_at
from airflow_provider_luma.steps.lineage import WithLineage
from airflow_provider_luma.steps.reconcile import MAX_SENDS, check_policy, doubt_of, why_not
from airflow_provider_luma.steps.submit import (
    STATE_STORE_HELP,
    Policy,
    Record,
    check_cost,
    elsewhere,
    max_cost_of,
    policy_of,
    state_store,
)
from airflow_provider_luma.steps.wait import (
    deadline,
    defer,
    ended,
    last_look,
    look_until_ended,
    not_delivered,
    poke_interval_of,
    seconds_of,
)
from airflow_provider_luma.version_compat import TaskDeferralError, TaskDeferralTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta
    from decimal import Decimal

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_luma.api.events import LumaEvent
    from airflow_provider_luma.api.polling import Pending

__all__ = ["LumaGenerateBatchOperator", "LumaGenerateOperator"]


class LumaGenerateOperator(WithLineage, BaseOperator):
    """
    Submit one generation and return its request id. **Every accepted submit is paid for.**

    With ``wait_for_completion=True`` it waits for the video as well, and keeps it where ``destination`` says:
    the whole in one task, of two worker starts if it is ``deferrable``.

    What makes up the request, ``luma_conn_id``, ``destination`` and ``overwrite`` are templated; rendered
    text is turned into what was meant before anything is sent.

    :param prompt: what to show. Required; blank, or rendered to ``'None'``, is an error.
    :param aspect_ratio: ``W:H`` with positive integers; default ``16:9``.
    :param loop: whether the video shall end where it began; default ``False``. Text such as ``"true"``,
        ``"0"`` or ``"yes"`` is understood.
    :param image_url: http(s) address of the first frame, for image to video; default ``None``. The vendor
        fetches it. At the Appy Pie gateway, ``aspect_ratio`` and ``loop`` must then be left at their
        defaults.
    :param model: the gateway's word for a model, such as ``ray-flash-2``; default ``None``: the gateway's
        first. What the connection's gateway does not take, of this and of what follows, is an error before
        anything is sent.
    :param duration: such as ``5s``, or seconds as a number; default ``None``: the gateway's own.
    :param resolution: such as ``720p`` or ``4k``; default ``None``: the gateway's own. It changes the price.
    :param start_frame: request id of an earlier generation that this one goes on from, or an address, which
        is the same as ``image_url``; default ``None``.
    :param end_frame: http(s) address of the last frame, or the request id of an earlier generation that this
        one leads to; default ``None``.
    :param concepts: the gateway's words for camera and style, as a list or as text with commas; default
        ``None``.
    :param extra_body: further fields of the request's body, as a dict or as JSON text, sent as they are: for
        what this release does not know; default ``None``. They cannot replace what the others say.
    :param luma_conn_id: id of the Airflow connection; default ``luma_default``.
    :param wait_for_completion: whether to wait for the video; default ``False``.
    :param deferrable: whether to wait in the triggerer, holding no worker; default: Airflow's
        ``[operators] default_deferrable``.
    :param timeout: seconds from the first look until a generation that is still pending is given up; default
        3600. What is left of the task's ``execution_timeout`` counts too, also while deferred. Airflow does
        not retry it; a clear resumes the wait for free.
    :param poke_interval: seconds between looks, at least 0.1; default ``None``: the provider's own schedule.
    :param destination: where to keep the video, as for
        :class:`~airflow_provider_luma.transfers.luma_to_object_storage.LumaToObjectStorageOperator`: an
        ``ObjectStoragePath`` address of a file or, with ``/`` at its end, of a folder. Needs
        ``wait_for_completion``. It is tried before anything is sent: another file there costs nothing.
    :param overwrite: whether another file under that name is replaced; default ``False``: an error.
    :param max_bytes: bytes that the video may have at most; default 16 GiB.
    :param share_prompt: whether the asset events of ``outlets`` carry the prompt itself; default ``False``:
        its SHA-256. They carry details only where there is a ``destination``.
    :param max_cost: what the generation may be estimated to cost at most, in the currency of the connection's
        ``price_table``, which it needs; default ``None``: anything. More is an error before anything is sent.
        It counts for each submit: a retry after a failed generation is another one.
    :param durable: whether a later try takes up what an earlier one submitted; default ``True``. It needs
        the task state store of Airflow 3.3; without one, a warning says what is not protected, and a retry
        after a crash submits (and pays) again: set ``retries=0`` there.
    :param on_unknown_outcome: what to do where a POST was sent and its outcome is not known. ``"fail"``
        (default) fails the task without a retry. ``"resubmit"`` lets Airflow's retries send it again:
        **each one may be a second charge**, and is logged as one. ``"reconcile"`` asks the gateway's list of
        generations, where it has one (Luma's own API): what is there is taken up; what is not listed a
        minute later is sent again by a retry, which asks the list once more before it does.

    Returns the request id, and pushes it as XCom ``requestId`` as soon as it is known. Where it waits, it
    pushes ``video_url`` and ``generation`` (as the sensor does), where it keeps also ``path`` and
    ``manifest``.

    :raises LumaInvalidRequest: an argument cannot be what was meant; nothing was sent.
    :raises LumaConnectionNotFound: there is no such connection, or it cannot be looked up just now. Airflow's
        retries apply.
    :raises LumaConfigurationError: the connection cannot be used; nothing was sent.
    :raises LumaMaxCostExceeded: it would cost more than ``max_cost``; nothing was sent.
    :raises LumaRefused: the gateway refused; nothing is charged.
    :raises LumaUnreachable: no connection came about; nothing is charged.
    :raises LumaSubmitOutcomeUnknown: neither accepted nor refused: it may be running and be billed. Airflow
        does not retry it.
    :raises LumaSubmitOutcomeUnsettled: the same with ``"reconcile"``. Airflow's retries apply.
    :raises LumaGenerationFailed: the gateway says that it failed. A retry submits anew, **which is a new
        charge**; of what was refused for its content there is no retry.
    :raises LumaWaitTimeout: time is out; the generation may still be running.
    :raises LumaDownloadFailed: the video could not be kept. A retry fetches it again, for free.
    :raises LumaVideoNotDelivered: anything of the last three, without a record that a retry would find.
    """

    template_fields: Sequence[str] = (
        "prompt",
        "aspect_ratio",
        "loop",
        "image_url",
        "model",
        "duration",
        "resolution",
        "start_frame",
        "end_frame",
        "concepts",
        "extra_body",
        "luma_conn_id",
        "destination",
        "overwrite",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra_body": "json"}
    operator_extra_links = (LumaVideoLink(),)
    ui_color = "#d3c4f3"
    #: Whether :meth:`_request` gives the same at every try, so that another one is meant to be another.
    _repeatable = True

    def __init__(
        self,
        *,
        prompt: str,
        aspect_ratio: str = DEFAULT_ASPECT_RATIO,
        loop: bool | str = False,
        image_url: str | None = None,
        model: str | None = None,
        duration: str | int | None = None,
        resolution: str | None = None,
        start_frame: str | None = None,
        end_frame: str | None = None,
        concepts: Sequence[str] | str | None = None,
        extra_body: Mapping[str, Any] | str | None = None,
        luma_conn_id: str = LumaHook.default_conn_name,
        wait_for_completion: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: float | timedelta = DEFAULT_WAIT_TIMEOUT,
        poke_interval: float | timedelta | None = None,
        destination: str | None = None,
        overwrite: bool | str = False,
        max_bytes: int | None = None,
        share_prompt: bool = False,
        max_cost: float | Decimal | None = None,
        durable: bool = True,
        on_unknown_outcome: Policy = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.aspect_ratio = aspect_ratio
        self.loop = loop
        self.image_url = image_url
        self.model = model
        self.duration = duration
        self.resolution = resolution
        self.start_frame = start_frame
        self.end_frame = end_frame
        self.concepts = concepts
        self.extra_body = extra_body
        self.luma_conn_id = luma_conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.timeout = seconds_of("timeout", timeout)
        self.poke_interval = poke_interval_of(poke_interval)
        if destination is not None and not wait_for_completion:
            raise ValueError("destination needs wait_for_completion=True: a video is kept when it is there.")
        self.destination = destination
        self._keeps = destination is not None
        self.overwrite = overwrite
        self.max_bytes = max_bytes
        self.share_prompt = share_prompt
        self.max_cost = max_cost_of(max_cost)
        self.durable = durable
        self.on_unknown_outcome = policy_of(on_unknown_outcome)
        self._killed = False
        #: This process's, while it may have to be stopped.
        self._hook: LumaHook | None = None

    @failures_counted
    def execute(self, context: Context) -> str:
        """Submit, or take up what an earlier try submitted, and go on to what is wanted of it."""
        began = time.time()
        request = self._request(context) if self._repeatable else None
        hook = self._hook = LumaHook(self.luma_conn_id)
        # Looked up before anything is recorded: a connection that cannot be used leaves no trace.
        _ = hook.settings
        keeper = self._keeper(hook, context)
        fingerprint = None if request is None else fingerprint_of(request, self.luma_conn_id)
        record = Record(
            state_store(context, durable=self.durable, log=self.log),
            fingerprint,
            context,
            self.log,
            hook.settings.account,
        )
        request_id = None
        try:
            with hook:
                request_id = self._taken_up(hook, record, request)
                if request_id is None:
                    if keeper is not None:
                        # A name that the video would not have, if it is a folder: only the store is asked.
                        keeper.check(target_at(self.destination, NO_REQUEST))
                    request = request or self._request(context)
                    hook.check(request)
                    check_policy(self.on_unknown_outcome, hook)
                    check_cost(hook.estimate(request), self.max_cost, self.luma_conn_id)
                    request_id = self._submitted(hook, record, request)
                context["ti"].xcom_push(key="requestId", value=request_id)
                self._learn(hook, request_id, request)
                if not self.wait_for_completion:
                    record.write_id(Phase.DONE, request_id)
                    return request_id
                event = self._waited(hook, request_id, began)
                return self._delivered(context, keeper, record, event, request_id)
        except TaskDeferred:
            raise
        except LumaError as error:
            if _may_be_retried(request_id, record):
                raise
            raise not_delivered(error, request_id) from error
        except BaseException as interruption:
            if hook.in_doubt and not record.intended and self.on_unknown_outcome != "resubmit":
                raise LumaSubmitOutcomeUnknown(
                    f"Submitting was interrupted by {type(interruption).__name__} before it was known "
                    "whether the gateway has accepted.",
                    prompt=self._prompt and quoted_prompt(self._prompt),
                ) from interruption
            if hook.last_submitted is None or record.id_stored:
                # Nothing is paid for, or a retry finds it in the store.
                raise
            raise self._accepted_but(hook.last_submitted, record, interruption) from interruption
        finally:
            self._hook = None

    def execute_complete(self, context: Context, event: Any) -> str:
        """Take the trigger's event, and go on to what is wanted of the video."""
        claimed = event.get("request_id") if isinstance(event, dict) else None
        return self._resumed(context, lambda hook, request_id: event, claimed)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from the triggerer, with an event or because the framework ended the deferral."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as broken_off:
            ended_by = broken_off
        return self._resumed(
            context, lambda hook, request_id: last_look(hook, self._wait(request_id, time.time()), ended_by)
        )

    @failures_counted
    def _resumed(
        self, context: Context, event_of: Callable[[LumaHook, str], Any], claimed: Any = None
    ) -> str:
        """Go on after the wait, in the process that comes after it."""
        record = Record(state_store(context, durable=self.durable), None, context, self.log)
        request_id = usable_request_id(claimed)
        try:
            request_id = record.taken_over() or self._pushed(context) or request_id
        except Exception:
            if record.has_store:
                # A retry finds the id there.
                raise
            self.log.warning("The XCom requestId could not be read; the event has the id.", exc_info=True)
        if request_id is None:
            raise LumaVideoNotDelivered(
                "The wait has ended, and neither this task's state store nor its XCom requestId says for "
                "which request; the log of its first part does."
            )
        try:
            with LumaConnectionNotFound.of_a_wait(request_id), LumaHook(self.luma_conn_id) as hook:
                self._learn(hook, request_id)
                event = event_of(hook, request_id)
                keeper = self._keeper(hook, context)
                return self._delivered(context, keeper, record, event, request_id)
        except BaseException as error:
            if _may_be_retried(request_id, record):
                raise
            raise not_delivered(error, request_id) from error

    def _pushed(self, context: Context) -> str | None:
        ti: Any = context["ti"]
        pushed = ti.xcom_pull(task_ids=self.task_id, key="requestId", map_indexes=ti.map_index)
        return usable_request_id(pushed)

    def _waited(self, hook: LumaHook, request_id: str, began: float) -> LumaEvent:
        """Wait here, or in the triggerer: then this does not return."""
        wait = self._wait(request_id, began)

        def hand_over(_: Pending) -> None:
            if self.deferrable:
                defer(self, wait, hook.status_id_field)

        return look_until_ended(hook, wait, self.log, hand_over)

    def _wait(self, request_id: str, began: float) -> Wait:
        now = time.time()
        ends = deadline(now, self.timeout, began, self.execution_timeout)
        return Wait(request_id, now, ends, self.poke_interval, conn_id=self.luma_conn_id)

    def _keeper(self, hook: LumaHook, context: Context) -> VideoKeeper | None:
        """Return what keeps the video, or ``None`` if it is not to be kept."""
        if not self._keeps:
            return None
        rendered_destination(self.destination)
        return VideoKeeper(
            hook,
            context,
            self.log,
            overwrite=rendered_bool("overwrite", self.overwrite),
            max_bytes=self.max_bytes,
            on_address=lambda url: context["ti"].xcom_push(key="video_url", value=url),
        )

    def _delivered(
        self,
        context: Context,
        keeper: VideoKeeper | None,
        record: Record,
        event: Any,
        request_id: str,
    ) -> str:
        """End the wait, keep the video, and return the request id: the one ending of every path."""
        try:
            video_url = ended(context, self.log, event, request_id, self.luma_conn_id)
        except LumaGenerationFailed as failed:
            if not says_failed(event):
                # An error that the gateway reports without a status, say: a retry looks again.
                raise
            record.failed = True
            record.write_id(Phase.FAILED, request_id)
            if not isinstance(failed, AirflowFailException):
                self.log.warning("A retry or a clear of this task generates anew, WHICH IS A NEW CHARGE.")
            raise
        if keeper is not None:
            target = target_at(self.destination, request_id)
            known = self._lineage()
            manifest = keeper.keep(target, request_id, video_url, cost=known.cost)
            self._known = replace(known, kept=[manifest])
            context["ti"].xcom_push(key="path", value=manifest.path)
            hand_on(context, self.outlets, manifest, prompt=self._prompt, share_prompt=self.share_prompt)
        record.write_id(Phase.DONE, request_id)
        return request_id

    def _learn(self, hook: LumaHook, request_id: str, request: GenerationRequest | None = None) -> None:
        """Note what the task is about: for its manifest, and for OpenLineage. Nothing of it ends the task."""
        self._known = known = TaskLineage(self.luma_conn_id, request_ids=[request_id])
        with suppress(Exception):
            requests = self._requests_at_hand() if request is None else [request]
            self._known = known = replace(known, requests=requests)
            if requests:
                self._known = replace(known, cost=hook.estimate(*requests))

    def _requests_at_hand(self) -> list[GenerationRequest]:
        try:
            return [self._request({})] if self._repeatable else []
        except LumaInvalidRequest:
            return []

    def on_kill(self) -> None:
        """Take note. ``execute`` runs on for seconds after this; a submit must not start in them."""
        self._killed = True
        if self._hook is not None:
            # No lock, not even an event's: this may be called by a signal, between any two lines.
            self._hook.killed = True

    def _taken_up(self, hook: LumaHook, record: Record, request: GenerationRequest | None) -> str | None:
        """Return the id of what an earlier try submitted, or ``None`` if this try is to submit."""
        decision = record.decision()
        if isinstance(decision, Reattach):
            self.log.info("Request %s was submitted by an earlier try; nothing is sent.", decision.request_id)
            record.write_id(Phase.SUBMITTED, decision.request_id)
            return decision.request_id
        if isinstance(decision, LookFirst):
            return self._still_wanted(hook, record, decision.request_id)
        if isinstance(decision, Elsewhere):
            record.leave(decision)
            raise elsewhere(decision, hook)
        if isinstance(decision, OutcomeUnknown):
            if self.on_unknown_outcome == "reconcile":
                return self._settled_earlier(hook, record, request, decision)
            if self.on_unknown_outcome == "fail":
                raise LumaSubmitOutcomeUnknown(
                    f"Nothing was sent by this try: {decision.why}.",
                    prompt=None if request is None else quoted_prompt(request.prompt),
                    next_step=f"Look at the vendor's dashboard for this prompt. {STATE_STORE_HELP}",
                )
            self.log.warning(
                "on_unknown_outcome='resubmit': %s, and it is to be sent again. POSSIBLE SECOND CHARGE.",
                decision.why,
            )
        elif decision.note:
            self.log.warning("Submitting: %s", decision.note)
        return None

    def _still_wanted(self, hook: LumaHook, record: Record, request_id: str) -> str | None:
        """After a clear of what was not done: return the id, unless that generation has failed."""
        self._known = TaskLineage(self.luma_conn_id, request_ids=[request_id])
        try:
            seen = hook.get_status(request_id)
        except LumaError as error:
            # Its class says whether a retry may help; its advice is for a wait, and there is a way out here.
            raise type(error)(
                f"Nothing was sent. This task was cleared before it had handed on {request_id}, and that "
                f"generation could not be asked about: {error.what}",
                request_id=request_id,
                http_status=error.http_status,
                retry_after=error.retry_after,
                money="That generation may be running and is paid for.",
                next_step=f"Clear this task once the gateway answers. {STATE_STORE_HELP}",
            ) from error
        if seen.status is GenerationStatus.FAILED:
            self.log.warning(
                "Request %s, submitted before this task was cleared, has failed (%s). A new one is to be "
                "submitted, which is a new charge.",
                request_id,
                seen.reason or seen.raw_status,
            )
            return None
        self.log.info(
            "Request %s was submitted before this task was cleared and is %s; nothing is sent.",
            request_id,
            seen.status.value,
        )
        record.write_id(Phase.SUBMITTED, request_id)
        return request_id

    @property
    def _prompt(self) -> str | None:
        """The prompt, for the asset event; after a deferral, one that a function has made is not known."""
        return self.prompt if isinstance(self.prompt, str) else None

    def _request(self, context: Context) -> GenerationRequest:
        """Return what to submit."""
        return GenerationRequest.from_rendered(self.prompt, **self._asked())

    def _asked(self) -> dict[str, Any]:
        """Return the operator's own fields of a request but the prompt."""
        return {field.name: getattr(self, field.name) for field in fields(GenerationRequest)[1:]}

    def _submitted(self, hook: LumaHook, record: Record, request: GenerationRequest) -> str:
        record.fingerprint = fingerprint_of(request, self.luma_conn_id)

        def before_send() -> None:
            record.intend()
            if self._killed:
                raise LumaSubmitInterrupted("This task was told to stop before its request was sent.")

        try:
            request_id = hook.generate(request, before_send=before_send)
        except LumaSubmitOutcomeUnknown as unknown:
            if unknown.request_id is not None:
                raise self._accepted_but(
                    unknown.request_id, record, unknown.__cause__ or unknown
                ) from unknown
            if self.on_unknown_outcome == "reconcile":
                request_id = self._settled(hook, record, request, unknown)
            elif self.on_unknown_outcome == "resubmit":
                self.log.error("%s", unknown.what)
                raise LumaSubmitOutcomeUnknownResubmit(
                    unknown.what, http_status=unknown.http_status, prompt=unknown.prompt
                ) from unknown
            elif self.durable and record.intended:
                raise LumaSubmitOutcomeUnknown(
                    unknown.what,
                    http_status=unknown.http_status,
                    prompt=unknown.prompt,
                    next_step=f"Look at the vendor's dashboard for this prompt. {STATE_STORE_HELP}",
                ) from unknown
            else:
                raise
        except LumaError as error:
            # Refused, not delivered, or stopped before the POST: certain that there is nothing to take up.
            # Of any other exception that is not certain, so the intent stands.
            record.withdraw()
            if record.first_sent_at is not None:
                raise type(error)(
                    error.what,
                    http_status=error.http_status,
                    retry_after=error.retry_after,
                    money="Nothing is charged for this. What an earlier try has sent may be running and be "
                    "billed, though the gateway's list shows none so far.",
                ) from error
            raise
        record.write_id(Phase.SUBMITTED, request_id)
        if (cost := hook.estimate(request)) is not None:
            cost_estimated(cost, self.luma_conn_id)
        return request_id

    def _settled(
        self, hook: LumaHook, record: Record, request: GenerationRequest, unknown: LumaSubmitOutcomeUnknown
    ) -> str:
        """
        Return the id of what has just been sent with an unknown outcome, by the gateway's list.

        Only where a retry finds the record, and knows what to look for, an error may be one that Airflow
        retries: any other retry would submit without having asked.
        """
        found_by_a_retry = record.intended and self._repeatable and record.sends < MAX_SENDS

        def stays_unknown(said: str, *, retried: bool = found_by_a_retry) -> LumaError:
            error = LumaSubmitOutcomeUnsettled if retried else LumaSubmitOutcomeUnknown
            left = f"Look at the vendor's dashboard for this prompt. {STATE_STORE_HELP}"
            return error(
                f"{unknown.what} {said}".strip(),
                http_status=unknown.http_status,
                prompt=unknown.prompt,
                next_step=left if record.intended and not retried else None,
            )

        if unknown.__cause__ is not None:
            # This process was told to end.
            raise stays_unknown("") from unknown
        self.log.warning("%s The gateway's list of generations is asked.", unknown.what)
        again = record.first_sent_at
        sent_from = hook.last_sent_at or time.time()
        doubt = Doubt(request, sent_from) if again is None else Doubt(request, again, slack=CLOCKS_APART)
        try:
            (verdict,) = hook.reconcile_all([doubt], taken=record.earlier_ids)
        except LumaError as error:
            raise stays_unknown(error.what) from error
        except BaseException as interruption:
            # A time-out of the task, say.
            raise stays_unknown(
                f"Asking the gateway's list was interrupted by {type(interruption).__name__}."
            ) from interruption
        if isinstance(verdict, Found):
            (request_id,) = verdict.request_ids
            hook.last_submitted = request_id
            return request_id
        if isinstance(verdict, NotListed):
            raise stays_unknown(
                f"The gateway's list does not hold it ({verdict.read} were read)."
            ) from unknown
        raise stays_unknown(why_not(verdict), retried=False) from unknown

    def _settled_earlier(
        self, hook: LumaHook, record: Record, request: GenerationRequest | None, decision: OutcomeUnknown
    ) -> str | None:
        """Return the id of what an earlier try has sent, by the gateway's list; ``None`` if it holds none."""
        check_policy(self.on_unknown_outcome, hook)
        doubt = doubt_of(hook, request, [decision])
        verdict = hook.reconcile_all([doubt])[0] if isinstance(doubt, Doubt) else doubt
        if isinstance(verdict, Found):
            (request_id,) = verdict.request_ids
            hook.last_submitted = request_id
            self.log.info("%s. The gateway lists it as %s; it is taken up.", decision.why, request_id)
            record.write_id(Phase.SUBMITTED, request_id)
            return request_id
        if isinstance(verdict, NotListed) and decision.sends < MAX_SENDS:
            self.log.warning(
                "%s. The gateway's list does not hold it (%d were read), so it is sent again.",
                decision.why,
                verdict.read,
            )
            record.send_again(decision)
            return None
        said = (
            why_not(verdict)
            if isinstance(verdict, Unsettled)
            else f"It was sent {decision.sends} times, and the gateway's list holds none of it."
        )
        raise LumaSubmitOutcomeUnknown(
            f"Nothing was sent by this try: {decision.why}. {said}",
            prompt=None if request is None else quoted_prompt(request.prompt),
            next_step=f"Look at the vendor's dashboard for this prompt. {STATE_STORE_HELP}",
        )

    def _accepted_but(self, request_id: str, record: Record, interruption: BaseException) -> LumaError:
        """Return the error for a process that was stopped while it held the id of a paid generation."""
        # First of all the log: whatever happens next, the id must not be lost.
        self.log.error("Request %s is paid for, and this task was interrupted.", request_id)
        self._known = TaskLineage(self.luma_conn_id, request_ids=[request_id])
        what = (
            f"The gateway accepted the generation as {request_id}, and this task could not hand the id on "
            f"({type(interruption).__name__})."
        )
        if record.id_stored or record.write_id(Phase.SUBMITTED, request_id):
            return LumaSubmitInterrupted(
                what,
                request_id=request_id,
                money="The generation is running and is paid for.",
                next_step="The id is stored: a retry or a clear of this task takes it up for free.",
            )
        return LumaSubmitOutcomeUnknown(
            what,
            request_id=request_id,
            money="The generation is running and is paid for, so this task is not retried.",
            next_step="Wait for it with a LumaStatusSensor and this id; do not submit again.",
        )


def _may_be_retried(request_id: str | None, record: Record) -> bool:
    """Return whether an error can be raised as it is: nothing that follows it pays again unasked."""
    return request_id is None or record.id_stored or record.failed
