"""
One exchange with a gateway, whichever it is: what is sent, what may come back, and what it came to.

Pure functions and frozen data. An answer may hold anything: every reading here ends in a value of ours, never
in an exception of a parser. What a fault means (whether the call may be sent again, which error it ends in)
is decided in :mod:`airflow_provider_luma.api.retry`; what an answer says is the business of its gateway's
module in :mod:`airflow_provider_luma.api.gateways`.

Sources of the faults: HTTP's own statuses, the vendors' pages, and Azure API Management's documented bodies
for the refusals of its management layer.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_luma.api.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of an answer that are read at most. The documented answers are under 500 bytes.
MAX_ANSWER_BYTES = 1024 * 1024

#: What a reason says where a generation was refused for its content.
MODERATION = re.compile(r"moderat|blacklist|inappropriate", re.IGNORECASE)
_NO_CREDIT = re.compile(
    r"(insufficient|not enough|out of)[\W_]+([^\W_]+[\W_]+)?(balance|credit|fund)", re.IGNORECASE
)
_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_ESCAPE = re.compile(r"\\([\\/\"])")
_TRY_AGAIN_IN = re.compile(r"try again in (\d{1,9}) seconds", re.IGNORECASE)


class Call(StrEnum):
    """The two kinds of call. One costs money and has no idempotency key, the other is free."""

    GENERATE = "generate"
    STATUS = "getStatus"


class Fault(StrEnum):
    """What one exchange came to when it did not come to an answer that can be used."""

    #: No connection came about: DNS, refused, connect timeout, TLS, a proxy that refuses. Nothing was sent.
    NOT_DELIVERED = "not_delivered"
    #: Connected, then no whole answer: read timeout, reset, closed.
    LOST = "lost"
    #: 2xx with a body that does not say what was asked.
    UNUSABLE = "unusable"
    #: 400, 413, 422.
    INPUT = "input"
    #: 401.
    KEY = "key"
    #: 402, or 403 that says so.
    CREDIT = "credit"
    #: 403 with an HTML page.
    FIREWALL = "firewall"
    #: 403 with Retry-After: a quota of API Management.
    QUOTA = "quota"
    #: any other 403.
    ACCESS = "access"
    #: 404.
    ADDRESS = "address"
    #: 408, 409.
    CONFLICT = "conflict"
    #: 429.
    RATE = "rate"
    #: 503, which a switch of the connection may declare safe.
    UNAVAILABLE = "unavailable"
    #: 500, 502, 504.
    SERVER = "server"
    #: 301, 302, 303, 307, 308.
    REDIRECT = "redirect"
    #: any other 4xx.
    OTHER_REFUSAL = "other_refusal"
    #: any other 1xx, 3xx, 5xx.
    OTHER = "other"


#: Faults that say: you ask too often. The gateway is there and works; everybody pauses.
TOO_MANY = frozenset({Fault.RATE, Fault.QUOTA})


@dataclass(frozen=True)
class HttpCall:
    """One request to send: the path below the connection's host, and the JSON body, if there is one."""

    call: Call
    path: str
    body: bytes | None
    method: str = "POST"


@dataclass(frozen=True)
class Answer:
    """
    One HTTP answer, read within bounds.

    :param status: the HTTP status.
    :param headers: header names in lower case.
    :param body: at most :data:`MAX_ANSWER_BYTES`, decoded.
    :param cut: whether there was more than that, or the encoding could not be read.
    :param secret: the key, to be blanked out of what is quoted: a gateway may repeat it, and JSON may spell
        it in a way that no search of the raw bytes finds.
    :param base_url: the connection's own, below which it was asked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False
    secret: str = field(default="", repr=False)
    base_url: str = ""

    def without_secret(self, text: str) -> str:
        """Return ``text`` with the key blanked out, as it is and as JSON spells it."""
        if not self.secret:
            return text
        return text.replace(self.secret, "***").replace(json.dumps(self.secret)[1:-1], "***")

    def is_own(self, address: str) -> bool:
        """Return whether an address is below the connection's own."""
        return bool(self.base_url) and address.startswith(f"{self.base_url}/")

    def gives_away(self, value: str) -> bool:
        """Return whether ``value``, which would be passed on as it is, holds the key."""
        # A key of a few characters would be found in every id.
        return len(self.secret) >= 8 and self.secret in unquote(value)


@dataclass(frozen=True)
class Miss:
    """
    One exchange that came to nothing usable.

    :param fault: what it was.
    :param detail: one bounded line for a person.
    :param http_status: the answer's status, if there was an answer.
    :param retry_after: the answer's ``Retry-After`` as it stands, still text: a date needs a clock to be
        read.
    :param date: the answer's ``Date``, by the gateway's own clock.
    """

    fault: Fault
    detail: str
    http_status: int | None = None
    retry_after: str | None = None
    date: str | None = None


