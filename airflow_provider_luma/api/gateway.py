"""
The Appy Pie gateway: a request becomes an HTTP request, an HTTP answer becomes an id, a generation or a
fault.

Pure functions. An answer may hold anything: every reading here ends in a value of ours, never in an exception
of a parser. What a fault means (whether the call may be sent again, which error it ends in) is decided in
:mod:`airflow_provider_luma.api.retry`.

Sources: the vendor's page "Luma Dream Machine (T2V) API Docs" for paths, headers, bodies and the documented
errors; its second page for image to video; public clients of the same vendor for the status words; Azure API
Management's documented bodies for the refusals of the management layer.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_luma.api.models import (
    Generation,
    GenerationRequest,
    GenerationStatus,
    is_web_address,
    usable_request_id,
)
from airflow_provider_luma.api.text import one_line

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

#: The vendor's base address, used when the connection names no host.
DEFAULT_HOST = "https://gateway.appypie.com"

#: The header that carries the subscription key (Azure API Management's).
KEY_HEADER = "Ocp-Apim-Subscription-Key"

#: Headers of every call besides the key. Compression is not asked for: answers are a hundred bytes long,
#: and a small compressed answer that grows without end when it is read is not worth the risk.
HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Cache-Control": "no-cache",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}

#: Bytes of an answer that are read at most. The documented answers are under 500 bytes.
MAX_ANSWER_BYTES = 1024 * 1024

TEXT_TO_VIDEO_PATH = "/lumalabs-ai/v1/generate"
IMAGE_TO_VIDEO_PATH = "/lumalabs-ai/v1/generateRequestFromImage"
STATUS_PATH = "/lumalabs-ai-polling/v1/getStatus"

#: The vendor's page contradicts itself: its table names ``requestId``, its prose and all its samples send
#: ``task_id``. Other clients of the vendor send ``task_id``, so that goes first.
STATUS_ID_FIELDS = ("task_id", "requestId")

#: The names under which an answer may give the id, in the order in which they are believed.
_ID_NAMES = ("requestId", "task_id", "request_id")

_PENDING_WORDS = frozenset(
    [
        "queued",
        "dreaming",
        "processing",
        "pending",
        "submitted",
        "starting",
        "running",
        "in_progress",
        "preparing",
    ]
)
_COMPLETED_WORDS = frozenset(["completed", "succeeded", "succeed", "success", "done", "ready"])
_FAILED_WORDS = frozenset(["failed", "error", "cancelled", "canceled", "expired", "rejected"])
_MODERATION = re.compile(r"moderat|blacklist|inappropriate", re.IGNORECASE)
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
    """One POST to send: the path below the connection's host, and the JSON body."""

    call: Call
    path: str
    body: bytes


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
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False
    secret: str = field(default="", repr=False)

    def without_secret(self, text: str) -> str:
        """Return ``text`` with the key blanked out, as it is and as JSON spells it."""
        if not self.secret:
            return text
        return text.replace(self.secret, "***").replace(json.dumps(self.secret)[1:-1], "***")

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


def submit_call(request: GenerationRequest) -> HttpCall:
    """Return the call that generates ``request``. Every delivery of it is paid for."""
    if request.image_url is not None:
        from_image = {"prompt": request.prompt, "url": request.image_url}
        return HttpCall(Call.GENERATE, IMAGE_TO_VIDEO_PATH, _json_body(from_image))
    fields = {"prompt": request.prompt, "aspect_ratio": request.aspect_ratio, "loop": request.loop}
    return HttpCall(Call.GENERATE, TEXT_TO_VIDEO_PATH, _json_body(fields))


def status_call(request_id: str, field: str) -> HttpCall:
    """Return the call that asks about a generation, with its id in ``field``. It is free."""
    return HttpCall(Call.STATUS, STATUS_PATH, _json_body({field: request_id}))


