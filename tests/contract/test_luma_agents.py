"""
Luma's API for agents, by its official client ``luma-agents``: the same requests on the wire, the emulator's
answers as the client's models have them, and every word that it knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_type_hints

import luma_agents
import pytest
from luma_agents.types import (
    FileList,
    FileListParams,
    Generation,
    GenerationCreateParams,
    GenerationFailureCode,
    ImageRefParam,
    Model,
    VideoDuration,
    VideoOptionsParam,
    VideoResolution,
)

from airflow_provider_luma.api.exchange import Answer, Call, json_object, refusal
from airflow_provider_luma.api.gateways import GATEWAYS, check
from airflow_provider_luma.api.gateways import luma_agents as ours
from airflow_provider_luma.api.models import GenerationRequest, GenerationStatus
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

pytestmark = pytest.mark.luma_emulator(extra={"gateway": "luma_agents"})

GATEWAY = GATEWAYS["luma_agents"]
PROMPT = "A fox in the snow"
IMAGE, OTHER_IMAGE = "https://example.com/a.jpg?w=1&h=2", "https://example.com/b.jpg"
#: Id of a generation that is there when a case is sent.
EARLIER = "3f2b9d8e-earlier"


def case(name: str, request: dict[str, Any], *, video: dict[str, Any] | None = None, **theirs: Any) -> Case:
    """Return a case; what this provider says of itself where nobody does is spelt out for the client."""
    said = {"model": "ray-3.2", "type": "video", "prompt": PROMPT, "aspect_ratio": "16:9"}
    return Case(
        name, {"prompt": PROMPT, **request}, {**said, "video": {"loop": False, **(video or {})}, **theirs}
    )


CASES = [
    case("text only", {}),
    case("other letters", {"prompt": 'Füchse, 4 °C: 狐 "🦊"\n'}, prompt='Füchse, 4 °C: 狐 "🦊"\n'),
    case("a model", {"model": "ray-3.2"}),
    case("a ratio", {"aspect_ratio": "3:1"}, aspect_ratio="3:1"),
    case("a duration", {"duration": "10s"}, video={"duration": "10s"}),
    case("a resolution", {"resolution": "360p"}, video={"resolution": "360p"}),
    case("a loop", {"loop": True}, video={"loop": True}),
    case("an image", {"image_url": IMAGE}, video={"start_frame": {"url": IMAGE}}),
    case("a start frame", {"start_frame": IMAGE}, video={"start_frame": {"url": IMAGE}}),
    case("an end frame", {"end_frame": IMAGE}, video={"end_frame": {"url": IMAGE}}),
    case(
        "both frames",
        {"start_frame": IMAGE, "end_frame": OTHER_IMAGE},
        video={"start_frame": {"url": IMAGE}, "end_frame": {"url": OTHER_IMAGE}},
    ),
    case(
        "on from an earlier one", {"start_frame": EARLIER}, video={"start_frame": {"generation_id": EARLIER}}
    ),
    case("to an earlier one", {"end_frame": EARLIER}, video={"end_frame": {"generation_id": EARLIER}}),
    case(
        "fields that only the client knows",
        {"extra_body": {"user_id": "a-user", "video": {"hdr": True}}},
        video={"hdr": True},
        user_id="a-user",
    ),
    case(
        "an extra_body at both",
        {"extra_body": {"user_id": "a-user"}},
        extra_body={"user_id": "a-user"},
    ),
    case(
        "everything at once",
        {
            "aspect_ratio": "9:16",
            "loop": True,
            "image_url": IMAGE,
            "end_frame": OTHER_IMAGE,
            "model": "ray-3.2",
            "duration": "5s",
            "resolution": "1080p",
            "extra_body": {"user_id": "a-user"},
        },
        video={
            "loop": True,
            "start_frame": {"url": IMAGE},
            "end_frame": {"url": OTHER_IMAGE},
            "duration": "5s",
            "resolution": "1080p",
        },
        aspect_ratio="9:16",
        user_id="a-user",
    ),
]

_OTHER_KIND = "for another kind of generation than a video from text and frames"
#: Parameters of theirs that this provider leaves to ``extra_body``, and why.
LEFT_TO_EXTRA_BODY = {
    "image_ref": f"{_OTHER_KIND}: an image",
    "layering": f"{_OTHER_KIND}: the layers of an image",
    "output_format": f"{_OTHER_KIND}: an image",
    "source": f"{_OTHER_KIND}: one that edits or reframes",
    "style": f"{_OTHER_KIND}: an image",
    "user_id": "for who sells generations on, to tell customers apart",
    "web_search": f"{_OTHER_KIND}: an image",
}
#: The same of ``video``.
VIDEO_LEFT_TO_EXTRA_BODY = {
    "edit": f"{_OTHER_KIND}: one that edits a video",
    "exr_export": "a second file beside the video, which nothing here would fetch",
    "hdr": "needs an access of its own, and no other gateway has it",
    "keyframe_indexes": "where keyframes are",
    "keyframes": "up to 64 frames at positions of their own, which no other gateway has",
    "source_position": f"{_OTHER_KIND}: one that reframes a video",
}
#: The same of a frame. Where one of these is wanted, the whole frame is.
FRAME_LEFT_TO_EXTRA_BODY = {
    "data": "an image in the body itself, which would stand in every record of the request",
    "file_id": "of a file that was uploaded by other means; no other gateway has it",
    "media_type": "needed with data only",
}
#: Models that make images, and no videos.
IMAGE_MODELS = {"uni-1", "uni-1-max"}
#: Kinds of generations that are no video from text and frames.
OTHER_KINDS = {"image", "image_edit", "video_edit", "video_reframe", "layering"}


@pytest.fixture
def client(luma_emulator: LumaEmulator) -> Iterator[luma_agents.Luma]:
    """The official client, sending once."""
    base_url = luma_emulator.url_of("luma_agents")
    with luma_agents.Luma(
        auth_token=luma_emulator.key, base_url=base_url, max_retries=0, timeout=PLENTY
    ) as client:
        yield client


@pytest.fixture
def hook() -> Iterator[LumaHook]:
    with LumaHook() as hook:
        yield hook


def submitted(client: luma_agents.Luma) -> str:
    """Submit with the official client; return the id."""
    return client.generations.create(model="ray-3.2", type="video", prompt=PROMPT).id


class TestASubmit:
    @every(CASES)
    def test_is_sent_as_the_client_sends_it(
        self, case: Case, client: luma_agents.Luma, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        luma_emulator.add(EARLIER, door="luma_agents")

        client.generations.create(**case.theirs)
        hook.generate(GenerationRequest(**case.ours))

        theirs, sent = map(wire, luma_emulator.requests)
        assert sent == theirs
        luma_emulator.assert_paid(2)

    def test_is_tried_with_every_parameter(self) -> None:
        assert {name for case in CASES for name in case.ours} == ours.PARAMETERS

    def test_goes_to_the_clients_own_address_unless_told_otherwise(self) -> None:
        assert str(luma_agents.Luma(auth_token="a-key").base_url).rstrip("/") == ours.DEFAULT_HOST


class TestAQuestion:
    def test_for_the_status_is_sent_as_the_client_sends_it(
        self, client: luma_agents.Luma, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        luma_emulator.add(EARLIER, door="luma_agents")

        client.generations.get(EARLIER)
        hook.get_status(EARLIER)

        theirs, sent = map(wire, luma_emulator.requests)
        assert sent == theirs

    def test_for_the_files_is_sent_as_the_client_sends_it(
        self, client: luma_agents.Luma, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        client.files.list(limit=1)
        hook.test_connection()

        theirs, sent = map(wire, luma_emulator.requests)
        assert sent == theirs


class TestTheClientsHeaders:
    def test_are_compared_or_left_out_for_a_reason(
        self, client: luma_agents.Luma, luma_emulator: LumaEmulator
    ) -> None:
        client.generations.get(submitted(client))
        client.files.list(limit=1)

        assert [not_accounted_for(request) for request in luma_emulator.requests] == [set()] * 3


class TestTheEmulatorsAnswers:
    """They are what the client's models say, with nothing besides; and both read the same in them."""

    @every(CASES)
    def test_to_a_submit(self, case: Case, client: luma_agents.Luma, luma_emulator: LumaEmulator) -> None:
        luma_emulator.add(EARLIER, door="luma_agents")

        raw = client.generations.with_raw_response.create(**case.theirs).http_response.content

        read = strictly(Generation, raw)
        assert (read.state, read.type, read.model) == ("queued", "video", "ray-3.2")
        assert ours.read_submit(Answer(201, {}, raw)) == read.id

    @pytest.mark.parametrize(
        ("plan", "state", "status"),
        [
            ({"outcome": "pending", "status": "queued"}, "queued", GenerationStatus.PENDING),
            ({"outcome": "pending"}, "processing", GenerationStatus.PENDING),
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
        client: luma_agents.Luma,
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
        # The address is signed anew at each look.
        addresses = [one.url.partition("?")[0] for one in read.output or []]
        assert addresses == ([seen.video_url.partition("?")[0]] if seen.video_url else [])
        assert len(addresses) == (state == "completed")

    @pytest.mark.parametrize("code", sorted(words(GenerationFailureCode)))
    def test_about_why_it_failed(
        self, code: str, client: luma_agents.Luma, hook: LumaHook, luma_emulator: LumaEmulator
    ) -> None:
        luma_emulator.next("failed", seconds=0, failure_code=code)
        request_id = submitted(client)

        raw = client.generations.with_raw_response.get(request_id).http_response.content

        assert strictly(Generation, raw).failure_code == code
        assert hook.get_status(request_id).cause is ours.FAILURE_CODES[code]

    def test_with_the_files(self, client: luma_agents.Luma, hook: LumaHook) -> None:
        raw = client.files.with_raw_response.list(limit=1).http_response.content

        assert strictly(FileList, raw).has_more is False
        assert hook.test_connection()[0]


class TestItsErrors:
    @every_refusal(luma_agents)
    def test_have_one_of_ours_for_each_status(
        self,
        error: type[luma_agents.APIStatusError],
        status: int,
        client: luma_agents.Luma,
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
        self, client: luma_agents.Luma, hook: LumaHook
    ) -> None:
        with pytest.raises(luma_agents.NotFoundError):
            client.generations.get(EARLIER)

        assert hook.get_status(EARLIER).status is GenerationStatus.NOT_FOUND

    @every_break
    @pytest.mark.usefixtures("short_pauses")
    def test_have_one_of_ours_where_there_is_no_answer(
        self, broken: Break, client: luma_agents.Luma, luma_emulator: LumaEmulator
    ) -> None:
        luma_emulator.connect(gateway="luma_agents", timeout=FEW_SECONDS)
        if broken.fault is None:
            luma_emulator.stop()
        else:
            luma_emulator.misbehave("generate", broken.fault, times=None)
            luma_emulator.misbehave("getStatus", broken.fault, times=None)

        if broken.theirs != "APIResponseValidationError":
            with pytest.raises(getattr(luma_agents, broken.theirs)) as theirs:
                submitted(client.with_options(timeout=FEW_SECONDS))
            assert type(theirs.value).__name__ == broken.theirs
        with LumaHook() as hook:
            with pytest.raises(LumaError) as submit:
                hook.generate(GenerationRequest(PROMPT))
            with pytest.raises(LumaError) as look:
                hook.get_status(EARLIER)

        assert (type(submit.value), type(look.value)) == (broken.generate, broken.get_status)

    def test_are_all_known(self) -> None:
        assert {error.__name__ for error, _ in refusals(luma_agents)} == set(REFUSALS)
        assert breaks(luma_agents) == {broken.theirs for broken in BREAKS}


class TestItsRetries:
    """Why a submit is not left to the client: it has no idempotency key, and sends again what may be paid."""

    def test_pay_twice_for_one_video(self, luma_emulator: LumaEmulator) -> None:
        luma_emulator.misbehave("generate", "500", paid=True)

        with luma_agents.Luma(
            auth_token=luma_emulator.key, base_url=luma_emulator.url_of("luma_agents"), timeout=PLENTY
        ) as client:
            submitted(client)

        luma_emulator.assert_paid(2)
        first, second = (dict(sent.headers) for sent in luma_emulator.requests)
        counts = [one.pop("x-stainless-retry-count") for one in (first, second)]
        assert counts == ["0", "1"]
        assert first == second
        assert not [name for name in first if "idempot" in name.lower()]

    def test_are_not_ours(self, hook: LumaHook, luma_emulator: LumaEmulator) -> None:
        luma_emulator.misbehave("generate", "500", paid=True)

        with pytest.raises(LumaSubmitOutcomeUnknown):
            hook.generate(GenerationRequest(PROMPT))

        luma_emulator.assert_paid(1)


class TestItsWords:
    """What the installed client knows, this provider knows."""

    params = get_type_hints(GenerationCreateParams)
    video = get_type_hints(VideoOptionsParam)
    frame = get_type_hints(ImageRefParam)

    def test_for_states(self) -> None:
        assert words(Generation.model_fields["state"].annotation) == set(ours.STATES)

    def test_for_failure_codes(self) -> None:
        assert words(GenerationFailureCode) == set(ours.FAILURE_CODES)
        assert words(Generation.model_fields["failure_code"].annotation) == set(ours.FAILURE_CODES)

    def test_for_models(self) -> None:
        assert words(Model) == set(ours.MODELS) | IMAGE_MODELS
        assert words(self.params["model"]) == words(Model)

    def test_for_kinds_of_generations(self) -> None:
        sent = {case.theirs["type"] for case in CASES}

        assert words(self.params["type"]) == sent | OTHER_KINDS
        assert words(Generation.model_fields["type"].annotation) == sent | OTHER_KINDS

    def test_for_aspect_ratios(self) -> None:
        assert words(self.params["aspect_ratio"]) == set(ours.ASPECT_RATIOS)

    def test_for_the_size_of_a_video(self) -> None:
        assert words(VideoDuration) == words(self.video["duration"]) == set(ours.DURATIONS)
        assert words(VideoResolution) == words(self.video["resolution"]) == set(ours.RESOLUTIONS)

    def test_that_can_be_sent(self) -> None:
        """The form of a request, which is the same for all gateways, takes them all."""
        for name, hint in (
            ("aspect_ratio", self.params["aspect_ratio"]),
            ("duration", VideoDuration),
            ("resolution", VideoResolution),
        ):
            for word in words(hint):
                check(GATEWAY, GenerationRequest(PROMPT, **{name: word}))

    def test_for_parameters(self) -> None:
        bodies = [body_of(GenerationRequest(**{**case.ours, "extra_body": None})) for case in CASES]
        videos = [body["video"] for body in bodies]
        frames = [video[name] for video in videos for name in ("start_frame", "end_frame") if name in video]

        for known, sent, left in (
            (self.params, bodies, LEFT_TO_EXTRA_BODY),
            (self.video, videos, VIDEO_LEFT_TO_EXTRA_BODY),
            (self.frame, frames, FRAME_LEFT_TO_EXTRA_BODY),
        ):
            names = {name for one in sent for name in one}
            assert set(known) - names == set(left)
            assert names <= set(known)

    @pytest.mark.parametrize(
        "extra",
        [
            *[{name: "anything"} for name in LEFT_TO_EXTRA_BODY],
            *[{"video": {name: "anything"}} for name in VIDEO_LEFT_TO_EXTRA_BODY],
            *[{"video": {"end_frame": {name: "anything"}}} for name in FRAME_LEFT_TO_EXTRA_BODY],
        ],
        ids=str,
    )
    def test_for_parameters_that_are_left_to_extra_body(self, extra: dict[str, Any]) -> None:
        body = body_of(GenerationRequest(PROMPT, extra_body=extra))

        inner = extra.get("video")
        assert body == {
            **body_of(GenerationRequest(PROMPT)),
            **extra,
            "video": {"loop": False, **(inner or {})},
        }

    def test_for_pages_of_the_files(self) -> None:
        assert "limit" in get_type_hints(FileListParams)


def body_of(request: GenerationRequest) -> dict[str, Any]:
    """Return the body that this provider sends."""
    body = json_object(Answer(200, {}, ours.submit_call(request).body or b""))
    assert body
    return body
