"""
The emulator's control API under ``/_emulator/``: its methods, for tests in other processes.

``GET health``, ``GET state?limit=``, ``GET requests?target=&limit=``, ``GET faults``; ``POST misbehave``,
``behave``, ``next``, ``set``, ``add`` and ``reset`` with the method's arguments as a JSON object. The page
at ``/`` shows the state to people. Nothing that it sends contains a subscription key: in place of its value
stands whether it was the right one.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from airflow_provider_luma.emulator.faults import COMMON_OPTIONS, FAULTS
from airflow_provider_luma.emulator.models import KEY_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_luma.emulator.models import RecordedRequest
    from airflow_provider_luma.emulator.server import Emulator

PREFIX = "/_emulator/"
RIGHT_KEY = "<the right key>"
WRONG_KEY = "<a wrong key>"
#: A key shorter than this is not looked for inside other text: it would be found in half of all words.
_TELLING_LENGTH = 6
#: What a generation has from whoever asked for it or planned it.
_FROM_OUTSIDE = (
    "prompt", "aspect_ratio", "image_url", "status", "reason", "video_url", "request_id", "answer", "request",
)  # fmt: skip


async def handle(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Answer one control request."""
    status, value = await _answer(emulator, request)
    return web.json_response(value, status=status)


async def _answer(emulator: Emulator, request: web.BaseRequest) -> tuple[int, object]:
    name = request.path[len(PREFIX) :]
    try:
        if request.method == "GET" and name in _READERS:
            return 200, _READERS[name](emulator, request.query)
        if request.method == "POST" and name in _DEEDS:
            body = await request.read()
            arguments = json.loads(body) if body else {}
            if not isinstance(arguments, dict):
                raise ValueError("The body must be a JSON object")
            # In a thread: a redirect may have to start the other host first.
            return 200, await asyncio.to_thread(_DEEDS[name], emulator, arguments) or {"ok": True}
    except KeyError as error:
        return 404, {"error": redact_text(f"There is no generation {error}", emulator.key)}
    except (TypeError, ValueError) as error:
        return 400, {"error": redact_text(str(error), emulator.key)}
    return 404, {"error": redact_text(f"There is no {request.method} {request.path}", emulator.key)}


def describe_request(record: RecordedRequest, key: str) -> dict[str, Any]:
    """Return a recorded request as JSON without any subscription key."""
    return {
        "at": record.at,
        "target": record.target,
        "method": record.method,
        "path": redact_text(record.path, key),
        "headers": [[name, _header(name, value, key)] for name, value in record.headers.items()],
        "body": redact_text(record.body.decode("utf-8", "replace"), key),
        "client_port": record.client_port,
        "request_id": record.request_id and redact_text(record.request_id, key),
        "fault": record.fault,
        "paid": record.paid,
    }


def redact_text(text: str, key: str) -> str:
    """Return ``text`` without the subscription key."""
    return text.replace(key, RIGHT_KEY) if len(key) >= _TELLING_LENGTH else text


def _header(name: str, value: str, key: str) -> str:
    if name.lower() == KEY_HEADER.lower():
        return RIGHT_KEY if value == key else WRONG_KEY
    if name.lower() == "authorization" and value == f"Bearer {key}":
        return RIGHT_KEY
    if name.lower() in ("authorization", "proxy-authorization"):
        return "<redacted>"
    return redact_text(value, key)


def _health(emulator: Emulator, query: Mapping[str, str]) -> dict[str, Any]:
    return {"ok": True, "url": emulator.url}


def _state(emulator: Emulator, query: Mapping[str, str]) -> dict[str, Any]:
    state = emulator.describe(limit=int(query.get("limit", "1000")))
    # What came from outside may quote the key.
    state["faults"] = _redacted(state["faults"], emulator.key)
    for generation in state["generations"]:
        for name in _FROM_OUTSIDE:
            generation[name] = _redacted(generation[name], emulator.key)
    return state


def _redacted(value: Any, key: str) -> Any:
    """Return plain data without the key in its texts; names of fields stay as they are."""
    if isinstance(value, str):
        return redact_text(value, key)
    if isinstance(value, dict):
        return {name: _redacted(one, key) for name, one in value.items()}
    return [_redacted(one, key) for one in value] if isinstance(value, list) else value


def _requests(emulator: Emulator, query: Mapping[str, str]) -> dict[str, Any]:
    target = query.get("target")
    records = emulator.requests if target is None else emulator.calls(target)
    limit = int(query.get("limit", "1000"))
    newest = records[-limit:] if limit > 0 else []
    return {"total": len(records), "requests": [describe_request(record, emulator.key) for record in newest]}


def _faults(emulator: Emulator, query: Mapping[str, str]) -> dict[str, Any]:
    return {
        "common_options": COMMON_OPTIONS,
        "faults": [
            {
                "name": fault.name,
                "summary": fault.summary,
                "options": dict(fault.options),
                "targets": list(fault.targets),
                "paid": fault.paid,
            }
            for fault in FAULTS.values()
        ],
    }


def _add(emulator: Emulator, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"request_id": emulator.add(**arguments)}


_READERS: dict[str, Callable[[Emulator, Mapping[str, str]], dict[str, Any]]] = {
    "health": _health,
    "state": _state,
    "requests": _requests,
    "faults": _faults,
}
_DEEDS: dict[str, Callable[[Emulator, dict[str, Any]], dict[str, Any] | None]] = {
    "misbehave": lambda emulator, arguments: emulator.misbehave(**arguments),
    "behave": lambda emulator, arguments: emulator.behave(**arguments),
    "next": lambda emulator, arguments: emulator.next(**arguments),
    "set": lambda emulator, arguments: emulator.set(**arguments),
    "add": _add,
    "reset": lambda emulator, arguments: emulator.reset(**arguments),
}
