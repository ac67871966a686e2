"""Luma's own API: what is sent, what is made of whatever comes back, and what its list says of a request."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from airflow_provider_luma.api.exchange import Answer, Call, Fault, Miss
from airflow_provider_luma.api.gateways.luma import (
    ASPECT_RATIOS,
    HEADERS,
    KEY_HEADER,
    MODELS,
    PAGE_LENGTH,
    check,
    key_header,
    likeness,
    list_call,
    read_list,
    read_status,
    read_submit,
    read_test,
    status_calls,
    submit_call,
)
from airflow_provider_luma.api.gateways.luma import (
    test_calls as calls_of_a_test,
)
from airflow_provider_luma.api.models import Cause, Generation, GenerationRequest, GenerationStatus
from airflow_provider_luma.api.probe import Account
from airflow_provider_luma.api.reconcile import Page, Resemblance
from airflow_provider_luma.exceptions import LumaInvalidRequest

ID = "123e4567-e89b-12d3-a456-426614174000"
EARLIER = "9f1b2c3d-0000-4000-8000-426614174abc"
VIDEO = "https://storage.cdn-luma.com/dream_machine/video.mp4"
IMAGE, LAST_IMAGE = "https://host/a.png", "https://host/z.png"
KEY = "luma-0123456789abcdef"


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

        assert (call.call, call.method, call.path) == (Call.GENERATE, "POST", "/generations/video")
        assert json.loads(call.body) == {
            "model": "ray-2",
            "prompt": "a fox",
            "aspect_ratio": "16:9",
            "loop": False,
        }

    def test_text_to_video_with_everything(self):
        request = GenerationRequest(
            "a fox",
            aspect_ratio="9:21",
            loop=True,
            model="ray-flash-2",
            duration="9s",
            resolution="4k",
            concepts=("dolly_zoom", "handheld"),
            extra_body={"callback_url": "https://host/called"},
        )

        assert sent(request) == {
            "model": "ray-flash-2",
            "prompt": "a fox",
            "aspect_ratio": "9:21",
            "loop": True,
            "duration": "9s",
            "resolution": "4k",
            "concepts": [{"key": "dolly_zoom"}, {"key": "handheld"}],
            "callback_url": "https://host/called",
        }

    @pytest.mark.parametrize(
        ("frames", "keyframes"),
        [
            ({"image_url": IMAGE}, {"frame0": {"type": "image", "url": IMAGE}}),
            ({"start_frame": IMAGE}, {"frame0": {"type": "image", "url": IMAGE}}),
            ({"start_frame": EARLIER}, {"frame0": {"type": "generation", "id": EARLIER}}),
            ({"end_frame": LAST_IMAGE}, {"frame1": {"type": "image", "url": LAST_IMAGE}}),
            ({"end_frame": EARLIER}, {"frame1": {"type": "generation", "id": EARLIER}}),
            (
                {"image_url": IMAGE, "end_frame": LAST_IMAGE},
                {"frame0": {"type": "image", "url": IMAGE}, "frame1": {"type": "image", "url": LAST_IMAGE}},
            ),
            (
                {"start_frame": EARLIER, "end_frame": LAST_IMAGE},
                {
                    "frame0": {"type": "generation", "id": EARLIER},
                    "frame1": {"type": "image", "url": LAST_IMAGE},
                },
            ),
        ],
        ids=["image", "start-address", "start-earlier", "end-address", "end-earlier", "both", "extend-to"],
    )
    def test_frames_are_key_frames(self, frames, keyframes):
        assert sent(GenerationRequest("a fox", **frames))["keyframes"] == keyframes

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

    def test_a_page_of_the_list_is_asked_for_by_its_offset(self):
        call = list_call(200)

        assert (call.call, call.method, call.body) == (Call.STATUS, "GET", None)
        assert call.path == f"/generations?limit={PAGE_LENGTH}&offset=200"


class TestLimitsThatAreDocumented:
    @pytest.mark.parametrize("prompt", ["fox", " fox ", "x" * 5_000], ids=["3", "3-padded", "5000"])
    def test_a_prompt_within_them_is_taken(self, prompt):
        check(GenerationRequest(prompt))

    @pytest.mark.parametrize("prompt", ["ox", " ox ", "x" * 5_001], ids=["2", "2-padded", "5001"])
    def test_a_prompt_outside_of_them_is_refused_by_name(self, prompt):
        with pytest.raises(LumaInvalidRequest, match=r"^prompt .*3 to 5,000"):
            check(GenerationRequest(prompt))

    @pytest.mark.parametrize("ratio", ["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"])
    def test_these_ratios_are_taken(self, ratio):
        check(GenerationRequest("a fox", aspect_ratio=ratio))

        assert ratio in ASPECT_RATIOS

    @pytest.mark.parametrize("ratio", ["2:1", "3:2", "2:3", "32:18"])
    def test_other_ratios_are_refused_by_name(self, ratio):
        with pytest.raises(LumaInvalidRequest, match=r"^aspect_ratio .*9:21"):
            check(GenerationRequest("a fox", aspect_ratio=ratio))

    @pytest.mark.parametrize("model", [None, "ray-2", "ray-flash-2"])
    def test_these_models_are_taken(self, model):
        check(GenerationRequest("a fox", model=model))

    @pytest.mark.parametrize("model", ["ray-1-6", "ray-3.2", "Ray-2"])
    def test_other_models_are_refused_by_name(self, model):
        with pytest.raises(LumaInvalidRequest, match=r"^model .*ray-2, ray-flash-2"):
            check(GenerationRequest("a fox", model=model))

    def test_the_default_is_the_first_model(self):
        assert sent(GenerationRequest("a fox"))["model"] == MODELS[0]

    @pytest.mark.parametrize("end_frame", [LAST_IMAGE, EARLIER])
    def test_a_loop_excludes_an_end_frame(self, end_frame):
        with pytest.raises(LumaInvalidRequest, match="loop and end_frame"):
            check(GenerationRequest("a fox", loop=True, end_frame=end_frame))
        check(GenerationRequest("a fox", end_frame=end_frame))

    @pytest.mark.parametrize("frame", [{"image_url": IMAGE}, {"start_frame": EARLIER}], ids=str)
    def test_a_loop_bears_a_first_frame(self, frame):
        check(GenerationRequest("a fox", loop=True, **frame))


GARBAGE = [
    {}, [], "text", None, 7, {"id": None}, {"id": ""}, {"id": ["a"]}, {"id": True}, {"id": 1.5},
    {"id": {"id": ID}}, {"id": "two words"}, {"id": "x" * 5000}, {"id": "line\nbreak"}, {"id": ".."},
    {"id": " . "}, {"requestId": ID},
    {"generation": {"id": ID}}, b"", b"<html></html>", b'{"id": "abc', b"\xff\xfe\x00", b"[" * 200_000,
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

    @pytest.mark.parametrize("spelt", [KEY, f"x-{KEY}-y", KEY.replace("-", "%2D"), KEY.replace("l", "%6c")])
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
            (199, Fault.OTHER),
            (302, Fault.REDIRECT),
            (400, Fault.INPUT),
            (401, Fault.KEY),
            (402, Fault.CREDIT),
            (404, Fault.ADDRESS),
            (409, Fault.CONFLICT),
            (422, Fault.INPUT),
            (429, Fault.RATE),
            (500, Fault.SERVER),
            (503, Fault.UNAVAILABLE),
        ],
    )
    def test_an_id_in_an_answer_that_is_not_2xx_is_no_acceptance(self, status, fault):
        seen = read_submit(answer({"id": ID, "detail": "no"}, status))

        assert isinstance(seen, Miss), seen
        assert (seen.fault, seen.http_status) == (fault, status)

    def test_a_refusal_quotes_the_gateways_detail(self):
        seen = read_submit(answer({"detail": "Insufficient credits"}, 403))

        assert seen.fault is Fault.CREDIT
        assert "Insufficient credits" in seen.detail

    def test_what_never_became_an_answer_stays_what_it_was(self):
        lost = Miss(Fault.LOST, "was lost")

        assert read_submit(lost) is lost
        assert read_status(lost, ID) is lost
        assert read_test(lost, ID) is lost
        assert read_list(lost) is lost


class TestStatusWords:
    @pytest.mark.parametrize("word", ["queued", "dreaming", "Queued", "DREAMING", " dreaming\n"])
    def test_pending(self, word):
        seen = generation({"id": ID, "state": word})

        assert (seen.status, seen.raw_status) == (GenerationStatus.PENDING, word.strip())

    @pytest.mark.parametrize("word", ["completed", "COMPLETED", "Completed"])
    def test_completed(self, word):
        seen = generation({"id": ID, "state": word, "assets": {"video": VIDEO}})

        assert (seen.status, seen.video_url, seen.raw_status) == (GenerationStatus.COMPLETED, VIDEO, word)

    @pytest.mark.parametrize("word", ["failed", "FAILED"])
    def test_failed_keeps_the_reason_and_costs_nothing(self, word):
        seen = generation({"id": ID, "state": word, "failure_reason": "The model gave up"})

        assert (seen.status, seen.reason, seen.cause, seen.refunded) == (
            GenerationStatus.FAILED,
            "The model gave up",
            Cause.OTHER,
            True,
        )

    @pytest.mark.parametrize(
        "reason",
        ["400: Prompt not allowed because of moderation", "CONTENT MODERATED", "blacklisted words"],
    )
    def test_a_failure_whose_reason_says_moderation_is_told_apart(self, reason):
        seen = generation({"state": "failed", "failure_reason": reason})

        assert (seen.cause, seen.refunded) == (Cause.CONTENT, True)

    def test_a_pending_generation_is_never_moderated(self):
        assert generation({"state": "dreaming", "failure_reason": "moderation"}).cause is Cause.OTHER

    @pytest.mark.parametrize("state", ["queued", "dreaming", "completed", "surprising", None])
    def test_what_has_not_failed_is_not_refunded(self, state):
        assert not generation({"state": state, "assets": {"video": VIDEO}}).refunded

    @pytest.mark.parametrize("state", ["queued", "dreaming", "failed", "surprising", "", None])
    def test_an_address_before_completion_is_not_taken(self, state):
        assert generation({"state": state, "assets": {"video": VIDEO}}).video_url is None

    @pytest.mark.parametrize(
        "word", ["processing", "complete", "not_found", "COMPLETED_WITH_WARNINGS", "完了", "not completed"]
    )
    def test_anything_else_is_unknown(self, word):
        seen = generation({"state": word, "assets": {"video": VIDEO}})

        assert (seen.status, seen.raw_status) == (GenerationStatus.UNKNOWN, word)

    @pytest.mark.parametrize(
        "state", [None, "", 7, True, ["completed"], {"state": "completed"}, 1.5], ids=repr
    )
    def test_a_state_that_is_no_word_is_unknown(self, state):
        seen = generation({"state": state, "assets": {"video": VIDEO}})

        assert (seen.status, seen.raw_status) == (GenerationStatus.UNKNOWN, "")

    def test_a_word_under_another_name_is_none(self):
        assert generation({"status": "completed"}).status is GenerationStatus.UNKNOWN

    def test_a_word_of_a_megabyte_is_bounded(self):
        assert len(generation({"state": "x" * 900_000}).raw_status) <= 60

    @pytest.mark.parametrize(
        "assets",
        [None, [], "text", 7, {}, {"video": None}, {"video": ""}, {"video": "soon"}, {"video": [VIDEO]},
         {"video": {"url": VIDEO}}, {"video": "ftp://host/a.mp4"}, {"video": "https://user:pw@host/a.mp4"},
         {"image": VIDEO}, {"progress_video": VIDEO}, [VIDEO]],
        ids=lambda assets: repr(assets)[:40],
    )  # fmt: skip
    def test_completed_without_a_usable_address_has_none(self, assets):
        seen = generation({"state": "completed", "assets": assets})

        assert (seen.status, seen.video_url) == (GenerationStatus.COMPLETED, None)

    def test_an_unusable_address_is_told_without_what_is_secret_in_it(self):
        seen = generation(
            {"state": "completed", "assets": {"video": "https://user:pw@host/a.mp4?sig=s3cret"}}
        )

        assert "host/a.mp4" in seen.reason
        assert "pw" not in seen.reason
        assert "s3cret" not in seen.reason

    @pytest.mark.parametrize("spelt", [KEY, KEY.replace("-", "%2d")])
    def test_an_address_that_gives_the_key_away_is_none(self, spelt):
        body = {"state": "completed", "assets": {"video": f"https://host/{spelt}.mp4"}}
        seen = read_status(told_with_the_key(body), ID)

        assert (seen.status, seen.video_url, seen.reason) == (GenerationStatus.COMPLETED, None, None)


class TestAnswersThatAreNoStatus:
    @pytest.mark.parametrize("other", ["another", 7])
    def test_about_another_id_are_not_taken_for_ours(self, other):
        seen = read_status(answer({"id": other, "state": "completed", "assets": {"video": VIDEO}}), ID)

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE

    @pytest.mark.parametrize("own", [{"id": ID}, {"id": None}, {}], ids=["ours", "null", "none"])
    def test_about_our_id_or_none_are_ours(self, own):
        assert generation({**own, "state": "completed", "assets": {"video": VIDEO}}).video_url == VIDEO

    @pytest.mark.parametrize("body", [{"detail": "Generation not found"}, {"message": "No such generation"}])
    def test_a_404_that_explains_itself_is_not_found(self, body):
        seen = generation(body, 404)

        assert (seen.status, seen.raw_status) == (GenerationStatus.NOT_FOUND, "")
        assert seen.reason in body.values()
        assert not seen.refunded

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
        body = {"id": ID, "state": "completed", "assets": {"video": VIDEO}}

        assert isinstance(read_status(answer(body, status), ID), Miss)

    @pytest.mark.parametrize("body", [b"", b"<html></html>", b"null", b"[]", b'"completed"', b"[" * 200_000])
    def test_2xx_without_an_object_is_unusable(self, body):
        seen = read_status(answer(body), ID)

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE


class TestTheTestOfAConnection:
    def test_asks_for_the_credits(self):
        (call,) = calls_of_a_test("nobodys", "auto").values()

        assert (call.call, call.method, call.path, call.body) == (Call.STATUS, "GET", "/credits", None)

    @pytest.mark.parametrize(
        ("cents", "told"),
        [
            (0, "0.00 USD"),
            (7, "0.07 USD"),
            (123456, "1,234.56 USD"),
            (150.5, "1.50 USD"),
            (-200, "-2.00 USD"),
        ],
    )
    def test_tells_the_balance_in_dollars(self, cents, told):
        assert read_test(answer({"credit_balance": cents}), "nobodys") == Account(told)

    @pytest.mark.parametrize(
        "body",
        [{}, [], None, "text", b"", b"<html></html>", {"credit_balance": None}, {"credit_balance": "100"},
         {"credit_balance": True}, {"credit_balance": [1]}, {"balance": 100}, {"status": "ok"}],
        ids=repr,
    )  # fmt: skip
    def test_that_tells_no_balance_is_none_of_this_gateway(self, body):
        seen = read_test(answer(body), "nobodys")

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE

    @pytest.mark.parametrize(
        ("status", "fault"), [(401, Fault.KEY), (403, Fault.ACCESS), (404, Fault.ADDRESS)]
    )
    def test_that_is_refused_says_why(self, status, fault):
        assert read_test(answer({"credit_balance": 100, "detail": "no"}, status), "nobodys").fault is fault

    def test_a_balance_beyond_all_numbers_ends_in_a_value_of_ours(self):
        seen = read_test(answer(b'{"credit_balance": 1' + b"0" * 400 + b"}"), "nobodys")

        assert isinstance(seen, (Account, Miss))


ASKED = GenerationRequest("A fox  in the snow", model="ray-2")
#: What the list repeats of it.
ECHO = {
    "generation_type": "video",
    "model": "ray-2",
    "prompt": "A fox in the snow",
    "aspect_ratio": "16:9",
    "loop": False,
    "keyframes": None,
    "callback_url": None,
    "duration": None,
    "resolution": None,
    "concepts": None,
}


def listed(request: object, **besides: object) -> dict[str, object]:
    return {"id": ID, "created_at": "2026-02-03T04:05:06Z", "state": "queued", "request": request, **besides}


def resemblance(one: dict[str, object], request: GenerationRequest = ASKED) -> Resemblance:
    page = read_list(answer({"generations": [one], "has_more": False}))
    assert isinstance(page, Page), page
    (entry,) = page.entries
    return likeness(request)(entry.said)


FULL = GenerationRequest(
    "a fox",
    aspect_ratio="9:16",
    loop=True,
    model="ray-flash-2",
    duration="9s",
    resolution="1080p",
    image_url=IMAGE,
    concepts=("handheld",),
)
FULL_ECHO = {
    "prompt": "a fox",
    "aspect_ratio": "9:16",
    "loop": True,
    "model": "ray-flash-2",
    "duration": "9s",
    "resolution": "1080p",
    "keyframes": {"frame0": {"type": "image", "url": IMAGE}},
    "concepts": [{"key": "handheld"}],
}


class TestAListedGenerationIsTheSame:
    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"duration": "5s"},
            {"resolution": "720p"},
            {"duration": "5s", "resolution": "720p"},
            {"prompt": " A fox in\nthe snow "},
            {"callback_url": "https://host/called"},
            {"a_field_of_tomorrow": 1},
        ],
        ids=str,
    )
    def test_if_all_that_tells_requests_apart_is_repeated_or_a_default(self, change):
        assert resemblance(listed({**ECHO, **change})) is Resemblance.SAME

    def test_if_every_field_is_repeated(self):
        assert resemblance(listed(FULL_ECHO), FULL) is Resemblance.SAME

    def test_whatever_its_state(self):
        for state in ("queued", "dreaming", "completed", "failed", None, 7):
            assert resemblance(listed(ECHO, state=state)) is Resemblance.SAME

    def test_if_it_goes_on_from_the_same_generation(self):
        request = GenerationRequest("a fox", start_frame=EARLIER)
        frames = {"frame0": {"type": "generation", "id": EARLIER}}
        echo = {"model": "ray-2", "prompt": "a fox", "keyframes": frames}

        assert resemblance(listed(echo), request) is Resemblance.SAME


class TestAListedGenerationIsUnclear:
    @pytest.mark.parametrize(
        "change",
        [
            {"aspect_ratio": "9:16"},
            {"loop": True},
            {"model": "ray-flash-2"},
            {"duration": "9s"},
            {"resolution": "1080p"},
            {"keyframes": {"frame0": {"type": "image", "url": IMAGE}}},
            {"concepts": [{"key": "handheld"}]},
            {"loop": "false"},
        ],
        ids=str,
    )
    def test_if_another_field_differs(self, change):
        assert resemblance(listed({**ECHO, **change})) is Resemblance.UNCLEAR

    def test_if_an_images_address_was_rewritten(self):
        rewritten = {"frame0": {"type": "image", "url": "https://storage.cdn-luma.com/copy.png"}}

        assert resemblance(listed({**FULL_ECHO, "keyframes": rewritten}), FULL) is Resemblance.UNCLEAR

    @pytest.mark.parametrize(
        "asked", [None, "A fox in the snow", [], 7, {}, {"prompt": None}, {"prompt": 7}], ids=repr
    )
    def test_if_the_list_does_not_repeat_its_prompt(self, asked):
        assert resemblance(listed(asked)) is Resemblance.UNCLEAR

    def test_if_there_is_no_request_at_all(self):
        assert resemblance({"id": ID}) is Resemblance.UNCLEAR

    @pytest.mark.parametrize("name", ["keyframes", "concepts", "duration", "resolution", "loop"])
    def test_if_it_says_null_where_we_have_sent_something(self, name):
        """With the same prompt and without our image, it is somebody's text to video."""
        assert resemblance(listed({**FULL_ECHO, name: None}), FULL) is not Resemblance.SAME

    @pytest.mark.parametrize(
        ("extra_body", "repeated"),
        [({"seed": 1}, {"seed": 2})],
        ids=["seed"],
    )
    def test_if_it_repeats_another_value_of_a_field_that_extra_body_has_sent(self, extra_body, repeated):
        request = GenerationRequest("A fox in the snow", extra_body=extra_body)

        assert resemblance(listed({**ECHO, **repeated}), request) is not Resemblance.SAME


