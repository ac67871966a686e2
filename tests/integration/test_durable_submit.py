"""
What a second try does with the record of the first: each end of a process, each kind of second try.

The store is a stand-in here; ``tests/system/test_crash.py`` kills real processes.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, timeout

from airflow_provider_luma.exceptions import (
    LumaError,
    LumaKeyRefused,
    LumaSubmitInterrupted,
    LumaSubmitOutcomeUnknown,
    LumaSubmitOutcomeUnknownResubmit,
)
from airflow_provider_luma.operators.luma import LumaGenerateOperator
from airflow_provider_luma.steps.submit import SUBMIT_KEY
from tests.integration.conftest import Killed

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeStateStore, FakeTaskInstance

pytestmark = pytest.mark.usefixtures("connect")


class DyingStore:
    """A store in whose process the power goes out: before or after a write of the named phase."""

    def __init__(self, store: FakeStateStore, phase: str, when: str) -> None:
        self._store, self._phase, self._when = store, phase, when

    def get(self, key: str, default: Any = None) -> Any:
        return self._store.get(key, default)

    def delete(self, key: str) -> None:
        raise Killed

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if value["phase"] == self._phase and self._when == "before":
            raise Killed
        self._store.set(key, value, retention=retention)
        if value["phase"] == self._phase and self._when == "after":
            raise Killed


def operator(**kwargs: Any) -> LumaGenerateOperator:
    return LumaGenerateOperator(**{"task_id": "generate", "prompt": "a jellyfish", **kwargs})


def first_try_dies(context: dict[str, Any], phase: str, when: str, **kwargs: Any) -> None:
    """Run a first try whose process dies at a step; XComs are wiped, as at the start of every try."""
    with pytest.raises((Killed, LumaError)):
        operator(**kwargs).execute(
            {**context, "task_state_store": DyingStore(context["task_state_store"], phase, when)}
        )
    context["ti"].xcoms.clear()


class TestARetryAfterACrash:
    def test_before_the_intent_submits(self, emulator: Emulator, context: dict[str, Any]) -> None:
        first_try_dies(context, "intent", "before")
        assert emulator.paid == 0
        operator().execute(context)
        assert emulator.paid == 1

    @pytest.mark.parametrize(
        ("phase", "when"), [("submitted", "after"), ("done", "before"), ("done", "after")]
    )
    def test_once_the_id_is_stored_takes_it_up(
        self, phase: str, when: str, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        first_try_dies(context, phase, when)
        request_id = operator().execute(context)
        assert list(emulator.generations) == [request_id]
        assert ti.xcoms["requestId"] == request_id
        assert len(emulator.calls("generate")) == 1

    @pytest.mark.parametrize(("phase", "when"), [("intent", "after"), ("submitted", "before")])
    def test_between_intent_and_id_sends_nothing_and_says_what_to_do(
        self, phase: str, when: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        first_try_dies(context, phase, when)
        before = len(emulator.requests)
        for _ in range(2):
            with pytest.raises(LumaSubmitOutcomeUnknown) as raised:
                operator().execute(context)
            assert isinstance(raised.value, AirflowFailException)
            assert "delete the key 'luma'" in str(raised.value)
        assert len(emulator.requests) == before
        assert emulator.paid <= 1


class TestAClear:
    """A clear changes ``max_tries``."""

    def test_after_success_generates_anew_and_says_so(
        self,
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        logged: Callable[[], str],
    ) -> None:
        first = operator().execute(context)
        ti.max_tries = 1
        second = operator().execute(context)
        assert first != second
        assert emulator.paid == 2
        assert "a new charge" in logged()
        assert operator().execute(context) == second, "and a retry of that takes the second up"
        assert emulator.paid == 2

    @pytest.mark.parametrize("seconds", [0, 60])
    def test_of_what_was_submitted_and_is_not_done_looks_first(
        self, seconds: float, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.next(seconds=seconds)
        first_try_dies(context, "submitted", "after")
        ti.max_tries = 1
        (first,) = emulator.generations
        assert operator().execute(context) == first
        assert emulator.paid == 1
        assert len(emulator.calls("getStatus")) == 1

    def test_of_what_has_failed_since_submits(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.next(seconds=0, outcome="failed", reason="no")
        first_try_dies(context, "submitted", "after")
        ti.max_tries = 1
        operator().execute(context)
        assert emulator.paid == 2

    def test_with_a_gateway_that_cannot_be_asked_sends_nothing(
        self,
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.api.retry.BACKOFF_BASE", 0.01)
        first_try_dies(context, "submitted", "after")
        ti.max_tries = 1
        emulator.misbehave("getStatus", "500", times=None)
        with pytest.raises(LumaError):
            operator().execute(context)
        assert emulator.paid == 1

    def test_of_an_unknown_outcome_is_still_unknown(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        first_try_dies(context, "intent", "after")
        ti.max_tries = 1
        with pytest.raises(LumaSubmitOutcomeUnknown):
            operator().execute(context)
        assert emulator.requests == []


class TestTheWayOutByHand:
    def test_deleting_the_key_lets_the_next_clear_submit(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        first_try_dies(context, "intent", "after")
        store.delete(SUBMIT_KEY)
        operator().execute(context)
        assert emulator.paid == 1

    @pytest.mark.parametrize(
        "entered",
        [
            "found-1",
            ' "found-1" ',
            '{"request_id": "found-1"}',
            {"request_id": "found-1"},
            {"v": 1, "request_id": "found-1"},
        ],
    )
    def test_an_id_that_was_entered_is_taken_up(
        self, entered: Any, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        store.values[SUBMIT_KEY] = entered
        assert operator().execute(context) == "found-1"
        assert emulator.paid == 0

    def test_an_id_that_was_added_to_an_intent_is_taken_up(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        first_try_dies(context, "intent", "after")
        store.values[SUBMIT_KEY]["request_id"] = "found-2"
        assert operator().execute(context) == "found-2"
        assert emulator.paid == 0

    @pytest.mark.parametrize(
        "entered", [5, [], '{"x', '"half', {"v": 9}, {"request_id": "two words"}, {"phase": "odd"}, ""]
    )
    def test_what_cannot_be_read_is_not_taken_for_a_licence_to_pay(
        self, entered: Any, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        store.values[SUBMIT_KEY] = entered
        with pytest.raises(LumaSubmitOutcomeUnknown, match=r"cannot be read|left no word"):
            operator().execute(context)
        assert emulator.requests == []


class TestTheFence:
    def test_a_process_whose_write_is_refused_sends_nothing(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        class Refusing(DyingStore):
            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                raise RuntimeError("404: task instance not found")

        with pytest.raises(RuntimeError, match="404"):
            operator().execute({**context, "task_state_store": Refusing(store, "", "")})
        assert emulator.requests == []

    def test_a_record_never_expires(self, context: dict[str, Any], store: FakeStateStore) -> None:
        from airflow_provider_luma.version_compat import NEVER_EXPIRE

        operator().execute(context)
        assert store.retentions == [NEVER_EXPIRE] * 3


class TestWhatIsCertainLeavesNoRecord:
    def test_a_refusal(
        self, emulator: Emulator, connect: Any, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        connect(password="some-wrong-key")
        with pytest.raises(LumaKeyRefused):
            operator().execute(context)
        assert store.values == {}
        connect()
        operator().execute(context)
        assert emulator.paid == 1

    def test_a_kill_between_intent_and_post(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        killed = operator()
        killed.on_kill()
        with pytest.raises(LumaError, match="told to stop"):
            killed.execute(context)
        assert store.values == {}
        assert emulator.requests == []


class TestAnotherRequest:
    @pytest.mark.parametrize("change", [{"prompt": "another"}, {"aspect_ratio": "1:1"}, {"loop": True}])
    def test_is_another_generation_and_the_log_says_so(
        self,
        change: dict[str, Any],
        emulator: Emulator,
        context: dict[str, Any],
        logged: Callable[[], str],
    ) -> None:
        operator().execute(context)
        assert "new charge" not in logged()
        operator(**change).execute(context)
        assert emulator.paid == 2
        assert "a new charge" in logged()


class TestAnUnknownOutcome:
    def test_stays_recorded_and_is_not_sent_again(self, emulator: Emulator, context: dict[str, Any]) -> None:
        emulator.misbehave("generate", "drop-after-reading")
        for _ in range(3):
            with pytest.raises(LumaSubmitOutcomeUnknown):
                operator().execute(context)
        assert len(emulator.calls("generate")) == 1

    def test_is_sent_again_where_the_user_asked_for_it(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("generate", "drop-after-reading")
        with pytest.raises(LumaSubmitOutcomeUnknownResubmit, match="SECOND CHARGE") as raised:
            operator(on_unknown_outcome="resubmit").execute(context)
        assert not isinstance(raised.value, AirflowFailException)
        operator(on_unknown_outcome="resubmit").execute(context)
        assert len(emulator.calls("generate")) == 2

    def test_of_another_word_breaks_the_dag_and_not_the_night(self) -> None:
        with pytest.raises(ValueError, match="on_unknown_outcome"):
            operator(on_unknown_outcome="retry")


class TestWithoutAStateStore:
    def test_one_warning_says_what_is_not_protected(
        self, emulator: Emulator, context: dict[str, Any], logged: Callable[[], str]
    ) -> None:
        del context["task_state_store"]
        operator().execute(context)
        assert emulator.paid == 1
        assert logged().count("a retry submits, and pays for, everything again") == 1

    def test_durable_off_writes_nothing(self, context: dict[str, Any], store: FakeStateStore) -> None:
        operator(durable=False).execute(context)
        assert store.values == {}


class TestInterruptedAfterTheAnswer:
    def test_an_id_that_was_stored_is_taken_up_by_a_retry(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        ti.fail_push = AirflowTaskTimeout("time")
        with pytest.raises(AirflowTaskTimeout):
            operator().execute(context)
        ti.fail_push = None
        (request_id,) = emulator.generations
        assert operator().execute(context) == request_id
        assert len(emulator.calls("generate")) == 1


class TestExecutionTimeout:
    """Airflow's own time-out, by the real signal, at three moments of a submit."""

    def test_while_the_answer_is_awaited_is_an_unknown_outcome(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        emulator.misbehave("generate", "latency", seconds=5)
        with pytest.raises(LumaSubmitOutcomeUnknown, match="interrupted by AirflowTaskTimeout"), timeout(0.5):
            operator().execute(context)
        assert store.values[SUBMIT_KEY]["phase"] == "intent"
        with pytest.raises(LumaSubmitOutcomeUnknown):
            operator().execute(context)
        assert len(emulator.calls("generate")) == 1

    def test_while_a_rate_limit_is_waited_out_has_cost_nothing(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        emulator.misbehave("generate", "429-seconds", seconds=30)
        with pytest.raises(LumaSubmitInterrupted, match="nothing is charged"), timeout(0.5):
            operator().execute(context)
        assert store.values == {}
        operator().execute(context)
        assert emulator.paid == 1

    def test_while_connecting_has_cost_nothing(
        self, connect: Any, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        with socket.socket() as silent:
            # TLS to a port that accepts and never says a word: the handshake hangs.
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            connect(host=f"https://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(LumaSubmitInterrupted, match="before anything was delivered"), timeout(0.5):
                operator().execute(context)
        assert store.values == {}
