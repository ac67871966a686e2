"""
Luma's own API, by its official client ``lumaai``: the same requests on the wire, the emulator's answers as
the client's models have them, and every word that it knows.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import unquote

import lumaai
import pytest
from lumaai.types import CreditGetResponse, Generation, GenerationListParams, GenerationListResponse
from lumaai.types.generation import RequestGenerationRequest
from lumaai.types.generations import VideoCreateParams, video_create_params

from airflow_provider_luma.api.exchange import Answer, Call, json_object, refusal
from airflow_provider_luma.api.gateways import GATEWAYS, check, luma
from airflow_provider_luma.api.models import GenerationRequest, GenerationStatus
from airflow_provider_luma.api.reconcile import NotListed
from airflow_provider_luma.api.retry import error_for
from airflow_provider_luma.exceptions import LumaError, LumaSubmitOutcomeUnknown
from airflow_provider_luma.hooks.luma import LumaHook
from tests.contract.conftest import (
    BREAKS,
    FEW_SECONDS,
    PLENTY,
    REFUSALS,
    Break,
    Case,
    breaks,
    every,
    every_break,
    every_refusal,
    not_accounted_for,
    refusals,
    strictly,
    wire,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_luma.emulator.testing import LumaEmulator

pytestmark = pytest.mark.luma_emulator(extra={"gateway": "luma"})

GATEWAY = GATEWAYS["luma"]
PROMPT = "A fox in the snow"
IMAGE, OTHER_IMAGE = "https://example.com/a.jpg?w=1&h=2", "https://example.com/b.jpg"
#: Ids of generations that are there when a case is sent.
EARLIER, ANOTHER = "3f2b9d8e-earlier", "77aa01c4-another"
CALLBACK = "https://example.com/called"

#: What this provider says of itself where nobody does.
UNSAID = {"model": "ray-2", "prompt": PROMPT, "aspect_ratio": "16:9", "loop": False}


def image(url: str) -> dict[str, Any]:
    return {"type": "image", "url": url}


def earlier(request_id: str) -> dict[str, Any]:
    return {"type": "generation", "id": request_id}


def case(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Case:
    return Case(name, {"prompt": PROMPT, **ours}, {**UNSAID, **theirs})


CASES = [
    case("text only", {}, {}),
    case("other letters", {"prompt": 'Füchse, 4 °C: 狐 "🦊"\n'}, {"prompt": 'Füchse, 4 °C: 狐 "🦊"\n'}),
    case("a model", {"model": "ray-flash-2"}, {"model": "ray-flash-2"}),
    case("a ratio", {"aspect_ratio": "9:21"}, {"aspect_ratio": "9:21"}),
    case("a duration", {"duration": "9s"}, {"duration": "9s"}),
    case("a resolution", {"resolution": "4k"}, {"resolution": "4k"}),
    case("a loop", {"loop": True}, {"loop": True}),
    case(
        "concepts",
        {"concepts": ("dolly_zoom", "aerial")},
        {"concepts": [{"key": "dolly_zoom"}, {"key": "aerial"}]},
    ),
    case("an image", {"image_url": IMAGE}, {"keyframes": {"frame0": image(IMAGE)}}),
    case("a start frame", {"start_frame": IMAGE}, {"keyframes": {"frame0": image(IMAGE)}}),
    case("an end frame", {"end_frame": IMAGE}, {"keyframes": {"frame1": image(IMAGE)}}),
    case(
        "both frames",
        {"start_frame": IMAGE, "end_frame": OTHER_IMAGE},
        {"keyframes": {"frame0": image(IMAGE), "frame1": image(OTHER_IMAGE)}},
    ),
    case("on from an earlier one", {"start_frame": EARLIER}, {"keyframes": {"frame0": earlier(EARLIER)}}),
    case("to an earlier one", {"end_frame": EARLIER}, {"keyframes": {"frame1": earlier(EARLIER)}}),
    case(
        "between two earlier ones",
        {"start_frame": EARLIER, "end_frame": ANOTHER},
        {"keyframes": {"frame0": earlier(EARLIER), "frame1": earlier(ANOTHER)}},
    ),
    case(
        "from an earlier one to an image",
        {"start_frame": EARLIER, "end_frame": IMAGE},
        {"keyframes": {"frame0": earlier(EARLIER), "frame1": image(IMAGE)}},
    ),
    case(
        "fields that only the client knows",
        {"extra_body": {"callback_url": CALLBACK, "generation_type": "video"}},
        {"callback_url": CALLBACK, "generation_type": "video"},
    ),
    case(
        "an extra_body at both",
        {"extra_body": {"callback_url": CALLBACK}},
        {"extra_body": {"callback_url": CALLBACK}},
    ),
    case(
        "everything at once",
        {
            "aspect_ratio": "21:9",
            "loop": True,
            "image_url": IMAGE,
            "model": "ray-flash-2",
            "duration": "5s",
            "resolution": "1080p",
            "concepts": ("orbit_left",),
            "extra_body": {"callback_url": CALLBACK},
        },
        {
            "aspect_ratio": "21:9",
            "loop": True,
            "keyframes": {"frame0": image(IMAGE)},
            "model": "ray-flash-2",
            "duration": "5s",
            "resolution": "1080p",
            "concepts": [{"key": "orbit_left"}],
            "callback_url": CALLBACK,
        },
    ),
]

#: Parameters of theirs that this provider leaves to ``extra_body``, and why.
LEFT_TO_EXTRA_BODY = {
    "callback_url": "an Airflow has no address for others to call: it asks",
    "generation_type": "the address of the call says that already",
}


@pytest.fixture
def client(luma_emulator: LumaEmulator) -> Iterator[lumaai.LumaAI]:
    """The official client, sending once."""
    base_url = luma_emulator.url_of("luma")
    with lumaai.LumaAI(
        auth_token=luma_emulator.key, base_url=base_url, max_retries=0, timeout=PLENTY
    ) as client:
        yield client


@pytest.fixture
def hook() -> Iterator[LumaHook]:
    with LumaHook() as hook:
        yield hook


def submitted(client: lumaai.LumaAI) -> str:
    """Submit with the official client; return the id."""
    request_id = client.generations.video.create(model="ray-2", prompt=PROMPT).id
    assert request_id
    return request_id


class TestASubmit:
    @every(CASES)
    def test_is_sent_as_the_client_sends_it(
        self, case: Case, client: lumaai.LumaAI, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        for request_id in (EARLIER, ANOTHER):
            luma_emulator.add(request_id, door="luma")

        client.generations.video.create(**case.theirs)
        hook.generate(GenerationRequest(**case.ours))

        theirs, ours = luma_emulator.requests
        assert wire(ours) == wire(theirs)
        luma_emulator.assert_paid(2)

    def test_is_tried_with_every_parameter(self) -> None:
        assert {name for case in CASES for name in case.ours} == luma.PARAMETERS

    def test_goes_to_the_clients_own_address_unless_told_otherwise(self) -> None:
        assert str(lumaai.LumaAI(auth_token="a-key").base_url).rstrip("/") == luma.DEFAULT_HOST


class TestAQuestion:
    def test_for_the_status_is_sent_as_the_client_sends_it(
        self, client: lumaai.LumaAI, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        luma_emulator.add(EARLIER, door="luma")

        client.generations.get(EARLIER)
        hook.get_status(EARLIER)

        theirs, ours = map(wire, luma_emulator.requests)
        assert ours == theirs

    @pytest.mark.parametrize("request_id", ["a/b", "50%", "a?b#c", "ä:1;~@b"])
    def test_about_an_odd_id_goes_to_the_same_address(
        self, request_id: str, client: lumaai.LumaAI, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        with pytest.raises(lumaai.NotFoundError):
            client.generations.get(request_id)
        hook.get_status(request_id)

        # Theirs spells a colon, say, as it is: between two slashes that means the same.
        theirs, ours = ([unquote(part) for part in sent.path.split("/")] for sent in luma_emulator.requests)
        assert ours == theirs

    @pytest.mark.parametrize("request_id", [".", ".."])
    def test_about_an_id_of_dots_goes_nowhere(
        self, request_id: str, client: lumaai.LumaAI, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        with pytest.raises(ValueError, match="dot-segment"):
            client.generations.get(request_id)
        with contextlib.suppress(LumaError):
            hook.get_status(request_id)

        luma_emulator.assert_nothing_sent()

    def test_for_the_list_is_sent_as_the_client_sends_it(
        self,
        client: lumaai.LumaAI,
        hook: LumaHook,
        luma_emulator: LumaEmulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for _ in range(luma.PAGE_LENGTH + 1):
            luma_emulator.add(door="luma")
        client.generations.list(limit=luma.PAGE_LENGTH, offset=0)
        # The pages of ours overlap by one.
        client.generations.list(limit=luma.PAGE_LENGTH, offset=luma.PAGE_LENGTH - 1)

        # Once will do here.
        monkeypatch.setattr("airflow_provider_luma.hooks.luma.LISTED_WITHIN", 0.0)
        long_ago = time.time() - 3600
        verdict = hook.reconcile(GenerationRequest(PROMPT), long_ago)

        assert verdict == NotListed(luma.PAGE_LENGTH + 1)
        first, second, *ours = map(wire, luma_emulator.requests)
        assert ours == [first, second]

    def test_for_the_credits_is_sent_as_the_client_sends_it(
        self, client: lumaai.LumaAI, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        client.credits.get()
        hook.test_connection()

        theirs, ours = map(wire, luma_emulator.requests)
        assert ours == theirs


class TestTheClientsHeaders:
    def test_are_compared_or_left_out_for_a_reason(
        self, client: lumaai.LumaAI, luma_emulator: LumaEmulator
    ) -> None:
        client.generations.get(submitted(client))
        client.generations.list(limit=1)
        client.credits.get()

        assert [not_accounted_for(request) for request in luma_emulator.requests] == [set()] * 4


class TestTheEmulatorsAnswers:
    """They are what the client's models say, with nothing besides; and both read the same in them."""

    @every(CASES)
    def test_to_a_submit(self, case: Case, client: lumaai.LumaAI, luma_emulator: LumaEmulator) -> None:
        for request_id in (EARLIER, ANOTHER):
            luma_emulator.add(request_id, door="luma")

        raw = client.generations.video.with_raw_response.create(**case.theirs).http_response.content

        read = strictly(Generation, raw)
        assert read.state == "queued"
        assert isinstance(read.request, RequestGenerationRequest)
        assert luma.read_submit(Answer(201, {}, raw)) == read.id

    @pytest.mark.parametrize(
        ("plan", "state", "status"),
        [
            ({"outcome": "pending", "status": "queued"}, "queued", GenerationStatus.PENDING),
            ({"outcome": "pending"}, "dreaming", GenerationStatus.PENDING),
            ({"outcome": "completed"}, "completed", GenerationStatus.COMPLETED),
            ({"outcome": "failed", "reason": "No."}, "failed", GenerationStatus.FAILED),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_about_a_status(
        self,
        plan: dict[str, Any],
        state: str,
        status: GenerationStatus,
        client: lumaai.LumaAI,
        hook: LumaHook,
        luma_emulator: LumaEmulator,
    ) -> None:
        luma_emulator.next(**plan, seconds=0)
        request_id = submitted(client)

        read = strictly(
            Generation, client.generations.with_raw_response.get(request_id).http_response.content
        )
        seen = hook.get_status(request_id)

        assert (read.id, read.state) == (request_id, state)
        assert (seen.request_id, seen.raw_status, seen.status) == (request_id, state, status)
        assert seen.reason == read.failure_reason
        assert seen.video_url == (read.assets.video if read.assets else None)
        assert (seen.video_url is not None) is (state == "completed")

    def test_with_a_list(self, client: lumaai.LumaAI, luma_emulator: LumaEmulator) -> None:
        for outcome in ("completed", "failed", "pending"):
            luma_emulator.next(outcome, seconds=0)
            submitted(client)

        raw = client.generations.with_raw_response.list(limit=2, offset=1).http_response.content

        read = strictly(GenerationListResponse, raw)
        assert [one.state for one in read.generations] == ["failed", "completed"]
        assert (read.count, read.limit, read.offset, read.has_more) == (2, 2, 1, False)
        page = luma.read_list(Answer(200, {}, raw))
        assert [entry.request_id for entry in page.entries] == [one.id for one in read.generations]
        assert [entry.created_at for entry in page.entries] == [
            one.created_at.timestamp() for one in read.generations
        ]

    def test_with_what_was_made_elsewhere(self, client: lumaai.LumaAI, luma_emulator: LumaEmulator) -> None:
        luma_emulator.add(door="luma")

        raw = client.generations.with_raw_response.list().http_response.content

        assert strictly(GenerationListResponse, raw).generations

    @pytest.mark.luma_emulator(credit_balance=1234)
    def test_with_the_credits(self, client: lumaai.LumaAI, hook: LumaHook) -> None:
        raw = client.credits.with_raw_response.get().http_response.content

        assert strictly(CreditGetResponse, raw).credit_balance == 1234
        # Cents, as the model's own words have it.
        assert "12.34 USD" in hook.test_connection()[1]


class TestItsErrors:
    @every_refusal(lumaai)
    def test_have_one_of_ours_for_each_status(
        self,
        error: type[lumaai.APIStatusError],
        status: int,
        client: lumaai.LumaAI,
        luma_emulator: LumaEmulator,
    ) -> None:
        luma_emulator.misbehave("generate", "status", code=status)
        luma_emulator.misbehave("getStatus", "status", code=status)

        with pytest.raises(error) as submit:
            submitted(client)
        with pytest.raises(error) as look:
            client.generations.get(EARLIER)

        found = []
        for call, raised in ((Call.GENERATE, submit.value), (Call.STATUS, look.value)):
            assert type(raised) is error
            assert json_object(Answer(status, {}, raised.response.content)) == raised.body
            answer = Answer(status, dict(raised.response.headers), raised.response.content)
            found.append(type(error_for(call, refusal(answer), now=0.0)))
        assert tuple(found) == REFUSALS[error.__name__]

    def test_of_an_id_that_is_not_known_is_a_status_of_ours(
        self, client: lumaai.LumaAI, hook: LumaHook
    ) -> None:
        with pytest.raises(lumaai.NotFoundError):
            client.generations.get(EARLIER)

        assert hook.get_status(EARLIER).status is GenerationStatus.NOT_FOUND

    @every_break
    @pytest.mark.usefixtures("short_pauses")
    def test_have_one_of_ours_where_there_is_no_answer(
        self, broken: Break, client: lumaai.LumaAI, luma_emulator: LumaEmulator
    ) -> None:
        luma_emulator.connect(gateway="luma", timeout=FEW_SECONDS)
        if broken.fault is None:
            luma_emulator.stop()
        else:
            luma_emulator.misbehave("generate", broken.fault, times=None)
            luma_emulator.misbehave("getStatus", broken.fault, times=None)

        if broken.theirs != "APIResponseValidationError":
            with pytest.raises(getattr(lumaai, broken.theirs)) as theirs:
                submitted(client.with_options(timeout=FEW_SECONDS))
            assert type(theirs.value).__name__ == broken.theirs
        with LumaHook() as hook:
            with pytest.raises(LumaError) as submit:
                hook.generate(GenerationRequest(PROMPT))
            with pytest.raises(LumaError) as look:
                hook.get_status(EARLIER)

        assert (type(submit.value), type(look.value)) == (broken.generate, broken.get_status)

    def test_are_all_known(self) -> None:
        assert {error.__name__ for error, _ in refusals(lumaai)} == set(REFUSALS)
        assert breaks(lumaai) == {broken.theirs for broken in BREAKS}


class TestItsRetries:
    """Why a submit is not left to the client: it has no idempotency key, and sends again what may be paid."""

    def test_pay_twice_for_one_video(self, luma_emulator: LumaEmulator) -> None:
        luma_emulator.misbehave("generate", "500", paid=True)

        with lumaai.LumaAI(
            auth_token=luma_emulator.key, base_url=luma_emulator.url_of("luma"), timeout=PLENTY
        ) as client:
            submitted(client)

        luma_emulator.assert_paid(2)
        first, second = luma_emulator.requests
        said = [dict(sent.headers) for sent in (first, second)]
        assert [one.pop("x-stainless-retry-count") for one in said] == ["0", "1"]
        assert said[0] == said[1]
        assert not [name for name in said[0] if "idempot" in name.lower()]

    def test_are_not_ours(self, hook: LumaHook, luma_emulator: LumaEmulator) -> None:
        luma_emulator.misbehave("generate", "500", paid=True)

        with pytest.raises(LumaSubmitOutcomeUnknown):
            hook.generate(GenerationRequest(PROMPT))

        luma_emulator.assert_paid(1)


class TestItsWords:
    """What the installed client knows, this provider knows."""

    params = get_type_hints(VideoCreateParams)

    def test_for_states(self) -> None:
        assert words(Generation.model_fields["state"].annotation) == set(luma.STATES)

    def test_for_kinds_of_generations(self) -> None:
        # The list holds them all; of these, a request for a video is settled by videos only.
        assert words(Generation.model_fields["generation_type"].annotation) == {"video", "image"}

    def test_for_models(self) -> None:
        assert words(self.params["model"]) == set(luma.MODELS)

    def test_for_aspect_ratios(self) -> None:
        assert words(self.params["aspect_ratio"]) == set(luma.ASPECT_RATIOS)

    @pytest.mark.parametrize("name", ["duration", "resolution"])
    def test_for_the_size_of_a_video(self, name: str) -> None:
        # Theirs are words or any text, ours are of a form.
        for word in words(self.params[name]):
            check(GATEWAY, GenerationRequest(PROMPT, **{name: word}))

    def test_for_frames(self) -> None:
        known = get_type_hints(video_create_params.Keyframes)
        frames = [get_type_hints(one) for name in known for one in known[name].__args__]
        sent = [frame for case in CASES for frame in case.theirs.get("keyframes", {}).values()]

        assert {"frame0", "frame1"} == set(known)
        assert set().union(*(words(frame["type"]) for frame in frames)) == {one["type"] for one in sent}
        assert {tuple(sorted(frame)) for frame in frames} == {tuple(sorted(one)) for one in sent}

    def test_for_concepts(self) -> None:
        assert set(get_type_hints(video_create_params.Concept)) == {"key"}

    def test_for_parameters(self) -> None:
        requests = [GenerationRequest(**{**case.ours, "extra_body": None}) for case in CASES]
        sent = {name for one in requests for name in body_of(one)}

        assert set(self.params) - sent == set(LEFT_TO_EXTRA_BODY)
        assert sent <= set(self.params)

    @pytest.mark.parametrize("name", LEFT_TO_EXTRA_BODY)
    def test_for_parameters_that_are_left_to_extra_body(self, name: str) -> None:
        assert body_of(GenerationRequest(PROMPT, extra_body={name: "anything"}))[name] == "anything"

    def test_for_pages_of_the_list(self) -> None:
        assert set(get_type_hints(GenerationListParams)) == {"limit", "offset"}


def body_of(request: GenerationRequest) -> dict[str, Any]:
    """Return the body that this provider sends."""
    body = json_object(Answer(200, {}, luma.submit_call(request).body or b""))
    assert body
    return body