class TestAListedGenerationIsAnother:
    @pytest.mark.parametrize("prompt", ["A fox", "a fox in the snow", "A fox in the snow!", ""])
    def test_if_it_has_another_prompt(self, prompt):
        assert resemblance(listed({**ECHO, "prompt": prompt})) is Resemblance.NONE

    @pytest.mark.parametrize("kind", ["image", "upscale_video", "add_audio", 7, {}], ids=repr)
    def test_if_it_is_of_another_kind(self, kind):
        assert resemblance(listed(ECHO, generation_type=kind)) is Resemblance.NONE
        assert resemblance(listed({**ECHO, "generation_type": kind})) is Resemblance.NONE

    def test_even_if_its_request_is_not_repeated(self):
        assert resemblance(listed(None, generation_type="image")) is Resemblance.NONE


class TestAListIsRead:
    def test_in_its_own_order_with_the_moments_of_its_clock(self):
        body = {
            "generations": [
                {"id": "b", "created_at": "2026-02-03T04:05:06.500Z", "request": ECHO},
                {"id": "a", "created_at": "2026-02-03T05:05:06+01:00", "request": {"prompt": "another"}},
            ]
        }
        page = read_list(answer(body))
        moment = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp()

        assert [(one.request_id, one.created_at) for one in page.entries] == [
            ("b", moment + 0.5),
            ("a", moment),
        ]
        assert [*map(likeness(ASKED), (one.said for one in page.entries))] == [
            Resemblance.SAME,
            Resemblance.NONE,
        ]

    @pytest.mark.parametrize(
        "moment",
        [None, "", "yesterday", "2026-02-03T04:05:06", "2026-13-03T04:05:06Z", 1770091506, True, [], {}],
        ids=repr,
    )
    def test_with_no_moment_where_it_gives_none_that_is_certain(self, moment):
        page = read_list(answer({"generations": [{**listed(ECHO), "created_at": moment}]}))

        assert page.entries[0].created_at is None

    @pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
    def test_with_moments_at_the_ends_of_time(self, moment):
        page = read_list(answer({"generations": [{**listed(ECHO), "created_at": moment}]}))

        assert isinstance(page.entries[0].created_at, float)

    @pytest.mark.parametrize(
        ("more", "is_last"),
        [({"has_more": True}, False), ({"has_more": False}, True), ({}, False), ({"has_more": None}, False),
         ({"has_more": "false"}, False), ({"has_more": 0}, False)],
        ids=str,
    )  # fmt: skip
    def test_as_the_last_page_only_if_it_says_so(self, more, is_last):
        assert read_list(answer({"generations": [listed(ECHO)], **more})).is_last is is_last

    @pytest.mark.parametrize("more", [{"has_more": False}, {"has_more": None}, {}], ids=str)
    def test_as_the_last_page_if_it_is_empty(self, more):
        assert read_list(answer({"generations": [], **more})) == Page([], is_last=True)

    def test_as_no_last_page_if_it_is_empty_and_says_that_there_is_more(self):
        assert not read_list(answer({"generations": [], "has_more": True, "count": 37})).is_last


