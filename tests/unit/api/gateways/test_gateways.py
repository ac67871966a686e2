"""What holds of every gateway, whichever it is."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_luma.api.exchange import Answer, Call, Fault, HttpCall, Miss
from airflow_provider_luma.api.gateways import (
    DEFAULT_GATEWAY,
    GATEWAYS,
    Gateway,
    check,
    lister,
    look,
)
from airflow_provider_luma.api.gateways.capabilities import Capability
from airflow_provider_luma.api.models import Generation, GenerationRequest, GenerationStatus, is_web_address
from airflow_provider_luma.api.probe import Account
from airflow_provider_luma.api.reconcile import Page
from airflow_provider_luma.exceptions import LumaInvalidRequest
from airflow_provider_luma.get_provider_info import connection_fields

ID = "20dd7c76-a931-4ac2-8adb-5c17468b0000"
IMAGE, LAST_IMAGE = "https://host/a.png", "https://host/z.png"
KEY = "key-0123456789abcdef"
SPELT = (KEY, KEY.replace("-", "%2D"), KEY.replace("k", "%6b"))

#: A value of each field that every gateway takes which takes the field at all.
VALUES: dict[str, Any] = {
    "aspect_ratio": "9:16",
    "loop": True,
    "image_url": IMAGE,
    "duration": "5s",
    "resolution": "720p",
    "start_frame": "an-earlier-one",
    "end_frame": LAST_IMAGE,
    "concepts": ("handheld",),
    "extra_body": {"a_field_of_tomorrow": [1]},
}
#: What a field cannot be without.
NEEDED = {("pixazo", "end_frame"): {"image_url": IMAGE}}

FIELDS = [field.name for field in fields(GenerationRequest)]
every_gateway = pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=list(GATEWAYS))
PARAMETERS = [(gateway, name) for gateway in GATEWAYS.values() for name in FIELDS if name != "prompt"]
TAKEN = [pair for pair in PARAMETERS if pair[1] in pair[0].PARAMETERS]
NOT_TAKEN = [pair for pair in PARAMETERS if pair[1] not in pair[0].PARAMETERS]


def named(pairs: list[tuple[Gateway, str]]) -> list[str]:
    return [f"{gateway.NAME}-{name}" for gateway, name in pairs]


def value_of(gateway: Gateway, name: str) -> Any:
    return next(iter(gateway.MODELS), "ray-2") if name == "model" else VALUES[name]


def full(gateway: Gateway) -> GenerationRequest:
    """Return a request with as much as a gateway's body can hold of words at once."""
    names = gateway.PARAMETERS & {"model", "duration", "resolution", "concepts"}
    return GenerationRequest("a fox", **{name: value_of(gateway, name) for name in names})


class TestEveryGateway:
    @every_gateway
    def test_has_every_name_of_the_protocol(self, gateway):
        names = [name for name in vars(Gateway) if not name.startswith("_")]

        assert len(names) > 15
        assert [name for name in names if not hasattr(gateway, name)] == []

    def test_is_known_by_its_own_name(self):
        assert {name: gateway.NAME for name, gateway in GATEWAYS.items()} == {name: name for name in GATEWAYS}
        assert DEFAULT_GATEWAY in GATEWAYS

    def test_is_on_the_connections_form_in_this_order(self):
        assert connection_fields()["gateway"]["schema"]["enum"] == list(GATEWAYS)

    @every_gateway
    def test_takes_fields_that_a_request_has(self, gateway):
        assert set(gateway.PARAMETERS) <= set(FIELDS)
        assert "prompt" in gateway.PARAMETERS

    @every_gateway
    def test_lists_if_and_only_if_it_says_so(self, gateway):
        lists = Capability.LISTING in gateway.CAPABILITIES

        assert hasattr(gateway, "list_call") is lists
        assert hasattr(gateway, "read_list") is lists
        assert lister(gateway) is (gateway if lists else None)

    @every_gateway
    def test_says_what_it_can_do_in_words_that_there_are(self, gateway):
        assert set(gateway.CAPABILITIES) <= set(Capability)

    @every_gateway
    def test_has_a_host_that_a_path_can_be_put_behind(self, gateway):
        assert is_web_address(gateway.DEFAULT_HOST)
        assert gateway.DEFAULT_HOST.startswith("https://")
        assert not gateway.DEFAULT_HOST.endswith("/")

    @every_gateway
    def test_has_no_two_titles_alike_and_one_that_a_sentence_can_hold(self, gateway):
        assert [other.TITLE for other in GATEWAYS.values()].count(gateway.TITLE) == 1
        assert gateway.TITLE.isprintable()

    @every_gateway
    def test_carries_the_key_in_one_header(self, gateway):
        assert gateway.KEY_HEADER.lower() not in {name.lower() for name in gateway.HEADERS}
        assert KEY in gateway.key_header(KEY)

    @every_gateway
    def test_asks_for_free_with_a_path_of_its_own_host(self, gateway):
        calls = [
            *gateway.status_calls(ID, "auto").values(),
            *gateway.test_calls(ID, "auto").values(),
            *([gateway.list_call(0)] if lister(gateway) else []),
        ]

        assert calls
        for call in calls:
            assert call.call is Call.STATUS
            assert call.path.startswith("/")
            assert (call.body is None) is (call.method == "GET")
        submit = gateway.submit_call(GenerationRequest("a fox"))
        assert (submit.call, submit.method, submit.path[0]) == (Call.GENERATE, "POST", "/")


