"""Pixazo: what is sent, what is made of whatever comes back, and where it may be asked about."""

from __future__ import annotations

import json

import pytest

from airflow_provider_luma.api.exchange import Answer, Call, Fault, Miss
from airflow_provider_luma.api.gateways.pixazo import (
    DEFAULT_HOST,
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
from airflow_provider_luma.api.gateways.pixazo import (
    test_calls as calls_of_a_test,
)
from airflow_provider_luma.api.models import (
    MAX_REQUEST_ID_LENGTH,
    Cause,
    Generation,
    GenerationRequest,
    GenerationStatus,
)
from airflow_provider_luma.exceptions import LumaInvalidRequest

ID = "luma-agent-ray-v3-2_019f0d8a-7c1e"
EARLIER = "9f1b2c3d-0000-4000-8000-426614174abc"
VIDEO = "https://pub-cdn.r2.dev/video.mp4"
IMAGE, LAST_IMAGE = "https://host/a.png", "https://host/z.png"
KEY = "pixazo-0123456789abcdef"
TEXT_PATH = "/luma-agent-ray-v3-2-text-to-video/v1/text-to-video"
IMAGE_PATH = "/luma-agent-ray-v3-2-image-to-video/v1/image-to-video"
FLASH_PATH = (
    "/luma-dream-machine-ray-2-flash-image-to-video/v1/luma-dream-machine-ray-2-flash-image-to-video-request"
)


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-").lower(): text for name, text in headers.items()}
    return Answer(status, named, raw, secret=KEY, base_url=DEFAULT_HOST)


def generation(body: object, status: int = 200, request_id: str = ID) -> Generation:
    seen = read_status(answer(body, status), request_id)
    assert isinstance(seen, Generation), seen
    return seen


def sent(request: GenerationRequest) -> dict[str, object]:
    return json.loads(submit_call(request).body)


class TestWhatIsSent:
    def test_text_to_video_with_nothing_but_a_prompt(self):
        call = submit_call(GenerationRequest("a fox"))

        assert (call.call, call.method, call.path) == (Call.GENERATE, "POST", TEXT_PATH)
        assert json.loads(call.body) == {"prompt": "a fox", "aspect_ratio": "16:9", "loop": False}

    def test_text_to_video_with_everything(self):
        request = GenerationRequest(
            "a fox",
            aspect_ratio="9:16",
            loop=True,
            model="ray-3.2",
            duration="5s",
            resolution="540p",
            extra_body={"seed": 7},
        )
        call = submit_call(request)

        assert call.path == TEXT_PATH
        assert json.loads(call.body) == {
            "prompt": "a fox",
            "aspect_ratio": "9:16",
            "loop": True,
            "duration": "5s",
            "resolution": "540p",
            "seed": 7,
        }

    @pytest.mark.parametrize(
        ("model", "path"), [(None, IMAGE_PATH), ("ray-3.2", IMAGE_PATH), ("ray-2-flash", FLASH_PATH)]
    )
    def test_image_to_video(self, model, path):
        call = submit_call(GenerationRequest("a fox", image_url=IMAGE, end_frame=LAST_IMAGE, model=model))

        assert (call.call, call.method, call.path) == (Call.GENERATE, "POST", path)
        assert json.loads(call.body) == {
            "prompt": "a fox",
            "image_url": IMAGE,
            "end_image_url": LAST_IMAGE,
            "aspect_ratio": "16:9",
            "loop": False,
        }

    def test_an_address_as_a_start_frame_is_the_image(self):
        assert submit_call(GenerationRequest("a fox", start_frame=IMAGE)) == submit_call(
            GenerationRequest("a fox", image_url=IMAGE)
        )

    def test_a_prompt_in_any_script_arrives_as_it_was_written(self):
        prompt = '水母 "glows" \\ 🪼\n'

        assert sent(GenerationRequest(prompt))["prompt"] == prompt

    def test_a_status_is_asked_for_by_the_address(self):
        call = status_calls(ID, "auto")["auto"]

        assert (call.call, call.method, call.path, call.body) == (
            Call.STATUS,
            "GET",
            f"/v2/requests/status/{ID}",
            None,
        )

    @pytest.mark.parametrize(
        ("request_id", "path"),
        [
            ("a/b", "/v2/requests/status/a%2Fb"),
            ("a?b=c", "/v2/requests/status/a%3Fb%3Dc"),
            ("a#b", "/v2/requests/status/a%23b"),
            ("https://other.host/x", "/v2/requests/status/https%3A%2F%2Fother.host%2Fx"),
            ("@other.host", "/v2/requests/status/%40other.host"),
            ("/luma/v1/result/a?full=1", "/luma/v1/result/a?full=1"),
        ],
    )
    def test_an_id_stays_one_segment_unless_it_is_a_path(self, request_id, path):
        assert status_calls(request_id, "auto")["auto"].path == path

    def test_headers(self):
        assert HEADERS["Content-Type"] == HEADERS["Accept"] == "application/json"
        assert HEADERS["Cache-Control"] == "no-cache"
        assert KEY_HEADER == "Ocp-Apim-Subscription-Key"
        assert KEY_HEADER not in HEADERS
        assert key_header(KEY) == KEY


class TestLimitsThatAreDocumented:
    @pytest.mark.parametrize("model", [None, "ray-3.2", "ray-2-flash"])
    def test_these_models_are_taken_from_an_image(self, model):
        check(GenerationRequest("a fox", model=model, image_url=IMAGE))

    @pytest.mark.parametrize("model", ["ray-2", "ray-flash-2", "ray-3"])
    def test_other_models_are_refused_by_name(self, model):
        with pytest.raises(LumaInvalidRequest, match=r"^model .*ray-3\.2, ray-2-flash"):
            check(GenerationRequest("a fox", model=model, image_url=IMAGE))

    def test_ray_2_flash_needs_an_image_and_ray_3_2_does_not(self):
        with pytest.raises(LumaInvalidRequest, match="ray-2-flash needs image_url"):
            check(GenerationRequest("a fox", model="ray-2-flash"))
        check(GenerationRequest("a fox", model="ray-3.2"))

    def test_an_end_frame_is_an_address(self):
        with pytest.raises(LumaInvalidRequest, match="end_frame must be the address"):
            check(GenerationRequest("a fox", image_url=IMAGE, end_frame=EARLIER))
        check(GenerationRequest("a fox", image_url=IMAGE, end_frame=LAST_IMAGE))

    def test_an_end_frame_needs_the_first_one(self):
        with pytest.raises(LumaInvalidRequest, match="end_frame needs image_url"):
            check(GenerationRequest("a fox", end_frame=LAST_IMAGE))

    def test_a_loop_excludes_an_end_frame(self):
        with pytest.raises(LumaInvalidRequest, match="loop and end_frame"):
            check(GenerationRequest("a fox", loop=True, image_url=IMAGE, end_frame=LAST_IMAGE))
        check(GenerationRequest("a fox", loop=True, image_url=IMAGE))


GARBAGE = [
    {}, [], "text", None, 7, {"request_id": None}, {"request_id": ""}, {"request_id": ["a"]},
    {"request_id": True}, {"request_id": 1.5}, {"request_id": {"id": ID}}, {"request_id": "two words"},
    {"request_id": "x" * 5000}, {"request_id": "line\nbreak"}, {"request_id": ".."},
    {"request_id": " . "}, {"requestId": ID}, {"status": "QUEUED"},
    {"polling_url": f"{DEFAULT_HOST}/v2/requests/status/{ID}"}, b"", b"<html></html>", b'{"request_id": "abc',
    b"\xff\xfe\x00", b"[" * 200_000, b'{"request_id": ' + b"9" * 9000, b'{"request_id": "\\ud800"}',
]  # fmt: skip


class TestAcceptedSubmits:
    @pytest.mark.parametrize("status", [200, 201, 202])
    @pytest.mark.parametrize("name", ["request_id", "task_id", "id"])
    def test_the_id_is_the_answers_under_each_of_its_names(self, name, status):
        assert read_submit(answer({name: ID, "status": "QUEUED"}, status)) == ID

    def test_the_names_are_believed_in_their_order(self):
        assert read_submit(answer({"id": "c", "task_id": "b", "request_id": "a"})) == "a"
        assert read_submit(answer({"id": "c", "task_id": "b", "request_id": None})) == "b"
        assert read_submit(answer({"id": "c", "task_id": f"x{KEY}"})) == "c"

    @pytest.mark.parametrize("body", GARBAGE, ids=lambda body: repr(body)[:36])
    def test_2xx_without_a_usable_id_is_not_an_acceptance_and_not_a_refusal(self, body):
        seen = read_submit(answer(body, 202))

        assert isinstance(seen, Miss), seen
        assert (seen.fault, seen.http_status) == (Fault.UNUSABLE, 202)

    @pytest.mark.parametrize("spelt", [KEY, f"x-{KEY}-y", KEY.replace("-", "%2D")])
    def test_an_id_that_gives_the_key_away_is_none_and_is_not_quoted(self, spelt):
        seen = read_submit(answer({"request_id": spelt, "id": spelt}, 202))

        assert isinstance(seen, Miss), seen
        assert KEY not in seen.detail

    def test_an_answer_that_was_cut_is_not_read(self):
        cut = Answer(202, {}, json.dumps({"request_id": ID}).encode(), cut=True)

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
            (429, Fault.RATE),
            (500, Fault.SERVER),
            (503, Fault.UNAVAILABLE),
        ],
    )
    def test_an_id_in_an_answer_that_is_not_2xx_is_no_acceptance(self, status, fault):
        body = {"request_id": ID, "polling_url": f"{DEFAULT_HOST}/x", "error": "no"}
        seen = read_submit(answer(body, status))

        assert isinstance(seen, Miss), seen
        assert (seen.fault, seen.http_status) == (fault, status)

    def test_an_insufficient_balance_is_one_also_as_403(self):
        assert read_submit(answer({"error": "Insufficient Balance"}, 403)).fault is Fault.CREDIT

    def test_what_never_became_an_answer_stays_what_it_was(self):
        lost = Miss(Fault.LOST, "was lost")

        assert read_submit(lost) is lost
        assert read_status(lost, ID) is lost
        assert read_test(lost, ID) is lost