class TestAListThatCannotBeRead:
    @pytest.mark.parametrize(
        "body",
        [b"", b"<html></html>", [], None, "text", {}, {"generations": None}, {"generations": {}},
         {"generations": "none"}, {"generations": [None]}, {"generations": [[]]}, {"generations": ["id"]},
         {"generations": [{}]}, {"generations": [{"id": None}]}, {"generations": [{"id": ""}]},
         {"generations": [listed(ECHO), {"id": "two words"}]}, {"data": [listed(ECHO)]}, b"[" * 200_000],
        ids=lambda body: repr(body)[:40],
    )  # fmt: skip
    def test_is_a_fault_and_not_an_empty_list(self, body):
        seen = read_list(answer(body))

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE

    def test_because_it_was_cut_is_a_fault(self):
        cut = Answer(200, {}, json.dumps({"generations": [], "has_more": False}).encode(), cut=True)

        assert isinstance(read_list(cut), Miss)

    def test_because_an_id_gives_the_key_away_is_a_fault(self):
        seen = read_list(told_with_the_key({"generations": [{"id": f"x{KEY}"}]}))

        assert isinstance(seen, Miss), seen
        assert KEY not in seen.detail

    @pytest.mark.parametrize(
        ("status", "fault"),
        [(202, Fault.OTHER), (401, Fault.KEY), (404, Fault.ADDRESS), (429, Fault.RATE), (500, Fault.SERVER)],
    )
    def test_because_it_was_refused_says_why(self, status, fault):
        seen = read_list(answer({"generations": [], "has_more": False}, status))

        assert isinstance(seen, Miss), seen
        assert seen.fault is fault
