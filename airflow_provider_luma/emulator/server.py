"""
The emulator itself: a gateway on loopback that answers as the vendors' pages say, through all doors at once.

:class:`Emulator` runs an aiohttp server in a thread of its own, with an event loop of its own. It keeps a
record of every request, creates generations that complete after a time, serves their videos, and misbehaves
when told to (:mod:`airflow_provider_luma.emulator.faults`). All of its methods may be called from any thread.

No request costs work that grows with the number of generations or of requests. It never binds anything but a
loopback address.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import json
import logging
import re
import socket
import ssl
import threading
import time
import uuid
from collections import Counter, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import hdrs, web

from airflow_provider_luma.emulator import control, page
from airflow_provider_luma.emulator.doors import AppyPie, Door, Luma, LumaAgents, Pixazo
from airflow_provider_luma.emulator.faults import Call, Rule, drop, load
from airflow_provider_luma.emulator.models import (
    ACCOUNT,
    GET_STATUS,
    LIST,
    TARGETS,
    UNKNOWN,
    VIDEO,
    Answer,
    Asked,
    EmulatedGeneration,
    Incoming,
    Plan,
    RecordedRequest,
    Sight,
)
from airflow_provider_luma.emulator.video import Scene, Video, VideoStore, VideosUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

log = logging.getLogger("airflow_provider_luma.emulator")

STATUS_ID_FIELDS = ("both", "task_id", "requestId")
_VIDEO_PATH = re.compile(r"/videos/(.+)\.mp4", re.DOTALL)
#: The same videos for the page at ``/``: neither counted nor met by faults.
_PAGE_VIDEO_PATH = re.compile(r"/_emulator/videos/(.+)\.mp4", re.DOTALL)


#: What a store of objects says of a signed address that has expired.
_EXPIRED = Answer(
    status=403,
    content_type="application/xml",
    body=b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code>'
    b"<Message>Request has expired</Message></Error>",
)


class Emulator:
    """
    A Luma gateway for tests and demos, on a loopback address.

    Use it as a context manager, or with :meth:`start` and :meth:`stop`. After ``stop()`` the record stays,
    and ``start()`` opens the same port again.

    :param key: the subscription key that callers must send.
    :param seconds: how long a generation takes, unless :meth:`next` or :meth:`set` say otherwise.
    :param host: a loopback address.
    :param port: 0 picks a free one.
    :param status_id_field: the field in which getStatus takes the id: ``both``, ``task_id`` or ``requestId``.
    :param pending_word: the status of a generation that is not ready.
    :param not_found_status: the HTTP status under which an unknown id is answered: 200 or 404.
    :param videos: ``full`` renders each prompt; ``tiny`` serves one small video, for load tests.
    :param record_limit: how many requests are remembered in full; counters go on beyond it.
    :param tls: certificate and key file (PEM), or a server-side ``SSLContext``; None is plain HTTP.
    :param credit_balance: what the account of Luma's own API has left, in US cents.
    :param address_seconds: for how long a signed address of a video is valid (Luma's API for agents).
    """

    def __init__(
        self,
        *,
        key: str = "emulator-key",
        seconds: float = 3.0,
        host: str = "127.0.0.1",
        port: int = 0,
        status_id_field: str = "both",
        pending_word: str = "processing",
        not_found_status: int = 200,
        videos: str = "full",
        record_limit: int = 100_000,
        tls: tuple[str | Path, str | Path] | ssl.SSLContext | None = None,
        credit_balance: float = 10_000.0,
        address_seconds: float = 3600.0,
    ) -> None:
        if status_id_field not in STATUS_ID_FIELDS:
            raise ValueError(f"status_id_field is one of {STATUS_ID_FIELDS}, not {status_id_field!r}")
        if videos not in ("full", "tiny"):
            raise ValueError(f"videos is 'full' or 'tiny', not {videos!r}")
        self.key = key
        self.seconds = seconds
        self.status_id_field = status_id_field
        self.pending_word = pending_word
        self.not_found_status = not_found_status
        self.credit_balance = credit_balance
        self.address_seconds = address_seconds
        self._doors: dict[str, Door] = {
            door.name: door
            for door in (
                AppyPie(self),
                Luma(),
                LumaAgents(),
                Pixazo(),
            )
        }
        self._host = _loopback(host)
        self._port = port
        self._tls = _server_tls(tls)
        self._videos = VideoStore(tiny=videos == "tiny")
        # Guards everything below; held for moments only, so the event loop may take it.
        self._lock = threading.RLock()
        self._requests: deque[RecordedRequest] = deque(maxlen=record_limit)
        self._generations: dict[str, EmulatedGeneration] = {}
        self._by_door: defaultdict[str, list[EmulatedGeneration]] = defaultdict(list)
        self._plans: deque[Plan] = deque()
        self._plan_for_ever: Plan | None = None
        self._rules: dict[str, list[Rule]] = {target: [] for target in TARGETS}
        self._counts: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._max_in_flight: Counter[str] = Counter()
        self._paid = 0
        self._other_host: Emulator | None = None
        # Of the running server
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._renderers: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        """Name the address, never the key."""
        return f"<Emulator {self.url} paid={self._paid}>"

    # --- running --------------------------------------------------------------------------------------

    def start(self) -> Self:
        """
        Open the port and serve; returns once connections are accepted.

        :raises OSError: when the port is taken.
        """
        if self._thread is not None:
            raise RuntimeError("The emulator is running already")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=2048)
        self._port = listener.getsockname()[1]
        ready = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self._serve(listener, ready))
            except BaseException as error:
                failure.append(error)
                raise
            finally:
                listener.close()
                ready.set()

        self._thread = threading.Thread(target=run, name="luma-emulator", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            self._thread = None
            raise failure[0]
        return self

    def stop(self) -> None:
        """Close the port and every connection, hanging requests included; returns when all is gone."""
        with self._lock:
            other, self._other_host = self._other_host, None
        if other is not None:
            other.stop()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
        thread.join()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """The base address, without a slash at the end; complete once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    def url_of(self, gateway: str) -> str:
        """
        Return the base address of one door.

        :param gateway: as a connection's extra ``gateway`` calls it.
        :raises KeyError: there is none of that name.
        """
        return self.url + self._doors[gateway].prefix

    # --- looking ----------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last ``record_limit`` requests, oldest first, without those to the control API."""
        with self._lock:
            return list(self._requests)

    def calls(self, target: str) -> list[RecordedRequest]:
        """Return the requests to one target; ``unknown`` are those to no address of the gateway."""
        _check_target(target, (*TARGETS, UNKNOWN))
        return [request for request in self.requests if request.target == target]

    def count(self, target: str) -> int:
        """Return how many requests a target had, also those that the record no longer holds."""
        _check_target(target, (*TARGETS, UNKNOWN))
        with self._lock:
            return self._counts[target]

    @property
    def in_flight(self) -> dict[str, int]:
        """How many requests are being answered right now, by target."""
        with self._lock:
            return dict(self._in_flight)

    @property
    def max_in_flight(self) -> dict[str, int]:
        """How many requests were being answered at once, at most, by target."""
        with self._lock:
            return dict(self._max_in_flight)

    @property
    def generations(self) -> dict[str, EmulatedGeneration]:
        """All generations by request id, oldest first. Copies: they do not change later."""
        with self._lock:
            return {
                request_id: self._copied(generation) for request_id, generation in self._generations.items()
            }

    def generation(self, request_id: str) -> EmulatedGeneration:
        """
        Return a copy of one generation.

        :raises KeyError: when there is none.
        """
        with self._lock:
            return self._copied(self._generations[request_id])

    @property
    def paid(self) -> int:
        """How many generations requests have created, whether or not the answers arrived."""
        return self._paid

    def video_url(self, request_id: str) -> str:
        """Return the address at which a generation's video is served once it is completed."""
        return f"{self.url}/videos/{quote(request_id, safe='')}.mp4"

    def _copied(self, generation: EmulatedGeneration) -> EmulatedGeneration:
        return replace(generation, seen=self._sight(generation) or Sight("not-found"))

    def _address(self, generation: EmulatedGeneration) -> str:
        """Return the address of a video as its door gives it: signed, where that door signs."""
        address = self.video_url(generation.request_id)
        if generation.door != LumaAgents.name:
            return address
        expires = f"{time.time() + self.address_seconds:.3f}"
        return f"{address}?Expires={expires}&Signature={self._signature(generation.request_id, expires)}"

    def _signature(self, request_id: str, expires: str) -> str:
        return hashlib.sha256(f"{self.key} {request_id} {expires}".encode()).hexdigest()[:32]

    def video_bytes(self, request_id: str) -> bytes:
        """
        Return exactly what the generation's video address serves.

        :raises KeyError: when there is no such generation.
        :raises VideosUnavailable: when the extra ``emulator`` is not installed.
        """
        return self._videos.get(_scene(self.generation(request_id))).content

    def wait_for(self, condition: Callable[[Emulator], Any], timeout: float = 10.0) -> Any:
        """
        Wait until ``condition(emulator)`` is true and return what it gave.

        :param timeout: seconds.
        :raises TimeoutError: when it stays false.
        """
        deadline = time.monotonic() + timeout
        while True:
            value = condition(self)
            if value:
                return value
            if time.monotonic() >= deadline:
                with self._lock:
                    raise TimeoutError(f"Not true within {timeout:g} s; calls so far: {dict(self._counts)}")
            time.sleep(0.01)

    # --- deciding ---------------------------------------------------------------------------------------

    def next(
        self,
        outcome: str = "completed",
        seconds: float | None = None,
        status: str | None = None,
        reason: str | None = None,
        video_url: str | None = None,
        *,
        request_id: str | None = None,
        failure_code: str | None = None,
        times: int | None = 1,
    ) -> None:
        """
        Settle what the next generation(s) to be submitted will become.

        :param outcome: one of :data:`~airflow_provider_luma.emulator.models.OUTCOMES`.
        :param seconds: from submitting to the outcome.
        :param status: status word in place of ``completed``, ``failed`` or the pending word.
        :param reason: text of the ``error``.
        :param video_url: address in place of the emulator's own.
        :param request_id: the id to give, in place of a random one; for one generation only.
        :param failure_code: why it fails, where a door has codes for that.
        :param times: how many generations; None is all that come after those planned already.
        """
        plan = Plan(outcome, seconds, status, reason, video_url, request_id, failure_code)
        if request_id is not None and times != 1:
            raise ValueError("A request_id can be given to one generation only")
        with self._lock:
            if times is None:
                self._plan_for_ever = plan
            else:
                self._plans.extend([plan] * times)

    def set(
        self,
        request_id: str,
        outcome: str | None = None,
        seconds: float | None = None,
        status: str | None = None,
        reason: str | None = None,
        video_url: str | None = None,
    ) -> None:
        """
        Change a generation that exists; what is None stays as it is. ``seconds`` still count from submitting.

        :raises KeyError: when there is no such generation.
        """
        with self._lock:
            generation = self._generations[request_id]
            if outcome is not None:
                generation.outcome = Plan(outcome).outcome
            generation.seconds = generation.seconds if seconds is None else seconds
            generation.status = generation.status if status is None else status
            generation.reason = generation.reason if reason is None else reason
            generation.video_url = generation.video_url if video_url is None else video_url

    def add(
        self,
        request_id: str | None = None,
        *,
        prompt: str = "Made elsewhere",
        aspect_ratio: str = "16:9",
        loop: bool = False,
        image_url: str | None = None,
        outcome: str = "completed",
        seconds: float | None = None,
        status: str | None = None,
        reason: str | None = None,
        video_url: str | None = None,
        door: str = AppyPie.name,
    ) -> str:
        """Add a generation that was made elsewhere, submitted now and not counted as paid; return its id."""
        if door not in self._doors:
            raise ValueError(f"There is no door {door!r}. There are: {', '.join(self._doors)}")
        plan = Plan(outcome, seconds, status, reason, video_url, request_id)
        body: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio, "loop": loop}
        if door == Luma.name:
            body["model"] = "ray-2"
        return self._create(plan, Asked(prompt, aspect_ratio, loop, image_url, body), door, paid=False)

    def misbehave(
        self,
        target: str,
        name: str,
        *,
        times: int | None = 1,
        after: int = 0,
        rate: float = 1.0,
        seed: int = 0,
        paid: bool | None = None,
        **options: Any,
    ) -> None:
        """
        Apply a fault to the next calls to a target, be they valid or not.

        Faults take turns in the order in which they were given: each call meets the first that is ready. Only
        ``latency`` comes on top of another.

        :param target: ``generate``, ``generateRequestFromImage``, ``getStatus`` or ``video``.
        :param name: a name from :data:`~airflow_provider_luma.emulator.faults.FAULTS`.
        :param times: how many calls; None is for ever.
        :param after: how many calls to the target, from now on, pass first.
        :param rate: share of the calls that meet it, from dice seeded with ``seed``.
        :param paid: whether a ``generate`` that meets it still creates its generation; None is the fault's
            default.
        :param options: the fault's own options.
        """
        rule = load(target, name, times=times, after=after, rate=rate, seed=seed, paid=paid, options=options)
        if name == "redirect" and rule.options["location"] is None:
            rule.options["location"] = self.other_host().url + "{path}"
        with self._lock:
            self._rules[target].append(rule)

    def behave(self, target: str | None = None) -> None:
        """End all misbehaviour, or that of one target. Requests that hang already go on hanging."""
        if target is not None:
            _check_target(target, TARGETS)
        with self._lock:
            for name in TARGETS if target is None else (target,):
                self._rules[name].clear()

    def reset(self) -> None:
        """Forget all requests, generations, plans and faults, and count from zero."""
        with self._lock:
            self._requests.clear()
            self._generations.clear()
            self._by_door.clear()
            self._plans.clear()
            self._plan_for_ever = None
            self._counts.clear()
            self._max_in_flight.clear()
            self._paid = 0
            self.behave()
            other = self._other_host
        if other is not None:
            other.reset()

    def other_host(self) -> Emulator:
        """Return a second emulator on another port, started on first use, that records what strays there."""
        with self._lock:
            if self._other_host is None:
                self._other_host = Emulator(key=self.key, seconds=self.seconds, host=self._host).start()
            return self._other_host

    def describe(self, limit: int = 1000) -> dict[str, Any]:
        """
        Return counts, faults and the newest generations as plain data.

        :param limit: how many generations at most.
        """
        with self._lock:
            newest = list(itertools.islice(reversed(self._generations.values()), max(limit, 0)))
            other = self._other_host
            return {
                "url": self.url,
                "now": time.time(),
                "seconds": self.seconds,
                "status_id_field": self.status_id_field,
                "paid": self._paid,
                "counts": {target: self._counts[target] for target in (*TARGETS, UNKNOWN)},
                "in_flight": dict(self._in_flight),
                "max_in_flight": dict(self._max_in_flight),
                "faults": [
                    rule.describe() for rules in self._rules.values() for rule in rules if not rule.spent
                ],
                "plans": len(self._plans),
                "other_host": None if other is None else {"url": other.url, "requests": len(other._requests)},
                "generations_total": len(self._generations),
                "generations": [self._describe_generation(generation) for generation in reversed(newest)],
            }

    # --- serving ----------------------------------------------------------------------------------------

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        stopping = self._stopping = asyncio.Event()
        self._renderers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="luma-emulator-video")
        # Without cancellation a request that hangs would outlive its client.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.2)
        try:
            await runner.setup()
            await web.SockSite(runner, listener, ssl_context=self._tls, backlog=2048).start()
            ready.set()
            await stopping.wait()
        finally:
            for site in list(runner.sites):
                await site.stop()
            for connection in server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()
            self._renderers.shutdown(wait=True, cancel_futures=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if page.is_meant_by(request) or request.path.startswith(control.PREFIX):
            return await self._handle_own(request)
        door, target = self._aimed_at(request)
        with self._lock:
            self._counts[target] += 1
            self._in_flight[target] += 1
            self._max_in_flight[target] = max(self._max_in_flight[target], self._in_flight[target])
            pause, rule, names = self._choose_faults(target)
        try:
            return await self._answer(request, door, target, pause, rule, names)
        finally:
            with self._lock:
                self._in_flight[target] -= 1

    async def _handle_own(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer what is no call to the gateway: the page, its videos and the control API; unrecorded."""
        if not page.is_from_here(request):
            answer = web.Response(status=403, text="This emulator answers only to this machine.\n")
        elif (found := page.file_for(request)) is not None:
            answer = found
        elif (video := _PAGE_VIDEO_PATH.fullmatch(request.path)) and request.method == hdrs.METH_GET:
            answer = _to_response(await self._film(request, video[1]))
        else:
            answer = await control.handle(self, request)
        answer.headers.update(page.SAFETY)
        return answer

    def _choose_faults(self, target: str) -> tuple[float, Rule | None, str | None]:
        """Return the seconds of latency, the fault (if any) and the names of both for one call."""
        rules = self._rules.get(target)
        if not rules:
            return 0.0, None, None
        pause = 0.0
        chosen: Rule | None = None
        names = []
        for rule in rules:
            ready = rule.pass_by()
            latency = rule.fault.name == "latency"
            if not ready or (chosen is not None and not latency):
                continue
            rule.fired += 1
            names.append(rule.fault.name)
            if latency:
                pause += float(rule.options["seconds"])
            else:
                chosen = rule
        self._rules[target] = [rule for rule in rules if not rule.spent]
        return pause, chosen, "+".join(names) or None

    def _aimed_at(self, request: web.BaseRequest) -> tuple[Door, str]:
        """Return the door that is spoken to, and what the call is aimed at."""
        if request.method in (hdrs.METH_GET, hdrs.METH_HEAD) and _VIDEO_PATH.fullmatch(request.path):
            return self._doors[AppyPie.name], VIDEO
        for door in self._doors.values():
            target = door.target_of(request.method, request.path)
            if target is not None:
                return door, target
        near = (door for door in self._doors.values() if door.prefix and request.path.startswith(door.prefix))
        return next(near, self._doors[AppyPie.name]), UNKNOWN

    async def _answer(
        self,
        request: web.BaseRequest,
        door: Door,
        target: str,
        pause: float,
        rule: Rule | None,
        names: str | None,
    ) -> web.StreamResponse:
        fault = None if rule is None else rule.fault
        early = fault is not None and fault.before_body
        refusal: Answer | None = None
        try:
            body = b"" if early else await request.read()
        except web.HTTPRequestEntityTooLarge:
            body, refusal = b"", door.error(413)
        parsed = _parse(body)
        call = Incoming(request.path, request.query, request.content_type, parsed, self._knows)

        # From here to the record nothing waits, so that the record stands in the order of the deeds.
        request_id: str | None = None
        paid = False
        honest = Answer()
        if target == VIDEO:
            request_id = _video_id(request)
        elif early:
            pass
        elif refusal is not None or (refusal := self._refusal(request, door, target, call)) is not None:
            honest = refusal
        elif target == GET_STATUS:
            request_id = door.asked_id(call)
            honest = self._look(door, request_id, request.path)
        elif target == LIST:
            honest = door.listed(call, functools.partial(self._page, door))
        elif target == ACCOUNT:
            honest = door.account(self.credit_balance)
        elif rule is None or rule.paid:
            generation = self._submit(door, target, call)
            request_id, paid = generation.request_id, True
            honest = door.accepted(generation, self.url)
        else:
            # The fault says that nothing was created; what it sends may still look like an acceptance.
            nobodys = EmulatedGeneration.of(Plan(), door.asked(target, call), door.name, self.seconds)
            honest = door.accepted(nobodys, self.url)
        self._note(request, target, body, parsed, request_id, names, paid)

        if pause and await self._stops_within(pause):
            return web.Response(status=503)
        if target == VIDEO and (fault is None or fault.uses_honest):
            honest = await self._film(request, request_id)
        if rule is None or fault is None:
            return _to_response(honest)
        met = Call(
            request=request,
            target=target,
            options=rule.options,
            honest=honest,
            video_url=None if request_id is None else self.video_url(request_id),
            to_another=lambda other: self._to_another(door, target, request_id, other),
            error=door.error,
            told=lambda sight: door.told(self._made(request_id, door), sight),
            not_found=door.not_found,
            stopping=self._running_event(),
        )
        if fault.wire is not None:
            try:
                return await fault.wire(met)
            except ConnectionResetError:
                # Whoever asked has had enough.
                return drop(request)
        if fault.answer is not None:
            return _to_response(fault.answer(met))
        raise AssertionError(f"Fault {fault.name} does nothing")

    def _refusal(self, request: web.BaseRequest, door: Door, target: str, call: Incoming) -> Answer | None:
        """Return the documented error for a request that is not as the door wants it, or None."""
        if target == UNKNOWN:
            return door.error(404)
        if request.headers.getall(door.key_header, []) != [door.key_value(self.key)]:
            return door.error(401)
        return door.refusal(target, call)

    def _knows(self, request_id: Any) -> bool:
        with self._lock:
            return isinstance(request_id, str) and request_id in self._generations

    def _submit(self, door: Door, target: str, call: Incoming) -> EmulatedGeneration:
        with self._lock:
            plan = self._plans.popleft() if self._plans else self._plan_for_ever or Plan()
            request_id = self._create(plan, door.asked(target, call), door.name, paid=True)
            return self._generations[request_id]

    def _create(self, plan: Plan, asked: Asked, door: str, *, paid: bool) -> str:
        generation = EmulatedGeneration.of(plan, asked, door, self.seconds, paid=paid)
        with self._lock:
            self._generations[generation.request_id] = generation
            self._by_door[door].append(generation)
            self._paid += paid
        return generation.request_id

    def _made(self, request_id: str | None, door: Door) -> EmulatedGeneration:
        """Return the generation of an id; if there is none, one that nobody has asked for."""
        with self._lock:
            made = self._generations.get(request_id or "")
        nothing = Asked("", "16:9", False, None, {})
        return made or EmulatedGeneration.of(Plan(request_id=request_id), nothing, door.name, self.seconds)

    def _page(self, door: Door, offset: int, limit: int) -> tuple[list[EmulatedGeneration], int]:
        """Return a page of a door's generations, newest first, and how many there are."""
        with self._lock:
            made = self._by_door[door.name]
            end = max(len(made) - offset, 0)
            page = made[max(end - limit, 0) : end]
            return [self._copied(one) for one in reversed(page)], len(made)

    def _look(self, door: Door, request_id: str, path: str) -> Answer:
        with self._lock:
            generation = self._generations.get(request_id)
            if generation is None or generation.door != door.name:
                return door.not_found()
            generation.looks += 1
            sight = self._sight(generation)
        return door.not_found() if sight is None else door.told(generation, replace(sight, path=path))

    def _sight(self, generation: EmulatedGeneration) -> Sight | None:
        """Return what a look at a generation shows now; None is that there is none."""
        outcome, word = generation.outcome, generation.status
        if outcome == "not-found":
            return None
        if not _is_over(generation):
            return Sight("pending")
        if outcome == "pending":
            return Sight("pending", word)
        if outcome in ("failed", "error-no-status"):
            return Sight(outcome, word, generation.reason or "The video could not be generated")
        if outcome == "no-address":
            return Sight("no-address", word)
        return Sight(outcome, word, address=generation.video_url or self._address(generation))

    def _describe_generation(self, generation: EmulatedGeneration) -> dict[str, Any]:
        value = dict(vars(generation))
        del value["submitted_monotonic"], value["seen"]
        over, answer = _is_over(generation), self._described_answer(generation)
        own = over and generation.outcome == "completed" and generation.video_url is None
        video = f"{control.PREFIX}videos/{quote(generation.request_id, safe='')}.mp4" if own else None
        return {**value, "over": over, "answer": answer, "own_video": video}

    def _described_answer(self, generation: EmulatedGeneration) -> dict[str, str] | None:
        """Return what a look shows, for people, in one form for all doors; None is NOT_FOUND."""
        sight = self._sight(generation)
        if sight is None:
            return None
        told = json.loads(self._doors[generation.door].told(generation, sight).body)
        word = told.get("status") or told.get("state")
        known = {"status": word, "video_url": sight.address, "error": sight.reason}
        return {name: value for name, value in known.items() if value is not None}

    def _to_another(self, door: Door, target: str, request_id: str | None, other: str | None) -> Answer:
        with self._lock:
            if other is None:
                other = next((name for name in self._generations if name != request_id), str(uuid.uuid4()))
            if target == GET_STATUS:
                return self._look(door, other, "")
            return door.accepted(self._made(other, door), self.url)

    async def _film(self, request: web.BaseRequest, request_id: str | None) -> Answer:
        """Return the answer that serves a generation's video, or the part of it that was asked for."""
        with self._lock:
            generation = self._generations.get(request_id or "")
            if generation is None or generation.outcome != "completed" or not _is_over(generation):
                return self._doors[AppyPie.name].error(404)
            if generation.door == LumaAgents.name and not self._is_signed(request, generation.request_id):
                return _EXPIRED
            scene = _scene(generation)
        try:
            video = await asyncio.get_running_loop().run_in_executor(self._renderers, self._videos.get, scene)
        except VideosUnavailable as error:
            return Answer.of({"error": str(error)}, status=501)
        return _cut(request, video)

    def _is_signed(self, request: web.BaseRequest, request_id: str) -> bool:
        if request.path.startswith(control.PREFIX):
            return True
        expires, signature = request.query.get("Expires", ""), request.query.get("Signature")
        try:
            valid = float(expires) >= time.time()
        except ValueError:
            return False
        return valid and signature == self._signature(request_id, expires)

    def _note(
        self,
        request: web.BaseRequest,
        target: str,
        body: bytes,
        parsed: Any,
        request_id: str | None,
        fault: str | None,
        paid: bool,
    ) -> None:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        record = RecordedRequest(
            at=time.time(),
            target=target,
            method=request.method,
            path=request.raw_path,
            headers=request.headers,
            body=body,
            json=parsed,
            client_port=peer[1] if peer else 0,
            request_id=request_id or None,
            fault=fault,
            paid=paid,
        )
        with self._lock:
            self._requests.append(record)
        if log.isEnabledFor(logging.INFO):
            line = control.redact_text(request.raw_path, self.key)
            log.info("%s %s id=%s fault=%s paid=%s", request.method, line, request_id, fault, paid)

    def _running_event(self) -> asyncio.Event:
        if self._stopping is None:
            raise RuntimeError("The emulator is not running")
        return self._stopping

    async def _stops_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._running_event().wait(), seconds)
        except TimeoutError:
            return False
        return True


def _loopback(host: str) -> str:
    """Return the address to bind for ``host``, which must mean this machine alone."""
    if not page.is_loopback(host):
        raise ValueError(
            f"The emulator serves loopback addresses only, such as 127.0.0.1 or ::1, not {host!r}"
        )
    return "127.0.0.1" if host == "localhost" else host


def _server_tls(tls: tuple[str | Path, str | Path] | ssl.SSLContext | None) -> ssl.SSLContext | None:
    if tls is None or isinstance(tls, ssl.SSLContext):
        return tls
    certfile, keyfile = tls
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certfile, keyfile)
    return context


