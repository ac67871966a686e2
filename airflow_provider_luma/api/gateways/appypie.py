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
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.api.exchange import (
    MODERATION,
    Answer,
    Call,
    Fault,
    HttpCall,
    Miss,
    explanations,
    json_body,
    json_object,
    miss,
    no_address,
    reason_of,
    refusal,
    unusable,
)
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


def key_header(key: str) -> str:
    """Return what stands in the header that carries the key."""
    return key


def submit_call(request: GenerationRequest) -> HttpCall:
    """Return the call that generates ``request``. Every delivery of it is paid for."""
    if request.image_url is not None:
        from_image = {"prompt": request.prompt, "url": request.image_url}
        return HttpCall(Call.GENERATE, IMAGE_TO_VIDEO_PATH, json_body(from_image))
    fields = {"prompt": request.prompt, "aspect_ratio": request.aspect_ratio, "loop": request.loop}
    return HttpCall(Call.GENERATE, TEXT_TO_VIDEO_PATH, json_body(fields))


def status_call(request_id: str, field: str) -> HttpCall:
    """Return the call that asks about a generation, with its id in ``field``. It is free."""
    return HttpCall(Call.STATUS, STATUS_PATH, json_body({field: request_id}))


def status_calls(request_id: str, status_id_field: str) -> tuple[HttpCall, ...]:
    """Return the calls by which a generation may be asked about, in the order in which they are tried."""
    return tuple(status_call(request_id, name) for name in fields_to_try(status_id_field))


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
        return refusal(answer)
    body = json_object(answer)
    if body is None:
        return unusable(answer, f"answered HTTP {answer.status} without a JSON object")
    # The page's answer says requestId; its prose calls the same thing "the task_id of the initial response".
    for name in _ID_NAMES:
        request_id = usable_request_id(body.get(name))
        if request_id is not None and not answer.gives_away(request_id):
            return request_id
    return unusable(answer, f"answered HTTP {answer.status} without a usable requestId")


def read_status(answer: Answer | Miss, request_id: str) -> Generation | Miss:
    """Return what an answer to getStatus says of the generation, or the fault."""
    if isinstance(answer, Miss):
        return answer
    body = json_object(answer)
    word = _word(body, answer)
    if 200 <= answer.status < 300:
        if body is None:
            return miss(Fault.UNUSABLE, answer, f"answered HTTP {answer.status} without a JSON object")
    elif not (answer.status == 404 and body is not None and _class_of(word) is GenerationStatus.NOT_FOUND):
        return refusal(answer)
    if _names_another(body, request_id):
        return miss(Fault.UNUSABLE, answer, "answered about another request id than the one asked about")
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
        reason = None if video_url is not None else no_address(url, answer)
    else:
        reason = None if status is GenerationStatus.PENDING else reason_of(body, answer)
    return Generation(
        request_id=request_id,
        status=status,
        raw_status=word,
        video_url=video_url,
        reason=reason,
        moderated=failed and any(MODERATION.search(text) for text in explanations(body, answer)),
    )


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


def _severity(seen: Generation | Miss) -> int:
    if isinstance(seen, Generation):
        return 0
    return 1 if seen.http_status == 404 else 2
