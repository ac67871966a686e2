"""
Luma's API for agents: ``/v1``. Addresses of videos are signed, and expire.

Written from the official client ``luma-agents`` 0.5.0 and Luma's guide to video generation, not from this
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
    Answer,
    Asked,
    Sight,
    is_text,
)

if TYPE_CHECKING:
    from airflow_provider_luma.emulator.models import EmulatedGeneration, Incoming, Paged

_ERRORS = {
    401: "Invalid API key",
    402: "Insufficient balance",
    403: "This account is suspended",
    404: "Not Found",
    413: "The request is too large",
    422: "The request cannot be processed",
    429: "Rate limit exceeded",
    500: "Internal error",
    502: "Bad gateway",
    503: "Temporarily unavailable",
}
_RATIOS = {"3:1", "2:1", "21:9", "16:9", "4:3", "3:2", "1:1", "3:4", "2:3", "9:16", "1:2", "1:3"}
_KNOWN = {"model", "type", "prompt", "aspect_ratio", "video", "user_id"}
_VIDEO_FIELDS = {"duration", "resolution", "loop", "start_frame", "end_frame", "hdr"}


class LumaAgents:
    """The door."""

    name = "luma_agents"
    prefix = "/v1"
    key_header = "Authorization"

    def key_value(self, key: str) -> str:
        return f"Bearer {key}"

    def target_of(self, method: str, path: str) -> str | None:
        if method == "POST":
            return GENERATE if path == "/v1/generations" else None
        if method == "GET" and re.fullmatch(r"/v1/generations/[^/]+", path):
            return GET_STATUS
        return ACCOUNT if (method, path) == ("GET", "/v1/files") else None

    def refusal(self, target: str, call: Incoming) -> Answer | None:
        wrong = self._wrong(call) if target == GENERATE else None
        return self.error(422, wrong) if wrong else None

    def _wrong(self, call: Incoming) -> str | None:
        asked = call.parsed
        if call.content_type != "application/json" or not isinstance(asked, dict):
            return "The body must be a JSON object"
        if unknown := [name for name in asked if name not in _KNOWN]:
            return f"{unknown[0]} is not known"
        if (asked.get("model"), asked.get("type")) != ("ray-3.2", "video"):
            return "this emulator makes videos, with ray-3.2"
        if not is_text(asked.get("prompt")) or len(asked["prompt"]) > 6000:
            return "prompt must have 1 to 6000 characters"
        if asked.get("aspect_ratio", "16:9") not in _RATIOS:
            return "aspect_ratio is not supported"
        video = asked.get("video", {})
        if not isinstance(video, dict) or not video.keys() <= _VIDEO_FIELDS:
            return "video holds a field that is not known"
        if video.get("duration", "5s") not in ("5s", "10s"):
            return "duration must be 5s or 10s"
        if video.get("resolution", "720p") not in ("360p", "540p", "720p", "1080p"):
            return "resolution is not supported"
        frames = [video[name] for name in ("start_frame", "end_frame") if name in video]
        if video.get("duration") == "10s" and (video.get("loop") or frames):
            return "a duration of 10s is not supported with a loop or with frames"
        if len(frames) == 2 and any("generation_id" in frame for frame in frames):
            return "an extension takes a single generation_id"
        return next(filter(None, (_wrong_frame(frame, call) for frame in frames)), None)

    def asked_id(self, call: Incoming) -> str:
        return call.path.rpartition("/")[2]

    def asked(self, target: str, call: Incoming) -> Asked:
        asked = call.parsed
        video = asked.get("video", {})
        frame = video.get("start_frame") or {}
        ratio = asked.get("aspect_ratio", "16:9")
        return Asked(asked["prompt"], ratio, bool(video.get("loop")), frame.get("url"), asked)

    def accepted(self, generation: EmulatedGeneration, url: str) -> Answer:
        return Answer.of(self._generation(generation, Sight("pending", "queued")), status=201)

    def told(self, generation: EmulatedGeneration, sight: Sight) -> Answer:
        return Answer.of(self._generation(generation, sight))

    def _generation(self, generation: EmulatedGeneration, sight: Sight) -> dict[str, Any]:
        usual = {"pending": "processing", "failed": "failed"}.get(sight.kind, "completed")
        wordless = sight.kind in ("no-status", "error-no-status")
        created = datetime.fromtimestamp(generation.submitted_at, UTC)
        failed = sight.kind == "failed"
        return {
            "id": generation.request_id,
            "type": "video",
            "model": "ray-3.2",
            "state": None if wordless else sight.word or usual,
            "created_at": created.isoformat().replace("+00:00", "Z"),
            "output": [{"type": "video", "url": sight.address}] if sight.address else [],
            "failure_code": (generation.failure_code or "generation_failed") if failed else None,
            "failure_reason": sight.reason,
        }

    def not_found(self) -> Answer:
        return self.error(404, "Generation not found")

    def error(self, status: int, said: str | None = None) -> Answer:
        return Answer.of({"detail": said or _ERRORS.get(status, "Request failed")}, status=status)

    def listed(self, call: Incoming, page: Paged) -> Answer:
        return self.error(404)

    def account(self, balance: float) -> Answer:
        return Answer.of({"data": [], "has_more": False, "next_cursor": None})


def _wrong_frame(frame: Any, call: Incoming) -> str | None:
    if not isinstance(frame, dict) or len(frame) != 1:
        return "a frame is exactly one of url and generation_id"
    if is_text(frame.get("url")) and frame["url"].startswith("http"):
        return None
    return None if call.knows(frame.get("generation_id")) else "the generation of a frame was not found"
