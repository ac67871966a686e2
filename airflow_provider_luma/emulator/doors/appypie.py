"""The Appy Pie gateway, as the vendor's page says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_luma.emulator.models import (
    GENERATE,
    GENERATE_FROM_IMAGE,
    GET_STATUS,
    KEY_HEADER,
    Answer,
    Asked,
    Sight,
    is_text,
)

if TYPE_CHECKING:
    from airflow_provider_luma.emulator.models import EmulatedGeneration, Incoming, Paged

#: The error bodies on the vendor's page, by HTTP status.
DOCUMENTED_ERRORS = {
    400: "Invalid request parameters",
    401: "Invalid or missing authentication",
    403: "Access denied for this operation",
    404: "Endpoint not found",
    429: "Rate limit exceeded, please retry later",
    500: "An unexpected error occurred, please try again later",
}
#: The example error response on the vendor's page.
NOT_FOUND = {"status": "NOT_FOUND", "error": "The requested resource could not be located."}

_TARGET_BY_PATH = {
    "/lumalabs-ai/v1/generate": GENERATE,
    "/lumalabs-ai/v1/generateRequestFromImage": GENERATE_FROM_IMAGE,
    "/lumalabs-ai-polling/v1/getStatus": GET_STATUS,
}
_ASPECT_RATIO = re.compile(r"\d{1,5}(\.\d{1,3})?:\d{1,5}(\.\d{1,3})?")


class Settings(Protocol):
    """What the vendor's page leaves open."""

    #: The field in which getStatus takes the id: ``both``, ``task_id`` or ``requestId``.
    status_id_field: str
    #: The status of a generation that is not ready.
    pending_word: str
    #: The HTTP status under which an unknown id is answered.
    not_found_status: int


class AppyPie:
    """
    The door.

    :param settings: the emulator's, which a test may change at any time.
    """

    name = "appypie"
    prefix = ""
    key_header = KEY_HEADER

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def key_value(self, key: str) -> str:
        return key

    def target_of(self, method: str, path: str) -> str | None:
        return _TARGET_BY_PATH.get(path) if method == "POST" else None

    def refusal(self, target: str, call: Incoming) -> Answer | None:
        asked = call.parsed
        valid = call.content_type == "application/json" and isinstance(asked, dict)
        if valid and target == GET_STATUS:
            valid = self.asked_id(call) != ""
        elif valid:
            valid = is_text(asked.get("prompt"))
            if valid and target == GENERATE_FROM_IMAGE:
                address = asked.get("url")
                valid = is_text(address) and address.lower().startswith(("http://", "https://"))
            if valid and "aspect_ratio" in asked:
                valid = _is_aspect_ratio(asked["aspect_ratio"])
            if valid and "loop" in asked:
                valid = isinstance(asked["loop"], bool)
        return None if valid else self.error(400)

    def asked_id(self, call: Incoming) -> str:
        field = self._settings.status_id_field
        fields = ("task_id", "requestId") if field == "both" else (field,)
        for name in fields:
            value = call.parsed.get(name)
            if is_text(value):
                return str(value)
        return ""

    def asked(self, target: str, call: Incoming) -> Asked:
        asked = call.parsed
        return Asked(
            asked["prompt"],
            asked.get("aspect_ratio", "16:9"),
            asked.get("loop", False),
            asked["url"] if target == GENERATE_FROM_IMAGE else None,
            asked,
        )

    def accepted(self, generation: EmulatedGeneration, url: str) -> Answer:
        return Answer.of({"requestId": generation.request_id})

    def told(self, generation: EmulatedGeneration, sight: Sight) -> Answer:
        value: dict[str, Any] = {}
        if sight.kind not in ("no-status", "error-no-status"):
            usual = {"pending": self._settings.pending_word, "failed": "failed"}.get(sight.kind, "completed")
            value["status"] = sight.word or usual
        if sight.address is not None:
            value["video_url"] = sight.address
        if sight.reason is not None:
            value["error"] = sight.reason
        return Answer.of(value)

    def not_found(self) -> Answer:
        return Answer.of(NOT_FOUND, status=self._settings.not_found_status)

    def error(self, status: int, said: str | None = None) -> Answer:
        return Answer.of({"error": said or DOCUMENTED_ERRORS.get(status, "Request failed")}, status=status)

    def listed(self, call: Incoming, page: Paged) -> Answer:
        return self.error(404)

    def account(self, balance: float) -> Answer:
        return self.error(404)


def _is_aspect_ratio(value: object) -> bool:
    if not isinstance(value, str) or not _ASPECT_RATIO.fullmatch(value):
        return False
    return all(float(side) > 0 for side in value.split(":"))