def fields_to_try(status_id_field: str) -> tuple[str, ...]:
    """Return the names under which an id is asked about, in their order: both for ``auto``."""
    return STATUS_ID_FIELDS if status_id_field == "auto" else (status_id_field,)


def look(
    request_id: str, status_id_field: str
) -> Generator[HttpCall, Answer | Miss, tuple[Generation | Miss, str]]:
    """
    Ask once about a generation: yields the calls to make, returns what they came to and the id field to use
    next.

    With ``status_id_field="auto"`` an answer that may mean "I do not know this field" (400, 404,
    ``NOT_FOUND``) is followed by one call with the other field. The field is settled, and returned instead
    of ``auto``, once it has brought a status other than ``NOT_FOUND``. Both shells drive this generator.
    """
    found: list[Generation | Miss] = []
    for name in fields_to_try(status_id_field):
        seen = read_status((yield status_call(request_id, name)), request_id)
        if isinstance(seen, Generation) and seen.status is not GenerationStatus.NOT_FOUND:
            # Only a status settles the field: an error without one may be about the field itself.
            return seen, name if seen.raw_status or seen.video_url else status_id_field
        if isinstance(seen, Miss) and seen.http_status not in (400, 404):
            return seen, status_id_field
        found.append(seen)
    # Both fields were turned down. "Not found" is the kinder word of the two: a new generation takes a moment
    # to appear, while a refused body is final.
    return min(found, key=_severity), status_id_field


def read_submit(answer: Answer | Miss) -> str | Miss:
    """Return the request id of an accepted submit, or the fault."""
    if isinstance(answer, Miss):
        return answer
    if not 200 <= answer.status < 300:
        return _refusal(answer)
    body = _json_object(answer)
    if body is None:
        return _unusable(answer, f"answered HTTP {answer.status} without a JSON object")
    # The page's answer says requestId; its prose calls the same thing "the task_id of the initial response".
    for name in _ID_NAMES:
        request_id = usable_request_id(body.get(name))
        if request_id is not None and not answer.gives_away(request_id):
            return request_id
    return _unusable(answer, f"answered HTTP {answer.status} without a usable requestId")


def read_status(answer: Answer | Miss, request_id: str) -> Generation | Miss:
    """Return what an answer to getStatus says of the generation, or the fault."""
    if isinstance(answer, Miss):
        return answer
    body = _json_object(answer)
    word = _word(body, answer)
    if 200 <= answer.status < 300:
        if body is None:
            return _miss(Fault.UNUSABLE, answer, f"answered HTTP {answer.status} without a JSON object")
    elif not (answer.status == 404 and body is not None and _class_of(word) is GenerationStatus.NOT_FOUND):
        return _refusal(answer)
    if _names_another(body, request_id):
        return _miss(Fault.UNUSABLE, answer, "answered about another request id than the one asked about")
    url = body.get("video_url")
    video_url = url.strip() if isinstance(url, str) and is_web_address(url.strip()) else None
    if video_url is not None and answer.gives_away(video_url):
        video_url = None
    status = _class_of(word)
    if not word and isinstance(body.get("status") or "", str):
        if video_url is not None:
            status = GenerationStatus.COMPLETED
        elif not body.get("error"):
            # {"msg": "Image Getting Created"} and its like: accepted, nothing to say yet.
            status = GenerationStatus.PENDING if body.get("msg") else GenerationStatus.UNKNOWN
    failed = status is GenerationStatus.FAILED
    if status is GenerationStatus.COMPLETED:
        reason = None if video_url is not None else _no_address(url, answer)
    else:
        reason = None if status is GenerationStatus.PENDING else _reason(body, answer)
    return Generation(
        request_id=request_id,
        status=status,
        raw_status=word,
        video_url=video_url,
        reason=reason,
        moderated=failed and any(_MODERATION.search(text) for text in _explanations(body, answer)),
    )


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


