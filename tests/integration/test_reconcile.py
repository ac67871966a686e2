"""
``on_unknown_outcome="reconcile"``: what is not known of a submit is settled by the gateway's list.

The state store is a stand-in here. The minute in which a generation may appear in the list is shortened.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, timeout

from airflow_provider_luma.api.gateways import GATEWAYS
from airflow_provider_luma.api.models import GenerationRequest
from airflow_provider_luma.decorators.luma import LumaDecoratedOperator
from airflow_provider_luma.exceptions import (
    LumaBatchFailed,
    LumaBatchFailedForGood,
    LumaConfigurationError,
    LumaCreditRefused,
    LumaError,
    LumaSubmitOutcomeUnknown,
    LumaSubmitOutcomeUnsettled,
)
from airflow_provider_luma.hooks.luma import LumaHook
from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator, LumaGenerateOperator
from airflow_provider_luma.steps.submit import SUBMIT_KEY
from tests.integration.conftest import KEY, Killed
from tests.integration.test_durable_submit import DyingStore
from tests.integration.waiting import outcome_of, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeStateStore, FakeTaskInstance

#: A fault in which the gateway accepts and nobody hears of it, and one in which it does not.
ACCEPTED, NOT_ACCEPTED = "drop-after-reading", "502"


@pytest.fixture(autouse=True)
def at_lumas_own_door(connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    connect(gateway="luma", timeout=0.5, connect_timeout=0.5)
    monkeypatch.setattr("airflow_provider_luma.hooks.luma.LISTED_WITHIN", 0.3)
    monkeypatch.setattr("airflow_provider_luma.hooks.luma.LOOK_EVERY", 0.1)
    monkeypatch.setattr("airflow_provider_luma.api.retry.BACKOFF_BASE", 0.02)
    monkeypatch.setattr("airflow_provider_luma.api.retry.BACKOFF_CAP", 0.1)


def operator(**fields: Any) -> LumaGenerateOperator:
    return LumaGenerateOperator(
        **{"task_id": "generate", "prompt": "a jellyfish", "on_unknown_outcome": "reconcile", **fields}
    )


def batch(requests: list[Any], **fields: Any) -> LumaGenerateBatchOperator:
    return LumaGenerateBatchOperator(
        **{
            "task_id": "many",
            "requests": requests,
            "on_unknown_outcome": "reconcile",
            "deferrable": True,
            "poke_interval": 0.1,
            "timeout": 20,
            **fields,
        }
    )


class TestALostAnswer:
    def test_is_found_in_the_list(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance, store: FakeStateStore
    ) -> None:
        emulator.misbehave("generate", ACCEPTED)

        request_id = operator().execute(context)

        assert list(emulator.generations) == [request_id] == [ti.xcoms["requestId"]]
        assert store.values[SUBMIT_KEY]["phase"] == "done"
        assert store.values[SUBMIT_KEY]["account"].startswith("luma:")
        assert KEY not in str(store.values)
        assert emulator.paid == emulator.count("generate") == 1

    def test_is_found_however_much_else_is_listed(self, emulator: Emulator, context: dict[str, Any]) -> None:
        for number in range(250):
            emulator.add(prompt=f"another {number}", door="luma")
        emulator.misbehave("generate", ACCEPTED)

        request_id = operator().execute(context)

        assert emulator.generation(request_id).prompt == "a jellyfish"

    def test_is_not_mixed_up_with_what_else_has_the_prompt(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        """A task beside this one asks for the same prompt in another shape."""
        operator(aspect_ratio="9:16").execute({**context, "task_state_store": None})
        emulator.misbehave("generate", ACCEPTED)

        with pytest.raises(LumaSubmitOutcomeUnknown, match="cannot be told apart") as raised:
            operator().execute(context)

        assert all(request_id in str(raised.value) for request_id in emulator.generations)
        assert emulator.paid == 2

    def test_is_settled_without_a_store_too(self, emulator: Emulator, context: dict[str, Any]) -> None:
        emulator.misbehave("generate", ACCEPTED)

        request_id = operator(durable=False).execute(context)

        assert list(emulator.generations) == [request_id]

    def test_of_two_equal_tasks_is_left_to_a_person(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        operator().execute({**context, "task_state_store": None})
        emulator.misbehave("generate", ACCEPTED)

        with pytest.raises(LumaSubmitOutcomeUnknown, match="lists 2 generations of this very") as raised:
            operator().execute(context)

        assert isinstance(raised.value, AirflowFailException)
        assert emulator.paid == 2
        assert store.values[SUBMIT_KEY]["phase"] == "intent"


class TestWhatWasNotAccepted:
    def test_is_sent_again_by_a_retry_that_has_asked_once_more(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        emulator.misbehave("generate", NOT_ACCEPTED)
        with pytest.raises(LumaSubmitOutcomeUnsettled, match="list does not hold it") as raised:
            operator().execute(context)
        assert not isinstance(raised.value, AirflowFailException)
        assert (emulator.paid, store.values[SUBMIT_KEY]["phase"]) == (0, "intent")
        looks = emulator.count("list")

        request_id = operator().execute(context)

        assert list(emulator.generations) == [request_id]
        assert emulator.count("list") > looks

    def test_and_turns_up_late_is_not_sent_again(self, emulator: Emulator, context: dict[str, Any]) -> None:
        """The gateway takes longer to list it than the first try waits for."""
        emulator.misbehave("generate", NOT_ACCEPTED)
        with pytest.raises(LumaSubmitOutcomeUnsettled):
            operator().execute(context)
        body = {"model": "ray-2", "prompt": "a jellyfish", "aspect_ratio": "16:9", "loop": False}
        late = emulator.add(prompt="a jellyfish", door="luma")
        assert emulator.generation(late).request.items() <= body.items()

        assert operator().execute(context) == late
        assert emulator.paid == 0

    def test_is_sent_again_once_and_then_left_to_a_person(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        emulator.misbehave("generate", NOT_ACCEPTED, times=3)
        with pytest.raises(LumaSubmitOutcomeUnsettled):
            operator().execute(context)
        first = store.values[SUBMIT_KEY]["at"]

        with pytest.raises(LumaSubmitOutcomeUnknown, match="list does not hold it"):
            operator().execute(context)
        assert (store.values[SUBMIT_KEY]["at"], store.values[SUBMIT_KEY]["sends"]) == (first, 2)
        with pytest.raises(LumaSubmitOutcomeUnknown, match="sent 2 times"):
            operator().execute(context)

        assert emulator.count("generate") == 2

    def test_is_not_forgotten_where_what_is_sent_again_is_refused(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        emulator.misbehave("generate", NOT_ACCEPTED)
        with pytest.raises(LumaSubmitOutcomeUnsettled):
            operator().execute(context)
        first = dict(store.values[SUBMIT_KEY])
        emulator.misbehave("generate", "credit-402")
        with pytest.raises(LumaCreditRefused, match="an earlier try has sent may be running"):
            operator().execute(context)
        assert store.values[SUBMIT_KEY] == first
        late = emulator.add(prompt="a jellyfish", door="luma")

        assert operator().execute(context) == late
        assert emulator.paid == 0

    @pytest.mark.parametrize("name", ["on_its_own", "of_a_function"])
    def test_without_a_record_that_a_retry_finds_is_not_retried(
        self, name: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        task: LumaGenerateOperator = operator(durable=False)
        if name == "of_a_function":
            task = LumaDecoratedOperator(
                task_id="generate",
                python_callable=lambda: "a jellyfish",
                on_unknown_outcome="reconcile",
            )
        emulator.misbehave("generate", NOT_ACCEPTED)

        with pytest.raises(LumaSubmitOutcomeUnknown, match="list does not hold it") as raised:
            task.execute(context)

        assert isinstance(raised.value, AirflowFailException)
        assert ("state store" in str(raised.value)) is (name == "of_a_function")


class TestWhileTheListIsAsked:
    @pytest.mark.parametrize("durable", [True, False])
    def test_a_time_out_is_retried_only_where_the_retry_finds_the_record(
        self,
        durable: bool,
        emulator: Emulator,
        context: dict[str, Any],
        connect: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.hooks.luma.LISTED_WITHIN", 30.0)
        emulator.misbehave("generate", NOT_ACCEPTED)

        with (
            pytest.raises(LumaError, match="list was interrupted by AirflowTaskTimeout") as raised,
            timeout(1),
        ):
            operator(durable=durable).execute(context)

        assert type(raised.value) is (LumaSubmitOutcomeUnsettled if durable else LumaSubmitOutcomeUnknown)

    def test_a_task_that_is_told_to_stop_stops(
        self, emulator: Emulator, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.hooks.luma.LISTED_WITHIN", 30.0)
        emulator.misbehave("generate", NOT_ACCEPTED)
        task = operator()
        threading.Timer(0.5, task.on_kill).start()
        began = time.monotonic()

        with pytest.raises(LumaSubmitOutcomeUnsettled, match="told to stop"):
            task.execute(context)

        assert time.monotonic() - began < 10

    def test_what_comes_after_it_was_found_loses_no_id(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.misbehave("generate", ACCEPTED)
        ti.fail_push = ConnectionError("the API server is away")

        with pytest.raises(LumaSubmitOutcomeUnknown, match="could not hand the id on") as raised:
            operator(durable=False).execute(context)

        assert raised.value.request_id in emulator.generations


class TestAProcessThatDies:
    @pytest.mark.parametrize(("phase", "when"), [("submitted", "before"), ("intent", "after")])
    def test_between_intent_and_id_is_settled_by_the_next_try(
        self, phase: str, when: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        with pytest.raises((Killed, LumaError)):
            operator().execute(
                {**context, "task_state_store": DyingStore(context["task_state_store"], phase, when)}
            )

        request_id = operator().execute(context)

        assert list(emulator.generations) == [request_id]
        assert emulator.paid == 1

    def test_at_its_time_out_is_settled_by_the_next_try(
        self, emulator: Emulator, context: dict[str, Any], connect: Callable[..., None]
    ) -> None:
        connect(gateway="luma", timeout=5)
        emulator.misbehave("generate", "lost-answer")
        with (
            pytest.raises(LumaSubmitOutcomeUnsettled, match=AirflowTaskTimeout.__name__),
            timeout(1),
        ):
            operator().execute(context)
        connect(gateway="luma", timeout=0.5, connect_timeout=0.5)

        request_id = operator().execute(context)

        assert list(emulator.generations) == [request_id]
        assert emulator.count("generate") == 1

    def test_is_not_settled_where_the_connection_leads_elsewhere_by_then(
        self,
        emulator: Emulator,
        context: dict[str, Any],
        store: FakeStateStore,
        connect: Callable[..., None],
    ) -> None:
        with pytest.raises(Killed):
            operator().execute(
                {
                    **context,
                    "task_state_store": DyingStore(context["task_state_store"], "submitted", "before"),
                }
            )
        emulator.key = "another-accounts-key"
        connect(gateway="luma", password="another-accounts-key")

        with pytest.raises(LumaSubmitOutcomeUnknown, match="with another key"):
            operator().execute(context)

        assert emulator.count("generate") == 1

    def test_whose_record_says_no_time_is_not_settled(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        store.values[SUBMIT_KEY] = {"phase": "intent", "max_tries": 0, "account": LumaHook().settings.account}

        with pytest.raises(LumaSubmitOutcomeUnknown, match="does not say when"):
            operator().execute(context)

        assert emulator.paid == 0

    def test_whose_request_a_function_made_is_not_settled(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        def prompt() -> str:
            return "a jellyfish"

        account = LumaHook().settings.account
        store.values[SUBMIT_KEY] = {"phase": "intent", "max_tries": 0, "account": account, "at": time.time()}

        task = LumaDecoratedOperator(
            task_id="generate",
            python_callable=prompt,
            op_args=[],
            op_kwargs={},
            on_unknown_outcome="reconcile",
        )

        with pytest.raises(LumaSubmitOutcomeUnknown, match="a function makes it"):
            task.execute(context)

        assert emulator.paid == 0

    def test_is_waited_for_as_long_as_it_may_be_on_its_way(
        self, emulator: Emulator, context: dict[str, Any], connect: Callable[..., None]
    ) -> None:
        """Another process of this task may still be sending it."""
        connect(gateway="luma", timeout=2, connect_timeout=0.5)
        with pytest.raises(Killed):
            operator().execute(
                {**context, "task_state_store": DyingStore(context["task_state_store"], "intent", "after")}
            )
        threading.Timer(1.5, lambda: emulator.add(prompt="a jellyfish", door="luma")).start()

        request_id = operator().execute(context)

        assert list(emulator.generations) == [request_id]
        assert emulator.paid == 0


class TestAConnectionThatIsMoved:
    def test_after_the_task_has_delivered_makes_a_clear_look_first(
        self,
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        connect: Callable[..., None],
    ) -> None:
        """Killed after it had noted its success: what Airflow takes for a retry is one."""
        request_id = operator().execute(context)
        connect(gateway="pixazo")
        with pytest.raises(LumaConfigurationError, match="submitted to 'luma'"):
            operator(on_unknown_outcome="fail").execute(context)
        connect(gateway="luma")
        ti.max_tries = 1

        assert operator().execute(context) == request_id
        assert emulator.paid == 1


class TestAListThatIsOfNoUse:
    @pytest.mark.parametrize(
        "fault", ["not-json", "empty", "not-object", "truncated-json", "500", "hang", "drop-after-reading"]
    )
    def test_settles_nothing_and_sends_nothing(
        self, fault: str, emulator: Emulator, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.api.retry.MAX_TRIES", 2)
        emulator.misbehave("generate", ACCEPTED)
        emulator.misbehave("list", fault, times=None)

        with pytest.raises(LumaSubmitOutcomeUnsettled, match="could not be read"):
            operator().execute(context)
        outcome = outcome_of(operator(), context)

        assert outcome.state == "up_for_retry", outcome
        assert "nothing is sent meanwhile" in str(outcome.error)
        emulator.behave()
        assert operator().execute(context) in emulator.generations
        assert emulator.count("generate") == 1

    def test_for_want_of_a_clock_is_not_believed_to_be_empty(
        self, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        emulator.misbehave("generate", NOT_ACCEPTED)
        emulator.misbehave("list", "odd-headers", times=None, lines=["Content-Type: application/json"])

        with pytest.raises(LumaSubmitOutcomeUnknown, match="not known what time the gateway has"):
            operator().execute(context)

        assert emulator.paid == 0


class TestADoorWithoutAList:
    @pytest.mark.parametrize("door", [name for name in GATEWAYS if name != "luma"])
    def test_is_an_error_before_anything_is_sent(
        self, door: str, emulator: Emulator, connect: Callable[..., None], context: dict[str, Any]
    ) -> None:
        connect(gateway=door)

        for task in (operator(), batch(["a fox"])):
            with pytest.raises(LumaConfigurationError, match="needs a gateway that lists its generations"):
                task.execute(context)
        with pytest.raises(LumaConfigurationError, match="has no list"), LumaHook() as hook:
            hook.reconcile(GenerationRequest("a fox"), 0)

        assert not emulator.requests


class TestABatchThatHasPaidFor:
    """What is paid for is waited for, whatever becomes of what is not known."""

    @pytest.fixture
    def two_paid_one_unknown(self, emulator: Emulator, context: dict[str, Any]) -> list[str]:
        emulator.misbehave("generate", NOT_ACCEPTED, after=2)
        with pytest.raises(LumaBatchFailed):
            run(batch(["a fox", "a hare", "an owl"]), context)
        assert emulator.paid == 2
        return ["a fox", "a hare", "an owl"]

    def test_some_and_cannot_read_the_list_goes_on_with_them(
        self,
        two_paid_one_unknown: list[str],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.api.retry.MAX_TRIES", 2)
        emulator.misbehave("list", "500", times=None)

        with pytest.raises(LumaBatchFailed) as raised:
            run(batch(two_paid_one_unknown), context)

        assert sorted(one["status"] for one in ti.xcoms["results"]) == ["completed", "completed", "unknown"]
        assert not isinstance(raised.value, AirflowFailException)
        assert emulator.count("generate") == 3

    def test_some_and_whose_connection_leads_elsewhere_names_them(
        self,
        two_paid_one_unknown: list[str],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        connect: Callable[..., None],
    ) -> None:
        connect(gateway="pixazo")

        with pytest.raises(LumaBatchFailed):
            run(batch([*two_paid_one_unknown, "a new one"]), context)

        results = ti.xcoms["results"]
        assert sorted(one["status"] for one in results) == ["error", "error", "not_submitted", "unknown"]
        errors = [one["error"]["message"] for one in results if one["status"] == "error"]
        assert all("submitted to 'luma'" in message for message in errors)
        assert "/v2/requests/status/" not in {call.path for call in emulator.requests}
        assert {one["request_id"] for one in results if one["status"] == "error"} == set(emulator.generations)
        assert emulator.count("generate") == 3


class TestRequestsThatTheListCannotTellApart:
    """They differ in what the gateway does of itself, or in what the list does not repeat."""

    @pytest.mark.parametrize(
        "requests",
        [
            ["A lighthouse", "A lighthouse "],
            [{"prompt": "A lighthouse"}, {"prompt": "A lighthouse", "model": "ray-2", "duration": "5s"}],
            [
                {"prompt": "A lighthouse", "extra_body": {"callback_url": "https://example.com/1"}},
                {"prompt": "A lighthouse", "extra_body": {"callback_url": "https://example.com/2"}},
            ],
        ],
        ids=["white space", "defaults", "callbacks"],
    )
    def test_are_never_sent_twice(
        self, requests: list[Any], emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.misbehave("generate", ACCEPTED, times=2)

        for _ in range(2):
            outcome = outcome_of(batch(requests), context)
            if outcome.state == "success":
                break

        assert emulator.paid == emulator.count("generate") == 2
        if outcome.state != "success":
            assert all(request_id in str(ti.xcoms["results"]) for request_id in emulator.generations), (
                "a person is told the ids"
            )


class TestABatchWhoseRecordsSayTooLittle:
    @pytest.mark.parametrize(
        "record", [["intent", None, 0], ["intent", None, 0, None], ["intent", None, 0, 1.0, "luma:other", 1]]
    )
    def test_settles_nothing_and_sends_nothing(
        self,
        record: list[Any],
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        store: FakeStateStore,
    ) -> None:
        emulator.misbehave("generate", NOT_ACCEPTED)
        with pytest.raises(LumaBatchFailed):
            run(batch(["a fox"]), context)
        page = store.values["luma_batch_0"]
        page["records"] = dict.fromkeys(page["records"], record)

        with pytest.raises(LumaBatchFailedForGood):
            run(batch(["a fox"]), context)

        assert [one["status"] for one in ti.xcoms["results"]] == ["unknown"]
        assert emulator.count("generate") == 1


class TestABatch:
    def test_finds_what_it_has_lost_within_its_try(self, emulator: Emulator, context: dict[str, Any]) -> None:
        emulator.misbehave("generate", ACCEPTED, times=3, after=2)

        results = run(batch([f"jellyfish {number}" for number in range(8)]), context)

        assert [one["status"] for one in results] == ["completed"] * 8
        assert {one["request_id"] for one in results} == set(emulator.generations)
        assert emulator.paid == emulator.count("generate") == 8

    def test_finds_equal_requests_each_its_own(self, emulator: Emulator, context: dict[str, Any]) -> None:
        emulator.misbehave("generate", ACCEPTED, times=2)

        results = run(batch(["a fox", "a fox", "a fox"]), context)

        assert {one["request_id"] for one in results} == set(emulator.generations)
        assert len(results) == emulator.paid == 3

    def test_that_is_refused_when_it_sends_again_does_not_say_that_nothing_is_charged(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.misbehave("generate", NOT_ACCEPTED)
        with pytest.raises(LumaBatchFailed):
            run(batch(["a fox"]), context)
        emulator.misbehave("generate", "credit-402")

        with pytest.raises(LumaBatchFailed):
            run(batch(["a fox"]), context)

        (result,) = ti.xcoms["results"]
        assert (result["status"], result["error"]["kind"]) == ("unknown", LumaSubmitOutcomeUnsettled.kind)
        assert "Insufficient balance" in result["error"]["message"]
        late = emulator.add(prompt="a fox", door="luma")
        (result,) = run(batch(["a fox"]), context)
        assert (result["request_id"], emulator.paid) == (late, 0)

    def test_does_not_take_up_what_has_failed(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        """A clear makes it anew within seconds, and the answer to that is lost."""
        emulator.next("failed", 0.0)
        with pytest.raises(LumaBatchFailed):
            run(batch(["a fox"]), context)
        ti.max_tries = 1
        emulator.misbehave("generate", ACCEPTED)

        (result,) = run(batch(["a fox"]), context)

        assert result["request_id"] == list(emulator.generations)[1]
        assert emulator.paid == 2

    def test_sends_what_was_not_accepted_by_its_next_try(
        self, emulator: Emulator, context: dict[str, Any], ti: FakeTaskInstance
    ) -> None:
        emulator.misbehave("generate", ACCEPTED)
        emulator.misbehave("generate", NOT_ACCEPTED)
        with pytest.raises(LumaBatchFailed) as raised:
            run(batch(["a fox", "a hare", "an owl"]), context)
        assert not isinstance(raised.value, AirflowFailException)
        assert sorted(one["status"] for one in ti.xcoms["results"]) == ["completed", "completed", "unknown"]

        results = run(batch(["a fox", "a hare", "an owl"]), context)

        assert [one["status"] for one in results] == ["completed"] * 3
        assert emulator.paid == 3

    def test_that_was_killed_is_settled_by_its_next_try(
        self, emulator: Emulator, context: dict[str, Any], store: FakeStateStore
    ) -> None:
        """Killed with three submits under way, of which the gateway has accepted two."""

        class Dying:
            def __init__(self) -> None:
                self.writes = 0

            def get(self, key: str, default: Any = None) -> Any:
                return store.get(key, default)

            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                self.writes += 1
                if self.writes > 2:
                    raise Killed
                store.set(key, value, retention=retention)

        emulator.misbehave("generate", NOT_ACCEPTED)
        with pytest.raises((Killed, LumaError)):
            run(batch(["a fox", "a hare", "an owl"]), {**context, "task_state_store": Dying()})
        assert emulator.paid == 2

        results = run(batch(["a fox", "a hare", "an owl"]), context)

        assert [one["status"] for one in results] == ["completed"] * 3
        assert {one["request_id"] for one in results} == set(emulator.generations)
        assert emulator.paid == 3
