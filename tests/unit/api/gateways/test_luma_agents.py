"""Luma's API for agents: what is sent, and what is made of whatever comes back."""

from __future__ import annotations

import json

import pytest

from airflow_provider_luma.api.exchange import Answer, Call, Fault, Miss
from airflow_provider_luma.api.gateways.luma_agents import (
    ASPECT_RATIOS,
    HEADERS,
    KEY_HEADER,
    check,
    key_header,
    read_status,
    read_submit,
    read_test,
    status_calls,
    submit_call,
)
from airflow_provider_luma.api.gateways.luma_agents import (
    test_calls as calls_of_a_test,
)
from airflow_provider_luma.api.models import Cause, Generation, GenerationRequest, GenerationStatus
from airflow_provider_luma.api.polling import error_of
from airflow_provider_luma.api.probe import Account
from airflow_provider_luma.exceptions import (
    LumaGenerationBudgetExhausted,
    LumaGenerationFailed,
    LumaGenerationInputUnusable,
    LumaGenerationModerated,
    LumaInvalidRequest,
)

ID = "123e4567-e89b-12d3-a456-426614174000"
EARLIER = "9f1b2c3d-0000-4000-8000-426614174abc"
VIDEO = "https://cdn.agents.example/video.mp4?X-Amz-Expires=3600&X-Amz-Signature=abc"
IMAGE, LAST_IMAGE = "https://host/a.png", "https://host/z.png"
KEY = "agents-0123456789abcdef"
OUTPUT = [{"type": "video", "url": VIDEO}]


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-").lower(): text for name, text in headers.items()}, raw)


def told_with_the_key(body: object, status: int = 200) -> Answer:
    """Return an answer to a connection whose key it may give away."""
    return Answer(status, {}, json.dumps(body).encode(), secret=KEY)


def generation(body: object, status: int = 200) -> Generation:
    seen = read_status(answer(body, status), ID)
    assert isinstance(seen, Generation), seen
    return seen


def sent(request: GenerationRequest) -> dict[str, object]:
    return json.loads(submit_call(request).body)


class TestWhatIsSent:
    def test_text_to_video_with_nothing_but_a_prompt(self):
        call = submit_call(GenerationRequest("a fox"))

        assert (call.call, call.method, call.path) == (Call.GENERATE, "POST", "/generations")
        assert json.loads(call.body) == {
            "model": "ray-3.2",
            "type": "video",
            "prompt": "a fox",
            "aspect_ratio": "16:9",
            "video": {"loop": False},
        }

    def test_text_to_video_with_everything(self):
        request = GenerationRequest(
            "a fox",
            aspect_ratio="1:3",
            loop=True,
            model="ray-3.2",
            duration="5s",
            resolution="1080p",
            extra_body={"user": "someone", "video": {"seed": 7}},
        )

        assert sent(request) == {
            "model": "ray-3.2",
            "type": "video",
            "prompt": "a fox",
            "aspect_ratio": "1:3",
            "video": {"duration": "5s", "resolution": "1080p", "loop": True, "seed": 7},
            "user": "someone",
        }

    @pytest.mark.parametrize(
        ("frames", "in_video"),
        [
            ({"image_url": IMAGE}, {"start_frame": {"url": IMAGE}}),
            ({"start_frame": IMAGE}, {"start_frame": {"url": IMAGE}}),
            ({"start_frame": EARLIER}, {"start_frame": {"generation_id": EARLIER}}),
            ({"end_frame": LAST_IMAGE}, {"end_frame": {"url": LAST_IMAGE}}),
            ({"end_frame": EARLIER}, {"end_frame": {"generation_id": EARLIER}}),
            (
                {"image_url": IMAGE, "end_frame": LAST_IMAGE},
                {"start_frame": {"url": IMAGE}, "end_frame": {"url": LAST_IMAGE}},
            ),
        ],
        ids=["image", "start-address", "start-earlier", "end-address", "end-earlier", "both"],
    )
    def test_frames_are_those_of_the_video(self, frames, in_video):
        assert sent(GenerationRequest("a fox", **frames))["video"] == {"loop": False, **in_video}

    def test_a_prompt_in_any_script_arrives_as_it_was_written(self):
        prompt = '水母 "glows" \\ 🪼\n'

        assert sent(GenerationRequest(prompt))["prompt"] == prompt

    def test_a_status_is_asked_for_by_the_address(self):
        call = status_calls(ID, "auto")["auto"]

        assert (call.call, call.method, call.path, call.body) == (
            Call.STATUS,
            "GET",
            f"/generations/{ID}",
            None,
        )

    @pytest.mark.parametrize(
        ("request_id", "segment"),
        [("a/b", "a%2Fb"), ("/x", "%2Fx"), ("a?b=c", "a%3Fb%3Dc"), ("a#b", "a%23b"), ("ä%", "%C3%A4%25")],
    )
    def test_an_id_stays_one_segment_of_the_address(self, request_id, segment):
        assert status_calls(request_id, "auto")["auto"].path == f"/generations/{segment}"

    def test_headers(self):
        assert HEADERS["Content-Type"] == HEADERS["Accept"] == "application/json"
        assert KEY_HEADER == "Authorization"
        assert KEY_HEADER not in HEADERS
        assert key_header(KEY) == f"Bearer {KEY}"