class TestWhatAGatewayTakes:
    @every_gateway
    def test_is_a_prompt_alone(self, gateway):
        check(gateway, GenerationRequest("a fox"))

    @pytest.mark.parametrize(("gateway", "name"), TAKEN, ids=named(TAKEN))
    def test_is_each_of_its_parameters_alone(self, gateway, name):
        needed = NEEDED.get((gateway.NAME, name), {})
        request = GenerationRequest("a fox", **{name: value_of(gateway, name)}, **needed)

        check(gateway, request)

        assert gateway.submit_call(request) != gateway.submit_call(GenerationRequest("a fox", **needed)) or (
            # What a gateway does unless told otherwise may be the very same.
            name == "model"
        )

    @every_gateway
    @pytest.mark.parametrize("model", ["first", "last"])
    def test_is_each_of_its_models(self, gateway, model):
        if not gateway.MODELS:
            assert "model" not in gateway.PARAMETERS
            return
        check(
            gateway,
            GenerationRequest("a fox", image_url=IMAGE, model=gateway.MODELS[0 if model == "first" else -1]),
        )

    @every_gateway
    def test_is_an_address_as_a_start_frame(self, gateway):
        """It is the image, which every one takes."""
        check(gateway, GenerationRequest("a fox", start_frame=IMAGE))


class TestWhatAGatewayDoesNotTake:
    @pytest.mark.parametrize(("gateway", "name"), NOT_TAKEN, ids=named(NOT_TAKEN))
    def test_is_refused_by_name_before_anything_is_sent(self, gateway, name):
        with pytest.raises(LumaInvalidRequest, match=rf"^{name} ") as refused:
            check(gateway, GenerationRequest("a fox", **{name: value_of(gateway, name)}))

        assert gateway.TITLE in str(refused.value)
        assert "Nothing was sent" in str(refused.value)
        assert str(refused.value).count("extra_body") == 1, "it says what it takes"

    @pytest.mark.parametrize(("gateway", "name"), NOT_TAKEN, ids=named(NOT_TAKEN))
    def test_may_be_what_it_is_by_default(self, gateway, name):
        (default,) = (field.default for field in fields(GenerationRequest) if field.name == name)

        check(gateway, GenerationRequest("a fox", **{name: default}))


