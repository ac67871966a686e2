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
    Answer,
    Call,
    Fault,
    HttpCall,
    Miss,
    json_body,
    json_object,
    miss,
    refusal,
)
from airflow_provider_luma.api.gateways.reading import (
    JSON_HEADERS,
    WORDS,
    accepted_id,
    address_of,
    another,
    body_with,
    cause_of,
    why_no_video,
)
from airflow_provider_luma.api.models import (
    DEFAULT_ASPECT_RATIO,
    Generation,
    GenerationRequest,
    GenerationStatus,
)
from airflow_provider_luma.api.text import one_line
from airflow_provider_luma.exceptions import LumaInvalidRequest

if TYPE_CHECKING:
    from airflow_provider_luma.api.gateways.capabilities import Capability
    from airflow_provider_luma.api.probe import Account

NAME = "appypie"
TITLE = "the Appy Pie gateway"
#: It sells one, and does not name it.
MODELS: tuple[str, ...] = ()
PARAMETERS = frozenset({"prompt", "aspect_ratio", "loop", "image_url", "extra_body"})
CAPABILITIES: frozenset[Capability] = frozenset()

#: The vendor's base address, used when the connection names no host.
DEFAULT_HOST = "https://gateway.appypie.com"

#: The header that carries the subscription key (Azure API Management's).
KEY_HEADER = "Ocp-Apim-Subscription-Key"

HEADERS = JSON_HEADERS

TEXT_TO_VIDEO_PATH = "/lumalabs-ai/v1/generate"
IMAGE_TO_VIDEO_PATH = "/lumalabs-ai/v1/generateRequestFromImage"
STATUS_PATH = "/lumalabs-ai-polling/v1/getStatus"

#: The vendor's page contradicts itself: its table names ``requestId``, its prose and all its samples send
#: ``task_id``. Other clients of the vendor send ``task_id``, so that goes first.
STATUS_ID_FIELDS = ("task_id", "requestId")

#: The names under which an answer may give the id, in the order in which they are believed.
_ID_NAMES = ("requestId", "task_id", "request_id")


def key_header(key: str) -> str:
    """Return what stands in the header that carries the key."""
    return key


def check(request: GenerationRequest) -> None:
    """Hold a request against what the vendor documents of its two calls."""
    if request.image_url is not None and (request.aspect_ratio, request.loop) != (
        DEFAULT_ASPECT_RATIO,
        False,
    ):
        raise LumaInvalidRequest(
            "aspect_ratio and loop have no effect on image to video, as far as the vendor says: leave "
            "them out together with image_url."
        )


def submit_call(request: GenerationRequest) -> HttpCall:
    """Return the call that generates ``request``. Every delivery of it is paid for."""
    if request.image_url is not None:
        from_image = {"prompt": request.prompt, "url": request.image_url}
        return HttpCall(Call.GENERATE, IMAGE_TO_VIDEO_PATH, body_with(from_image, request.extra_body))
    fields = {"prompt": request.prompt, "aspect_ratio": request.aspect_ratio, "loop": request.loop}
    return HttpCall(Call.GENERATE, TEXT_TO_VIDEO_PATH, body_with(fields, request.extra_body))


def status_call(request_id: str, field: str) -> HttpCall:
    """Return the call that asks about a generation, with its id in ``field``. It is free."""
    return HttpCall(Call.STATUS, STATUS_PATH, json_body({field: request_id}))


def status_calls(request_id: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the calls by which a generation may be asked about, by id field, in the order of trying."""
    names = STATUS_ID_FIELDS if status_id_field == "auto" else (status_id_field,)
    return {name: status_call(request_id, name) for name in names}


def read_submit(answer: Answer | Miss) -> str | Miss:
    """Return the request id of an accepted submit, or the fault."""
    # The page's answer says requestId; its prose calls the same thing "the task_id of the initial response".
    return accepted_id(answer, _ID_NAMES)


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
    if (fault := another(body, answer, request_id, _ID_NAMES)) is not None:
        return fault
    url = body.get("video_url")
    video_url = address_of(url, answer)
    status = _class_of(word)
    if not word and isinstance(body.get("status") or "", str):
        if video_url is not None:
            status = GenerationStatus.COMPLETED
        elif not body.get("error"):
            # {"msg": "Image Getting Created"} and its like: accepted, nothing to say yet.
            status = GenerationStatus.PENDING if body.get("msg") else GenerationStatus.UNKNOWN
    return Generation(
        request_id=request_id,
        status=status,
        raw_status=word,
        video_url=video_url,
        reason=why_no_video(status, video_url, url, body, answer),
        cause=cause_of(status, body, answer),
    )


def _word(body: dict[str, Any] | None, answer: Answer) -> str:
    """Return the gateway's status word, stripped and bounded; empty if there is none."""
    status = (body or {}).get("status")
    if status is None:
        return ""
    return one_line(answer.without_secret(status if isinstance(status, str) else json.dumps(status)), 60)


def _class_of(word: str) -> GenerationStatus:
    folded = word.casefold()
    if folded == "not_found":
        return GenerationStatus.NOT_FOUND
    return WORDS.get(folded, GenerationStatus.UNKNOWN)


def test_calls(request_id: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the calls that a test of the connection makes: about an id that nobody has. They are free."""
    return status_calls(request_id, status_id_field)


def read_test(answer: Answer | Miss, request_id: str) -> Account | Generation | Miss:
    """Return what the answer to one of them says."""
    return read_status(answer, request_id)
