"""
The usual ways to wait, written by hand: the triggers that ours is held against.

See :mod:`benchmarks.designs` for what each stands for.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import aiohttp
from airflow.providers.common.compat.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_luma.api.gateways.appypie import HEADERS, KEY_HEADER, STATUS_PATH
from benchmarks.designs import INTERVAL, LUMA_CONN_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.providers.common.compat.sdk import Connection


class _Waiting(BaseTrigger):
    """A trigger of a waiting generation; what it waits by, the classes below say."""

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"request_id": self.request_id}

    async def look(self, session: aiohttp.ClientSession, connection: Connection) -> bool:
        """Look once, and return whether the generation is complete."""
        async with session.post(
            f"{connection.host}{STATUS_PATH}",
            json={"task_id": self.request_id},
            headers={KEY_HEADER: connection.password or ""},
        ) as response:
            return bool((await response.json())["status"] == "completed")


class SessionPerLook(_Waiting):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look the connection up, open a session and ask, every time."""
        await asyncio.sleep(INTERVAL * random.random())
        while True:
            connection = await sync_to_async(BaseHook.get_connection)(LUMA_CONN_ID)
            async with aiohttp.ClientSession(headers=HEADERS) as session:
                completed = await self.look(session, connection)
            if completed:
                yield TriggerEvent(self.request_id)
                return
            await asyncio.sleep(INTERVAL)


class SessionPerTrigger(_Waiting):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look the connection up and open a session once, and ask every time."""
        connection = await sync_to_async(BaseHook.get_connection)(LUMA_CONN_ID)
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            await asyncio.sleep(INTERVAL * random.random())
            while not await self.look(session, connection):  # noqa: ASYNC110
                await asyncio.sleep(INTERVAL)
        yield TriggerEvent(self.request_id)
        return


class SleepOnly(_Waiting):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep."""
        while True:  # noqa: ASYNC110
            await asyncio.sleep(INTERVAL)
        yield TriggerEvent(self.request_id)