def _check_target(target: str, known: tuple[str, ...]) -> None:
    if target not in known:
        raise ValueError(f"There is no target {target!r}. There are: {', '.join(known)}")


def _video_id(request: web.BaseRequest) -> str | None:
    match = _VIDEO_PATH.fullmatch(request.path)
    return match[1] if match else None


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None


def _is_over(generation: EmulatedGeneration) -> bool:
    return time.monotonic() - generation.submitted_monotonic >= generation.seconds


def _scene(generation: EmulatedGeneration) -> Scene:
    return Scene(
        request_id=generation.request_id,
        prompt=generation.prompt,
        aspect_ratio=generation.aspect_ratio,
        loop=generation.loop,
        image_url=generation.image_url,
    )


def _cut(request: web.BaseRequest, video: Video) -> Answer:
    """Return the whole video, the range of it that was asked for, or the news that it has not changed."""
    headers: dict[str, str] = {hdrs.ETAG: video.etag, hdrs.ACCEPT_RANGES: "bytes"}
    if request.headers.get(hdrs.IF_NONE_MATCH) in (video.etag, "*"):
        return Answer(status=304, content_type="video/mp4", headers=headers)
    size = len(video.content)
    whole = Answer(body=video.content, content_type="video/mp4", headers=headers)
    if hdrs.RANGE not in request.headers or request.headers.get(hdrs.IF_RANGE, video.etag) != video.etag:
        return whole
    try:
        asked = request.http_range
    except ValueError:
        return whole
    start, stop, _ = asked.indices(size)
    if start >= stop:
        headers[hdrs.CONTENT_RANGE] = f"bytes */{size}"
        return Answer(status=416, content_type="video/mp4", headers=headers)
    headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{stop - 1}/{size}"
    return Answer(status=206, body=video.content[start:stop], content_type="video/mp4", headers=headers)


def _to_response(answer: Answer) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: answer.content_type, **answer.headers}
    return web.Response(status=answer.status, body=answer.body, headers=headers)