def id_for(polling_url: object, base_url: str = DEFAULT_HOST) -> str:
    body = {"request_id": ID, "status": "QUEUED", "polling_url": polling_url}
    request_id = read_submit(Answer(202, {}, json.dumps(body).encode(), secret=KEY, base_url=base_url))
    assert isinstance(request_id, str), request_id
    return request_id


class TestAPollingAddressOnTheOwnHost:
    @pytest.mark.parametrize(
        "polling_url",
        [f"{DEFAULT_HOST}/v2/requests/status/{ID}", f"/v2/requests/status/{ID}"],
        ids=["address", "path"],
    )
    def test_of_the_usual_path_leaves_the_plain_id(self, polling_url):
        assert id_for(polling_url) == ID

    @pytest.mark.parametrize(
        ("polling_url", "path"),
        [
            (f"{DEFAULT_HOST}/luma/v1/result/{ID}", f"/luma/v1/result/{ID}"),
            (f"/luma/v1/result/{ID}", f"/luma/v1/result/{ID}"),
            (f" {DEFAULT_HOST}/luma/v1/result/{ID}\n", f"/luma/v1/result/{ID}"),
        ],
        ids=["address", "path", "padded"],
    )
    def test_of_another_path_is_the_id_and_is_asked(self, polling_url, path):
        request_id = id_for(polling_url)

        assert request_id == path
        assert status_calls(request_id, "auto")["auto"].path == path

    @pytest.mark.parametrize(
        "polling_url",
        [
            f"{DEFAULT_HOST}/luma/v1/result?request_id={ID}",
            f"{DEFAULT_HOST}/v2/requests/status/{ID}?sig=swordfish",
            f"/luma/v1/result/{ID}#here",
            f"/luma/%2e%2e/result/{ID}",
            f"/luma\\..\\{ID}",
        ],
    )
    def test_that_holds_more_than_a_path_leaves_the_plain_id(self, polling_url):
        """What stands in a query may be secret, and would be shown with the id everywhere."""
        assert id_for(polling_url) == ID

    def test_is_below_the_connections_own_path_too(self):
        assert id_for(f"https://proxy.local/pixazo/r/{ID}", "https://proxy.local/pixazo") == f"/r/{ID}"

    def test_is_asked_about_whatever_id_the_answer_repeats(self):
        body = {"request_id": ID, "status": "COMPLETED", "output": {"media_url": [VIDEO]}}

        assert generation(body, request_id=f"/luma/v1/result/{ID}").video_url == VIDEO

    @pytest.mark.parametrize("polling_url", ["/", f"{DEFAULT_HOST}/", f"{DEFAULT_HOST}/v2/requests/status/"])
    def test_that_does_not_hold_the_id_does_not_replace_it(self, polling_url):
        assert id_for(polling_url) == ID


