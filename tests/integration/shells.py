"""Ask for a status through the blocking hook and through the asynchronous one, alike. Not a test."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_luma.exceptions import LumaError
from airflow_provider_luma.hooks.luma import LumaAsyncHook, LumaHook


def blocking_status(request_id: str) -> Any:
    with LumaHook() as hook:
        try:
            return hook.get_status(request_id)
        except LumaError as error:
            return error


def async_status(request_id: str) -> Any:
    async def ask() -> Any:
        async with LumaAsyncHook() as hook:
            try:
                return await hook.get_status(request_id)
            except LumaError as error:
                return error

    return asyncio.run(ask())


both_shells = pytest.mark.parametrize(
    "get_status", [blocking_status, async_status], ids=["requests", "aiohttp"]
)