def decoded(raw: bytes, content_encoding: str | None) -> tuple[bytes, bool]:
    """
    Return at most :data:`MAX_ANSWER_BYTES` of the decoded body, and whether it is not the whole.

    Compression was not asked for; a server that compresses all the same is read within the same bound.
    """
    encoding = (content_encoding or "").strip().lower()
    if encoding in ("", "identity"):
        return raw[:MAX_ANSWER_BYTES], len(raw) > MAX_ANSWER_BYTES
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return b"", True
    try:
        reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        body = reader.decompress(raw, MAX_ANSWER_BYTES)
    except zlib.error:
        return b"", True
    return body, not reader.eof


def json_body(fields: dict[str, Any]) -> bytes:
    """Return a body as it is sent."""
    return json.dumps(fields, ensure_ascii=False).encode()


def json_object(answer: Answer) -> dict[str, Any] | None:
    """Return the body as a JSON object, or ``None``: cut, not JSON, not an object, nested without end."""
    if answer.cut:
        return None
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def json_text(value: Any) -> str:
    """Return a part of an answer as JSON; what is nested so deep that it could just be read, is empty."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""


def explanations(body: dict[str, Any], answer: Answer) -> list[str]:
    """Return what the gateway explains: the documented ``error`` first, then siblings' names for it."""
    found = []
    for name in ("error", "failure_reason", "reason", "message", "msg", "detail"):
        value = body.get(name)
        if isinstance(value, (dict, list)) and value:
            value = json_text(value)
        if isinstance(value, str) and value.strip():
            found.append(answer.without_secret(value))
    return found


def reason_of(body: dict[str, Any], answer: Answer) -> str | None:
    """Return the gateway's explanation in one bounded line."""
    return next((one_line(text) for text in explanations(body, answer)), None)


def refusal(answer: Answer) -> Miss:
    """Return the fault of an answer that is not 2xx: the rows of the gateway's error table."""
    status = answer.status
    fault = {
        400: Fault.INPUT,
        413: Fault.INPUT,
        422: Fault.INPUT,
        401: Fault.KEY,
        402: Fault.CREDIT,
        404: Fault.ADDRESS,
        407: Fault.NOT_DELIVERED,
        408: Fault.CONFLICT,
        409: Fault.CONFLICT,
        429: Fault.RATE,
        500: Fault.SERVER,
        502: Fault.SERVER,
        503: Fault.UNAVAILABLE,
        504: Fault.SERVER,
        301: Fault.REDIRECT,
        302: Fault.REDIRECT,
        303: Fault.REDIRECT,
        307: Fault.REDIRECT,
        308: Fault.REDIRECT,
    }.get(status)
    if status == 403:
        fault = _which_403(answer)
    if fault is None:
        fault = Fault.OTHER_REFUSAL if 400 <= status < 500 else Fault.OTHER
    return miss(fault, answer, f"answered HTTP {status}")


def _which_403(answer: Answer) -> Fault:
    if _is_html(answer):
        return Fault.FIREWALL
    if _NO_CREDIT.search(text_of(answer)):
        return Fault.CREDIT
    if "retry-after" in answer.headers:
        return Fault.QUOTA
    return Fault.ACCESS


def _is_html(answer: Answer) -> bool:
    start = answer.body[:512].lstrip().lower()
    return "html" in answer.headers.get("content-type", "").lower() or start.startswith(
        (b"<!doctype", b"<html")
    )


def text_of(answer: Answer) -> str:
    """Return the start of the body as text, with JSON's spellings undone, so that the key is found in it."""
    text = answer.body[:4096].decode("utf-8", "replace")
    text = _UNICODE_ESCAPE.sub(lambda spelt: chr(int(spelt[1], 16)), text)
    return answer.without_secret(_ESCAPE.sub(r"\1", text))


def no_address(url: Any, answer: Answer) -> str | None:
    """Return what stands where the address of a video should; ``None`` if nothing does, or what is secret."""
    if not isinstance(url, str) or not url.strip() or answer.gives_away(url):
        return None
    # What stands before an @ or after ? and # may be secret, in whatever is no address.
    shown = re.split(r"[?#]", url, maxsplit=1)[0].rpartition("@")
    return f"the address is {one_line('…@' * bool(shown[1]) + shown[2], 80)!r}"


def unusable(answer: Answer, what: str) -> Miss:
    """Return the fault of an accepted submit without an id. The body is the only trace of what was bought."""
    said = one_line(text_of(answer), 300)
    return Miss(Fault.UNUSABLE, f"{what}: {said}" if said else what, http_status=answer.status)


def miss(fault: Fault, answer: Answer, what: str) -> Miss:
    """Return the fault of an answer, with what the gateway says of it and when it may be asked again."""
    body = json_object(answer)
    said = reason_of(body, answer) if body else None
    if said is None and not _is_html(answer):
        said = one_line(text_of(answer)) or None
    retry_after = answer.headers.get("retry-after")
    if retry_after is None and (asked := _TRY_AGAIN_IN.search(said or "")):
        retry_after = asked[1]
    return Miss(
        fault=fault,
        detail=f"{what}: {said.rstrip('.')}" if said else what,
        http_status=answer.status,
        retry_after=retry_after,
        date=answer.headers.get("date"),
    )