class TestAPollingAddressThatIsNotFollowed:
    @pytest.mark.parametrize(
        "polling_url",
        [
            f"https://other.host/v2/requests/status/{ID}",
            f"https://gateway.pixazo.ai.evil.example/r/{ID}",
            f"https://gateway.pixazo.aix/r/{ID}",
            f"https://gateway.pixazo.ai@evil.example/r/{ID}",
            f"https://gateway.pixazo.ai:443@evil.example/r/{ID}",
            f"https://user@gateway.pixazo.ai/r/{ID}",
            f"https://gateway.pixazo.ai:8443/r/{ID}",
            f"http://gateway.pixazo.ai/r/{ID}",
            f"//other.host/r/{ID}",
            f"{DEFAULT_HOST}//other.host/r/{ID}",
            f"gateway.pixazo.ai/r/{ID}",
            f"r/{ID}",
            "?x=1",
            DEFAULT_HOST,
            f"/r/{KEY}",
            f"/r/{ID}?subscription-key={KEY.replace('-', '%2D')}",
            f"{DEFAULT_HOST}/r/{ID}?subscription-key={KEY}",
            "/" + "x" * MAX_REQUEST_ID_LENGTH,
            f"{DEFAULT_HOST}/{'x' * MAX_REQUEST_ID_LENGTH}",
            f"/r/../{ID}",
            f"/./{ID}",
            f"{DEFAULT_HOST}/../r/{ID}",
            "/r/two words",
            "/r/line\nbreak",
            "",
            " ",
            None,
            7,
            True,
            [f"/r/{ID}"],
            {"url": f"/r/{ID}"},
        ],
        ids=lambda url: repr(url)[:60],
    )
    def test_leaves_the_plain_id(self, polling_url):
        assert id_for(polling_url) == ID

    def test_where_the_own_host_is_not_known(self):
        assert id_for(f"https://other.host/r/{ID}", base_url="") == ID

    @pytest.mark.parametrize("polling_url", ["//[", f"{DEFAULT_HOST}//[x/r", "//℀.example/r"])
    def test_because_it_cannot_be_read_leaves_the_plain_id(self, polling_url):
        assert id_for(polling_url) == ID


