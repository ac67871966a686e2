"""
Submit a generation from a task.

A generation is paid for and cannot be cancelled. What this operator promises:

* the request is sent once, and whatever the gateway has neither accepted nor refused ends as an error that
  Airflow does not retry;
* on Airflow 3.3 and later (``durable=True``) that holds across tries as well: a retry after a crash takes
  up the generation that an earlier try submitted, and submits only where it is certain that nothing was
  sent.

The decision what a try does is :func:`airflow_provider_luma.api.submission.decide`; this file reads and
writes the record it is made from.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_luma.api.models import GenerationRequest, GenerationStatus
from airflow_provider_luma.api.submission import (
    Decision,
    LookFirst,
    OutcomeUnknown,
    Phase,
    Reattach,
    SubmitRecord,
    decide,
)
from airflow_provider_luma.exceptions import (
    LumaError,
    LumaInvalidRequest,
    LumaSubmitInterrupted,
    LumaSubmitOutcomeUnknown,
    LumaSubmitOutcomeUnknownResubmit,
)
from airflow_provider_luma.hooks.luma import LumaHook
from airflow_provider_luma.hooks.metrics import failures_counted
from airflow_provider_luma.version_compat import NEVER_EXPIRE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

#: Key of the task state store under which the record of the submit is kept.
SUBMIT_KEY = "luma"

_STATE_STORE_HELP = (
    "Then decide: in this task's state store (Airflow's UI or REST API), delete the key 'luma' to submit "
    "anew, or set it to the id found at the vendor to take that up; then clear this task (docs/money.md)."
)


class LumaGenerateOperator(BaseOperator):
    """
    Submit one generation and return its request id. **Every accepted submit is paid for.**

    All arguments but ``durable`` and ``on_unknown_outcome`` are templated; rendered text is turned into
    what was meant before anything is sent.

    :param prompt: what to show. Required; blank, or rendered to ``'None'``, is an error.
    :param aspect_ratio: ``W:H`` with positive integers; default ``16:9``.
    :param loop: whether the video shall end where it began; default ``False``. Text such as ``"true"``,
        ``"0"`` or ``"yes"`` is understood.
    :param image_url: http(s) address of the first frame; default ``None``.
    :param luma_conn_id: id of the Airflow connection; default ``luma_default``.
    :param durable: whether a later try takes up what an earlier one submitted; default ``True``. It needs
        the task state store of Airflow 3.3; without one, a warning says what is not protected, and a retry
        after a crash submits (and pays) again: set ``retries=0`` there.
    :param on_unknown_outcome: what to do where a POST was sent and its outcome is not known. ``"fail"``
        (default) fails the task without a retry. ``"resubmit"`` lets Airflow's retries send it again:
        **each one may be a second charge**, and is logged as one.

    Returns the request id, and pushes it as XCom ``requestId``.

    :raises LumaInvalidRequest: an argument cannot be what was meant; nothing was sent.
    :raises LumaConfigurationError: the connection cannot be used; nothing was sent.
    :raises LumaRefused: the gateway refused; nothing is charged.
    :raises LumaUnreachable: no connection came about; nothing is charged.
    :raises LumaSubmitOutcomeUnknown: neither accepted nor refused: it may be running and be billed. Airflow
        does not retry it.
    """

    template_fields: Sequence[str] = ("prompt", "aspect_ratio", "loop", "image_url", "luma_conn_id")
    ui_color = "#d3c4f3"

    def __init__(
        self,
        *,
        prompt: str,
        aspect_ratio: str = "16:9",
        loop: bool | str = False,
        image_url: str | None = None,
        luma_conn_id: str = LumaHook.default_conn_name,
        durable: bool = True,
        on_unknown_outcome: Literal["fail", "resubmit"] = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.aspect_ratio = aspect_ratio
        self.loop = loop
        self.image_url = image_url
        self.luma_conn_id = luma_conn_id
        self.durable = durable
        self.on_unknown_outcome = on_unknown_outcome
        self._killed = False

    @failures_counted
    def execute(self, context: Context) -> str:
        """Submit, or take up what an earlier try submitted, and return the request id."""
        if self.on_unknown_outcome not in ("fail", "resubmit"):
            raise LumaInvalidRequest(
                f"on_unknown_outcome must be 'fail' or 'resubmit', not {self.on_unknown_outcome!r:.80}."
            )
        request = GenerationRequest.from_rendered(
            self.prompt, aspect_ratio=self.aspect_ratio, loop=self.loop, image_url=self.image_url
        )
        hook = LumaHook(self.luma_conn_id)
        # Looked up before anything is recorded: a connection that cannot be used leaves no trace.
        _ = hook.settings
        record = _Record(self._store(context), _fingerprint(request, self.luma_conn_id), context, self.log)
        try:
            with hook:
                request_id = self._taken_up(hook, record)
                if request_id is None:
                    request_id = self._submitted(hook, record, request)
                context["ti"].xcom_push(key="requestId", value=request_id)
                record.keep(Phase.DONE, request_id)
            return request_id
        except LumaError:
            raise
        except BaseException as interruption:
            if hook.last_submitted is None or record.kept:
                # Nothing is paid for, or a retry finds it in the store.
                raise
            raise self._accepted_but(hook.last_submitted, record, interruption) from interruption

    def on_kill(self) -> None:
        """Take note. ``execute`` runs on for seconds after this; a submit must not start in them."""
        self._killed = True

    def _store(self, context: Context) -> Any:
        """Return the task state store, or ``None`` where there is none or the user wants none."""
        if not self.durable:
            return None
        store = context.get("task_state_store")
        if store is None:
            self.log.warning(
                "durable=True needs the task state store of Airflow 3.3, which is not here: if this "
                "process is killed after the request was sent, a retry submits, and pays, a second time. "
                "Set retries=0 on this task, or durable=False to accept it."
            )
        return store

    def _taken_up(self, hook: LumaHook, record: _Record) -> str | None:
        """Return the id of what an earlier try submitted, or ``None`` if this try is to submit."""
        decision = record.decision()
        if isinstance(decision, Reattach):
            self.log.info("Request %s was submitted by an earlier try; nothing is sent.", decision.request_id)
            record.keep(Phase.SUBMITTED, decision.request_id)
            return decision.request_id
        if isinstance(decision, LookFirst):
            return self._still_wanted(hook, record, decision.request_id)
        if isinstance(decision, OutcomeUnknown):
            if self.on_unknown_outcome == "fail":
                raise LumaSubmitOutcomeUnknown(
                    f"Nothing was sent by this try: {decision.why}.",
                    next_step=f"Look at the vendor's dashboard for this prompt. {_STATE_STORE_HELP}",
                )
            self.log.warning(
                "on_unknown_outcome='resubmit': %s, and it is sent again. POSSIBLE SECOND CHARGE.",
                decision.why,
            )
        elif decision.note:
            self.log.warning("Submitting: %s", decision.note)
        return None

    def _still_wanted(self, hook: LumaHook, record: _Record, request_id: str) -> str | None:
        """After a clear of what was not done: return the id, unless that generation has failed."""
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
                next_step=f"Clear this task once the gateway answers. {_STATE_STORE_HELP}",
            ) from error
        if seen.status is GenerationStatus.FAILED:
            self.log.warning(
                "Request %s, submitted before this task was cleared, has failed (%s). A new one is "
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
        record.keep(Phase.SUBMITTED, request_id)
        return request_id

    def _submitted(self, hook: LumaHook, record: _Record, request: GenerationRequest) -> str:
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
            if self.on_unknown_outcome == "resubmit":
                self.log.error("%s", unknown.what)
                raise LumaSubmitOutcomeUnknownResubmit(
                    unknown.what, http_status=unknown.http_status
                ) from unknown
            if self.durable and record.intended:
                raise LumaSubmitOutcomeUnknown(
                    unknown.what,
                    http_status=unknown.http_status,
                    next_step=f"Look at the vendor's dashboard for this prompt. {_STATE_STORE_HELP}",
                ) from unknown
            raise
        except LumaError:
            # Refused, not delivered, or stopped before the POST: certain that there is nothing to take up.
            # Of any other exception that is not certain, so the intent stands.
            record.withdraw()
            raise
        record.keep(Phase.SUBMITTED, request_id)
        return request_id

    def _accepted_but(self, request_id: str, record: _Record, interruption: BaseException) -> LumaError:
        """Return the error for a process that was stopped while it held the id of a paid generation."""
        # First of all the log: whatever happens next, the id must not be lost.
        self.log.error("Request %s is paid for, and this task was interrupted.", request_id)
        what = (
            f"The gateway accepted the generation as {request_id}, and this task could not hand the id on "
            f"({type(interruption).__name__})."
        )
        if record.kept or record.keep(Phase.SUBMITTED, request_id):
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


class _Record:
    """The submit's record in the task state store; without a store, nothing is kept and nothing is known."""

    def __init__(self, store: Any, fingerprint: str, context: Context, log: Any) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._max_tries = int(context["ti"].max_tries or 0)
        self._log = log
        #: Whether this try has written that it is about to send.
        self.intended = False
        #: Whether the id of the accepted submit is in the store.
        self.kept = False

    def decision(self) -> Decision:
        """Return what this try does, by what an earlier one left."""
        stored = self._store.get(SUBMIT_KEY) if self._store is not None else None
        return decide(stored, fingerprint=self._fingerprint, max_tries=self._max_tries)

    def intend(self) -> None:
        """
        Write that the POST is about to be sent. An error is never caught.

        Airflow refuses the write of a process whose task has been given to another try: that refusal is what
        keeps two processes of one task from sending both.
        """
        if self._store is not None:
            # Set first: a write that was interrupted may have arrived, and is taken back in vain at worst.
            self.intended = True
            self._write(Phase.INTENT, None)

    def keep(self, phase: Phase, request_id: str) -> bool:
        """Write the id; return whether it is stored. It is paid for, so an error stops nothing."""
        if self._store is None:
            return False
        try:
            self._write(phase, request_id)
        except Exception:
            self._log.exception(
                "The id of a paid generation could not be stored: request %s (%s). Note it: a retry of "
                "this task may not find it.",
                request_id,
                phase.value,
            )
            return False
        self.kept = True
        return True

    def withdraw(self) -> None:
        """Take an intent back, because it is certain that nothing was accepted."""
        if self.intended:
            self.intended = False
            try:
                self._store.delete(SUBMIT_KEY)
            except Exception:
                self._log.exception(
                    "The record of a submit that was not delivered could not be removed. %s",
                    _STATE_STORE_HELP,
                )

    def _write(self, phase: Phase, request_id: str | None) -> None:
        record = SubmitRecord(phase, self._fingerprint, request_id, self._max_tries)
        self._store.set(SUBMIT_KEY, record.to_json(), retention=NEVER_EXPIRE)


def _fingerprint(request: GenerationRequest, luma_conn_id: str) -> str:
    """Return what tells this generation from another: the request and the connection."""
    return hashlib.sha256(f"{request.fingerprint()} {luma_conn_id}".encode()).hexdigest()
