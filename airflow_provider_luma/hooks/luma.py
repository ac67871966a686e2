"""
The hooks: an Airflow connection becomes a session that talks to the gateway.

:class:`LumaHook` blocks and is for tasks; :class:`LumaAsyncHook` is for event loops, that is for triggers,
and only asks: nothing that costs money is ever sent from a triggerer. Both look the connection up once, and
both leave every decision to :mod:`airflow_provider_luma.api`.
"""

from __future__ import annotations

import asyncio
import functools
import random
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException, AirflowTaskTimeout, BaseHook
from airflow.providers.http.hooks.http import HttpHook

from airflow_provider_luma.api.exchange import TOO_MANY, Answer, Call, HttpCall, Miss
from airflow_provider_luma.api.gateways import check, lister, look
from airflow_provider_luma.api.pacing import Pace
from airflow_provider_luma.api.polling import Done, GaveUp, Schedule, Wait
from airflow_provider_luma.api.probe import probe
from airflow_provider_luma.api.reconcile import (
    CLOCKS_APART,
    LISTED_WITHIN,
    LOOK_EVERY,
    Doubt,
    Found,
    is_short,
    judge,
    read_back,
)
from airflow_provider_luma.api.retry import MAX_WORKER_PAUSE, error_for, pause_before_next, rule
from airflow_provider_luma.api.text import quoted_prompt, shown_url
from airflow_provider_luma.exceptions import (
    LumaConfigurationError,
    LumaConnectionNotFound,
    LumaError,
    LumaLookInterrupted,
    LumaSubmitInterrupted,
    LumaSubmitOutcomeUnknown,
)
from airflow_provider_luma.get_provider_info import connection_fields, get_provider_info
from airflow_provider_luma.hooks.connection import LumaSettings, settings_from
from airflow_provider_luma.hooks.metrics import looked
from airflow_provider_luma.hooks.sockets import plain_reason
from airflow_provider_luma.hooks.transport import AsyncLumaSession, LumaSession
from airflow_provider_luma.version_compat import AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Generator, Sequence

    import requests
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_luma.api.cost import Cost
    from airflow_provider_luma.api.models import Generation, GenerationRequest
    from airflow_provider_luma.api.reconcile import Reading, Verdict

_T = TypeVar("_T")

#: Seconds that :meth:`LumaHook.wait_for_completion` waits unless told otherwise.
DEFAULT_WAIT_TIMEOUT = 3600.0

#: Seconds after which an asynchronous hook looks its connection up again; what has changed then counts.
RENEW_AFTER = 300.0
#: Seconds between two such look-ups at least, also where the gateway refuses the key or the look-up fails.
RENEW_PAUSE = 5.0