class TestLimitsThatAreDocumented:
    @pytest.mark.parametrize("prompt", ["x", " x ", "x" * 6_000], ids=["1", "1-padded", "6000"])
    def test_a_prompt_within_them_is_taken(self, prompt):
        check(GenerationRequest(prompt))

    def test_a_longer_prompt_is_refused_by_name(self):
        with pytest.raises(LumaInvalidRequest, match=r"^prompt .*6,001.*1 to 6,000"):
            check(GenerationRequest("x" * 6_001))

    @pytest.mark.parametrize("ratio", ASPECT_RATIOS)
    def test_these_ratios_are_taken(self, ratio):
        check(GenerationRequest("a fox", aspect_ratio=ratio))

    @pytest.mark.parametrize("ratio", ["9:21", "4:1", "1:4", "5:4", "32:18"])
    def test_other_ratios_are_refused_by_name(self, ratio):
        with pytest.raises(LumaInvalidRequest, match=r"^aspect_ratio .*16:9"):
            check(GenerationRequest("a fox", aspect_ratio=ratio))

    @pytest.mark.parametrize("duration", [None, "5s", "10s"])
    def test_these_durations_are_taken(self, duration):
        check(GenerationRequest("a fox", duration=duration))

    @pytest.mark.parametrize("duration", ["4s", "6s", "9s", "11s"])
    def test_other_durations_are_refused_by_name(self, duration):
        with pytest.raises(LumaInvalidRequest, match=r"^duration .*5s, 10s"):
            check(GenerationRequest("a fox", duration=duration))

    @pytest.mark.parametrize("resolution", [None, "360p", "540p", "720p", "1080p"])
    def test_these_resolutions_are_taken(self, resolution):
        check(GenerationRequest("a fox", resolution=resolution))

    @pytest.mark.parametrize("resolution", ["240p", "1081p", "4k"])
    def test_other_resolutions_are_refused_by_name(self, resolution):
        with pytest.raises(LumaInvalidRequest, match=r"^resolution .*1080p"):
            check(GenerationRequest("a fox", resolution=resolution))

    @pytest.mark.parametrize("model", ["ray-3", "ray-2", "uni-1"])
    def test_other_models_are_refused_by_name(self, model):
        with pytest.raises(LumaInvalidRequest, match=r"^model .*ray-3\.2"):
            check(GenerationRequest("a fox", model=model))

    @pytest.mark.parametrize(
        ("name", "value"),
        [("loop", True), ("start_frame", EARLIER), ("image_url", IMAGE), ("end_frame", LAST_IMAGE),
         ("end_frame", EARLIER)],
    )  # fmt: skip
    def test_ten_seconds_exclude_a_loop_and_frames_and_five_do_not(self, name, value):
        with pytest.raises(LumaInvalidRequest, match=rf"^{name} excludes a duration of 10s"):
            check(GenerationRequest("a fox", duration="10s", **{name: value}))
        check(GenerationRequest("a fox", duration="5s", **{name: value}))

    @pytest.mark.parametrize(
        "frames",
        [
            {"start_frame": EARLIER, "end_frame": LAST_IMAGE},
            {"start_frame": EARLIER, "end_frame": EARLIER},
            {"image_url": IMAGE, "end_frame": EARLIER},
        ],
        ids=["start", "both", "end"],
    )
    def test_a_frame_of_an_earlier_generation_stands_alone(self, frames):
        with pytest.raises(LumaInvalidRequest, match="earlier generation excludes another frame"):
            check(GenerationRequest("a fox", **frames))

    def test_two_images_do_not_exclude_each_other(self):
        check(GenerationRequest("a fox", image_url=IMAGE, end_frame=LAST_IMAGE))


