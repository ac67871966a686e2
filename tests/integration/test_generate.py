"""The operator that submits, on a real socket: what is sent, what is paid, what is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_luma.exceptions import (
    LumaConfigurationError,
    LumaConnectionNotFound,
    LumaError,
    LumaInvalidRequest,
    LumaKeyRefused,
    LumaSubmitOutcomeUnknown,
    LumaUnreachable,
)
from airflow_provider_luma.operators.luma import LumaGenerateOperator

if TYPE_CHECKING:
    from airflow_provider_luma.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connect")


def generate(context: dict[str, Any], **kwargs: Any) -> str:
    """Run the operator once, with arguments as they are after rendering."""
    fields: dict[str, Any] = {"task_id": "generate", "prompt": "a jellyfish", **kwargs}
    return LumaGenerateOperator(**fields).execute(context)


class TestAnAcceptedSubmit:
    def test_is_sent_once_as_the_vendors_page_shows(
        self, emulator: Emulator, context: dict[str, Any], ti: Any
    ) -> None:
        request_id = generate(context, aspect_ratio="9:16", loop="True")
        (call,) = emulator.calls("generate")
        assert call.path == "/lumalabs-ai/v1/generate"
        assert call.json == {"prompt": "a jellyfish", "aspect_ratio": "9:16", "loop": True}
        headers = dict(call.headers)
        assert headers["Content-Type"] == "application/json"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["Ocp-Apim-Subscription-Key"] == emulator.key
        assert emulator.paid == 1
        assert ti.xcoms["requestId"] == request_id
        assert request_id in emulator.generations

    @pytest.mark.parametrize(
        "prompt", ['"quoted"', "two\nlines", "jalapeño — 🌶", "{'not': 'json'}", "x" * 20_000]
    )
    def test_brings_the_prompt_as_it_is(
        self, prompt: str, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        generate(context, prompt=prompt)
        assert emulator.calls("generate")[0].json["prompt"] == prompt

    @pytest.mark.parametrize(
        ("loop", "sent"), [("False", False), ("yes", True), ("0", False), ("None", False)]
    )
    def test_takes_rendered_text_for_loop(
        self, loop: str, sent: bool, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        generate(context, loop=loop)
        assert emulator.calls("generate")[0].json["loop"] is sent


class TestBadInputIsSentNowhere:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("prompt", ""),
            ("prompt", "   "),
            ("prompt", "None"),
            ("prompt", None),
            ("prompt", 5),
            ("prompt", "x" * 20_001),
            ("prompt", "half \ud83d"),
            ("aspect_ratio", "wide"),
            ("aspect_ratio", "0:9"),
            ("aspect_ratio", "16:9:1"),
            ("aspect_ratio", 1.78),
            ("loop", "maybe"),
            ("loop", 7),
            ("image_url", "file:///etc/passwd"),
            ("image_url", "https://user:secret@host/x.png"),
        ],
    )
    def test_and_the_error_names_the_field(
        self, field: str, value: Any, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        with pytest.raises(LumaInvalidRequest, match=field) as raised:
            generate(context, **{field: value})
        assert "nothing is charged" in str(raised.value)
        assert len(str(raised.value)) < 600
        assert emulator.requests == []


class TestAConnectionThatCannotBeUsed:
    @pytest.mark.parametrize(
        ("fields", "word"),
        [
            ({"password": ""}, "no subscription key"),
            ({"password": "two words"}, "no header can carry"),
            ({"host": "http://gateway.example.com"}, "plain http"),
            ({"host": "ftp://gateway.example.com"}, "scheme"),
            ({"host": "https://user:pw@gateway.example.com"}, "user, password"),
            ({"timeout": "soon"}, "timeout"),
            ({"timeout": -1}, "timeout"),
            ({"status_id_field": "id"}, "status_id_field"),
            ({"max_concurrent_requests": 0}, "max_concurrent_requests"),
            ({"allow_http": "perhaps"}, "allow_http"),
            ({"verify": "/no/such/bundle.pem"}, "verify"),
            ({"proxies": "http://proxy"}, "proxies"),
        ],
    )
    def test_is_named_with_its_field_before_anything_is_sent(
        self, fields: dict[str, Any], word: str, connect: Any, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        connect(**fields)
        with pytest.raises(LumaConfigurationError, match=word) as raised:
            generate(context)
        assert "luma_default" in str(raised.value)
        assert emulator.requests == []

    def test_that_does_not_exist_says_how_to_add_it(self, context: dict[str, Any]) -> None:
        with pytest.raises(LumaConnectionNotFound, match="airflow connections add nope"):
            generate(context, luma_conn_id="nope")


class TestARefusedSubmit:
    def test_of_a_wrong_key_costs_nothing_and_is_not_retried(
        self, connect: Any, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        connect(password="wrong-key-of-mine")
        with pytest.raises(LumaKeyRefused) as raised:
            generate(context)
        assert isinstance(raised.value, AirflowFailException)
        assert "nothing is charged" in str(raised.value)
        assert "wrong-key-of-mine" not in str(raised.value)
        assert len(emulator.calls("generate")) == 1

    def test_that_repeats_the_key_does_not_bring_it_into_the_error(
        self, connect: Any, emulator: Emulator, context: dict[str, Any]
    ) -> None:
        body = json.dumps({"error": f"bad key {emulator.key}"})
        emulator.misbehave("generate", "status", code=401, body=body)
        with pytest.raises(LumaKeyRefused) as raised:
            generate(context)
        assert emulator.key not in str(raised.value)
        assert "bad key ***" in str(raised.value)


class TestAnUnreachableHost:
    def test_may_be_tried_again_by_airflow_because_nothing_was_sent(
        self, connect: Any, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_luma.api.retry.BACKOFF_BASE", 0.01)
        connect(host="http://127.0.0.1:9")
        with pytest.raises(LumaUnreachable) as raised:
            generate(context)
        assert not isinstance(raised.value, AirflowFailException)
        assert "nothing is charged" in str(raised.value)


class TestAnUnknownOutcome:
    def test_stops_airflows_retries(self, emulator: Emulator, context: dict[str, Any]) -> None:
        emulator.misbehave("generate", "drop-after-reading")
        with pytest.raises(LumaSubmitOutcomeUnknown) as raised:
            generate(context)
        assert isinstance(raised.value, AirflowFailException)
        assert "may be billed" in str(raised.value)
        assert len(emulator.calls("generate")) == 1
        assert emulator.paid == 1

    @pytest.mark.parametrize("interruption", [AirflowTaskTimeout("time"), RuntimeError("no XCom backend")])
    def test_an_id_that_can_neither_be_stored_nor_handed_on_is_in_the_error(
        self, interruption: BaseException, emulator: Emulator, context: dict[str, Any], ti: Any
    ) -> None:
        ti.fail_push = interruption
        del context["task_state_store"]
        with pytest.raises(LumaSubmitOutcomeUnknown) as raised:
            generate(context)
        (request_id,) = emulator.generations
        assert raised.value.request_id == request_id
        assert request_id in str(raised.value)


class TestKill:
    def test_after_on_kill_nothing_is_sent(self, emulator: Emulator, context: dict[str, Any]) -> None:
        operator = LumaGenerateOperator(task_id="generate", prompt="p")
        operator.on_kill()
        with pytest.raises(LumaError, match="told to stop"):
            operator.execute(context)
        assert emulator.requests == []


class TestTemplates:
    def test_every_argument_is_templated(self) -> None:
        operator = LumaGenerateOperator(task_id="generate", prompt="p")
        assert set(operator.template_fields) >= {
            "prompt",
            "aspect_ratio",
            "loop",
            "image_url",
            "luma_conn_id",
        }
        assert all(hasattr(operator, field) for field in operator.template_fields)
