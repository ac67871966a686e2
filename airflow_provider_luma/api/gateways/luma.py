"""
Luma's own API of the first generation: ray-2 and ray-flash-2, with nobody in between.

Sources: the official SDK ``lumaai`` 1.21.0 for paths, bodies, states, the list and the credits; Luma's
published OpenAPI description for ``{"detail": ...}``; Luma's API pages for the lengths of prompts, for
``loop`` beside an end frame, and for refunds.
"""

from __future__ import annotations

import json
import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_luma.api.exchange import Answer, Call, Fault, HttpCall, Miss, miss
from airflow_provider_luma.api.gateways.capabilities import Capability
from airflow_provider_luma.api.gateways.reading import (
    JSON_HEADERS,
    accepted_id,
    asked_at,
    body_with,
    one_of,
    prompt_between,
    seen,
    status_body,
    told,
)
from airflow_provider_luma.api.models import GenerationStatus, is_web_address, usable_request_id
from airflow_provider_luma.api.probe import Account
from airflow_provider_luma.api.reconcile import Listed, Page, Resemblance
from airflow_provider_luma.exceptions import LumaInvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_luma.api.models import Generation, GenerationRequest

NAME = "luma"
TITLE = "Luma's own API"
MODELS = ("ray-2", "ray-flash-2")
PARAMETERS = frozenset(
    {
        "prompt",
        "aspect_ratio",
        "loop",
        "image_url",
        "start_frame",
        "end_frame",
        "model",
        "duration",
        "resolution",
        "concepts",
        "extra_body",
    }
)
CAPABILITIES = frozenset({Capability.LISTING, Capability.BALANCE, Capability.REFUNDS})

DEFAULT_HOST = "https://api.lumalabs.ai/dream-machine/v1"
KEY_HEADER = "Authorization"
HEADERS = JSON_HEADERS
#: None: an id is a part of the address.
STATUS_ID_FIELDS: tuple[str, ...] = ()

SUBMIT_PATH = "/generations/video"
LIST_PATH = "/generations"
CREDITS_PATH = "/credits"

ASPECT_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
MIN_PROMPT, MAX_PROMPT = 3, 5_000
#: What tells a request from another of the same prompt, and what the gateway does where it is not given.
_TELLING = ("model", "aspect_ratio", "loop", "duration", "resolution", "keyframes", "concepts")
_DEFAULTS: Mapping[str, Any] = {"aspect_ratio": "16:9", "duration": "5s", "resolution": "720p"}
#: What is more is no balance.
_MOST_CENTS = 1e15
#: Generations in one page of the list. As many of the longest prompts are an answer that is read whole.
PAGE_LENGTH = 25

STATES: Mapping[str, GenerationStatus] = {
    "queued": GenerationStatus.PENDING,
    "dreaming": GenerationStatus.PENDING,
    "completed": GenerationStatus.COMPLETED,
    "failed": GenerationStatus.FAILED,
}


def key_header(key: str) -> str:
    """Return what stands in the header that carries the key."""
    return f"Bearer {key}"


def check(request: GenerationRequest) -> None:
    """Hold a request against the documented limits."""
    prompt_between(MIN_PROMPT, MAX_PROMPT, request, TITLE)
    one_of("aspect_ratio", request.aspect_ratio, ASPECT_RATIOS, TITLE)
    one_of("model", request.model, MODELS, TITLE)
    if request.loop and request.end_frame is not None:
        raise LumaInvalidRequest(f"loop and end_frame exclude each other at {TITLE}.")


def submit_call(request: GenerationRequest) -> HttpCall:
    """Return the call that generates ``request``. Every delivery of it is paid for."""
    return HttpCall(Call.GENERATE, SUBMIT_PATH, body_with(_fields(request), request.extra_body))


def _fields(request: GenerationRequest) -> dict[str, Any]:
    frames = {"frame0": request.image_url or request.start_frame, "frame1": request.end_frame}
    return {
        "model": request.model or MODELS[0],
        "prompt": request.prompt,
        "aspect_ratio": request.aspect_ratio,
        "loop": request.loop,
        "duration": request.duration,
        "resolution": request.resolution,
        "keyframes": {name: None if frame is None else _frame(frame) for name, frame in frames.items()},
        "concepts": [{"key": concept} for concept in request.concepts] or None,
    }