class TestExtraFields:
    @every_gateway
    def test_arrive_in_the_body_beside_the_others(self, gateway):
        extra = {"a_field_of_tomorrow": {"deep": [1, None, "zwölf"]}, "another": False}
        request = GenerationRequest("a fox", extra_body=extra)
        check(gateway, request)

        plain = json.loads(gateway.submit_call(GenerationRequest("a fox")).body)
        assert json.loads(gateway.submit_call(request).body) == {**plain, **extra}

    @every_gateway
    def test_cannot_replace_one_of_the_body(self, gateway):
        body = json.loads(gateway.submit_call(full(gateway)).body)
        assert len(body) > 2

        for name in body:
            for value in ("other", None, {}, body[name]):
                if isinstance(body[name], dict) and isinstance(value, dict):
                    continue
                with pytest.raises(LumaInvalidRequest, match=f"extra_body .*'{name}'"):
                    check(gateway, GenerationRequest("a fox", **_words(gateway), extra_body={name: value}))

    @pytest.mark.parametrize(
        ("name", "asked", "extra", "told"),
        [
            ("luma_agents", {"duration": "5s"}, {"video": {"duration": "10s"}}, "video.duration"),
            ("luma_agents", {}, {"video": {"loop": True}}, "video.loop"),
            ("luma_agents", {}, {"video": {"new": 1, "loop": False}}, "video.loop"),
            (
                "luma_agents",
                {"image_url": IMAGE},
                {"video": {"start_frame": {"url": "https://host/other.png"}}},
                "video.start_frame.url",
            ),
            ("luma", {"image_url": IMAGE}, {"keyframes": {"frame0": {"type": "x"}}}, "keyframes.frame0.type"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_cannot_replace_one_within_another_either(self, name, asked, extra, told):
        with pytest.raises(LumaInvalidRequest, match=f"extra_body .*'{told}'"):
            check(GATEWAYS[name], GenerationRequest("a fox", **asked, extra_body=extra))

    @pytest.mark.parametrize(
        ("name", "asked", "extra", "place"),
        [
            ("luma_agents", {"duration": "5s"}, {"video": {"seed": 7}}, ("video", "seed")),
            (
                "luma_agents",
                {"image_url": IMAGE},
                {"video": {"start_frame": {"fit": 7}}},
                ("video", "start_frame", "fit"),
            ),
            ("luma", {"image_url": IMAGE}, {"keyframes": {"frame2": 7}}, ("keyframes", "frame2")),
        ],
        ids=["video", "frame", "keyframes"],
    )
    def test_may_be_new_within_another(self, name, asked, extra, place):
        request = GenerationRequest("a fox", **asked, extra_body=extra)
        check(GATEWAYS[name], request)

        found = json.loads(GATEWAYS[name].submit_call(request).body)
        for step in place:
            found = found[step]
        assert found == 7

    @pytest.mark.parametrize(
        ("name", "asked", "extra"),
        [
            ("luma", {}, {"resolution": "4k"}),
            ("luma", {}, {"duration": "9s"}),
            ("luma", {"loop": True}, {"keyframes": {"frame1": {"type": "image", "url": IMAGE}}}),
            ("luma", {}, {"concepts": [{"key": "handheld"}]}),
            ("luma_agents", {"loop": True}, {"video": {"duration": "10s"}}),
            ("luma_agents", {}, {"video": {"resolution": "1080p"}}),
            ("luma_agents", {}, {"video": None}),
            ("pixazo", {}, {"resolution": "1080p"}),
            ("pixazo", {}, {"image_url": IMAGE}),
        ],
        ids=str,
    )
    def test_do_not_slip_past_limits_and_prices_what_was_left_to_the_gateway(self, name, asked, extra):
        with pytest.raises(LumaInvalidRequest, match="extra_body cannot hold"):
            check(GATEWAYS[name], GenerationRequest("a fox", **asked, extra_body=extra))

    @every_gateway
    def test_that_are_null_are_sent_as_null(self, gateway):
        request = GenerationRequest("a fox", extra_body={"note": None})

        assert '"note": null' in (gateway.submit_call(request).body or b"").decode()

    @every_gateway
    def test_change_nothing_of_the_request_that_holds_them(self, gateway):
        extra = {"video": {"seed": 7}, "keyframes": {"frame9": 7}}
        request = GenerationRequest("a fox", extra_body=extra)

        assert gateway.submit_call(request) == gateway.submit_call(request)
        assert extra == {"video": {"seed": 7}, "keyframes": {"frame9": 7}}

    @every_gateway
    @pytest.mark.parametrize(
        "extra", [{"note": "half \ud800"}, {"\udfff": 1}, {"a": [{"b": "\ud800"}]}], ids=ascii
    )
    def test_that_cannot_be_sent_are_refused_as_a_bad_request(self, gateway, extra):
        with pytest.raises(LumaInvalidRequest, match="extra_body"):
            check(gateway, GenerationRequest("a fox", extra_body=extra))


def _words(gateway: Gateway) -> dict[str, Any]:
    request = full(gateway)
    return {name: getattr(request, name) for name in ("model", "duration", "resolution", "concepts")}


SINGLE = [gateway for gateway in GATEWAYS.values() if not gateway.STATUS_ID_FIELDS]


def looked(gateway: Gateway, given: Answer | Miss, field: str) -> tuple[HttpCall, Generation | Miss, str]:
    """Return the only call of a look that is answered like this, and what the look came to."""
    steps = look(gateway, ID, field)
    call = next(steps)
    try:
        steps.send(given)
    except StopIteration as end:
        return (call, *end.value)
    raise AssertionError("it asks once more")


class TestALookWithoutAFieldToFindOut:
    @pytest.mark.parametrize("gateway", SINGLE, ids=lambda gateway: gateway.NAME)
    @pytest.mark.parametrize("field", ["auto", "task_id", "requestId"])
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, {"state": "completed", "status": "completed"}),
            (200, {"state": "queued", "status": "queued"}),
            (200, {"state": "failed", "status": "failed", "error": "no"}),
            (200, {}),
            (404, {"detail": "no such generation"}),
            (404, {}),
            (400, {"detail": "bad"}),
            (500, {}),
        ],
        ids=str,
    )
    def test_asks_once_and_returns_the_field_that_it_was_given(self, gateway, field, status, body):
        given = Answer(status, {}, json.dumps(body).encode())
        call, seen, keep = looked(gateway, given, field)

        assert keep == field
        assert call.method == "GET"
        assert seen == gateway.read_status(given, ID)

    @pytest.mark.parametrize("gateway", SINGLE, ids=lambda gateway: gateway.NAME)
    def test_hands_on_what_never_became_an_answer(self, gateway):
        lost = Miss(Fault.LOST, "was lost")

        assert looked(gateway, lost, "auto")[1:] == (lost, "auto")


