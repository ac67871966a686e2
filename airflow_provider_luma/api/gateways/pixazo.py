"""
Pixazo, the successor brand of the Appy Pie gateway: ray-3.2, and ray-2-flash from an image.

Sources: the vendor's public skill file for agents (operations, the body of ray-2-flash, what a submit
answers, 402 for credit); several independent clients for ``GET /v2/requests/status/{id}``, its words and
``output.media_url``. The vendor documents the body of ray-3.2 nowhere in public; it is taken to be that of
ray-2-flash.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_luma.api.exchange import Answer, Call, HttpCall, Miss, json_object, refusal
from airflow_provider_luma.api.gateways.reading import (
    JSON_HEADERS,
    WORDS,
    accepted_id,
    asked_at,
    body_with,
    first_address,
    one_of,
    seen,
    status_body,
)
from airflow_provider_luma.api.models import (
    Generation,
    GenerationStatus,
    is_web_address,
    usable_request_id,
)
from airflow_provider_luma.exceptions import LumaInvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_luma.api.gateways.capabilities import Capability
    from airflow_provider_luma.api.models import GenerationRequest
    from airflow_provider_luma.api.probe import Account

NAME = "pixazo"
TITLE = "the Pixazo gateway"
MODELS = ("ray-3.2", "ray-2-flash")
PARAMETERS = frozenset(
    {
        "prompt",
        "aspect_ratio",
        "loop",
        "image_url",
        "end_frame",
        "model",
        "duration",
        "resolution",
        "extra_body",
    }
)
CAPABILITIES: frozenset[Capability] = frozenset()

DEFAULT_HOST = "https://gateway.pixazo.ai"
KEY_HEADER = "Ocp-Apim-Subscription-Key"
HEADERS = JSON_HEADERS
#: None: an id is a part of the address.
STATUS_ID_FIELDS: tuple[str, ...] = ()

RAY_3_TEXT_PATH = "/luma-agent-ray-v3-2-text-to-video/v1/text-to-video"
RAY_3_IMAGE_PATH = "/luma-agent-ray-v3-2-image-to-video/v1/image-to-video"
RAY_2_IMAGE_PATH = (
    "/luma-dream-machine-ray-2-flash-image-to-video/v1/luma-dream-machine-ray-2-flash-image-to-video-request"
)
STATUS_PATH = "/v2/requests/status/"

#: In lower case; the gateway writes them in capitals, one of its documents does not.
STATES: Mapping[str, GenerationStatus] = {**WORDS, "not_found": GenerationStatus.NOT_FOUND}
_OF_A_REQUEST = re.compile(r"request|generation|task|job", re.IGNORECASE)
#: The names under which an answer may give the id, in the order in which they are believed.
_ID_NAMES = ("request_id", "task_id", "id")


def key_header(key: str) -> str:
    """Return what stands in the header that carries the key."""
    return key


def check(request: GenerationRequest) -> None:
    """Hold a request against what is documented."""
    one_of("model", request.model, MODELS, TITLE)
    if request.end_frame is not None and not is_web_address(request.end_frame):
        raise LumaInvalidRequest(f"end_frame must be the address of an image: {TITLE} knows no other frames.")
    if request.end_frame is not None and request.image_url is None:
        raise LumaInvalidRequest(f"end_frame needs image_url, the first frame, at {TITLE}.")
    if request.loop and request.end_frame is not None:
        raise LumaInvalidRequest(f"loop and end_frame exclude each other at {TITLE}.")
    if request.model == "ray-2-flash" and request.image_url is None:
        raise LumaInvalidRequest(f"ray-2-flash needs image_url: {TITLE} has it from images only.")


def submit_call(request: GenerationRequest) -> HttpCall:
    """Return the call that generates ``request``. Every delivery of it is paid for."""
    fields: dict[str, Any] = {
        "prompt": request.prompt,
        "image_url": request.image_url,
        "end_image_url": request.end_frame,
        "aspect_ratio": request.aspect_ratio,
        "loop": request.loop,
        "resolution": request.resolution,
        "duration": request.duration,
    }
    path = RAY_3_TEXT_PATH if request.image_url is None else RAY_3_IMAGE_PATH
    if request.model == "ray-2-flash":
        path = RAY_2_IMAGE_PATH
    return HttpCall(Call.GENERATE, path, body_with(fields, request.extra_body))


def read_submit(answer: Answer | Miss) -> str | Miss:
    """
    Return the request id of an accepted submit, or the fault.

    Where the answer says that the generation is to be asked about at another path of the same host, the id is
    that path: whoever waits knows nothing but the id. An address on another host is not followed, because the
    key would go there.
    """
    request_id = accepted_id(answer, _ID_NAMES)
    if isinstance(request_id, Miss) or isinstance(answer, Miss):
        return request_id
    path = _own_path((json_object(answer) or {}).get("polling_url"), answer)
    if path is None or path == _status_path(request_id) or request_id not in path.split("/"):
        return request_id
    return path


def _own_path(given: Any, answer: Answer) -> str | None:
    """Return the path, below the connection's host, of an address that is on it and usable as an id."""
    address = usable_request_id(given)
    if address is None:
        return None
    if answer.is_own(address):
        address = address.removeprefix(answer.base_url)
    # What is more than a path may be secret, or be read as another one.
    strange = {"", ".", ".."} & {*address[1:].split("/")} or re.search(r"[?#%\\]", address)
    if not address.startswith("/") or strange or answer.gives_away(address):
        return None
    return address


def _status_path(request_id: str) -> str:
    # An id is one segment; what begins with a slash is a path.
    return request_id if request_id.startswith("/") else STATUS_PATH + quote(request_id, safe="")


def status_calls(request_id: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the one call by which a generation is asked about. It is free."""
    return asked_at(_status_path(request_id), status_id_field)


def read_status(answer: Answer | Miss, request_id: str) -> Generation | Miss:
    """Return what an answer says of the generation, or the fault."""
    # Of a path, the answer repeats the id in it, if any.
    read = status_body(answer, request_id, () if request_id.startswith("/") else _ID_NAMES)
    if not isinstance(read, tuple):
        return read
    body, whole = read
    return seen(body, whole, request_id, word=body.get("status"), words=STATES, url=_video_of(body))


def _video_of(body: dict[str, Any]) -> Any:
    """Return the address of the video: clients have seen it under several names, alone or in a list."""
    output = body.get("output")
    found: list[Any] = []
    for place in (output, body):
        if isinstance(place, dict):
            for name in ("media_url", "video_url", "output_url", "url"):
                value = place.get(name)
                found += value if isinstance(value, list) else [value]
    return first_address([*found, *(output if isinstance(output, list) else [output])])


def test_calls(request_id: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the call that a test of the connection makes: about an id that nobody has. It is free."""
    return status_calls(request_id, status_id_field)


def read_test(answer: Answer | Miss, request_id: str) -> Account | Generation | Miss:
    """
    Return what the answer to it says.

    How the gateway says that it does not know an id is not documented; what speaks of no request may be any
    other server's.
    """
    found = read_status(answer, request_id)
    if isinstance(found, Miss) or isinstance(answer, Miss) or found.status is not GenerationStatus.NOT_FOUND:
        return found
    of_a_request = found.raw_status or _OF_A_REQUEST.search(found.reason or "")
    return found if of_a_request else refusal(answer)