GARBAGE = [
    {}, [], "text", None, 7, {"id": None}, {"id": ""}, {"id": ["a"]}, {"id": True}, {"id": 1.5},
    {"id": {"id": ID}}, {"id": "two words"}, {"id": "x" * 5000}, {"id": "line\nbreak"}, {"id": ".."},
    {"id": " . "}, {"requestId": ID},
    {"data": {"id": ID}}, b"", b"<html></html>", b'{"id": "abc', b"\xff\xfe\x00", b"[" * 200_000,
    b'{"id": ' + b"9" * 9000, b'{"id": "\\ud800"}',
]  # fmt: skip


class TestAcceptedSubmits:
    @pytest.mark.parametrize("status", [200, 201, 202])
    def test_the_id_is_the_answers(self, status):
        assert read_submit(answer({"id": ID, "state": "queued"}, status)) == ID

    @pytest.mark.parametrize("body", GARBAGE, ids=lambda body: repr(body)[:28])
    def test_2xx_without_a_usable_id_is_not_an_acceptance_and_not_a_refusal(self, body):
        seen = read_submit(answer(body, 201))

        assert isinstance(seen, Miss), seen
        assert (seen.fault, seen.http_status) == (Fault.UNUSABLE, 201)

    @pytest.mark.parametrize("spelt", [KEY, f"x-{KEY}-y", KEY.replace("-", "%2D")])
    def test_an_id_that_gives_the_key_away_is_none_and_is_not_quoted(self, spelt):
        seen = read_submit(told_with_the_key({"id": spelt}, 201))

        assert isinstance(seen, Miss), seen
        assert KEY not in seen.detail

    def test_an_answer_that_was_cut_is_not_read(self):
        cut = Answer(201, {}, json.dumps({"id": ID}).encode(), cut=True)

        assert isinstance(read_submit(cut), Miss)

    @pytest.mark.parametrize(
        ("status", "fault"),
        [
            (302, Fault.REDIRECT),
            (400, Fault.INPUT),
            (401, Fault.KEY),
            (402, Fault.CREDIT),
            (403, Fault.ACCESS),
            (404, Fault.ADDRESS),
            (413, Fault.INPUT),
            (422, Fault.INPUT),
            (429, Fault.RATE),
            (502, Fault.SERVER),
            (503, Fault.UNAVAILABLE),
        ],
    )
    def test_an_id_in_an_answer_that_is_not_2xx_is_no_acceptance(self, status, fault):
        seen = read_submit(answer({"id": ID, "detail": "no"}, status))

        assert isinstance(seen, Miss), seen
        assert (seen.fault, seen.http_status) == (fault, status)

    def test_a_pause_that_is_asked_for_is_kept(self):
        assert read_submit(answer({"detail": "slow down"}, 429, retry_after="17")).retry_after == "17"

    def test_what_never_became_an_answer_stays_what_it_was(self):
        lost = Miss(Fault.LOST, "was lost")

        assert read_submit(lost) is lost
        assert read_status(lost, ID) is lost
        assert read_test(lost, ID) is lost


