"""
The asynchronous wait: a triggerer looks at a generation until it ends, without holding a worker; or at all
those of a batch.

A trigger only asks. It never submits (a triggerer's restart would replay it) and never cancels anything: a
generation cannot be cancelled, and a trigger is stopped and started again whenever triggerers come and go.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_luma.api.events import batch_event_of, event_of
from airflow_provider_luma.api.polling import Wait
from airflow_provider_luma.triggers.channel import joined, wait_for_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class LumaStatusTrigger(BaseTrigger):
    """
    Wait for one generation and fire one event, a :class:`~airflow_provider_luma.api.events.LumaEvent`.

    The arguments are stored in clear in Airflow's database: an id of a connection, never a key. New arguments
    always have a default, because rows of an older release are still out there after an upgrade.

    :param request_id: the generation.
    :param luma_conn_id: id of the Airflow connection.
    :param deadline: epoch seconds after which a generation that is still pending is given up.
    :param started_at: epoch seconds of the first look of this wait, which was made by a worker.
    :param poke_interval: seconds between looks; ``None``: the default schedule.
    :param status_id_field: ``auto``, or the id field that the worker's look has settled.
    :param answered: whether the worker's look had an answer.
    :param looks: how often the wait has looked already.
    :param last_status: the gateway's word at the worker's look.
    """

    def __init__(
        self,
        request_id: str,
        luma_conn_id: str,
        deadline: float,
        started_at: float,
        poke_interval: float | None = None,
        status_id_field: str = "auto",
        answered: bool = False,
        looks: int = 0,
        last_status: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.request_id = request_id
        self.luma_conn_id = luma_conn_id
        self.deadline = deadline
        self.started_at = started_at
        self.poke_interval = poke_interval
        self.status_id_field = status_id_field
        self.answered = answered
        self.looks = looks
        self.last_status = last_status

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments with which another triggerer continues this wait."""
        return (
            "airflow_provider_luma.triggers.luma.LumaStatusTrigger",
            {
                "request_id": self.request_id,
                "luma_conn_id": self.luma_conn_id,
                "deadline": self.deadline,
                "started_at": self.started_at,
                "poke_interval": self.poke_interval,
                "status_id_field": self.status_id_field,
                "answered": self.answered,
                "looks": self.looks,
                "last_status": self.last_status,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the wait is over, through the channel that all triggers share; yield its one event."""
        wait = Wait(
            self.request_id,
            self.started_at,
            self.deadline,
            self.poke_interval,
            answered=self.answered,
            looks=self.looks,
            conn_id=self.luma_conn_id,
            last_status=self.last_status,
        )
        with joined(self.luma_conn_id) as channel:
            ended = await channel.wait(wait, status_id_field=self.status_id_field)
        yield TriggerEvent(event_of(wait, ended, time.time()))
        return


class LumaBatchTrigger(BaseTrigger):
    """
    Wait for many generations and fire one event, a :class:`~airflow_provider_luma.api.events.LumaBatchEvent`.

    The arguments are stored in clear in Airflow's database, some 40 bytes for each generation.

    :param request_ids: the generations.
    :param luma_conn_id: id of the Airflow connection.
    :param deadline: epoch seconds after which a generation that is still pending is given up.
    :param started_at: epoch seconds at which the wait began.
    :param poke_interval: seconds between looks at one generation; ``None``: the default schedule.
    :param answered: whether the gateway has answered the worker, which it has if it accepted them.
    """

    def __init__(
        self,
        request_ids: Sequence[str],
        luma_conn_id: str,
        deadline: float,
        started_at: float,
        poke_interval: float | None = None,
        answered: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.request_ids = list(request_ids)
        self.luma_conn_id = luma_conn_id
        self.deadline = deadline
        self.started_at = started_at
        self.poke_interval = poke_interval
        self.answered = answered

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments with which another triggerer continues this wait."""
        return (
            "airflow_provider_luma.triggers.luma.LumaBatchTrigger",
            {
                "request_ids": self.request_ids,
                "luma_conn_id": self.luma_conn_id,
                "deadline": self.deadline,
                "started_at": self.started_at,
                "poke_interval": self.poke_interval,
                "answered": self.answered,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until every wait is over; yield the one event."""
        told: dict[str, set[str]] = {}
        waits = [
            Wait(
                one,
                self.started_at,
                self.deadline,
                self.poke_interval,
                answered=self.answered,
                conn_id=self.luma_conn_id,
                told=told,
            )
            for one in self.request_ids
        ]
        ends = await wait_for_all(waits, self.luma_conn_id, caller="triggerer")
        yield TriggerEvent(batch_event_of(waits, ends))
        return