class TestStatusWords:
    @pytest.mark.parametrize(
        "word", ["QUEUED", "PROCESSING", "queued", "processing", "Pending", " STARTING\n"]
    )
    def test_pending(self, word):
        seen = generation({"request_id": ID, "status": word})

        assert (seen.status, seen.raw_status) == (GenerationStatus.PENDING, word.strip())

    @pytest.mark.parametrize("word", ["COMPLETED", "completed", "Succeeded"])
    def test_completed(self, word):
        seen = generation({"request_id": ID, "status": word, "output": {"media_url": [VIDEO]}})

        assert (seen.status, seen.video_url, seen.raw_status) == (GenerationStatus.COMPLETED, VIDEO, word)

    @pytest.mark.parametrize("word", ["FAILED", "ERROR", "failed", "error", "Cancelled"])
    def test_failed_keeps_the_reason_and_promises_no_refund(self, word):
        seen = generation({"request_id": ID, "status": word, "error": "The model gave up"})

        assert (seen.status, seen.reason, seen.cause, seen.refunded) == (
            GenerationStatus.FAILED,
            "The model gave up",
            Cause.OTHER,
            False,
        )

    @pytest.mark.parametrize(
        "error",
        ["Rejected by content moderation", "MODERATED", {"code": "inappropriate", "message": "no"}],
        ids=str,
    )
    def test_a_failure_whose_error_says_moderation_is_told_apart(self, error):
        assert generation({"status": "FAILED", "error": error}).cause is Cause.CONTENT

    @pytest.mark.parametrize("word", ["NOT_FOUND", "not_found"])
    def test_not_found(self, word):
        assert generation({"status": word, "error": "No such request"}).status is GenerationStatus.NOT_FOUND

    @pytest.mark.parametrize(
        "status", ["QUEUED", "PROCESSING", "FAILED", "NOT_FOUND", "SURPRISING", "", None]
    )
    def test_an_address_before_completion_is_not_taken(self, status):
        body = {"status": status, "output": {"media_url": [VIDEO]}, "video_url": VIDEO}

        assert generation(body).video_url is None

    @pytest.mark.parametrize(
        "word", ["FINALIZING", "COMPLETED_WITH_WARNINGS", "完了", "not completed", "fail"]
    )
    def test_anything_else_is_unknown(self, word):
        seen = generation({"status": word, "output": {"media_url": [VIDEO]}})

        assert (seen.status, seen.raw_status) == (GenerationStatus.UNKNOWN, word)

    @pytest.mark.parametrize(
        "status", [None, "", 7, True, ["COMPLETED"], {"status": "COMPLETED"}, 1.5], ids=repr
    )
    def test_a_status_that_is_no_word_is_unknown(self, status):
        seen = generation({"status": status, "output": {"media_url": [VIDEO]}})

        assert (seen.status, seen.raw_status) == (GenerationStatus.UNKNOWN, "")

    def test_a_word_of_a_megabyte_is_bounded(self):
        assert len(generation({"status": "x" * 900_000}).raw_status) <= 60