class LumaHook(HttpHook):
    """
    Talk to the Luma gateway from a task.

    An ``HttpHook`` to those who know one: the connection's ``verify``, ``cert``, ``proxies``, ``timeout`` and
    ``trust_env`` keep their meaning. What it does differently, it does for the key and for money: the key is
    sent in the gateway's header, to the connection's own host only; redirects are refused; extras are never
    sent as headers. Its own calls (all but :meth:`run` and a session of :meth:`get_conn`) are bounded in time
    and size.

    :param luma_conn_id: id of an Airflow connection of type ``luma``; default ``luma_default``.
    """

    conn_name_attr = "luma_conn_id"
    default_conn_name = "luma_default"
    conn_type = "luma"
    hook_name = "Luma Dream Machine"

    def __init__(self, luma_conn_id: str = default_conn_name) -> None:
        super().__init__(method="POST", http_conn_id=luma_conn_id)
        self.luma_conn_id = luma_conn_id
        self._settings: LumaSettings | None = None
        self._session: LumaSession | None = None
        self._turns = _Turns()
        #: Set by whoever wants this hook, in another thread, to send nothing more and to sleep no longer.
        self.stopped = threading.Event()
        #: Set by a task that was told to stop: no list is asked any longer.
        self.killed = False
        self._status_id_field: str | None = None
        #: The id that the last call of :meth:`generate` got, from the moment the gateway accepted.
        self.last_submitted: str | None = None
        #: Epoch seconds at which the last POST of :meth:`generate` was about to be sent.
        self.last_sent_at: float | None = None
        #: The session of a POST that may have been delivered and was not refused.
        self._flight: LumaSession | None = None

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return which standard fields of the connection form apply (read by Airflow before 3.2)."""
        (connection_type,) = get_provider_info()["connection-types"]
        behaviour = connection_type["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """
        Return the extras as fields of the connection form (read by Airflow before 3.2).

        Airflow 2 shows only what counts as true of the stored values, and shows lists and objects in Python's
        spelling: what it would change by being looked at stays in its field for the whole extra.
        """
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import BooleanField, IntegerField, StringField
        from wtforms.validators import Optional, any_of

        def widget(field: dict[str, Any]) -> Any:
            schema = field["schema"]
            words = {"label": field["label"], "description": field["description"]}
            if "boolean" in schema["type"]:
                return BooleanField(default=schema.get("default", False), **words)
            # Airflow takes no field for a number with a fraction; the settings read a number from its text.
            kind = IntegerField if "integer" in schema["type"] else StringField
            choices = [any_of(schema["enum"])] if "enum" in schema else []
            return kind(validators=[Optional(), *choices], widget=BS3TextFieldWidget(), **words)

        unsafe = () if AIRFLOW_3 else ("verify", "cert", "proxies", "price_table", "trust_env")
        return {name: widget(field) for name, field in connection_fields().items() if name not in unsafe}

    @property
    def settings(self) -> LumaSettings:
        """
        The connection's settings; looked up once per hook.

        :raises LumaConnectionNotFound: there is no such connection, or it cannot be looked up just now.
        :raises LumaConfigurationError: the connection has no key, or has a bad field.
        """
        if self._settings is None:
            self._settings = settings_from(_found(self.luma_conn_id, self.get_connection), self.luma_conn_id)
            self.base_url = self._settings.base_url
        return self._settings

    def get_conn(
        self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None
    ) -> requests.Session:
        """
        Return a new ``requests`` session for the connection's host, which the caller closes.

        It adds the key to what goes to the connection's own origin and follows no redirect; nothing is sent
        again, and nothing is recorded: a generation that is submitted with it is paid for each time.

        :param headers: sent with every request of the session.
        :param extra_options: ``verify``, ``cert`` and ``proxies`` override the connection's.
        :raises LumaConfigurationError: the connection cannot be used, or a file that it names is not here.
        """
        session = LumaSession(self.settings, "task")
        session.headers.update(headers or {})
        for name, value in (extra_options or {}).items():
            if name in ("verify", "cert"):
                setattr(session, name, value)
            elif name in ("proxies", "proxy"):
                session.proxies.update(value or {})
        return session

    def run(
        self,
        endpoint: str | None = None,
        data: dict[str, Any] | str | None = None,
        headers: dict[str, Any] | None = None,
        extra_options: dict[str, Any] | None = None,
        **request_kwargs: Any,
    ) -> Any:
        """
        Send one request to a path below the connection's host, through the guarded session, exactly once.

        Use :meth:`generate` and :meth:`get_status` instead where they fit: this method knows nothing of
        money, and an error of it says nothing about whether a generation was accepted.

        :param endpoint: path below the connection's host.
        :param data: body, or the query's parameters where the hook's method is GET.
        :param headers: sent with this request.
        :param extra_options: ``timeout`` (seconds, or connecting and reading as a pair; default: the
            connection's), ``check_response`` (default ``True``), and ``verify``, ``cert`` and ``proxies``,
            which override the connection's.
        :param request_kwargs: for ``requests.Request``, such as ``json``.
        :return: the ``requests.Response``, whatever its status, unless ``check_response`` is on.
        :raises LumaConfigurationError: the connection cannot be used; nothing was sent.
        :raises requests.HTTPError: the status is 400 or more, with ``check_response``.
        :raises requests.RequestException: there was no answer. Whether the request arrived is not known.
        """
        import requests

        options = dict(extra_options or {})
        base_url = self.settings.base_url
        with self.get_conn(headers, options) as session:
            payload = {"params" if self.method in ("GET", "HEAD") else "data": data}
            path = endpoint or ""
            slash = "" if path.startswith("/") or not path else "/"
            request = session.prepare_request(
                requests.Request(self.method, f"{base_url}{slash}{path}", **payload, **request_kwargs)
            )
            transport = session.merge_environment_settings(
                request.url, dict(session.proxies), False, session.verify, session.cert
            )
            response = session.send(request, timeout=options.get("timeout"), **transport)
            if options.get("check_response", True):
                response.raise_for_status()
            return response

    def generate(self, request: GenerationRequest, *, before_send: Callable[[], None] | None = None) -> str:
        """
        Submit one generation and return its request id. **It is paid for from here on and cannot be
        cancelled.**

        It is sent again only where nothing was delivered (no connection came about) or where the gateway
        refused it before any work (429, a quota's 403), at most five times in all, on a fresh connection
        each time. A second call is a second generation, and a second charge; across tries of a task, only
        the operators' record guards against that.

        :param request: what to generate.
        :param before_send: called as the last act before each POST; what it raises stops the POST.
        :return: the gateway's request id.
        :raises LumaConfigurationError: the connection cannot be used; nothing was sent.
        :raises LumaRefused: the gateway refused; nothing is charged.
        :raises LumaUnreachable: no connection came about; nothing is charged.
        :raises LumaSubmitInterrupted: the task's ``execution_timeout`` fired before anything was delivered;
            nothing is charged.
        :raises LumaSubmitOutcomeUnknown: neither accepted nor refused; it may be running and be billed. Its
            ``request_id`` is set if the gateway accepted and only this process was interrupted.
        """
        settings = self.settings
        # Before anything is sent: prices that are none are an error, which must not hide an id.
        cost = self.estimate(request)
        self.check(request)
        gateway = self.settings.gateway
        call = gateway.submit_call(request)

        def once() -> str | Miss:
            self._take_turn(Call.GENERATE)
            # A connection of its own: a kept-alive one that went stale would look like a lost answer.
            with LumaSession(settings, "task") as session:
                if before_send is not None:
                    before_send()
                self.last_sent_at = time.time()
                self._flight = session
                seen = gateway.read_submit(session.exchange(call))
                if isinstance(seen, str):
                    self.last_submitted = seen
                elif not self._is_unknown(seen):
                    self._flight = None
                return seen

        self.last_submitted = self._flight = None
        try:
            seen, tries = self._sent(Call.GENERATE, once)
            if isinstance(seen, Miss):
                raise self._error(Call.GENERATE, seen, tries)
            said = quoted_prompt(request.prompt)
            if request.image_url:
                said += f" (from {shown_url(request.image_url)})"
            if cost is not None:
                said += f", estimated at {cost}"
            self.log.info("Submitted request %s: %s", seen, said)
            return seen
        except LumaError as error:
            if isinstance(error, LumaSubmitOutcomeUnknown):
                error.prompt = quoted_prompt(request.prompt)
            raise
        except BaseException as interruption:
            # Airflow's execution_timeout is a BaseException and may fire between any two lines.
            name = type(interruption).__name__
            if self.last_submitted is not None:
                raise LumaSubmitOutcomeUnknown(
                    f"The gateway accepted the generation as {self.last_submitted}, and this process was "
                    f"interrupted by {name} before it could go on.",
                    request_id=self.last_submitted,
                    money="The generation is running and is paid for.",
                    next_step="Wait for it with a LumaStatusSensor and this id; do not submit again.",
                ) from interruption
            if self.in_doubt:
                raise LumaSubmitOutcomeUnknown(
                    f"Submitting a generation was interrupted by {name} after the request may have been "
                    "sent and before its answer was read.",
                    prompt=quoted_prompt(request.prompt),
                ) from interruption
            if isinstance(interruption, AirflowTaskTimeout):
                raise LumaSubmitInterrupted(
                    f"Submitting a generation was interrupted by {name} before anything was delivered."
                ) from interruption
            raise

    def check(self, request: GenerationRequest) -> None:
        """
        See whether the connection's gateway can honour a request, all of it. :meth:`generate` does it first.

        :raises LumaInvalidRequest: names the parameter. Nothing was sent, nothing is charged.
        :raises LumaConfigurationError: the connection cannot be used.
        """
        check(self.settings.gateway, request)

    @property
    def in_doubt(self) -> bool:
        """Whether the last POST of :meth:`generate` may have been delivered, and no answer settled it."""
        flight = self._flight
        return self.last_submitted is None and flight is not None and flight.watch.connected

    def estimate(self, *requests: GenerationRequest) -> Cost | None:
        """
        Return what generations cost together by the connection's ``price_table``; ``None`` if it has none,
        or no price for one of them.

        :raises LumaConfigurationError: the connection cannot be used, or names prices that are none.
        """
        settings = self.settings
        if settings.price_trouble is not None:
            raise LumaConfigurationError(
                settings.price_trouble,
                next_step="Mend the connection's extra field, or take price_table out.",
            )
        return None if settings.price_table is None else settings.price_table.estimate(requests)

    def can_reconcile(self) -> bool:
        """
        Return whether the connection's gateway lists its generations, so that :meth:`reconcile` can be used.

        :raises LumaConfigurationError: the connection cannot be used.
        """
        return lister(self.settings.gateway) is not None

    def reconcile(
        self, request: GenerationRequest, sent_from: float, *, taken: Collection[str] = ()
    ) -> Verdict:
        """
        Look in the gateway's list for a request of which it is not known whether it was accepted. Free.

        It asks again until it is found, for a minute at most: a new generation takes a moment to be listed.
        Requests that are equal in everything cannot be told apart, whoever made them; where that matters,
        nothing is settled.

        :param request: what was asked for.
        :param sent_from: epoch seconds by this machine's clock before which it was not sent.
        :param taken: ids that are known to be of other requests.
        :return: whether it was found, is not listed, or cannot be settled.
        :raises LumaConfigurationError: the connection cannot be used, or its gateway has no list.
        :raises LumaError: the list could not be read; nothing is known.
        """
        return self.reconcile_all([Doubt(request, sent_from)], taken=taken)[0]

    def reconcile_all(self, doubts: Sequence[Doubt], *, taken: Collection[str] = ()) -> list[Verdict]:
        """
        Do the same for several at once: the list is read for all of them together.

        :param doubts: no two of equal requests.
        """
        gateway = lister(self.settings.gateway)
        if gateway is None:
            raise LumaConfigurationError(
                f"Connection {self.luma_conn_id!r}: {self.settings.gateway.TITLE} has no list of "
                "generations, so that an unknown outcome cannot be settled by it.",
                next_step="Leave on_unknown_outcome at 'fail', or use a gateway that has one.",
            )
        # Unknown clocks are as far apart as it is worth looking.
        since = min(doubt.sent_from - doubt.slack for doubt in doubts) - CLOCKS_APART
        on_its_way = max((doubt.sent_until or 0.0) for doubt in doubts) - time.time()
        ends = time.monotonic() + max(on_its_way, 0.0) + LISTED_WITHIN
        told: set[str] = set()
        reading: Reading | Miss
        while True:
            if self.killed:
                raise LumaLookInterrupted("This task was told to stop before the list had settled it.")
            reading, tries = self._sent(
                Call.STATUS, lambda: self._answered(read_back(gateway, since, time.time))
            )
            if isinstance(reading, Miss):
                error = self._error(Call.STATUS, reading, tries)
                raise type(error)(
                    f"The gateway's list of generations could not be read: the gateway {reading.detail}.",
                    http_status=error.http_status,
                    retry_after=error.retry_after,
                    money="Whether the request was accepted is not known; nothing is sent meanwhile.",
                    next_step="A retry asks the list again.",
                )
            verdicts = judge(gateway, reading, doubts, taken)
            found = {one for verdict in verdicts if isinstance(verdict, Found) for one in verdict.request_ids}
            for request_id in found - told:
                # First of all the log: whatever happens next, the id must not be lost.
                self.log.info("The gateway lists request %s, whose submit had no answer.", request_id)
            told |= found
            left = ends - time.monotonic()
            if left <= 0 or (reading.is_sound and not any(map(is_short, verdicts, doubts))):
                return verdicts
            self._sleep(Call.STATUS, min(left, LOOK_EVERY))

    @property
    def schedule(self) -> Schedule:
        """When to look at a generation for which nobody names an interval."""
        return Schedule.of(self.settings.typical_seconds)

    @property
    def status_id_field(self) -> str:
        """The id field that looks have settled, or the connection's (``auto``: not settled)."""
        return self._status_id_field or self.settings.status_id_field

    def look(self, request_id: str) -> Generation | Miss:
        """
        Look once at a generation: one request, or two until the id's field is settled. Free.

        :return: what the gateway says, or what the look came to where it says nothing usable. Nothing of the
            gateway is raised; what a series of such looks means is the business of who waits.
        :raises LumaConfigurationError: the connection cannot be used.
        """
        with LumaConnectionNotFound.of_a_wait(request_id):
            steps = look(self.settings.gateway, request_id, self.status_id_field)
        looked(self.luma_conn_id)
        seen, self._status_id_field = self._answered(steps)
        return seen

    def _answered(self, steps: Generator[HttpCall, Answer | Miss, _T]) -> _T:
        """Make the calls that ``steps`` asks for, and return what it comes to."""
        if self._session is None:
            self._session = LumaSession(self.settings, "task")
        try:
            call = next(steps)
            while True:
                self._take_turn(Call.STATUS)
                call = steps.send(self._session.exchange(call))
        except StopIteration as end:
            result: _T = end.value
            return result

    def get_status(self, request_id: str) -> Generation:
        """
        Return what the gateway says of a generation now. Free; sent again where that may help.

        :return: also where it is not known (``status`` is ``NOT_FOUND``) or has failed.
        :raises LumaConfigurationError: the connection cannot be used.
        :raises LumaError: the gateway could not be asked; the generation is not affected.
        """
        seen, tries = self._sent(Call.STATUS, lambda: self.look(request_id))
        if isinstance(seen, Miss):
            raise self._error(Call.STATUS, seen, tries, request_id)
        return seen

    def wait_for_completion(
        self, request_id: str, *, timeout: float = DEFAULT_WAIT_TIMEOUT, poke_interval: float | None = None
    ) -> Generation:
        """
        Wait in this process until the generation is complete, and return it with its ``video_url``.

        It holds the worker. In a DAG prefer :class:`~airflow_provider_luma.sensors.luma.LumaStatusSensor`
        with ``deferrable=True``, which holds none.

        :param timeout: seconds, an hour by default; what is complete by the look at its end still counts.
        :param poke_interval: seconds between looks; ``None``: the default schedule.
        :raises LumaGenerationFailed: the gateway says that it failed. It may have been charged.
        :raises LumaWaitTimeout: still pending at the end; it is paid for, and the same call resumes for free.
        :raises LumaGenerationNotFound: the gateway did not know the id for a minute.
        :raises LumaCompletedWithoutVideo: it is complete, and two minutes later had no address yet.
        :raises LumaRefused: the gateway refuses to be asked, for the key, say. What was paid for stays so.
        :raises LumaConfigurationError: the connection cannot be used.
        """
        started_at = time.time()
        wait = Wait(
            request_id,
            started_at,
            started_at + timeout,
            poke_interval,
            conn_id=self.luma_conn_id,
            schedule=self.schedule,
        )
        while True:
            decision = wait.after(self.look(request_id), time.time())
            if isinstance(decision, Done):
                return decision.generation
            if isinstance(decision, GaveUp):
                raise decision.error
            if decision.note:
                self.log.info("Request %s: %s", request_id, decision.note)
            time.sleep(min(decision.seconds, MAX_WORKER_PAUSE))

    def test_connection(self) -> tuple[bool, str]:
        """
        Say whether the connection can be used, for the Test button. It asks about an id that nobody has:
        free.

        :return: whether the gateway accepted the key, and a sentence for a person.
        """
        try:
            self.estimate()
            name = f"connection-test-{uuid.uuid4()}"
            return self._answered(probe(self.settings.gateway, name, self.status_id_field))
        except LumaError as error:
            return False, str(error)
        finally:
            self.close()

    def sibling(self, stopped: threading.Event) -> LumaHook:
        """
        Return another hook for the same connection, to be used by another thread.

        It looks nothing up; the siblings keep to ``requests_per_second`` together, and pause together where
        the gateway refuses for being asked too often.

        :param stopped: its :attr:`stopped`.
        """
        other = LumaHook(self.luma_conn_id)
        other._settings, other.base_url = self.settings, self.settings.base_url
        other._status_id_field = self._status_id_field
        other._turns = self._turns
        other.stopped = stopped
        return other

    def close(self) -> None:
        """Close the hook's own session. The hook can be used again afterwards."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> LumaHook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_turn(self, call: Call) -> None:
        """Sleep as long as ``requests_per_second``, or a refusal of a sibling, asks for."""
        while (pause := self._turns.next(self.settings.requests_per_second)) > 0:
            self._sleep(call, pause)

    def _sleep(self, call: Call, seconds: float) -> None:
        if self.stopped.wait(seconds):
            if call is Call.GENERATE:
                raise LumaSubmitInterrupted("This task was told to stop before its request was sent.")
            raise LumaLookInterrupted("This task was told to stop before it had asked for the status.")

    def _sent(self, call: Call, once: Callable[[], _T | Miss]) -> tuple[_T | Miss, int]:
        """Call ``once``, again where the table allows it; return what it came to and the tries."""

        def pause(state: tenacity.RetryCallState) -> float | None:
            seen = state.outcome.result() if state.outcome is not None else None
            if not isinstance(seen, Miss):
                return None
            return pause_before_next(
                call,
                seen,
                tries=state.attempt_number,
                now=time.time(),
                random=random.random(),
                retry_generate_on_503=self.settings.retry_generate_on_503,
            )

        def report(state: tenacity.RetryCallState) -> None:
            seen = state.outcome.result() if state.outcome is not None else None
            if isinstance(seen, Miss) and state.next_action is not None:
                if seen.fault in TOO_MANY:
                    self._turns.refused(state.next_action.sleep)
                self.log.warning(
                    "%s, try %d: the gateway %s. Nothing is charged for that; sending again in %.1f s.",
                    call.value,
                    state.attempt_number,
                    seen.detail,
                    state.next_action.sleep,
                )

        retrying = tenacity.Retrying(
            sleep=functools.partial(self._sleep, call),
            retry=tenacity.retry_if_result(lambda seen: isinstance(seen, Miss)),
            stop=lambda state: pause(state) is None,
            wait=lambda state: pause(state) or 0.0,
            before_sleep=report,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        seen = retrying(once)
        return seen, int(retrying.statistics.get("attempt_number", 1))

    def _is_unknown(self, miss: Miss) -> bool:
        """Return whether a submit that came to ``miss`` may have been accepted."""
        cell = rule(Call.GENERATE, miss.fault, retry_generate_on_503=self.settings.retry_generate_on_503)
        return cell.error is LumaSubmitOutcomeUnknown

    def _error(self, call: Call, miss: Miss, tries: int, request_id: str | None = None) -> LumaError:
        return error_for(
            call,
            miss,
            now=time.time(),
            tries=tries,
            request_id=request_id,
            conn_id=self.luma_conn_id,
            retry_generate_on_503=self.settings.retry_generate_on_503,
        )


class _Turns:
    """When the siblings of one hook may send; they are used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pace: Pace | None = None

    def next(self, per_second: float | None) -> float:
        """Return 0 if a request may be sent now, or the seconds after which to ask again."""
        with self._lock:
            if self._pace is None:
                self._pace = Pace(per_second)
            return self._pace.turn(time.monotonic())

    def refused(self, pause: float) -> None:
        """Have everybody pause for so many seconds."""
        with self._lock:
            if self._pace is not None:
                now = time.monotonic()
                self._pace.refused(now, now, pause)


class LumaAsyncHook(BaseHook):
    """
    Ask the Luma gateway from an event loop. It only asks: nothing here costs money.

    Use it inside one loop and close it there: ``async with LumaAsyncHook(...) as hook``. One hook may be used
    by many coroutines at once: they share one look-up of the connection and one session. The connection is
    looked up again after :data:`RENEW_AFTER` seconds, and at once when the gateway refuses the key, so that a
    key that was rotated counts without a restart; a look-up that fails then changes nothing.

    ``max_concurrent_requests`` bounds its connections. ``requests_per_second`` it does not keep: the triggers
    of this provider do so together, in the channel that they share.

    :param luma_conn_id: id of an Airflow connection of type ``luma``.
    :param caller: who asks, for the User-Agent: ``triggerer`` or ``task``.
    :param status_id_field: ``auto`` (the connection says), or the field that an earlier look has settled.
    """

    def __init__(
        self,
        luma_conn_id: str = LumaHook.default_conn_name,
        *,
        caller: str = "triggerer",
        status_id_field: str = "auto",
    ) -> None:
        super().__init__()
        self.luma_conn_id = luma_conn_id
        self.status_id_field = status_id_field
        self._caller = caller
        self._line: _Line | None = None
        self._looking_up = asyncio.Lock()
        self._looked_up_at = 0.0
        #: What the last look-up came to, if it came to nothing.
        self._not_found: LumaConnectionNotFound | None = None

    @property
    def settings(self) -> LumaSettings | None:
        """The connection's settings as they were looked up last; ``None`` before the first time."""
        return None if self._line is None else self._line.settings

    async def open(self) -> None:
        """
        Look the connection up and open a session, if that has not been done. Every look does it by itself.

        :raises LumaConnectionNotFound: there is no such connection, or it cannot be looked up just now.
        :raises LumaConfigurationError: the connection has no key, or has a bad field.
        """
        await self._ready()

    async def look(
        self, request_id: str, *, turn: Callable[[], Awaitable[None]] | None = None
    ) -> Generation | Miss:
        """
        Look once at a generation: one request, or two until the id's field is settled. Free.

        :param turn: awaited before any request after the first, by a caller that rations them.
        :return: what the gateway says, or what the look came to where it says nothing usable.
        :raises LumaConfigurationError: the connection cannot be used.
        """
        with LumaConnectionNotFound.of_a_wait(request_id):
            line = await self._ready()  # which says what the id's field is
        steps = look(line.settings.gateway, request_id, self.status_id_field)
        try:
            call = next(steps)
            while True:
                call = steps.send(await self._exchange(call))
                if turn is not None:
                    await turn()
        except StopIteration as end:
            result: tuple[Generation | Miss, str] = end.value
            seen, self.status_id_field = result
            return seen

    async def get_status(self, request_id: str) -> Generation:
        """
        Return what the gateway says of a generation now. Free; sent again where that may help.

        :return: also where it is not known (``status`` is ``NOT_FOUND``) or has failed.
        :raises LumaConfigurationError: the connection cannot be used.
        :raises LumaError: the gateway could not be asked; the generation is not affected.
        """
        tries = 1
        while isinstance(seen := await self.look(request_id), Miss):
            pause = pause_before_next(Call.STATUS, seen, tries=tries, now=time.time(), random=random.random())
            if pause is None:
                raise error_for(
                    Call.STATUS,
                    seen,
                    now=time.time(),
                    tries=tries,
                    request_id=request_id,
                    conn_id=self.luma_conn_id,
                )
            await asyncio.sleep(pause)
            tries += 1
        return seen

    async def close(self) -> None:
        """Close the session's sockets."""
        line, self._line = self._line, None
        if line is not None:
            await line.session.close()

    async def __aenter__(self) -> LumaAsyncHook:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _exchange(self, call: HttpCall) -> Answer | Miss:
        line = await self._ready()
        answer = await line.exchange(call)
        if isinstance(answer, Answer) and answer.status == 401:
            newer = await self._newer_than(line)
            if newer is not None:
                answer = await newer.exchange(call)
        return answer

    async def _ready(self) -> _Line:
        """Return the line to the gateway, opened by the first who needs it."""
        line = self._line
        if line is None:
            async with self._looking_up:
                if self._line is None and self._not_found and self._since_look_up() < RENEW_PAUSE:
                    # Somebody has just asked, for everybody.
                    raise self._not_found.with_traceback(None)
                return self._line or await self._look_up()
        if self._since_look_up() > RENEW_AFTER and not self._looking_up.locked():
            # One renews; the others go on with what there is.
            return await self._newer_than(line) or line
        return line

    async def _newer_than(self, line: _Line) -> _Line | None:
        """Look the connection up again; return the line that follows ``line`` if the connection changed."""
        async with self._looking_up:
            if self._line is not line:
                return self._line
            if self._since_look_up() < RENEW_PAUSE:
                return None
            try:
                newer = await self._look_up()
            except Exception as error:
                # The waits that are under way must not end because a look-up fails, whatever it is.
                self.log.warning(
                    "Connection %s could not be looked up again; what was known of it goes on counting: %s",
                    self.luma_conn_id,
                    plain_reason(error),
                )
                return None
            return None if newer is line else newer

    def _since_look_up(self) -> float:
        return time.monotonic() - self._looked_up_at

    async def _look_up(self) -> _Line:
        """Look the connection up and return the line it leads to: the present one if nothing has changed."""
        self._looked_up_at = time.monotonic()
        try:
            found = await _found_async(self.luma_conn_id)
        except LumaConnectionNotFound as error:
            self._not_found = error
            raise
        self._not_found = None
        settings = settings_from(found, self.luma_conn_id)
        present = self._line
        if present is not None and present.settings == settings:
            return present
        line = _Line(settings, await AsyncLumaSession.open(settings, self._caller))
        self._line = line
        if present is None:
            if self.status_id_field == "auto":
                self.status_id_field = settings.status_id_field
        else:
            self.status_id_field = settings.status_id_field
            self.log.info(
                "Connection %s has changed; the new settings count from here on.", self.luma_conn_id
            )
            await present.retire()
        return line


class _Line:
    """One session with the settings it was opened for. Closes when it is retired and nobody uses it."""

    def __init__(self, settings: LumaSettings, session: AsyncLumaSession) -> None:
        self.settings = settings
        self.session = session
        self._users = 0
        self._retired = False

    async def exchange(self, call: HttpCall) -> Answer | Miss:
        self._users += 1
        try:
            return await self.session.exchange(call)
        finally:
            self._users -= 1
            await self._close_if_done()

    async def retire(self) -> None:
        self._retired = True
        await self._close_if_done()

    async def _close_if_done(self) -> None:
        if self._retired and not self._users:
            await self.session.close()


def _unknown_connection(conn_id: str, why: Exception) -> LumaConnectionNotFound:
    return LumaConnectionNotFound(
        f"There is no Airflow connection with the id {conn_id!r} ({type(why).__name__}).",
        next_step="If there is, it could not be looked up just now, and a retry may. If not, add it: "
        f"airflow connections add {conn_id} --conn-type luma --conn-password KEY",
    )


def _found(conn_id: str, lookup: Callable[[str], Connection]) -> Connection:
    try:
        return lookup(conn_id)
    except AirflowNotFoundException as error:
        raise _unknown_connection(conn_id, error) from None


async def _found_async(conn_id: str) -> Connection:
    try:
        return await get_async_connection(conn_id=conn_id)
    except AirflowNotFoundException as error:
        raise _unknown_connection(conn_id, error) from None