class TestStatusWords:
    @pytest.mark.parametrize("word", ["queued", "processing", "Queued", "PROCESSING", " processing\n"])
    def test_pending(self, word):
        seen = generation({"id": ID, "state": word})

        assert (seen.status, seen.raw_status) == (GenerationStatus.PENDING, word.strip())

    @pytest.mark.parametrize("word", ["completed", "COMPLETED", "Completed"])
    def test_completed(self, word):
        seen = generation({"id": ID, "state": word, "output": OUTPUT})

        assert (seen.status, seen.video_url, seen.raw_status) == (GenerationStatus.COMPLETED, VIDEO, word)

    @pytest.mark.parametrize("word", ["failed", "FAILED"])
    def test_failed_keeps_the_reason_and_promises_no_refund(self, word):
        seen = generation({"id": ID, "state": word, "failure_reason": "The model gave up"})

        assert (seen.status, seen.reason, seen.cause, seen.refunded) == (
            GenerationStatus.FAILED,
            "The model gave up",
            Cause.OTHER,
            False,
        )

    @pytest.mark.parametrize("state", ["queued", "processing", "failed", "surprising", "", None])
    def test_an_address_before_completion_is_not_taken(self, state):
        assert generation({"state": state, "output": OUTPUT}).video_url is None

    @pytest.mark.parametrize(
        "word", ["dreaming", "complete", "not_found", "cancelled", "完了", "not completed"]
    )
    def test_anything_else_is_unknown(self, word):
        seen = generation({"state": word, "output": OUTPUT})

        assert (seen.status, seen.raw_status) == (GenerationStatus.UNKNOWN, word)

    @pytest.mark.parametrize(
        "state", [None, "", 7, True, ["completed"], {"state": "completed"}, 1.5], ids=repr
    )
    def test_a_state_that_is_no_word_is_unknown(self, state):
        seen = generation({"state": state, "output": OUTPUT})

        assert (seen.status, seen.raw_status) == (GenerationStatus.UNKNOWN, "")

    def test_a_word_of_a_megabyte_is_bounded(self):
        assert len(generation({"state": "x" * 900_000}).raw_status) <= 60


class TestTheVideoAmongTheOutputs:
    @pytest.mark.parametrize(
        "output",
        [
            [{"type": "video", "url": VIDEO}, {"type": "video", "url": "https://host/second.mp4"}],
            [{"url": VIDEO}],
            [{"type": "image", "url": "https://host/poster.png"}, {"type": "video", "url": VIDEO}],
            [None, "text", 7, {"type": "video", "url": VIDEO}],
        ],
        ids=["first", "untyped", "after-image", "after-garbage"],
    )
    def test_is_the_first_that_is_one(self, output):
        assert generation({"state": "completed", "output": output}).video_url == VIDEO

    @pytest.mark.parametrize(
        "output",
        [None, "", VIDEO, 7, {}, {"url": VIDEO}, [], [None], [VIDEO], [[]], [{}], [{"type": "video"}],
         [{"type": "image", "url": VIDEO}], [{"type": "video", "url": None}],
         [{"type": "video", "url": "soon"}], [{"type": "video", "url": [VIDEO]}],
         [{"type": "video", "url": "ftp://host/a.mp4"}], [{"type": 7, "url": VIDEO}],
         [{"type": "video", "url": "https://user:pw@host/a.mp4"}]],
        ids=lambda output: repr(output)[:48],
    )  # fmt: skip
    def test_is_none_where_there_is_none_that_can_be_used(self, output):
        seen = generation({"state": "completed", "output": output})

        assert (seen.status, seen.video_url) == (GenerationStatus.COMPLETED, None)

    def test_is_none_if_it_gives_the_key_away(self):
        for spelt in (KEY, KEY.replace("-", "%2d")):
            body = {"state": "completed", "output": [{"type": "video", "url": f"https://host/{spelt}.mp4"}]}
            seen = read_status(told_with_the_key(body), ID)

            assert (seen.status, seen.video_url, seen.reason) == (GenerationStatus.COMPLETED, None, None)

    def test_may_have_a_null_for_its_type(self):
        assert generation({"state": "completed", "output": [{"type": None, "url": VIDEO}]}).video_url == VIDEO

    def test_may_stand_behind_one_without_an_address(self):
        output = [{"type": "video", "url": None}, {"type": "video", "url": VIDEO}]

        assert generation({"state": "completed", "output": output}).video_url == VIDEO


class TestFailureCodes:
    @pytest.mark.parametrize(
        ("code", "cause", "error"),
        [
            ("content_moderated", Cause.CONTENT, LumaGenerationModerated),
            ("generation_failed", Cause.OTHER, LumaGenerationFailed),
            ("budget_exhausted", Cause.BUDGET, LumaGenerationBudgetExhausted),
            ("output_not_found", Cause.OTHER, LumaGenerationFailed),
            ("image_too_large", Cause.INPUT, LumaGenerationInputUnusable),
            ("unsupported_format", Cause.INPUT, LumaGenerationInputUnusable),
            ("corrupt_input", Cause.INPUT, LumaGenerationInputUnusable),
            ("invalid_request", Cause.INPUT, LumaGenerationInputUnusable),
            ("rate_limited", Cause.OTHER, LumaGenerationFailed),
        ],
    )
    def test_each_has_its_cause_and_its_error(self, code, cause, error):
        seen = generation({"state": "failed", "failure_code": code, "failure_reason": "It went wrong"})

        assert seen.cause is cause
        assert type(error_of(seen)) is error

    @pytest.mark.parametrize("code", [None, "", "a code of tomorrow", 7, [], {}, True], ids=repr)
    def test_any_other_leaves_it_to_the_reasons_words(self, code):
        body = {"state": "failed", "failure_code": code}

        assert generation({**body, "failure_reason": "It went wrong"}).cause is Cause.OTHER
        assert generation({**body, "failure_reason": "Rejected by moderation"}).cause is Cause.CONTENT

    @pytest.mark.parametrize("state", ["queued", "processing", "completed", "surprising", None])
    def test_say_nothing_of_what_has_not_failed(self, state):
        body = {"state": state, "output": OUTPUT, "failure_code": "content_moderated"}

        assert generation(body).cause is Cause.OTHER