class TestTheVideosAddress:
    @pytest.mark.parametrize(
        "body",
        [
            {"output": {"media_url": [VIDEO]}},
            {"output": {"media_url": [VIDEO, "https://host/second.mp4"]}},
            {"output": {"media_url": VIDEO}},
            {"output": {"video_url": VIDEO}},
            {"output": {"output_url": VIDEO}},
            {"output": {"url": VIDEO}},
            {"output": VIDEO},
            {"media_url": [VIDEO]},
            {"video_url": VIDEO},
            {"output": {}, "url": VIDEO},
            {"output": None, "output_url": VIDEO},
            {"output": {"media_url": []}, "video_url": VIDEO},
            {"output": {"media_url": [None]}, "video_url": VIDEO},
            {"output": {"media_url": [VIDEO]}, "url": "https://host/other.mp4"},
        ],
        ids=str,
    )
    def test_is_found_where_clients_have_seen_it(self, body):
        assert generation({"status": "COMPLETED", **body}).video_url == VIDEO

    @pytest.mark.parametrize(
        "output",
        [None, "", "soon", 7, True, [], {}, {"media_url": None}, {"media_url": []}, {"media_url": ["soon"]},
         {"media_url": [[VIDEO]]}, {"media_url": {"url": VIDEO}}, {"media_url": ["ftp://host/a.mp4"]},
         {"media_url": ["https://user:pw@host/a.mp4"]}, {"image_url": VIDEO}],
        ids=repr,
    )  # fmt: skip
    def test_that_cannot_be_used_is_none(self, output):
        seen = generation({"status": "COMPLETED", "output": output})

        assert (seen.status, seen.video_url) == (GenerationStatus.COMPLETED, None)

    @pytest.mark.parametrize("spelt", [KEY, KEY.replace("-", "%2d")])
    def test_that_gives_the_key_away_is_none(self, spelt):
        seen = generation({"status": "COMPLETED", "output": {"media_url": [f"https://host/{spelt}.mp4"]}})

        assert (seen.status, seen.video_url, seen.reason) == (GenerationStatus.COMPLETED, None, None)

    @pytest.mark.parametrize(
        "body",
        [
            {"output": {"media_url": "pending", "video_url": VIDEO}},
            {"output": {"media_url": [None, VIDEO]}},
            {"output": {"media_url": {"id": 7}}, "url": VIDEO},
        ],
        ids=str,
    )
    def test_is_found_behind_what_is_none(self, body):
        assert generation({"status": "COMPLETED", **body}).video_url == VIDEO


