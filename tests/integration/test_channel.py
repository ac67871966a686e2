"""Many triggers in one loop, through the channel that they share, against the gateway on a real socket."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import psutil
import pytest
from asgiref.sync import sync_to_async

from airflow_provider_luma.api.polling import Schedule, Wait
from airflow_provider_luma.emulator import Emulator
from airflow_provider_luma.exceptions import LumaWaitTimeout
from airflow_provider_luma.hooks import luma as hooks
from airflow_provider_luma.triggers import channel
from airflow_provider_luma.triggers.luma import LumaStatusTrigger
from tests.integration.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.usefixtures("connect")


def trigger(request_id: str, poke_interval: float | None = 0.2, timeout: float = 60.0) -> LumaStatusTrigger:
    """Return a trigger as the sensor makes it after a first look that found the generation pending."""
    now = time.time()
    return LumaStatusTrigger(
        request_id, "luma_default", now + timeout, now, poke_interval, "task_id", answered=True, looks=1
    )


async def fired(trigger: LumaStatusTrigger) -> dict[str, Any]:
    """Run a trigger to its event, as Airflow's trigger runner does, and return the payload."""
    async for event in trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("no event")


@asynccontextmanager
async def running(triggers: list[LumaStatusTrigger]) -> AsyncIterator[list[asyncio.Task[dict[str, Any]]]]:
    """Run triggers side by side; cancel what is left of them at the end."""
    tasks = [asyncio.create_task(fired(one)) for one in triggers]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def all_fired(triggers: list[LumaStatusTrigger]) -> list[dict[str, Any]]:
    """Run triggers side by side to their events."""

    async def run() -> list[dict[str, Any]]:
        async with running(triggers) as tasks:
            return await asyncio.wait_for(asyncio.gather(*tasks), 60)

    return asyncio.run(run())


def looks_at(gateway: Emulator, *, since: float = 0.0) -> list[float]:
    """Return when the gateway was asked for a status, by the clock of the record."""
    return [call.at for call in gateway.calls("getStatus") if call.at >= since]


def most_in(times: list[float], window: float) -> int:
    """Return the largest number of times within any window of so many seconds."""
    first, most = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.fixture(autouse=True)