def _json_body(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def _json_object(answer: Answer) -> dict[str, Any] | None:
    """Return the body as a JSON object, or ``None``: cut, not JSON, not an object, nested without end."""
    if answer.cut:
        return None
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _names_another(body: dict[str, Any], request_id: str) -> bool:
    named = (usable_request_id(body.get(field)) for field in _ID_NAMES)
    return any(found is not None and found != request_id for found in named)


def _word(body: dict[str, Any] | None, answer: Answer) -> str:
    """Return the gateway's status word, stripped and bounded; empty if there is none."""
    status = (body or {}).get("status")
    if status is None:
        return ""
    return one_line(answer.without_secret(status if isinstance(status, str) else json.dumps(status)), 60)


def _class_of(word: str) -> GenerationStatus:
    folded = word.casefold()
    if folded in _COMPLETED_WORDS:
        return GenerationStatus.COMPLETED
    if folded in _PENDING_WORDS:
        return GenerationStatus.PENDING
    if folded in _FAILED_WORDS:
        return GenerationStatus.FAILED
    if folded == "not_found":
        return GenerationStatus.NOT_FOUND
    return GenerationStatus.UNKNOWN


def _explanations(body: dict[str, Any], answer: Answer) -> list[str]:
    """Return what the gateway explains: the documented ``error`` first, then siblings' names for it."""
    found = []
    for name in ("error", "failure_reason", "reason", "message", "msg"):
        value = body.get(name)
        if isinstance(value, (dict, list)) and value:
            value = json.dumps(value, ensure_ascii=False)
        if isinstance(value, str) and value.strip():
            found.append(answer.without_secret(value))
    return found


def _reason(body: dict[str, Any], answer: Answer) -> str | None:
    """Return the gateway's explanation in one bounded line."""
    return next((one_line(text) for text in _explanations(body, answer)), None)


def _severity(seen: Generation | Miss) -> int:
    if isinstance(seen, Generation):
        return 0
    return 1 if seen.http_status == 404 else 2


def _refusal(answer: Answer) -> Miss:
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
    return _miss(fault, answer, f"answered HTTP {status}")


def _which_403(answer: Answer) -> Fault:
    if _is_html(answer):
        return Fault.FIREWALL
    if _NO_CREDIT.search(_text(answer)):
        return Fault.CREDIT
    if "retry-after" in answer.headers:
        return Fault.QUOTA
    return Fault.ACCESS


def _is_html(answer: Answer) -> bool:
    start = answer.body[:512].lstrip().lower()
    return "html" in answer.headers.get("content-type", "").lower() or start.startswith(
        (b"<!doctype", b"<html")
    )


def _text(answer: Answer) -> str:
    """Return the start of the body as text, with JSON's spellings undone, so that the key is found in it."""
    text = answer.body[:4096].decode("utf-8", "replace")
    text = _UNICODE_ESCAPE.sub(lambda spelt: chr(int(spelt[1], 16)), text)
    return answer.without_secret(_ESCAPE.sub(r"\1", text))


def _no_address(url: Any, answer: Answer) -> str | None:
    """Return what stands where the address of a video should; ``None`` if nothing does, or what is secret."""
    if not isinstance(url, str) or not url.strip() or answer.gives_away(url):
        return None
    # What stands before an @ or after ? and # may be secret, in whatever is no address.
    shown = re.split(r"[?#]", url, maxsplit=1)[0].rpartition("@")
    return f"the address is {one_line('…@' * bool(shown[1]) + shown[2], 80)!r}"


def _unusable(answer: Answer, what: str) -> Miss:
    """Return the fault of an accepted submit without an id. The body is the only trace of what was bought."""
    said = one_line(_text(answer), 300)
    return Miss(Fault.UNUSABLE, f"{what}: {said}" if said else what, http_status=answer.status)


def _miss(fault: Fault, answer: Answer, what: str) -> Miss:
    body = _json_object(answer)
    said = _reason(body, answer) if body else None
    if said is None and not _is_html(answer):
        said = one_line(_text(answer)) or None
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