class TestAnswersThatAreNoStatus:
    @pytest.mark.parametrize("name", ["request_id", "task_id", "id"])
    def test_about_another_id_are_not_taken_for_ours(self, name):
        seen = read_status(
            answer({name: "another", "status": "COMPLETED", "output": {"media_url": [VIDEO]}}), ID
        )

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE

    @pytest.mark.parametrize(
        "own", [{"request_id": ID}, {"request_id": None}, {}], ids=["ours", "null", "none"]
    )
    def test_about_our_id_or_none_are_ours(self, own):
        body = {**own, "status": "COMPLETED", "output": {"media_url": [VIDEO]}}

        assert generation(body).video_url == VIDEO

    @pytest.mark.parametrize(
        "body", [{"error": "Request not found"}, {"status": "NOT_FOUND", "message": "not there"}], ids=str
    )
    def test_a_404_that_explains_itself_is_not_found(self, body):
        seen = generation(body, 404)

        assert seen.status is GenerationStatus.NOT_FOUND
        assert seen.reason in body.values()

    @pytest.mark.parametrize(
        "body",
        [b"<!DOCTYPE html><h1>Not found</h1>", b"", {}, [], {"error": ""}, {"status": "COMPLETED"},
         {"statusCode": 404, "message": "Resource not found"}],
        ids=lambda body: repr(body)[:28],
    )  # fmt: skip
    def test_any_other_404_is_that_of_another_server(self, body):
        seen = read_status(answer(body, 404), ID)

        assert isinstance(seen, Miss), seen
        assert (seen.fault, seen.http_status) == (Fault.ADDRESS, 404)

    def test_the_firewalls_page_is_told_apart(self):
        assert read_status(answer(b"<html>Blocked</html>", 403), ID).fault is Fault.FIREWALL

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 429, 500, 503])
    def test_a_completion_in_a_refusal_is_none(self, status):
        body = {"status": "COMPLETED", "output": {"media_url": [VIDEO]}}

        assert isinstance(read_status(answer(body, status), ID), Miss)

    @pytest.mark.parametrize("body", [b"", b"<html></html>", b"null", b"[]", b'"COMPLETED"', b"[" * 200_000])
    def test_2xx_without_an_object_is_unusable(self, body):
        seen = read_status(answer(body), ID)

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE


class TestTheTestOfAConnection:
    def test_asks_about_an_id_that_nobody_has(self):
        assert calls_of_a_test("nobodys", "auto") == status_calls("nobodys", "auto")

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"error": "Request not found"}, 404),
            ({"detail": "No such generation"}, 404),
            ({"status": "NOT_FOUND"}, 200),
            ({"status": "QUEUED"}, 200),
            (b"", 401),
            (b"<html></html>", 404),
        ],
        ids=str,
    )
    def test_reads_what_a_look_reads(self, body, status):
        given = answer(body, status)

        assert read_test(given, "nobodys") == read_status(given, "nobodys")

    @pytest.mark.parametrize("said", ["Not found", "Endpoint not found", "no such route"])
    def test_a_404_that_speaks_of_no_request_may_be_any_servers(self, said):
        seen = read_test(answer({"error": said}, 404), "nobodys")

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.ADDRESS