def _frame(frame: str) -> dict[str, str]:
    if is_web_address(frame):
        return {"type": "image", "url": frame}
    return {"type": "generation", "id": frame}


def read_submit(answer: Answer | Miss) -> str | Miss:
    """Return the request id of an accepted submit, or the fault."""
    return accepted_id(answer, ["id"])


def status_calls(request_id: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the one call by which a generation is asked about. It is free."""
    return asked_at(f"{LIST_PATH}/{quote(request_id, safe='')}", status_id_field)


def read_status(answer: Answer | Miss, request_id: str) -> Generation | Miss:
    """Return what an answer says of the generation, or the fault."""
    read = status_body(answer, request_id, ["id"])
    if not isinstance(read, tuple):
        return read
    body, whole = read
    assets = body.get("assets")
    return seen(
        body,
        whole,
        request_id,
        word=body.get("state"),
        words=STATES,
        url=assets.get("video") if isinstance(assets, dict) else None,
        refunded=Capability.REFUNDS in CAPABILITIES,
    )


def test_calls(request_id: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the call that a test of the connection makes: what is left of the credits."""
    return asked_at(CREDITS_PATH, status_id_field)


def read_test(answer: Answer | Miss, request_id: str) -> Account | Generation | Miss:
    """Return what the answer to it says."""
    read = told(answer)
    if isinstance(read, Miss):
        return read
    body, whole = read
    balance = body.get("credit_balance")
    if isinstance(balance, bool) or not isinstance(balance, (int, float)) or not abs(balance) < _MOST_CENTS:
        return miss(Fault.UNUSABLE, whole, "answered without a balance")
    return Account(f"{balance / 100:,.2f} USD")


def list_call(offset: int) -> HttpCall:
    """Return the call that asks for a page of the account's generations. It is free."""
    return HttpCall(Call.STATUS, f"{LIST_PATH}?limit={PAGE_LENGTH}&offset={offset}", None, method="GET")


def read_list(answer: Answer | Miss) -> Page | Miss:
    """Return a page of the list, or the fault."""
    read = told(answer)
    if isinstance(read, Miss):
        return read
    body, whole = read
    listed, more = body.get("generations"), body.get("has_more")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        return miss(Fault.UNUSABLE, whole, "answered without a list of generations")
    entries = []
    for one in listed:
        request_id = usable_request_id(one.get("id"))
        if request_id is None or whole.gives_away(request_id):
            return miss(Fault.UNUSABLE, whole, "answered with a list that holds no usable id")
        entries.append(Listed(request_id, _moment(one.get("created_at")), one))
    return Page(entries, is_last=more is False or (not listed and more is None))


def _moment(text: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def likeness(request: GenerationRequest) -> Callable[[Mapping[str, Any]], Resemblance]:
    """
    Return what compares a request with a listed generation, by the request that the list repeats.

    Another prompt is another request. With the same one, whatever else differs may have been rewritten by
    the gateway (an image's address, say), so that it proves nothing.
    """
    sent = json.loads(submit_call(request).body or b"{}")
    prompt = _plain(request.prompt)

    def compare(one: Mapping[str, Any]) -> Resemblance:
        asked = one.get("request")
        kinds = [place.get("generation_type") for place in (one, asked) if isinstance(place, dict)]
        if any(kind not in (None, "video") for kind in kinds):
            return Resemblance.NONE
        if not isinstance(asked, dict) or not isinstance(asked.get("prompt"), str):
            return Resemblance.UNCLEAR
        if _plain(asked["prompt"]) != prompt:
            return Resemblance.NONE
        # Of what this release does not know, the list need not repeat anything.
        more = [name for name in request.extra_body or {} if name in asked]
        same = all(_meant(name, asked) == _meant(name, sent) for name in (*_TELLING, *more))
        return Resemblance.SAME if same else Resemblance.UNCLEAR

    return compare


def _plain(prompt: str) -> list[str]:
    """Return the words of a prompt, however its characters are put together."""
    return unicodedata.normalize("NFC", prompt).split()


def _meant(name: str, fields: Mapping[str, Any]) -> Any:
    """Return the value of a field, where it is left out or empty the gateway's own."""
    return fields.get(name) or _DEFAULTS.get(name)