class TestAnswersThatAreNoStatus:
    @pytest.mark.parametrize("other", ["another", 7])
    def test_about_another_id_are_not_taken_for_ours(self, other):
        seen = read_status(answer({"id": other, "state": "completed", "output": OUTPUT}), ID)

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE

    @pytest.mark.parametrize("own", [{"id": ID}, {"id": None}, {}], ids=["ours", "null", "none"])
    def test_about_our_id_or_none_are_ours(self, own):
        assert generation({**own, "state": "completed", "output": OUTPUT}).video_url == VIDEO

    @pytest.mark.parametrize(
        "body", [{"detail": "Generation not found"}, {"error": {"code": "not_found"}}], ids=str
    )
    def test_a_404_that_explains_itself_is_not_found(self, body):
        seen = generation(body, 404)

        assert (seen.status, seen.raw_status) == (GenerationStatus.NOT_FOUND, "")
        assert "not" in seen.reason

    @pytest.mark.parametrize(
        "body",
        [b"<!DOCTYPE html><h1>Not found</h1>", b"", {}, [], {"detail": ""}, {"state": "completed"},
         {"statusCode": 404, "message": "Resource not found"}],
        ids=lambda body: repr(body)[:28],
    )  # fmt: skip
    def test_any_other_404_is_that_of_another_server(self, body):
        seen = read_status(answer(body, 404), ID)

        assert isinstance(seen, Miss), seen
        assert (seen.fault, seen.http_status) == (Fault.ADDRESS, 404)

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 429, 500, 503])
    def test_a_completion_in_a_refusal_is_none(self, status):
        assert isinstance(read_status(answer({"state": "completed", "output": OUTPUT}, status), ID), Miss)

    @pytest.mark.parametrize("body", [b"", b"<html></html>", b"null", b"[]", b'"completed"', b"[" * 200_000])
    def test_2xx_without_an_object_is_unusable(self, body):
        seen = read_status(answer(body), ID)

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE


class TestTheTestOfAConnection:
    def test_asks_for_a_file(self):
        (call,) = calls_of_a_test("nobodys", "auto").values()

        assert (call.call, call.method, call.path, call.body) == (Call.STATUS, "GET", "/files?limit=1", None)

    @pytest.mark.parametrize(
        "body",
        [{"data": [], "has_more": False}, {"data": [{"id": "f"}], "has_more": True, "next_cursor": "x"}],
        ids=["none", "one"],
    )
    def test_is_passed_by_a_list_of_files(self, body):
        assert read_test(answer(body), "nobodys") == Account()

    @pytest.mark.parametrize(
        "body",
        [{}, [], None, "text", b"", b"<html></html>", {"data": []}, {"has_more": False},
         {"data": {}, "has_more": False}, {"data": None, "has_more": False}, {"data": [], "has_more": 0},
         {"data": [], "has_more": "false"}, {"data": [], "has_more": None}, {"status": "ok"}],
        ids=repr,
    )  # fmt: skip
    def test_that_brings_no_list_is_none_of_this_gateway(self, body):
        seen = read_test(answer(body), "nobodys")

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE

    @pytest.mark.parametrize(
        ("status", "fault"), [(401, Fault.KEY), (403, Fault.ACCESS), (404, Fault.ADDRESS)]
    )
    def test_that_is_refused_says_why(self, status, fault):
        body = {"data": [], "has_more": False, "detail": "no"}

        assert read_test(answer(body, status), "nobodys").fault is fault