VIDEO = "https://cdn.example/video.mp4"
words = st.sampled_from(
    ["completed", "COMPLETED", "failed", "queued", "NOT_FOUND", VIDEO, ID, "another", "moderation",
     *SPELT, *(f"https://cdn.example/{spelt}.mp4" for spelt in SPELT), *(f"/r/{spelt}" for spelt in SPELT),
     "https://key-0123456789abcdef.example/", f"x {KEY}", "/r/1", "https://gateway.example/r/1"]
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | words,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)
places = st.sampled_from(
    ["status", "state", "id", "requestId", "request_id", "task_id", "video_url", "error", "failure_reason",
     "failure_code", "msg", "message", "detail", "statusCode", "credit_balance", "data", "has_more",
     "generations", "polling_url"]
)  # fmt: skip
nested = st.fixed_dictionaries(
    {},
    optional={
        "assets": st.dictionaries(st.just("video"), words | anything) | anything,
        "output": st.dictionaries(st.sampled_from(["media_url", "url", "video_url"]), words | anything)
        | st.lists(st.fixed_dictionaries({"url": words | anything}), max_size=2)
        | anything,
        "generations": st.lists(st.fixed_dictionaries({"id": words, "request": anything}), max_size=2),
    },
)
telling = st.builds(lambda flat, deep: {**flat, **deep}, st.dictionaries(places, words | anything), nested)
bodies = st.binary(max_size=200) | (anything | telling).map(lambda value: json.dumps(value).encode())
answers = st.builds(
    Answer,
    status=st.sampled_from([200, 200, 201, 202, 400, 403, 404, 429]) | st.integers(100, 999),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "date", "content-type", "location"]), st.text(max_size=20)
    ),
    body=bodies,
    cut=st.sampled_from([False, False, False, True]),
    secret=st.just(KEY),
    base_url=st.just("https://gateway.example"),
)


def holds_the_key(value: str | None) -> bool:
    return value is not None and (KEY in value or KEY in unquote(value))


class TestAnyAnswer:
    @every_gateway
    @settings(max_examples=200, deadline=None)
    @given(whole=answers)
    def test_ends_in_a_value_of_ours_that_holds_no_key(self, gateway, whole):
        submitted = gateway.read_submit(whole)
        seen = gateway.read_status(whole, ID)
        tested = gateway.read_test(whole, ID)

        assert isinstance(submitted, (str, Miss))
        assert isinstance(seen, (Generation, Miss))
        assert isinstance(tested, (Account, Generation, Miss))
        if not 200 <= whole.status < 300 or whole.cut:
            assert isinstance(submitted, Miss)
        assert not (isinstance(submitted, str) and holds_the_key(submitted))
        for read in (submitted, seen, tested):
            if isinstance(read, Miss):
                assert read.detail.isprintable(), ascii(read.detail)
                assert len(read.detail) < 400
                assert KEY not in read.detail
            if isinstance(read, Generation):
                assert read.request_id == ID
                assert not holds_the_key(read.video_url)
                assert KEY not in (read.reason or "") + read.raw_status
                assert read.video_url is None or is_web_address(read.video_url)
                assert not (read.refunded and read.status is not GenerationStatus.FAILED)

    @every_gateway
    @settings(max_examples=100, deadline=None)
    @given(whole=answers)
    def test_is_never_a_completion_unless_it_is_2xx_and_whole(self, gateway, whole):
        seen = gateway.read_status(whole, ID)

        if isinstance(seen, Generation) and seen.status is not GenerationStatus.NOT_FOUND:
            assert 200 <= whole.status < 300
            assert not whole.cut

    @pytest.mark.parametrize(
        "gateway", [one for one in GATEWAYS.values() if lister(one)], ids=lambda gateway: gateway.NAME
    )
    @settings(max_examples=200, deadline=None)
    @given(whole=answers)
    def test_to_a_list_is_a_page_without_the_key_or_a_fault(self, gateway, whole):
        page = gateway.read_list(whole)

        assert isinstance(page, (Page, Miss))
        if isinstance(page, Page):
            assert whole.status == 200
            assert not any(holds_the_key(entry.request_id) for entry in page.entries)
