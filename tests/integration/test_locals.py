"""
Errors as those show them who send a frame's variables along: no key among them.

Sentry does that, and Python's own ``traceback`` with ``capture_locals``.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import traceback
from typing import TYPE_CHECKING

import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, timeout

from airflow_provider_luma.api.models import GenerationRequest
from airflow_provider_luma.exceptions import LumaError, LumaSubmitOutcomeUnknown
from airflow_provider_luma.hooks.luma import LumaAsyncHook, LumaHook
from tests.integration.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_luma.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connect")

REQUEST = GenerationRequest.of("a fox")


def shown(error: BaseException) -> str:
    """Return all that can be shown of an error and of those that led to it, with what it was held in."""
    text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    seen, chain = set(), [error]
    while chain:
        one = chain.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        chain += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
        # What the rendering cuts short or hides is looked through in full.
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename != __file__:
                text += repr(frame.f_locals)
    return text


def test_the_search_finds_what_is_there() -> None:
    def hold(headers: dict[str, str]) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError) as raised:
        hold({"Ocp-Apim-Subscription-Key": KEY})
    assert KEY in shown(raised.value)


class TestATask:
    @pytest.mark.parametrize(
        "fault", ["401", "402", "hang", "lost-answer", "not-json", "drop-mid-answer", "500"]
    )
    def test_that_submits(self, fault: str, emulator: Emulator, connect: Callable[..., None]) -> None:
        connect(timeout=0.5)
        emulator.misbehave("generate", "credit-402" if fault == "402" else fault)
        with LumaHook() as hook, pytest.raises(LumaError) as raised:
            hook.generate(REQUEST)
        assert KEY not in shown(raised.value)

    def test_that_submits_to_nobody(self, connect: Callable[..., None]) -> None:
        connect(host="http://127.0.0.1:9")
        hook = LumaHook()
        hook.stopped.set()
        with hook, pytest.raises(LumaError) as raised:
            hook.generate(REQUEST)
        assert KEY not in shown(raised.value)

    def test_whose_time_is_up_in_the_middle_of_a_submit(self, emulator: Emulator) -> None:
        emulator.misbehave("generate", "hang")
        with LumaHook() as hook, pytest.raises(LumaSubmitOutcomeUnknown) as raised, timeout(1):
            hook.generate(REQUEST)
        assert isinstance(raised.value.__cause__, AirflowTaskTimeout)
        assert KEY not in shown(raised.value)

    def test_whose_time_is_up_in_the_middle_of_a_look(self, emulator: Emulator) -> None:
        emulator.misbehave("getStatus", "hang")
        with LumaHook() as hook, pytest.raises(AirflowTaskTimeout) as raised, timeout(1):
            hook.get_status(emulator.add())
        assert KEY not in shown(raised.value)

    def test_that_a_signal_ends(self, emulator: Emulator) -> None:
        """Ctrl-C in ``airflow dags test``, say."""
        emulator.misbehave("getStatus", "hang")
        request_id = emulator.add()
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        try:
            with LumaHook() as hook, pytest.raises(KeyboardInterrupt) as raised:
                hook.get_status(request_id)
        finally:
            signal.signal(signal.SIGALRM, previous)
        assert KEY not in shown(raised.value)


class TestASessionOfAUser:
    @pytest.mark.parametrize("port", ["refused", "broken"])
    def test_by_run_and_by_get_conn(
        self, port: str, emulator: Emulator, connect: Callable[..., None]
    ) -> None:
        if port == "refused":
            connect(host="http://127.0.0.1:9")
        emulator.misbehave("getStatus", "drop-before-reading", times=None)
        path = "/lumalabs-ai-polling/v1/getStatus"
        hook = LumaHook()
        with pytest.raises(requests.RequestException) as raised:
            hook.run(path, json={"task_id": "x"})
        assert KEY not in shown(raised.value)
        with hook.get_conn() as session, pytest.raises(requests.RequestException) as raised:
            session.post(f"{hook.base_url}{path}", json={"task_id": "x"})
        assert KEY not in shown(raised.value)


class TestATriggerer:
    @pytest.mark.parametrize("fault", ["401", "not-json"])
    def test_that_looks(self, fault: str, emulator: Emulator) -> None:
        emulator.misbehave("getStatus", fault, times=None)

        async def ask() -> None:
            async with LumaAsyncHook() as hook:
                await hook.get_status(emulator.add())

        with pytest.raises(LumaError) as raised:
            asyncio.run(asyncio.wait_for(ask(), 20))
        assert KEY not in shown(raised.value)

    def test_that_is_cancelled_in_the_middle_of_a_look(self, emulator: Emulator) -> None:
        emulator.misbehave("getStatus", "hang", times=None)
        held: list[BaseException] = []

        async def ask() -> None:
            async with LumaAsyncHook() as hook:
                try:
                    await hook.get_status(emulator.add())
                except asyncio.CancelledError as cancelled:
                    held.append(cancelled)
                    raise

        async def run() -> None:
            task = asyncio.create_task(ask())
            await asyncio.to_thread(emulator.wait_for, lambda gateway: gateway.count("getStatus"))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run(run())
        assert KEY not in shown(held[0])
