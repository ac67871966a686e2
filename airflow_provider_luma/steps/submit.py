"""
The record of a submit in the task state store: read before anything is sent, written before and after.

What a record means is :mod:`airflow_provider_luma.api.submission`; where it is written, and which errors of
that may stop a task, is here. A batch's records are in :mod:`airflow_provider_luma.steps.batch`.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import tenacity

from airflow_provider_luma.api.cost import Cost, amount_of
from airflow_provider_luma.api.submission import Phase, SubmitRecord, decide, gateway_of, read_record
from airflow_provider_luma.exceptions import LumaConfigurationError, LumaMaxCostExceeded
from airflow_provider_luma.version_compat import NEVER_EXPIRE

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_luma.api.submission import Decision, Elsewhere, OutcomeUnknown
    from airflow_provider_luma.hooks.luma import LumaHook

#: Key of the task state store under which the record of a submit is kept.
SUBMIT_KEY = "luma"
#: Seconds for which a task tries to store ids that are paid for. By default, Airflow gives up a task that it
#: has not heard of for as long; its supervisor may end it earlier, after ``[workers] max_failed_heartbeats``.
PATIENCE = 300.0
#: Seconds between two such tries; each has retries of Airflow's own.
PAUSE = 1.0
#: How the names of errors end that the HTTP client of Airflow's SDK raises when nobody answers.
_AWAY = ("ConnectError", "ReadError", "WriteError", "CloseError", "Timeout", "ProtocolError")
#: What a person does about an unknown outcome.
STATE_STORE_HELP = (
    "Then decide: in this task's state store (Airflow's UI or REST API), delete the key 'luma' to submit "
    "anew, or set it to the id found at the vendor to take that up; then clear this task (docs/money.md)."
)


#: What to do with an unknown outcome.
Policy = Literal["fail", "resubmit", "reconcile"]


def policy_of(on_unknown_outcome: str) -> Policy:
    """Return an operator's ``on_unknown_outcome``; an error of the DAG if it is none."""
    if on_unknown_outcome == "fail":
        return "fail"
    if on_unknown_outcome == "resubmit":
        return "resubmit"
    if on_unknown_outcome == "reconcile":
        return "reconcile"
    raise ValueError(
        f"on_unknown_outcome must be 'fail', 'resubmit' or 'reconcile', not {on_unknown_outcome!r:.80}."
    )


def elsewhere(decision: Elsewhere, hook: LumaHook) -> LumaConfigurationError:
    """Return the error for a connection that has been moved while a generation was under way."""
    return LumaConfigurationError(
        f"Connection {hook.luma_conn_id!r} leads to the gateway {hook.settings.gateway.NAME!r} now, and the "
        f"request was submitted to {decision.gateway!r}.",
        request_id=decision.request_id,
        money="Nothing was sent by this try. The generation is paid for and may be complete.",
        next_step=f"Have the connection lead to {decision.gateway!r} again, then clear this task, which goes "
        "on for free; or take the video up by a LumaStatusSensor with this id and a connection that does.",
    )


def max_cost_of(max_cost: Any) -> Decimal | None:
    """Return an operator's ``max_cost``, exact; an error of the DAG if it is none."""
    if max_cost is None:
        return None
    amount = amount_of(max_cost, most=Decimal(10) ** 12)
    if amount is None:
        raise ValueError(f"max_cost must be an amount of money from 0, not {max_cost!r:.80}.")
    return amount


def check_cost(cost: Cost | None, max_cost: Decimal | None, conn_id: str) -> None:
    """
    See, before anything is sent, whether what is to be submitted may cost so much.

    :raises LumaMaxCostExceeded: it would cost more.
    :raises LumaConfigurationError: the connection names no prices, so that nobody knows.
    """
    if max_cost is None:
        return
    if cost is None:
        raise LumaConfigurationError(
            f"max_cost is given, and connection {conn_id!r} has no price for this in a price_table.",
            next_step="Give the connection the extra price_table, with a rate for each model, resolution and "
            "duration that is asked for; or leave max_cost out.",
        )
    if cost.amount > max_cost:
        raise LumaMaxCostExceeded(
            f"This is estimated to cost {cost}, and max_cost is {Cost(max_cost, cost.currency)}."
        )


def state_store(context: Context, *, durable: bool, log: Any = None) -> Any:
    """
    Return the task state store, or ``None`` where there is none or the task wants none.

    :param log: is told once what that leaves unprotected.
    """
    if not durable:
        return None
    store = context.get("task_state_store")
    if store is None and log is not None:
        log.warning(
            "durable=True needs the task state store of Airflow 3.3, which is not here: if this process is "
            "killed after a request was sent, a retry submits, and pays for, everything again. Set retries=0 "
            "on this task, or durable=False to accept it."
        )
    return store


