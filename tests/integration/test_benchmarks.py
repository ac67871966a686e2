"""
The benchmarks work: each in a form of a few seconds, for what it counts and not for its figures.

Not the one in the real triggerer, which takes a PostgreSQL and half a minute: ``make bench`` runs it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from airflow_provider_luma.api.polling import Schedule
from benchmarks import loop, refused, schedule
from benchmarks.gateway import NOT_FOUND_WHILE_PENDING, Gateway
from benchmarks.waiting import BARE, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Airflow before 3 has no trigger runner of the kind that holds the designs, and none is measured there.
with_a_trigger_runner = pytest.mark.skipif(
    importlib.util.find_spec("airflow.sdk") is None, reason="Airflow 2 is not measured"
)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


def ask(gateway: Gateway, *ids: str, prefix: str = "") -> list[tuple[int, str | None]]:
    """Ask about each generation, one after the other, over one connection."""

    async def run() -> list[tuple[int, str | None]]:
        tls = ssl.create_default_context(cafile=gateway.authority)
        found = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
            for request_id in ids:
                async with session.post(
                    f"{gateway.url}{prefix}/v1/getStatus", json={"task_id": request_id}
                ) as answer:
                    found.append((answer.status, (await answer.json()).get("status")))
        return found

    return asyncio.run(run())


class TestTheGateway:
    def test_answers_by_the_moment_in_the_id_and_counts(self, gateway: Gateway) -> None:
        past = time.time() - 2.0
        answers = ask(gateway, "never", f"past@{past}", f"past@{past}", f"future@{past + 3600}")
        assert [status for _, status in answers] == ["processing", "completed", "completed", "processing"]
        counts = gateway.counts()
        assert (counts.requests, counts.generations, counts.most_connections) == (4, 3, 1)
        assert list(counts.completed) == [f"past@{past}"]
        assert 2.0 <= counts.completed[f"past@{past}"] < 10.0
        assert len(gateway.arrivals()) == 4
        gateway.reset()
        assert gateway.counts().requests == 0

    def test_knows_a_client_to_which_404_is_pending(self, gateway: Gateway) -> None:
        assert ask(gateway, "never", "past@1", prefix=NOT_FOUND_WHILE_PENDING) == [
            (404, "processing"),
            (200, "completed"),
        ]

    def test_refuses_for_a_while(self, gateway: Gateway) -> None:
        now = time.time()
        gateway.refuse(now - 1, now + 3600, 20)
        assert ask(gateway, "one") == [(429, None)]
        gateway.refuse(0, 0, 0)
        assert ask(gateway, "one") == [(200, "processing")]
        assert gateway.counts().refused == 1


@with_a_trigger_runner
class TestTheLoop:
    @pytest.mark.parametrize("design", ["ours", BARE])
    def test_looks_once_an_interval_and_sees_what_completes(self, gateway: Gateway, design: str) -> None:
        sample = loop._sample(Spec(design, 20, warm_up=0.0, seconds=6.0), gateway)
        assert 15 <= sample["looks"] <= 30
        assert sample["completed"] == 2, "a tenth of them"
        assert all(0 <= delay < 6 for delay in sample["delays"])
        assert sample["cpu_seconds"] > 0
        assert sample["sockets"] >= 1
        report = {"samples": [sample]}
        assert len(loop.tables(report)[0].rows) == 1
        assert all(target.reached is None for target in loop.targets(report)), "nothing was measured for it"


class TestWhatIsSeenOfARefusal:
    def test_is_counted_from_the_first_refused_request_on(self) -> None:
        seen = refused.seen([-2.5, -0.5, 0.25, 0.5, 5.3, 6.0, 6.1], pause=5, after=10)
        assert seen["during"] == 1
        assert {second: count for second, count in refused.per_second(seen).items() if count} == {
            -3: 1,
            -1: 1,
            0: 2,
            5: 3,
        }
        assert seen["most_in_a_second"] == 3


class TestTheSchedule:
    def test_is_driven_by_the_providers_own_decisions(self) -> None:
        every = schedule.simulated(60, 3_000, Schedule(), 5.0)
        default = schedule.simulated(60, 3_000, Schedule())
        looks = [sum(one.looks for one in waits) / len(waits) for waits in (every, default)]
        assert 12 < looks[0] < 17, "every 5 s, of a minute and some"
        assert looks[1] < 0.8 * looks[0]
        assert all(0 <= one.delay <= 5.001 for one in every)
