"""
Luma's API for agents: ray-3.2.

Sources: the official SDK ``luma-agents`` 0.5.0 for paths, bodies, states, failure codes, what excludes a loop
and how long an address is valid; Luma's guide to video generation there for the length of prompts and for
what frames exclude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_luma.api.exchange import Answer, Call, Fault, HttpCall, Miss, miss
from airflow_provider_luma.api.gateways.capabilities import Capability
from airflow_provider_luma.api.gateways.reading import (
    JSON_HEADERS,
    accepted_id,
    asked_at,
    body_with,
    first_address,
    one_of,
    prompt_between,
    seen,
    status_body,
    told,
)
from airflow_provider_luma.api.models import Cause, GenerationStatus, is_web_address
from airflow_provider_luma.api.probe import Account
from airflow_provider_luma.exceptions import LumaInvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_luma.api.models import Generation, GenerationRequest

NAME = "luma_agents"
TITLE = "Luma's API for agents"
MODELS = ("ray-3.2",)
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
        "extra_body",
    }
)
CAPABILITIES = frozenset({Capability.FAILURE_CODES, Capability.FRESH_ADDRESSES})

DEFAULT_HOST = "https://agents.lumalabs.ai/v1"
KEY_HEADER = "Authorization"
HEADERS = JSON_HEADERS
#: None: an id is a part of the address.
STATUS_ID_FIELDS: tuple[str, ...] = ()

GENERATIONS_PATH = "/generations"
FILES_PATH = "/files?limit=1"

ASPECT_RATIOS = (
    "3:1", "2:1", "21:9", "16:9", "4:3", "3:2", "1:1", "3:4", "2:3", "9:16", "1:2", "1:3",
)  # fmt: skip
DURATIONS = ("5s", "10s")
RESOLUTIONS = ("360p", "540p", "720p", "1080p")
MIN_PROMPT, MAX_PROMPT = 1, 6_000

STATES: Mapping[str, GenerationStatus] = {
    "queued": GenerationStatus.PENDING,
    "processing": GenerationStatus.PENDING,
    "completed": GenerationStatus.COMPLETED,
    "failed": GenerationStatus.FAILED,
}
FAILURE_CODES: Mapping[str, Cause] = {
    "content_moderated": Cause.CONTENT,
    "generation_failed": Cause.OTHER,
    "budget_exhausted": Cause.BUDGET,
    "output_not_found": Cause.OTHER,
    "image_too_large": Cause.INPUT,
    "unsupported_format": Cause.INPUT,
    "corrupt_input": Cause.INPUT,
    "invalid_request": Cause.INPUT,
    "rate_limited": Cause.OTHER,
}


def key_header(key: str) -> str:
    """Return what stands in the header that carries the key."""
    return f"Bearer {key}"


def check(request: GenerationRequest) -> None:
    """Hold a request against the documented limits."""
    prompt_between(MIN_PROMPT, MAX_PROMPT, request, TITLE)
    one_of("aspect_ratio", request.aspect_ratio, ASPECT_RATIOS, TITLE)
    one_of("model", request.model, MODELS, TITLE)
    one_of("duration", request.duration, DURATIONS, TITLE)
    one_of("resolution", request.resolution, RESOLUTIONS, TITLE)
    if request.duration == "10s":
        for name in ("loop", "start_frame", "image_url", "end_frame"):
            if getattr(request, name):
                raise LumaInvalidRequest(f"{name} excludes a duration of 10s at {TITLE}.")
    earlier = [
        frame for frame in (request.start_frame, request.end_frame) if frame and not is_web_address(frame)
    ]
    if earlier and len(_frames(request)) > 1:
        raise LumaInvalidRequest(
            f"A frame of an earlier generation excludes another frame at {TITLE}: leave one of start_frame "
            "and end_frame out."
        )


def submit_call(request: GenerationRequest) -> HttpCall:
    """Return the call that generates ``request``. Every delivery of it is paid for."""
    fields: dict[str, Any] = {
        "model": request.model or MODELS[0],
        "type": "video",
        "prompt": request.prompt,
        "aspect_ratio": request.aspect_ratio,
        "video": {
            "duration": request.duration,
            "resolution": request.resolution,
            "loop": request.loop,
            # Of a frame there may be more to say than these parameters do: a file, say.
            **_frames(request),
        },
    }
    return HttpCall(Call.GENERATE, GENERATIONS_PATH, body_with(fields, request.extra_body))


def _frames(request: GenerationRequest) -> dict[str, dict[str, str]]:
    frames = {"start_frame": request.image_url or request.start_frame, "end_frame": request.end_frame}
    return {
        name: {"url" if is_web_address(frame) else "generation_id": frame}
        for name, frame in frames.items()
        if frame is not None
    }


def read_submit(answer: Answer | Miss) -> str | Miss:
    """Return the request id of an accepted submit, or the fault."""
    return accepted_id(answer, ["id"])


def status_calls(request_id: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the one call by which a generation is asked about. It is free."""
    return asked_at(f"{GENERATIONS_PATH}/{quote(request_id, safe='')}", status_id_field)


def read_status(answer: Answer | Miss, request_id: str) -> Generation | Miss:
    """Return what an answer says of the generation, or the fault."""
    read = status_body(answer, request_id, ["id"])
    if not isinstance(read, tuple):
        return read
    body, whole = read
    code = body.get("failure_code")
    return seen(
        body,
        whole,
        request_id,
        word=body.get("state"),
        words=STATES,
        url=_video_of(body.get("output")),
        cause=FAILURE_CODES.get(code) if isinstance(code, str) else None,
    )


def _video_of(output: Any) -> Any:
    """Return the address of the first output that is a video, or that does not say what it is."""
    outputs = [one for one in output if isinstance(one, dict)] if isinstance(output, list) else []
    return first_address(one.get("url") for one in outputs if one.get("type") in ("video", None))


def test_calls(request_id: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the call that a test of the connection makes: a list of files, be it empty. It is free."""
    return asked_at(FILES_PATH, status_id_field)


def read_test(answer: Answer | Miss, request_id: str) -> Account | Generation | Miss:
    """Return what the answer to it says."""
    read = told(answer)
    if isinstance(read, Miss):
        return read
    body, whole = read
    if not isinstance(body.get("data"), list) or not isinstance(body.get("has_more"), bool):
        return miss(Fault.UNUSABLE, whole, "answered without a list of files")
    return Account()
