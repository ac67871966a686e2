"""
Luma's own API, first generation: ``/dream-machine/v1``.

Written from the official client ``lumaai`` 1.21.0 and Luma's published OpenAPI description, not from this
package's own reading of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator.models import (
    ACCOUNT,
    GENERATE,
    GET_STATUS,
    LIST,
    Answer,
    Asked,
    Sight,
    is_text,
)

if TYPE_CHECKING:
    from airflow_provider_luma.emulator.models import EmulatedGeneration, Incoming, Paged

_ERRORS = {
    400: "Invalid request",
    401: "Invalid API key provided",
    402: "Insufficient credits",
    403: "Not allowed",
    404: "Not Found",
    429: "Too many requests",
    500: "Internal server error",
}
_RATIOS = {"1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"}
_KNOWN = {
    "generation_type", "model", "prompt", "aspect_ratio", "loop", "duration", "resolution", "keyframes",
    "concepts", "callback_url",
}  # fmt: skip
_MOST_LISTED = 100


class Luma:
    """The door."""

    name = "luma"
    prefix = "/dream-machine/v1"
    key_header = "Authorization"

    def key_value(self, key: str) -> str:
        return f"Bearer {key}"

    def target_of(self, method: str, path: str) -> str | None:
        if not path.startswith(f"{self.prefix}/"):
            return None
        rest = path.removeprefix(self.prefix)
        if method == "POST":
            return GENERATE if rest == "/generations/video" else None
        if method != "GET":
            return None
        if re.fullmatch(r"/generations/[^/]+", rest):
            return GET_STATUS
        return {"/generations": LIST, "/credits": ACCOUNT}.get(rest)

    def refusal(self, target: str, call: Incoming) -> Answer | None:
        if target == LIST:
            numbers = [call.query.get("limit", "10"), call.query.get("offset", "0")]
            return None if all(number.isdecimal() for number in numbers) else self.error(400)
        if target != GENERATE:
            return None
        wrong = self._wrong(call)
        return self.error(400, wrong) if wrong else None

    def _wrong(self, call: Incoming) -> str | None:
        asked = call.parsed
        if call.content_type != "application/json" or not isinstance(asked, dict):
            return "The body must be a JSON object"
        if unknown := [name for name in asked if name not in _KNOWN]:
            return f"Unknown field {unknown[0]}"
        if asked.get("model") not in ("ray-2", "ray-flash-2"):
            return "model must be ray-2 or ray-flash-2"
        keyframes = asked.get("keyframes") or {}
        prompt = asked.get("prompt")
        if not keyframes and prompt is None:
            return "prompt is required"
        if prompt is not None and not (is_text(prompt) and 3 <= len(prompt) <= 5000):
            return "prompt must have 3 to 5000 characters"
        if asked.get("aspect_ratio", "16:9") not in _RATIOS:
            return "aspect_ratio is none of those supported"
        if not isinstance(asked.get("loop", False), bool):
            return "loop must be a boolean"
        if not re.fullmatch(r"\d+s", str(asked.get("duration", "5s"))):
            return "duration must be such as 5s"
        if asked.get("resolution", "720p") not in ("540p", "720p", "1080p", "4k"):
            return "resolution is none of those supported"
        if not isinstance(keyframes, dict) or not keyframes.keys() <= {"frame0", "frame1"}:
            return "keyframes must be frame0 and frame1"
        if asked.get("loop") and "frame1" in keyframes:
            return "loop is not supported with an end frame"
        return next(filter(None, (_wrong_frame(frame, call) for frame in keyframes.values())), None)

    def asked_id(self, call: Incoming) -> str:
        return call.path.rpartition("/")[2]

    def asked(self, target: str, call: Incoming) -> Asked:
        asked = call.parsed
        frame = (asked.get("keyframes") or {}).get("frame0") or {}
        ratio, loop = asked.get("aspect_ratio", "16:9"), asked.get("loop", False)
        return Asked(asked.get("prompt") or "", ratio, loop, frame.get("url"), asked)

    def accepted(self, generation: EmulatedGeneration, url: str) -> Answer:
        return Answer.of(self._generation(generation, Sight("pending", "queued")), status=201)

    def told(self, generation: EmulatedGeneration, sight: Sight) -> Answer:
        return Answer.of(self._generation(generation, sight))

    def _generation(self, generation: EmulatedGeneration, sight: Sight) -> dict[str, Any]:
        usual = {"pending": "dreaming", "failed": "failed"}.get(sight.kind, "completed")
        wordless = sight.kind in ("no-status", "error-no-status")
        created = datetime.fromtimestamp(generation.submitted_at, UTC)
        assets = {"video": sight.address, "image": None, "progress_video": None} if sight.address else None
        return {
            "id": generation.request_id,
            "generation_type": "video",
            "state": None if wordless else sight.word or usual,
            "failure_reason": sight.reason,
            "created_at": created.isoformat().replace("+00:00", "Z"),
            "assets": assets,
            "model": generation.request.get("model", "ray-2"),
            "request": {"generation_type": "video", **generation.request},
        }

    def not_found(self) -> Answer:
        return self.error(404, "Generation not found")

    def error(self, status: int, said: str | None = None) -> Answer:
        return Answer.of({"detail": said or _ERRORS.get(status, "Request failed")}, status=status)

    def listed(self, call: Incoming, page: Paged) -> Answer:
        limit = min(int(call.query.get("limit", "10")), _MOST_LISTED)
        offset = int(call.query.get("offset", "0"))
        generations, total = page(offset, limit)
        return Answer.of(
            {
                "generations": [self._generation(one, one.seen) for one in generations],
                "count": len(generations),
                "limit": limit,
                "offset": offset,
                "has_more": offset + limit < total,
            }
        )

    def account(self, balance: float) -> Answer:
        return Answer.of({"credit_balance": balance})


def _wrong_frame(frame: Any, call: Incoming) -> str | None:
    if not isinstance(frame, dict):
        return "A keyframe must be an object"
    if frame.get("type") == "image" and frame.keys() == {"type", "url"}:
        return None if is_text(frame["url"]) and frame["url"].startswith("http") else "url must be a URL"
    if frame.get("type") == "generation" and frame.keys() == {"type", "id"}:
        return None if call.knows(frame["id"]) else "The generation of a keyframe was not found"
    return "A keyframe is an image with url, or a generation with id"
