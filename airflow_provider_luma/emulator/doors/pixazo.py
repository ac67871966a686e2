"""
Pixazo: an operation for each model and kind, and one address to ask at.

Written from the vendor's public skill file and from what independent clients read, not from this package's
own reading of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator.models import (
    GENERATE,
    GET_STATUS,
    KEY_HEADER,
    Answer,
    Asked,
    Sight,
    is_text,
)

if TYPE_CHECKING:
    from airflow_provider_luma.emulator.models import EmulatedGeneration, Incoming, Paged

_ERRORS = {
    400: "Invalid request",
    401: "Access denied due to invalid subscription key",
    402: "Insufficient Balance",
    403: "Insufficient Balance",
    404: "Request not found",
    429: "Rate limit exceeded",
    500: "Internal Server Error",
}
_TEXT = "/luma-agent-ray-v3-2-text-to-video/v1/text-to-video"
_IMAGE = {
    "/luma-agent-ray-v3-2-image-to-video/v1/image-to-video",
    "/luma-dream-machine-ray-2-flash-image-to-video/v1/luma-dream-machine-ray-2-flash-image-to-video-request",
}
_STATUS = re.compile(r"/v2/requests/status/[^/]+")
#: As another of the vendor's documents has it: in lower case.
_RESULT = re.compile(r"/luma-[\w.-]+/v1/result/[^/]+")
_KNOWN = {"prompt", "image_url", "end_image_url", "aspect_ratio", "loop", "resolution", "duration"}


class Pixazo:
    """The door."""

    name = "pixazo"
    prefix = ""
    key_header = KEY_HEADER

    def key_value(self, key: str) -> str:
        return key

    def target_of(self, method: str, path: str) -> str | None:
        if method == "POST":
            return GENERATE if path == _TEXT or path in _IMAGE else None
        asks = method == "GET" and (_STATUS.fullmatch(path) or _RESULT.fullmatch(path))
        return GET_STATUS if asks else None

    def refusal(self, target: str, call: Incoming) -> Answer | None:
        if target != GENERATE:
            return None
        asked: Any = call.parsed
        valid = (
            call.content_type == "application/json"
            and isinstance(asked, dict)
            and asked.keys() <= _KNOWN
            and is_text(asked.get("prompt"))
            and isinstance(asked.get("loop", False), bool)
            and (call.path == _TEXT) is ("image_url" not in asked)
        )
        return None if valid else self.error(400)

    def asked_id(self, call: Incoming) -> str:
        return call.path.rpartition("/")[2]

    def asked(self, target: str, call: Incoming) -> Asked:
        asked = call.parsed
        ratio, loop = asked.get("aspect_ratio", "16:9"), asked.get("loop", False)
        return Asked(asked["prompt"], ratio, loop, asked.get("image_url"), asked)

    def accepted(self, generation: EmulatedGeneration, url: str) -> Answer:
        request_id = generation.request_id
        value = {
            "request_id": request_id,
            "status": "QUEUED",
            "polling_url": f"{url}/v2/requests/status/{request_id}",
        }
        return Answer.of(value, status=202)

    def told(self, generation: EmulatedGeneration, sight: Sight) -> Answer:
        usual = {"pending": "PROCESSING", "failed": "FAILED"}.get(sight.kind, "COMPLETED")
        if _RESULT.fullmatch(sight.path):
            usual = usual.lower()
        wordless = sight.kind in ("no-status", "error-no-status")
        value = {
            "request_id": generation.request_id,
            "status": None if wordless else sight.word or usual,
            "error": sight.reason,
            "output": {"media_url": [sight.address]} if sight.address else None,
        }
        return Answer.of(value)

    def not_found(self) -> Answer:
        return self.error(404)

    def error(self, status: int, said: str | None = None) -> Answer:
        return Answer.of({"error": said or _ERRORS.get(status, "Request failed")}, status=status)

    def listed(self, call: Incoming, page: Paged) -> Answer:
        return self.error(404)

    def account(self, balance: float) -> Answer:
        return self.error(404)