def quiet_gateway() -> Iterator[None]:
    """Have the gateway log nothing per request."""
    logger = logging.getLogger("airflow_provider_luma.emulator")
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Count the look-ups of connections; they take as long as a busy supervisor takes."""
    when: list[float] = []
    original = hooks.get_async_connection

    async def counted(**arguments: Any) -> Any:
        when.append(time.monotonic())
        await asyncio.sleep(0.2)
        return await original(**arguments)

    monkeypatch.setattr(hooks, "get_async_connection", counted)
    return when


class TestTwoHundredWaits:
    def test_share_one_look_up_and_a_bounded_pool(
        self, emulator: Emulator, connect: Callable[..., None], look_ups: list[float]
    ) -> None:
        connect(max_concurrent_requests=4)
        ids = [emulator.add(seconds=1.0) for _ in range(200)]
        events = all_fired([trigger(one) for one in ids])

        assert [event["outcome"] for event in events] == ["completed"] * 200
        assert [event["request_id"] for event in events] == ids
        assert len(look_ups) == 1
        assert len({call.client_port for call in emulator.calls("getStatus")}) <= 4
        assert emulator.max_in_flight["getStatus"] <= 4

    def test_do_not_march_in_step(self, emulator: Emulator) -> None:
        ids = [emulator.add(outcome="pending") for _ in range(200)]

        async def run() -> None:
            async with running([trigger(one, poke_interval=1.0) for one in ids]):
                await asyncio.sleep(3.5)

        asyncio.run(run())
        times = looks_at(emulator)
        start = times[0] + 1.0
        tenths = Counter(int((at - start) * 10) for at in times if start <= at < start + 2)
        assert sum(tenths.values()) == pytest.approx(400, abs=40)
        assert max(tenths.values()) < 60, tenths

    def test_are_looked_at_in_turn_when_there_are_too_many(
        self, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        """Wanted 400 looks a second, of which the pool of 2 and an answer in 20 ms leave a hundred."""
        connect(max_concurrent_requests=2)
        emulator.misbehave("getStatus", "latency", times=None, seconds=0.02)
        ids = [emulator.add(outcome="pending") for _ in range(80)]

        async def run() -> None:
            async with running([trigger(one) for one in ids]):
                await asyncio.sleep(4)

        asyncio.run(run())
        looks = Counter(call.request_id for call in emulator.calls("getStatus"))
        assert set(looks) == set(ids), "somebody starves"
        assert max(looks.values()) - min(looks.values()) <= 2, looks

    def test_learn_how_long_generations_take(self, emulator: Emulator, connect: Callable[..., None]) -> None:
        connect(typical_seconds=4)
        typical = Schedule.of(4)

        async def run() -> Schedule:
            ids = [emulator.add(seconds=0.1) for _ in range(25)]
            async with running([trigger(one, poke_interval=None) for one in ids]) as tasks:
                await asyncio.gather(*tasks)
            assert list(channel._channels) == []
            # Another channel, in the same loop.
            with channel.joined("luma_default") as another:
                await another.wait(Wait(emulator.add(seconds=0), time.time(), time.time() + 20, 0.2))
                return another._durations.schedule

        schedule = asyncio.run(run())
        assert schedule.first < typical.first


class TestARotatedKey:
    def test_is_picked_up_at_the_first_refusal(
        self,
        emulator: Emulator,
        connect: Callable[..., None],
        look_ups: list[float],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(hooks, "RENEW_PAUSE", 0.3)
        ids = [emulator.add(seconds=2.0) for _ in range(50)]

        async def run() -> list[dict[str, Any]]:
            async with running([trigger(one) for one in ids]) as tasks:
                await asyncio.sleep(1.0)
                connect(password="the-new-key-0123456789")
                emulator.key = "the-new-key-0123456789"
                return await asyncio.wait_for(asyncio.gather(*tasks), 30)

        events = asyncio.run(run())
        assert [event["outcome"] for event in events] == ["completed"] * 50
        assert len(look_ups) == 2

    def test_that_is_wrong_asks_for_the_connection_seldom(
        self, emulator: Emulator, connect: Callable[..., None], look_ups: list[float]
    ) -> None:
        connect(password="not-the-key-0123456789")
        events = all_fired([trigger(emulator.add(seconds=2.0)) for _ in range(50)])

        assert {event["error"]["kind"] for event in events} == {"refused_key"}
        assert len(look_ups) <= 2


class TestAConnectionThatChanges:
    @pytest.fixture(autouse=True)
    def renewed_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hooks, "RENEW_AFTER", 0.3)
        monkeypatch.setattr(hooks, "RENEW_PAUSE", 0.1)

    def test_counts_after_a_while(self, emulator: Emulator, connect: Callable[..., None]) -> None:
        with Emulator(key=KEY) as other:
            request_id = emulator.add(request_id="moved", outcome="pending")
            other.add(request_id="moved", seconds=0)

            async def run() -> dict[str, Any]:
                async with running([trigger(request_id)]) as (task,):
                    await asyncio.sleep(0.5)
                    connect(host=other.url)
                    return await asyncio.wait_for(task, 20)

            event = asyncio.run(run())
            assert event["generation"]["video_url"].startswith(other.url)

    @pytest.mark.parametrize("broken", [{"password": ""}, {"timeout": "soon"}])
    def test_to_one_that_cannot_be_used_ends_no_wait(
        self,
        broken: dict[str, Any],
        emulator: Emulator,
        connect: Callable[..., None],
        logged: Callable[[], str],
    ) -> None:
        request_id = emulator.add(seconds=1.5)

        async def run() -> dict[str, Any]:
            async with running([trigger(request_id)]) as (task,):
                await asyncio.sleep(0.3)
                connect(**broken)
                return await asyncio.wait_for(task, 20)

        assert asyncio.run(run())["outcome"] == "completed"
        assert "could not be looked up again" in logged()

    def test_that_is_deleted_ends_no_wait(self, emulator: Emulator) -> None:
        request_id = emulator.add(seconds=1.5)

        async def run() -> dict[str, Any]:
            async with running([trigger(request_id)]) as (task,):
                await asyncio.sleep(0.3)
                del os.environ["AIRFLOW_CONN_LUMA_DEFAULT"]
                return await asyncio.wait_for(task, 20)

        assert asyncio.run(run())["outcome"] == "completed"

    def test_leaves_no_socket_of_the_old_one(self, emulator: Emulator, connect: Callable[..., None]) -> None:
        ids = [emulator.add(outcome="pending") for _ in range(20)]

        async def run() -> int:
            async with running([trigger(one) for one in ids]):
                for timeout in range(20, 28):
                    connect(timeout=timeout, max_concurrent_requests=3)
                    await asyncio.sleep(0.4)
                return len(sockets_to(emulator))

        assert asyncio.run(run()) <= 6


class TestALookUpThatFailsForAWhile:
    def test_is_a_failed_look_and_not_the_end(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original, failures = hooks.get_async_connection, iter(range(5))

        async def sometimes(**arguments: Any) -> Any:
            if next(failures, None) is not None:
                raise RuntimeError("the supervisor is busy")
            return await original(**arguments)

        monkeypatch.setattr(hooks, "get_async_connection", sometimes)
        events = all_fired([trigger(emulator.add(seconds=0.5)) for _ in range(3)])
        assert [event["outcome"] for event in events] == ["completed"] * 3


class TestARateLimit:
    @pytest.mark.parametrize("fault", ["apim-429", "quota-403"])
    def test_pauses_everybody(self, fault: str, emulator: Emulator, connect: Callable[..., None]) -> None:
        connect(max_concurrent_requests=8)
        ids = [emulator.add(outcome="pending") for _ in range(200)]

        async def run() -> float:
            async with running([trigger(one, poke_interval=1.0) for one in ids]):
                await asyncio.sleep(1.5)
                emulator.misbehave("getStatus", fault, seconds=2)
                await asyncio.sleep(4)
            return next(call.at for call in emulator.calls("getStatus") if call.fault)

        refused_at = asyncio.run(run())
        after = looks_at(emulator, since=refused_at)
        assert len([at for at in after if at < refused_at + 1.95]) <= 1 + 8
        returned = [at for at in after if at >= refused_at + 1.95]
        assert returned, "nobody came back"
        assert most_in(returned, 0.25) <= 200 * 1.5 * 0.25 + 16, "a second burst"

    def test_of_one_answer_in_a_while_loses_nobody(self, emulator: Emulator) -> None:
        emulator.misbehave("getStatus", "429-bare", times=3, after=20)
        events = all_fired([trigger(emulator.add(seconds=1.0)) for _ in range(60)])
        assert {event["outcome"] for event in events} == {"completed"}

    def test_for_an_absurd_time_keeps_nobody_so_long_and_is_told_each_time(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
    ) -> None:
        monkeypatch.setattr(channel, "MAX_PAUSE", 1.0)
        monkeypatch.setattr("airflow_provider_luma.api.polling.MAX_PAUSE", 1.0)
        monkeypatch.setattr(channel, "LONG_PAUSE", 0.9)
        emulator.misbehave("getStatus", "429-absurd", times=2, after=5, value="99999999")
        events = all_fired([trigger(emulator.add(seconds=0.5), timeout=60) for _ in range(20)])

        assert {event["outcome"] for event in events} == {"completed"}
        assert "waits pause for 1 s" in logged()

    def test_outlasting_the_deadline_ends_the_wait_with_a_word(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(channel, "LATE", 0.5)
        emulator.misbehave("getStatus", "apim-429", seconds=300)
        events = all_fired([trigger(emulator.add(outcome="pending"), timeout=1.5) for _ in range(20)])

        assert {event["outcome"] for event in events} == {"timeout"}
        assert {event["error"]["kind"] for event in events} == {LumaWaitTimeout.kind}
        assert "for free" in events[0]["error"]["message"]

    def test_given_by_the_connection_is_kept_by_all_together(
        self, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        connect(requests_per_second=20)
        ids = [emulator.add(outcome="pending") for _ in range(50)]

        async def run() -> None:
            async with running([trigger(one) for one in ids]):
                await asyncio.sleep(5)

        asyncio.run(run())
        times = looks_at(emulator)
        # The record's clock is the gateway's: a request may be taken in some moments after it was sent.
        assert most_in(times, 0.95) <= 20
        assert len(times) >= 20 * 4 * 0.85


class TestAGatewayWithBadDays:
    def test_that_hangs_holds_the_pool_and_no_more(
        self, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        connect(max_concurrent_requests=3, timeout=1)
        emulator.misbehave("getStatus", "hang", times=12)
        events = all_fired([trigger(emulator.add(seconds=0.5)) for _ in range(40)])

        assert {event["outcome"] for event in events} == {"completed"}
        assert emulator.max_in_flight["getStatus"] <= 3

    def test_that_hangs_past_the_deadline_ends_the_wait_with_a_word(
        self, emulator: Emulator, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(channel, "LATE", 0.5)
        monkeypatch.setattr(channel, "LOOK_BOUND", 0.5)
        connect(max_concurrent_requests=2, timeout=30)
        emulator.misbehave("getStatus", "hang", times=None)
        events = all_fired([trigger(emulator.add(seconds=0.1), timeout=1.0) for _ in range(10)])

        assert {event["outcome"] for event in events} == {"timeout"}

    def test_that_is_down_is_asked_seldom_and_everybody_gets_the_video(self, emulator: Emulator) -> None:
        ids = [emulator.add(seconds=2.0) for _ in range(200)]

        async def run() -> tuple[float, list[dict[str, Any]]]:
            async with running([trigger(one, poke_interval=1.0) for one in ids]) as tasks:
                await asyncio.sleep(1.0)
                await asyncio.to_thread(emulator.stop)
                await asyncio.sleep(3.0)
                returned_at = time.time()
                await asyncio.to_thread(emulator.start)
                return returned_at, await asyncio.wait_for(asyncio.gather(*tasks), 50)

        returned_at, events = asyncio.run(run())
        assert {event["outcome"] for event in events} == {"completed"}
        times = looks_at(emulator, since=returned_at)
        assert most_in(times, 1.0) <= 200 * 1.5 + 16, "a storm"
        assert most_in(times[:80], 0.2) < 50, "a storm in the first moments"

    def test_that_fails_one_answer_in_ten_slows_nobody_down(self, emulator: Emulator) -> None:
        emulator.misbehave("getStatus", "500", times=None, rate=0.1, seed=7)
        ids = [emulator.add(outcome="pending") for _ in range(100)]

        async def run() -> None:
            async with running([trigger(one, poke_interval=1.0) for one in ids]):
                await asyncio.sleep(4)

        asyncio.run(run())
        assert len(looks_at(emulator)) > 250


class TestWhatAPersonReads:
    def test_stands_in_the_log_of_the_task_it_is_about(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Airflow tells the logs of triggers apart by context variables."""
        of_trigger: contextvars.ContextVar[str] = contextvars.ContextVar("of_trigger", default="nobody")
        seen: dict[str, str] = {}

        class Noting(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen[record.getMessage()] = of_trigger.get()

        async def run() -> None:
            async def one(name: str) -> None:
                of_trigger.set(name)
                await fired(trigger(name))

            await asyncio.gather(one("first"), one("second"))

        emulator.add(request_id="first", seconds=1)
        emulator.add(request_id="second", seconds=1)
        emulator.misbehave("getStatus", "word", word="frobnicating", times=2)
        handler = Noting()
        channel.log.addHandler(handler)
        try:
            channel.log.setLevel(logging.INFO)
            asyncio.run(run())
        finally:
            channel.log.removeHandler(handler)
            channel.log.setLevel(logging.NOTSET)
        notes = {text.split()[1].rstrip(":"): who for text, who in seen.items() if "frobnicating" in text}
        assert notes, seen
        assert all(request_id == who for request_id, who in notes.items()), notes

    def test_is_one_line_for_a_bad_time(self, emulator: Emulator, logged: Callable[[], str]) -> None:
        emulator.misbehave("getStatus", "apim-429", seconds=1, times=3)
        all_fired([trigger(emulator.add(seconds=2.0)) for _ in range(30)])
        text = logged()
        assert text.count("go on more slowly") == 1, text
        assert KEY not in text


class TestAChannelThatFails:
    def test_leaves_nobody_hanging_and_the_next_gets_another(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [emulator.add(seconds=0.5) for _ in range(5)]

        async def run() -> dict[str, Any]:
            with monkeypatch.context() as patched:
                patched.setattr(channel.Channel, "_start_looks", lambda self: 1 // 0)
                async with running([trigger(one) for one in ids]) as tasks:
                    for failed in await asyncio.gather(*tasks, return_exceptions=True):
                        assert isinstance(failed, RuntimeError)
                        assert "has failed" in str(failed)
            return await fired(trigger(ids[0]))

        assert asyncio.run(run())["outcome"] == "completed"


# Nothing is left behind


def sockets_to(gateway: Emulator) -> list[Any]:
    """Return this process's client sockets to the gateway."""
    port = int(gateway.url.rsplit(":", 1)[1])
    return [
        one
        for one in psutil.Process().net_connections("tcp")
        if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
    ]


@contextmanager
def nothing_left(gateway: Emulator) -> Iterator[None]:
    """Check that no channel, socket, file descriptor or task is left."""
    gc.collect()
    # What is there already (all of Airflow) need not be searched each time.
    gc.freeze()
    before = psutil.Process().num_fds()
    try:
        yield
        # asgiref, by which Airflow looks a connection up, holds on to the last loop that used it.
        asyncio.run(sync_to_async(lambda: None)())
        # Cycles with finalizers take more than one round, the gateway's end of a closed connection a moment.
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            gc.collect()
            waiters = sum(isinstance(one, channel._Waiter) for one in gc.get_objects())
            descriptors = psutil.Process().num_fds() - before
            if waiters == 0 and not sockets_to(gateway) and descriptors <= 0:
                break
            time.sleep(0.05)
        assert waiters == 0
        assert sockets_to(gateway) == []
        assert list(channel._channels.values()) == []
        assert descriptors <= 0
    finally:
        gc.unfreeze()


async def objects_at_rest() -> int:
    """Return how many objects there are, once the gateway, in this process, let go of closed connections."""
    deadline, before = time.monotonic() + 5, 0
    while (found := collected()) != before and time.monotonic() < deadline:
        before = found
        await asyncio.sleep(0.1)
    return found


def collected() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")
class TestADroppedLoop:
    """Its waits leave when the garbage is collected: at any moment, in any thread."""

    @staticmethod
    def dropped_while_joining(monkeypatch: pytest.MonkeyPatch, drop: Callable[[], None]) -> None:
        """Have waits dropped, and the garbage collected, just where the next who comes holds the lock."""

        class Collecting(WeakValueDictionary[Any, Any]):
            def get(self, key: Any, default: Any = None) -> Any:
                found = super().get(key, default)
                drop()
                gc.collect()
                return found

        monkeypatch.setattr(channel, "_channels", Collecting(channel._channels))

    def test_does_not_stop_the_thread_that_collects_it(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pending, done = emulator.add(outcome="pending"), emulator.add(seconds=0)
        loop = asyncio.new_event_loop()
        kept = [loop, [loop.create_task(fired(trigger(pending))) for _ in range(5)]]
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()
        del loop
        self.dropped_while_joining(monkeypatch, kept.clear)
        ends: list[dict[str, Any]] = []
        # A thread of its own, so that one that stands fails the test and no more.
        joining = threading.Thread(target=lambda: ends.extend(all_fired([trigger(done)])), daemon=True)
        joining.start()
        joining.join(20)
        assert [end["outcome"] for end in ends] == ["completed"]

    def test_of_whose_channel_the_last_leaves_just_now_costs_the_next_nothing(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same loop: the one wait of a channel is collected while another joins it."""
        done = emulator.add(seconds=0)

        async def run() -> dict[str, Any]:
            leaving = channel.joined("luma_default")
            leaving.__enter__()
            kept = [leaving]
            del leaving
            self.dropped_while_joining(monkeypatch, kept.clear)
            return await asyncio.wait_for(fired(trigger(done)), 20)

        assert asyncio.run(run())["outcome"] == "completed"


class TestTwentyThousandTriggersComeAndGo:
    """Five thousand each way. A leak of one object per trigger would show in every one of them."""

    COUNT = 5_000

    def test_by_success(self, emulator: Emulator) -> None:
        emulator.add(request_id="done", seconds=0)

        async def run() -> int:
            events = []
            for _ in range(self.COUNT // 500):
                async with running([trigger("done") for _ in range(500)]) as tasks:
                    events += await asyncio.gather(*tasks)
            await asyncio.sleep(0.1)
            assert len(asyncio.all_tasks()) == 1
            return len([event for event in events if event["outcome"] == "completed"])

        with nothing_left(emulator):
            assert asyncio.run(run()) == self.COUNT

    def test_by_cancellation_at_any_moment(self, emulator: Emulator) -> None:
        emulator.add(request_id="slow", outcome="pending")

        async def run() -> None:
            for turn in range(self.COUNT // 100):
                # Now before the look-up, now during the first looks, now between them.
                async with running([trigger("slow") for _ in range(100)]):
                    await asyncio.sleep(turn * 0.005)
            await asyncio.sleep(0.1)
            assert len(asyncio.all_tasks()) == 1

        with nothing_left(emulator):
            asyncio.run(run())

    def test_by_errors(self, emulator: Emulator, connect: Callable[..., None]) -> None:
        emulator.add(request_id="bad", seconds=0, outcome="failed", reason="no")
        connect(conn_id="luma_keyless", password="")

        async def run() -> set[str]:
            outcomes = set()
            for turn in range(self.COUNT // 500):
                now = time.time()
                conn_id = "luma_default" if turn % 2 else "luma_keyless"
                waits = [LumaStatusTrigger("bad", conn_id, now + 60, now, 0.2) for _ in range(500)]
                async with running(waits) as tasks:
                    outcomes |= {event["error"]["kind"] for event in await asyncio.gather(*tasks)}
            await asyncio.sleep(0.1)
            assert len(asyncio.all_tasks()) == 1
            return outcomes

        with nothing_left(emulator):
            assert asyncio.run(run()) == {"configuration", "generation_failed"}

    @pytest.mark.filterwarnings("ignore")
    def test_by_the_end_of_their_loop(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        """Half of the loops end as ``asyncio.run`` ends one, half are closed with all that was in them."""
        emulator.add(request_id="slow", outcome="pending")
        # pytest keeps what was logged, and the last coroutine that complained of its end.
        monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
        monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
        hundreds = self.COUNT // 100

        with nothing_left(emulator):
            for turn in range(hundreds):
                loop = asyncio.new_event_loop()
                tasks = [loop.create_task(fired(trigger("slow"))) for _ in range(100)]
                loop.run_until_complete(asyncio.sleep(0.35 if turn % 10 == 0 else 0.02))
                if turn % 2:
                    # No name for a task here: with it, Python 3.13 would keep all that its loop had.
                    deque((task.cancel() for task in asyncio.all_tasks(loop)), maxlen=0)
                    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
                    loop.run_until_complete(asyncio.sleep(0))
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()
                del loop, tasks

    def test_memory_stays_flat(self, emulator: Emulator) -> None:
        emulator.add(request_id="done", seconds=0)

        async def batch() -> None:
            async with running([trigger("done") for _ in range(250)]) as tasks:
                await asyncio.gather(*tasks)

        async def run() -> list[int]:
            sizes = []
            for _ in range(6):
                await batch()
                # The gateway, in this process, remembers its requests.
                emulator.reset()
                emulator.add(request_id="done", seconds=0)
                sizes.append(await objects_at_rest())
            return sizes

        with nothing_left(emulator):
            sizes = asyncio.run(run())
        assert sizes[-1] < max(sizes[:3]) + 250, f"as many objects more as there were triggers: {sizes}"


class TestTheLoopIsNeverBlocked:
    """Nothing of ours holds the loop for 50 ms, with a thousand waiting. Processor time, not a clock's."""

    def test_by_work(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        longest: list[tuple[float, str]] = []
        original = asyncio.events.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            original(handle)
            took = time.thread_time() - began
            if took > 0.05 and threading.current_thread() is threading.main_thread():
                longest.append((took, repr(handle)))

        ids = [emulator.add(outcome="pending") for _ in range(1000)]

        async def run() -> None:
            async with running([trigger(one, poke_interval=2.0) for one in ids]):
                await asyncio.sleep(6)

        gc.collect()
        gc.freeze()
        monkeypatch.setattr(asyncio.events.Handle, "_run", timed)
        try:
            asyncio.run(run())
        finally:
            gc.unfreeze()
        assert len(looks_at(emulator)) > 1000
        ours = [entry for entry in longest if "luma" in entry[1]]
        assert ours == []


class TestAWaitByHand:
    def test_can_be_made_without_a_trigger(self, emulator: Emulator) -> None:
        """As the batch operator's trigger does: many waits, one membership."""
        ids = [emulator.add(seconds=0.3) for _ in range(10)]

        async def run() -> list[Any]:
            now = time.time()
            with channel.joined("luma_default") as shared:
                return await asyncio.gather(*(shared.wait(Wait(one, now, now + 20, 0.2)) for one in ids))

        assert [type(end).__name__ for end in asyncio.run(run())] == ["Done"] * 10