class Patience:
    """
    Stores what is paid for, again and again while Airflow's api-server is away: for :data:`PATIENCE` seconds
    from the first failure on, once and not for each write.

    :param log: is told at the first failure what is not stored: nobody knows how long this process has.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._ends_at: float | None = None

    def write(self, write: Callable[[], None], what: str) -> None:
        """
        Call ``write`` until it succeeds or the time is over.

        Any other error is raised at once: an answer that refuses says that another try has the task.

        :param what: is not stored as long as this fails.
        """
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_away),
            stop=self._is_over,
            wait=tenacity.wait_fixed(PAUSE),
            before_sleep=lambda state: self._tell(state, what),
            reraise=True,
        ):
            with attempt:
                write()

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        now = time.monotonic()
        if self._ends_at is None:
            self._ends_at = now + PATIENCE
        return now >= self._ends_at

    def _tell(self, state: tenacity.RetryCallState, what: str) -> None:
        if state.attempt_number == 1:
            self._log.error(
                "Not stored yet, because Airflow's API server is away: %s. Note it: if this process ends "
                "before the server is back, a retry will not find it.",
                what,
            )


def _is_away(error: BaseException) -> bool:
    """Return whether Airflow's SDK says by an error that its api-server did not answer, or answered a 5xx."""
    detail = getattr(getattr(error, "error", None), "detail", None)
    if not isinstance(detail, dict):
        return False
    status = detail.get("status_code")
    if isinstance(status, int):
        return status >= 500
    # Whatever the supervisor did not expect comes without a status: this is what its HTTP client raises.
    return str(detail.get("exception_type")).endswith(_AWAY)


class Record:
    """
    The record of one submit in the task state store; without a store, nothing is written, nothing is known.

    :param store: Airflow's, or ``None``.
    :param fingerprint: of what this try would submit; ``None`` if that is not known yet.
    :param account: where it would be submitted to; ``None``: this process submits nothing.
    """

    def __init__(
        self, store: Any, fingerprint: str | None, context: Context, log: Any, account: str | None = None
    ) -> None:
        self._store = store
        self._account = account
        #: Epoch seconds at which an earlier try has sent it first, where this one sends it again.
        self.first_sent_at: float | None = None
        #: How often it was sent, this time included.
        self.sends = 1
        #: The generation that the record was of when this try began.
        self.earlier_ids: set[str] = set()
        self.fingerprint = fingerprint
        self._max_tries = int(context["ti"].max_tries or 0)
        self._log = log
        self._patience = Patience(log)
        #: Whether this try has written that it is about to send.
        self.intended = False
        #: Whether there is a store.
        self.has_store = store is not None
        #: Whether the id of the accepted submit is in the store.
        self.id_stored = False
        #: Whether the gateway has said that the generation failed.
        self.failed = False

    def decision(self) -> Decision:
        """Return what this try does, by what an earlier one left."""
        stored = self._store.get(SUBMIT_KEY) if self._store is not None else None
        earlier = None if stored is None else read_record(stored)
        if earlier is not None and earlier.request_id is not None:
            self.earlier_ids = {earlier.request_id}
        gateway = gateway_of(self._account)
        return decide(stored, fingerprint=self.fingerprint, max_tries=self._max_tries, gateway=gateway)

    def send_again(self, earlier: OutcomeUnknown) -> None:
        """Note that what an earlier try has sent was not accepted, as the gateway's list says."""
        self.first_sent_at, self.sends = earlier.at, earlier.sends + 1

    def leave(self, decision: Elsewhere) -> None:
        """Store that the generation is at another gateway: a clear is to look there first."""
        self._account = decision.account
        self.write_id(Phase.SUBMITTED, decision.request_id)

    def taken_over(self) -> str | None:
        """Return the id that an earlier process of this try has stored, and go on with its record."""
        record = read_record(self._store.get(SUBMIT_KEY)) if self._store is not None else None
        if record is None or record.request_id is None:
            return None
        self.fingerprint, self.id_stored, self._account = record.fingerprint, True, record.account
        return record.request_id

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

    def write_id(self, phase: Phase, request_id: str) -> bool:
        """Write the id; return whether it is stored. It is paid for, so an error stops nothing."""
        if self._store is None:
            return False
        try:
            self._patience.write(
                lambda: self._write(phase, request_id),
                f"the id of a paid generation, request {request_id} ({phase.value})",
            )
        except Exception:
            self._log.exception(
                "The id of a paid generation could not be stored: request %s (%s). Note it: a retry of "
                "this task may not find it.",
                request_id,
                phase.value,
            )
            return False
        self.id_stored = True
        return True

    def withdraw(self) -> None:
        """Take an intent back, because it is certain that nothing was accepted."""
        if self.intended:
            self.intended = False
            try:
                if self.first_sent_at is None:
                    self._store.delete(SUBMIT_KEY)
                else:
                    # Of what was sent before that, it is not.
                    self.sends -= 1
                    self._write(Phase.INTENT, None)
            except Exception:
                self._log.exception(
                    "The record of a submit that was not delivered could not be removed. %s",
                    STATE_STORE_HELP,
                )

    def _write(self, phase: Phase, request_id: str | None) -> None:
        at = time.time() if self.first_sent_at is None else self.first_sent_at
        record = SubmitRecord(
            phase, self.fingerprint, request_id, self._max_tries, at, self._account, self.sends
        )
        self._store.set(SUBMIT_KEY, record.to_json(), retention=NEVER_EXPIRE)
