"""
Every way in which the emulator can misbehave: one table, :data:`FAULTS`.

A fault is aimed at one target with ``Emulator.misbehave(target, name, **options)`` and is applied to that
target's next calls, whatever they look like. Where ``generate`` is the target, the fault also settles whether
the generation is created, which is what a customer pays for: refusals do not create one, answers that got
lost or mangled do, and the option ``paid`` turns either round. A generation is only ever created from a valid
request with the right key.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import struct
import time
import zlib
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from airflow_provider_luma.emulator.doors.appypie import DOCUMENTED_ERRORS
from airflow_provider_luma.emulator.models import (
    GENERATE,
    GENERATE_FROM_IMAGE,
    GET_STATUS,
    TARGETS,
    Answer,
    Sight,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

#: The 200 body in the vendor's table of status codes.
MSG_ONLY = {"msg": "Image Getting Created"}

_SUBMITTING = (GENERATE, GENERATE_FROM_IMAGE)
_CALLS = (*_SUBMITTING, GET_STATUS)
_PIECE = 64 * 1024


@dataclass(frozen=True)
class Call:
    """One request that is about to be answered badly."""

    request: web.BaseRequest
    target: str
    options: Mapping[str, Any]
    #: What a gateway in good order would have answered (an empty answer for faults that do not build on it).
    honest: Answer
    #: The address of the generation's video, if a generation is concerned.
    video_url: str | None
    #: What a gateway in good order would have answered to somebody else, given that one's request id or None.
    to_another: Callable[[str | None], Answer]
    #: An error in the form of the door that is spoken to: its status, and what it says, or None.
    error: Callable[[int, str | None], Answer]
    #: What the door says of a generation that looks so.
    told: Callable[[Sight], Answer]
    #: What the door says of an id that it does not know.
    not_found: Callable[[], Answer]
    #: Set when the emulator stops: what hangs must end.
    stopping: asyncio.Event


@dataclass(frozen=True)
class Fault:
    """One kind of misbehaviour. Exactly one of ``answer`` and ``wire`` does it, except for ``latency``."""

    name: str
    #: One line for people.
    summary: str
    #: Its own options with their defaults.
    options: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = TARGETS
    #: Whether a ``generate`` that meets it creates its generation, unless the option ``paid`` says otherwise.
    paid: bool = False
    #: Needs ``Call.honest`` and ``Call.video_url``.
    uses_honest: bool = False
    #: Acts before the request's body is read, so that nothing can be created.
    before_body: bool = False
    #: Gives a bad answer that is sent properly.
    answer: Callable[[Call], Answer] | None = None
    #: Talks on the connection itself.
    wire: Callable[[Call], Awaitable[web.StreamResponse]] | None = None


#: Options that every fault takes, with what they mean.
COMMON_OPTIONS = {
    "times": "how many calls it is applied to; null (for ever) or a number, default 1",
    "after": "how many calls to the target it lets pass first, default 0",
    "rate": "the share of the calls it is applied to, 0..1, default 1",
    "seed": "seed of the dice for `rate`, default 0",
    "paid": "whether a generate that meets it creates its generation; default as in the table",
}


@dataclass
class Rule:
    """A fault, aimed and loaded."""

    fault: Fault
    target: str
    options: dict[str, Any]
    times: int | None
    after: int
    rate: float
    paid: bool
    dice: random.Random
    seen: int = 0
    fired: int = 0

    @property
    def spent(self) -> bool:
        """Whether it has been applied as often as it should."""
        return self.times is not None and self.fired >= self.times

    def pass_by(self) -> bool:
        """Count one call to the target; return whether the fault is ready for it."""
        self.seen += 1
        return self.seen > self.after and (self.rate >= 1 or self.dice.random() < self.rate)

    def describe(self) -> dict[str, Any]:
        """Return the rule as JSON for the control API."""
        return {
            "target": self.target,
            "name": self.fault.name,
            "options": self.options,
            "times": self.times,
            "after": self.after,
            "rate": self.rate,
            "paid": self.paid,
            "seen": self.seen,
            "fired": self.fired,
        }


def load(
    target: str,
    name: str,
    *,
    times: int | None = 1,
    after: int = 0,
    rate: float = 1.0,
    seed: int = 0,
    paid: bool | None = None,
    options: Mapping[str, Any] | None = None,
) -> Rule:
    """
    Return the rule that applies fault ``name`` to ``target``.

    :raises ValueError: for a name, target or option that does not exist or does not fit.
    """
    fault = FAULTS.get(name)
    if fault is None:
        raise ValueError(f"There is no fault {name!r}. There are: {', '.join(FAULTS)}")
    if target not in fault.targets:
        raise ValueError(
            f"Fault {name!r} has no target {target!r}; it can be aimed at {', '.join(fault.targets)}"
        )
    options = dict(options or {})
    unknown = sorted(options.keys() - fault.options.keys())
    if unknown:
        known = ", ".join([*fault.options, *COMMON_OPTIONS])
        raise ValueError(f"Fault {name!r} has no option {', '.join(unknown)}; it takes {known}")
    if fault.before_body and paid:
        raise ValueError(f"Fault {name!r} acts before the request is read: it cannot be paid for")
    if times is not None and times < 1:
        raise ValueError(f"times must be at least 1, or None for ever, not {times!r}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie between 0 and 1, not {rate!r}")
    return Rule(
        fault=fault,
        target=target,
        options={**fault.options, **options},
        times=times,
        after=after,
        rate=rate,
        paid=fault.paid if paid is None else paid,
        dice=random.Random(seed),
    )


# --- answers that are sent properly -----------------------------------------------------------------------


def _fixed(answer: Answer) -> Callable[[Call], Answer]:
    return lambda call: answer


def _status(call: Call) -> Answer:
    options = call.options
    code, body = int(options["code"]), options["body"]
    if body is None:
        body = call.error(code, None).body
    raw = (
        body.encode()
        if isinstance(body, str)
        else body
        if isinstance(body, bytes)
        else json.dumps(body).encode()
    )
    return Answer(
        status=code, body=raw, content_type=options["content_type"], headers=dict(options["headers"])
    )


def _apim_401(call: Call) -> Answer:
    message = "Access denied due to invalid subscription key."
    return Answer.of({"statusCode": 401, "message": message}, status=401)


def _apim_429(call: Call) -> Answer:
    seconds = call.options["seconds"]
    message = f"Rate limit is exceeded. Try again in {seconds} seconds."
    return Answer.of(
        {"statusCode": 429, "message": message}, status=429, headers={hdrs.RETRY_AFTER: str(seconds)}
    )


def _quota_403(call: Call) -> Answer:
    seconds = int(call.options["seconds"])
    left = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    message = f"Out of call volume quota. Quota will be replenished in {left}."
    return Answer.of(
        {"statusCode": 403, "message": message}, status=403, headers={hdrs.RETRY_AFTER: str(seconds)}
    )


def _credit(status: int) -> Callable[[Call], Answer]:
    return lambda call: call.error(status, "Insufficient balance: please add credits to continue")


def _error(status: int) -> Callable[[Call], Answer]:
    return lambda call: call.error(status, None)


_WAF_PAGE = Answer(
    status=403,
    content_type="text/html",
    body=b"<!DOCTYPE html>\n<html><head><title>Request blocked</title></head>\n"
    b"<body><h1>403</h1><p>This request was blocked by the security rules.</p></body></html>\n",
)


def _429_with(retry_after: Callable[[Mapping[str, Any]], str]) -> Callable[[Call], Answer]:
    def answer(call: Call) -> Answer:
        headers = {str(hdrs.RETRY_AFTER): retry_after(call.options)}
        return replace(call.error(429, None), headers=headers)

    return answer


def _http_date(options: Mapping[str, Any]) -> str:
    return formatdate(time.time() + float(options["seconds"]), usegmt=True)


def _truncated(call: Call) -> Answer:
    honest = call.honest
    body = honest.body[: int(len(honest.body) * call.options["share"])]
    return Answer(status=honest.status, body=body, content_type=honest.content_type)


def _empty(call: Call) -> Answer:
    return Answer(status=int(call.options["code"]))


def _not_json(call: Call) -> Answer:
    return Answer(body=str(call.options["body"]).encode(), content_type=call.options["content_type"])


def _json_value(call: Call) -> Answer:
    return Answer.of(call.options["value"])


def _wrong_type(call: Call) -> Answer:
    value = call.options["value"]
    if value is None:
        submitting = call.target in _SUBMITTING
        value = (
            {"requestId": ["not", "a", "string"]} if submitting else {"status": 7, "video_url": {"url": 1}}
        )
    return Answer.of(value)


def _word(call: Call) -> Answer:
    word, address = call.options["word"], call.options["video_url"]
    address = call.video_url if address is True else address or None
    return call.told(Sight("completed" if word is not None else "no-status", word, address=address))


def _failed(call: Call) -> Answer:
    return call.told(Sight("failed", call.options["status"], call.options["reason"]))


def _no_address(call: Call) -> Answer:
    return call.told(Sight("no-address"))


def _error_no_status(call: Call) -> Answer:
    return call.told(Sight("error-no-status", reason=call.options["error"]))


def _not_found(call: Call) -> Answer:
    return replace(call.not_found(), status=int(call.options["code"]))


def _redirect(call: Call) -> Answer:
    location = str(call.options["location"]).replace("{path}", call.request.path)
    return Answer(status=int(call.options["code"]), headers={hdrs.LOCATION: location})


def _wrong_id(call: Call) -> Answer:
    return call.to_another(call.options["request_id"])


# --- what happens on the connection ---------------------------------------------------------------------


def drop(request: web.BaseRequest, how: str = "reset") -> web.StreamResponse:
    """
    End the connection without an answer.

    :param how: ``reset`` sends a TCP reset and throws away what was not sent yet; ``close`` sends the rest
        first and closes in order.
    """
    transport = request.transport
    if transport is not None:
        if how == "close":
            transport.close()
        else:
            sock = transport.get_extra_info("socket")
            if sock is not None:
                # Lingering for zero seconds is what makes the kernel send a reset in place of a FIN.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
    return web.Response(status=500)


async def _drop(call: Call) -> web.StreamResponse:
    return drop(call.request, call.options["how"])


async def _hang(call: Call) -> web.StreamResponse:
    # The server cancels this when the client goes away.
    await call.stopping.wait()
    return drop(call.request)


async def _drop_mid_answer(call: Call) -> web.StreamResponse:
    honest = call.honest
    sent = honest.body[: max(1, int(len(honest.body) * call.options["share"]))]
    response = _streamed(honest, length=len(honest.body))
    await response.prepare(call.request)
    await response.write(sent)
    drop(call.request, call.options["how"])
    return response


async def _drip(call: Call) -> web.StreamResponse:
    honest = call.honest
    response = _streamed(honest, length=len(honest.body))
    await response.prepare(call.request)
    for position in range(len(honest.body)):
        if await _stops_within(call, float(call.options["every"])):
            return drop(call.request)
        await response.write(honest.body[position : position + 1])
    return response


async def _huge(call: Call) -> web.StreamResponse:
    start, end = _around_padding(call.honest)
    size = int(call.options["size"])
    padding = max(0, size - len(start) - len(end))
    response = _streamed(call.honest, length=len(start) + padding + len(end))
    await response.prepare(call.request)
    await response.write(start)
    for position in range(0, padding, _PIECE):
        if call.stopping.is_set():
            return drop(call.request)
        await response.write(b"a" * min(_PIECE, padding - position))
    await response.write(end)
    return response


async def _endless(call: Call) -> web.StreamResponse:
    start, _ = _around_padding(call.honest)
    response = _streamed(call.honest, length=None)
    await response.prepare(call.request)
    await response.write(start)
    while not await _stops_within(call, float(call.options["every"])):
        await response.write(b"a" * int(call.options["chunk"]))
    return drop(call.request)


async def _bomb(call: Call) -> web.StreamResponse:
    body = await asyncio.to_thread(_zipped, *_around_padding(call.honest), int(call.options["size"]))
    return web.Response(
        body=body,
        content_type=call.honest.content_type,
        headers={hdrs.CONTENT_ENCODING: "gzip"},
    )


async def _odd_headers(call: Call) -> web.StreamResponse:
    honest, transport = call.honest, call.request.transport
    head = [f"HTTP/1.1 {honest.status} Whatever you say".encode()]
    # Latin-1 on purpose: header lines are bytes, and not everybody sends ASCII.
    head += [line.encode("latin-1", "replace") for line in call.options["lines"]]
    head += [f"Content-Length: {len(honest.body)}".encode(), b"Connection: close", b"", b""]
    if transport is not None:
        transport.write(b"\r\n".join(head) + honest.body)
    return drop(call.request, "close")


def _streamed(honest: Answer, *, length: int | None) -> web.StreamResponse:
    response = web.StreamResponse(status=honest.status)
    response.content_type = honest.content_type
    if length is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = length
    return response


def _around_padding(honest: Answer) -> tuple[bytes, bytes]:
    """Return what stands before and after the padding that makes ``honest`` big and leaves it valid JSON."""
    if honest.body.startswith(b"{") and len(honest.body) > 2:
        return honest.body[:-1] + b', "padding": "', b'"}'
    return b'{"padding": "', b'"}'


async def _stops_within(call: Call, seconds: float) -> bool:
    try:
        await asyncio.wait_for(call.stopping.wait(), seconds)
    except TimeoutError:
        return False
    return True


@lru_cache(maxsize=4)
def _zipped(start: bytes, end: bytes, size: int) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    pieces = [packer.compress(start)]
    padding = max(0, size - len(start) - len(end))
    block = b"a" * (1024 * 1024)
    pieces += [packer.compress(block[: padding - position]) for position in range(0, padding, len(block))]
    pieces += [packer.compress(end), packer.flush()]
    return b"".join(pieces)


# --- the table ------------------------------------------------------------------------------------------

_HOW = {"how": "reset"}

#: Every fault by its name; ``python -m airflow_provider_luma.emulator --help`` lists them.
FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in itertools.chain(
        (
            Fault(
                name=str(status),
                summary=f"HTTP {status} with {'its documented' if status in DOCUMENTED_ERRORS else 'a'} body",
                answer=_error(status),
            )
            for status in (*DOCUMENTED_ERRORS, 502, 503, 504)
        ),
        (
            Fault(
                "status",
                "any HTTP status, body and headers",
                {"code": 500, "body": None, "content_type": "application/json", "headers": {}},
                answer=_status,
            ),
            # The gateway's own refusals
            Fault("apim-401", "401 in the API manager's own form", answer=_apim_401),
            Fault(
                "apim-429",
                "429 in the API manager's own form, Retry-After in seconds",
                {"seconds": 1},
                answer=_apim_429,
            ),
            Fault(
                "quota-403",
                "403 with Retry-After: the quota is used up",
                {"seconds": 3600},
                answer=_quota_403,
            ),
            Fault("credit-402", "402: insufficient balance", answer=_credit(402)),
            Fault("credit-403", "403: insufficient balance", answer=_credit(403)),
            Fault(
                "html-403", "403 with the HTML page of a web-application firewall", answer=_fixed(_WAF_PAGE)
            ),
            Fault(
                "429-seconds",
                "documented 429, Retry-After in seconds",
                {"seconds": 1},
                answer=_429_with(lambda options: str(options["seconds"])),
            ),
            Fault(
                "429-date",
                "documented 429, Retry-After as an HTTP date that many seconds from now",
                {"seconds": 2},
                answer=_429_with(_http_date),
            ),
            Fault("429-bare", "documented 429 without Retry-After", answer=_error(429)),
            Fault(
                "429-absurd",
                "documented 429, Retry-After with any text",
                {"value": "99999999"},
                answer=_429_with(lambda options: str(options["value"])),
            ),
            Fault(
                "redirect",
                "a redirect, by default to other_host(); {path} stands for the path asked for",
                {"code": 307, "location": None},
                answer=_redirect,
            ),
            # Time and connection
            Fault("latency", "answers later; combines with any other fault", {"seconds": 0.5}, paid=True),
            Fault("hang", "never answers; a generate is not created", wire=_hang),
            Fault("lost-answer", "a generate is created, and never answered", paid=True, wire=_hang),
            Fault(
                "drop-before-reading",
                "ends the connection after the headers, before the body is read",
                _HOW,
                before_body=True,
                wire=_drop,
            ),
            Fault(
                "drop-after-reading",
                "reads the request, acts on it, ends the connection",
                _HOW,
                paid=True,
                wire=_drop,
            ),
            Fault(
                "drop-mid-answer",
                "sends a share of the answer under its full Content-Length, ends the connection",
                {"how": "close", "share": 0.5},
                paid=True,
                uses_honest=True,
                wire=_drop_mid_answer,
            ),
            Fault(
                "drip",
                "sends the honest answer one byte at a time, one every so many seconds",
                {"every": 0.1},
                paid=True,
                uses_honest=True,
                wire=_drip,
            ),
            Fault(
                "endless",
                "the honest answer, never finished: a chunk every so many seconds",
                {"every": 0.01, "chunk": 1024},
                paid=True,
                uses_honest=True,
                wire=_endless,
            ),
            # Bodies
            Fault(
                "truncated-json",
                "a share of the honest body, sent as if it were all",
                {"share": 0.5},
                paid=True,
                uses_honest=True,
                answer=_truncated,
            ),
            Fault("empty", "no body", {"code": 200}, paid=True, answer=_empty),
            Fault(
                "not-json",
                "200 with an HTML page",
                {"body": "<html><body>Welcome</body></html>", "content_type": "text/html"},
                paid=True,
                answer=_not_json,
            ),
            Fault(
                "not-object",
                "200 with JSON that is no object",
                {"value": ["accepted"]},
                paid=True,
                answer=_json_value,
            ),
            Fault(
                "wrong-type",
                "200 with fields of the wrong type: requestId a list, status a number; or any value",
                {"value": None},
                targets=_CALLS,
                paid=True,
                answer=_wrong_type,
            ),
            Fault(
                "no-request-id",
                "200 without a requestId",
                {"value": {"message": "accepted"}},
                targets=_SUBMITTING,
                paid=True,
                answer=_json_value,
            ),
            Fault(
                "huge",
                "the honest answer, padded to so many bytes",
                {"size": 50_000_000},
                paid=True,
                uses_honest=True,
                wire=_huge,
            ),
            Fault(
                "bomb",
                "the honest answer, gzipped small and padded to so many bytes once unpacked",
                {"size": 100_000_000},
                paid=True,
                uses_honest=True,
                wire=_bomb,
            ),
            Fault(
                "odd-headers",
                "the honest answer under header lines that few servers would send",
                {
                    "lines": [
                        "Content-Type: application/json",
                        "Content-Type: text/plain",
                        "X-Note: caf\u00e9",
                        "X-Empty:",
                        "Retry-After: soon",
                        "Set-Cookie: a=b; Domain=example.org",
                        "Set-Cookie: c=d",
                        "Ocp-Apim-Subscription-Key: somebody-elses",
                    ]
                },
                paid=True,
                uses_honest=True,
                wire=_odd_headers,
            ),
            # What the answer says
            Fault(
                "msg-only",
                "200 with only the documented msg",
                targets=_CALLS,
                paid=True,
                answer=_fixed(Answer.of(MSG_ONLY)),
            ),
            Fault(
                "error-no-status",
                "200 with an error and no status",
                {"error": "Something went wrong"},
                targets=_CALLS,
                paid=True,
                answer=_error_no_status,
            ),
            Fault(
                "wrong-id",
                "answers about somebody else's generation (request_id, or any other one)",
                {"request_id": None},
                targets=_CALLS,
                paid=True,
                answer=_wrong_id,
            ),
            Fault(
                "word",
                "any status word (null: none), with or without a video_url (true: the generation's own)",
                {"word": "finalizing", "video_url": None},
                targets=(GET_STATUS,),
                uses_honest=True,
                answer=_word,
            ),
            Fault(
                "no-address",
                "completed without a video_url",
                targets=(GET_STATUS,),
                answer=_no_address,
            ),
            Fault(
                "failed",
                "a failed generation",
                {"status": "failed", "reason": "The video could not be generated"},
                targets=(GET_STATUS,),
                answer=_failed,
            ),
            Fault(
                "not-found",
                "the documented NOT_FOUND",
                {"code": 200},
                targets=(GET_STATUS,),
                answer=_not_found,
            ),
        ),
    )
}
