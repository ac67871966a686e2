"""What is sent to the gateway, and what is made of whatever comes back: the tables of its description."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_luma.api.exchange import MAX_ANSWER_BYTES, Answer, Call, Fault, Miss, decoded
from airflow_provider_luma.api.gateways import GATEWAYS, look
from airflow_provider_luma.api.gateways.appypie import (
    HEADERS,
    KEY_HEADER,
    read_status,
    read_submit,
    status_call,
    submit_call,
)
from airflow_provider_luma.api.models import Cause, Generation, GenerationRequest, GenerationStatus

APPYPIE = GATEWAYS["appypie"]
ID = "20dd7c76-a931-4ac2-8adb-5c17468b0000"
VIDEO = "https://storage.cdn-luma.com/lit/video.mp4"


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-").lower(): text for name, text in headers.items()}, raw)


def generation(body: object, status: int = 200) -> Generation:
    seen = read_status(answer(body, status), ID)
    assert isinstance(seen, Generation), seen
    return seen


class TestWhatIsSent:
    """The vendor's page: path, headers and body of each call."""

    def test_text_to_video(self):
        call = submit_call(GenerationRequest("A jellyfish", aspect_ratio="9:16", loop=True))

        assert (call.call, call.path) == (Call.GENERATE, "/lumalabs-ai/v1/generate")
        assert json.loads(call.body) == {"prompt": "A jellyfish", "aspect_ratio": "9:16", "loop": True}

    def test_a_prompt_in_any_script_arrives_as_it_was_written(self):
        prompt = '水母 "glows" \\ 🪼\n'

        assert json.loads(submit_call(GenerationRequest(prompt)).body)["prompt"] == prompt

    def test_image_to_video(self):
        call = submit_call(GenerationRequest("A jellyfish", image_url="https://host/a.png"))

        assert (call.call, call.path) == (Call.GENERATE, "/lumalabs-ai/v1/generateRequestFromImage")
        assert json.loads(call.body) == {"prompt": "A jellyfish", "url": "https://host/a.png"}

    @pytest.mark.parametrize("field", ["task_id", "requestId"])
    def test_status(self, field):
        call = status_call(ID, field)

        assert (call.call, call.path) == (Call.STATUS, "/lumalabs-ai-polling/v1/getStatus")
        assert json.loads(call.body) == {field: ID}

    def test_headers(self):
        assert HEADERS["Content-Type"] == "application/json"
        assert HEADERS["Cache-Control"] == "no-cache"
        assert KEY_HEADER == "Ocp-Apim-Subscription-Key"
        assert KEY_HEADER not in HEADERS


class TestAcceptedSubmits:
    @pytest.mark.parametrize("status", [200, 201, 202])
    def test_the_documented_answer_gives_the_id(self, status):
        assert read_submit(answer({"requestId": ID}, status)) == ID

    def test_the_pages_other_name_for_it_is_known(self):
        assert read_submit(answer({"task_id": ID})) == ID

    @pytest.mark.parametrize(
        "body",
        [{}, [], "text", None, 7, {"requestId": None}, {"requestId": ""}, {"requestId": ["a"]},
         {"requestId": True}, {"requestId": "two words"}, {"requestId": "x" * 5000},
         {"msg": "Image Getting Created"}, b"", b"<html></html>", b'{"requestId": "abc', b"\xff\xfe\x00",
         b"[" * 200_000, b'{"requestId": ' + b"9" * 9000],
        ids=lambda body: repr(body)[:28],
    )  # fmt: skip
    def test_2xx_with_no_usable_request_id_is_not_an_acceptance_and_not_a_refusal(self, body):
        seen = read_submit(answer(body))

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE

    def test_an_answer_that_was_cut_is_not_read(self):
        cut = Answer(200, {}, json.dumps({"requestId": ID}).encode(), cut=True)

        assert isinstance(read_submit(cut), Miss)

    @pytest.mark.parametrize("status", [199, 300, 302, 400, 429, 500])
    def test_an_id_in_an_answer_that_is_not_2xx_is_no_acceptance(self, status):
        assert isinstance(read_submit(answer({"requestId": ID}, status)), Miss)


class TestStatusWords:
    """The table "Status words", one case for each word and row."""

    @pytest.mark.parametrize("word", ["completed", "succeeded", "succeed", "success", "done", "ready"])
    def test_completed(self, word):
        seen = generation({"status": word, "video_url": VIDEO})

        assert (seen.status, seen.video_url, seen.raw_status) == (GenerationStatus.COMPLETED, VIDEO, word)

    @pytest.mark.parametrize(
        "address",
        [None, "", "soon", 7, {"url": VIDEO}, "ftp://host/a", "https://user:pw@host/a.mp4"],
        ids=repr,
    )
    def test_completed_without_a_usable_video_url_has_none(self, address):
        seen = generation({"status": "completed", "video_url": address})

        assert (seen.status, seen.video_url) == (GenerationStatus.COMPLETED, None)

    @pytest.mark.parametrize("status", [{}, {"status": None}, {"status": ""}], ids=repr)
    def test_missing_status_with_a_video_url_is_completed(self, status):
        seen = generation({**status, "video_url": VIDEO})

        assert (seen.status, seen.video_url) == (GenerationStatus.COMPLETED, VIDEO)

    @pytest.mark.parametrize(
        "word",
        ["queued", "dreaming", "processing", "pending", "submitted", "starting", "running", "in_progress",
         "preparing"],
    )  # fmt: skip
    def test_pending(self, word):
        assert generation({"status": word}).status is GenerationStatus.PENDING

    def test_only_a_msg_is_pending(self):
        assert generation({"msg": "Image Getting Created"}).status is GenerationStatus.PENDING

    @pytest.mark.parametrize("word", ["failed", "error", "cancelled", "canceled", "expired", "rejected"])
    def test_failed_keeps_the_reasons_text(self, word):
        seen = generation({"status": word, "error": "The model gave up"})

        assert (seen.status, seen.reason, seen.cause) == (
            GenerationStatus.FAILED,
            "The model gave up",
            Cause.OTHER,
        )

    @pytest.mark.parametrize(
        "reason",
        [
            "Rejected by content moderation",
            "Prompt contains blacklisted words",
            "Inappropriate content",
            "MODERATED",
            # Quotes are bounded; what is decided upon is the whole reason.
            "The request could not be fulfilled. " * 8 + "Reason: content moderation.",
        ],
        ids=lambda reason: reason[-30:],
    )
    def test_a_reason_that_says_moderation_is_told_apart(self, reason):
        assert generation({"status": "failed", "error": reason}).cause is Cause.CONTENT

    def test_moderation_is_found_beside_a_general_error(self):
        body = {"status": "failed", "error": "Generation failed", "failure_reason": "content moderation"}

        assert generation(body).cause is Cause.CONTENT

    def test_a_pending_generation_is_never_moderated(self):
        assert generation({"status": "processing", "msg": "Waiting for moderation"}).cause is Cause.OTHER

    @pytest.mark.parametrize("status", [200, 404])
    @pytest.mark.parametrize("word", ["NOT_FOUND", "not_found"])
    def test_not_found(self, word, status):
        body = {"status": word, "error": "The requested resource could not be located."}

        assert generation(body, status).status is GenerationStatus.NOT_FOUND

    def test_an_error_and_no_status_is_neither_success_nor_failure_yet(self):
        seen = generation({"error": "Something went wrong"})

        assert (seen.status, seen.raw_status, seen.reason) == (
            GenerationStatus.UNKNOWN,
            "",
            "Something went wrong",
        )

    @pytest.mark.parametrize(
        "word", ["finalizing", "COMPLETED_WITH_WARNINGS", "完了", "not completed", "fail"]
    )
    def test_anything_else_is_unknown_even_with_an_address(self, word):
        seen = generation({"status": word, "video_url": VIDEO})

        assert (seen.status, seen.raw_status) == (GenerationStatus.UNKNOWN, word)

    @pytest.mark.parametrize("status", [7, True, ["completed"], {"status": "completed"}], ids=repr)
    def test_a_status_that_is_no_text_is_unknown_even_with_an_address(self, status):
        assert generation({"status": status, "video_url": VIDEO}).status is GenerationStatus.UNKNOWN

    @pytest.mark.parametrize("word", ["Completed", " COMPLETED ", "\tcompleted\n", "cOmPlEtEd"])
    def test_words_are_compared_folded_and_stripped(self, word):
        assert generation({"status": word, "video_url": VIDEO}).status is GenerationStatus.COMPLETED

    def test_a_word_of_a_megabyte_is_bounded(self):
        assert len(generation({"status": "x" * 900_000}).raw_status) <= 60


class TestAnswersAboutSomebodyElse:
    @pytest.mark.parametrize("field", ["requestId", "task_id", "request_id"])
    def test_are_not_taken_for_ours(self, field):
        seen = read_status(answer({field: "another", "status": "completed", "video_url": VIDEO}), ID)

        assert isinstance(seen, Miss), seen
        assert seen.fault is Fault.UNUSABLE

    @pytest.mark.parametrize("field", ["requestId", "task_id", "request_id"])
    def test_our_own_id_in_them_is_fine(self, field):
        assert generation({field: ID, "status": "completed", "video_url": VIDEO}).video_url == VIDEO


#: The table "HTTP errors": status, body and headers -> what it was.
HTTP_ERRORS = [
    pytest.param(answer({"error": "Invalid request parameters"}, 400), Fault.INPUT, id="400"),
    pytest.param(answer({}, 413), Fault.INPUT, id="413"),
    pytest.param(answer({}, 422), Fault.INPUT, id="422"),
    pytest.param(answer({"error": "Invalid or missing authentication"}, 401), Fault.KEY, id="401"),
    pytest.param(answer({"statusCode": 401, "message": "no"}, 401), Fault.KEY, id="401-apim"),
    pytest.param(answer({}, 402), Fault.CREDIT, id="402"),
    pytest.param(answer({"error": "Insufficient balance"}, 403), Fault.CREDIT, id="403-balance"),
    pytest.param(answer({"error": "insufficient credits"}, 403), Fault.CREDIT, id="403-credits"),
    pytest.param(answer({"error": "You have insufficient credit left"}, 403), Fault.CREDIT, id="403-credit"),
    pytest.param(answer({"error": "insufficient_balance"}, 403), Fault.CREDIT, id="403-balance-code"),
    pytest.param(answer({"error": "INSUFFICIENT_CREDITS"}, 403), Fault.CREDIT, id="403-credit-code"),
    pytest.param(
        answer({"message": "Out of call volume quota."}, 403, retry_after="60"),
        Fault.QUOTA,
        id="403-retry-after",
    ),
    pytest.param(answer(b"<!DOCTYPE html><html>", 403), Fault.FIREWALL, id="403-html-body"),
    pytest.param(answer(b"blocked", 403, content_type="text/html"), Fault.FIREWALL, id="403-html-type"),
    pytest.param(answer({"error": "Access denied for this operation"}, 403), Fault.ACCESS, id="403"),
    pytest.param(answer(b"", 403), Fault.ACCESS, id="403-empty"),
    pytest.param(answer({"error": "Endpoint not found"}, 404), Fault.ADDRESS, id="404"),
    pytest.param(answer({}, 408), Fault.CONFLICT, id="408"),
    pytest.param(answer({}, 409), Fault.CONFLICT, id="409"),
    pytest.param(answer({"error": "Rate limit exceeded"}, 429), Fault.RATE, id="429"),
    pytest.param(answer({}, 500), Fault.SERVER, id="500"),
    pytest.param(answer({}, 502), Fault.SERVER, id="502"),
    pytest.param(answer({}, 503), Fault.UNAVAILABLE, id="503"),
    pytest.param(answer({}, 504), Fault.SERVER, id="504"),
    *[
        pytest.param(answer(b"", code, location="https://x/"), Fault.REDIRECT, id=str(code))
        for code in (301, 302, 303, 307, 308)
    ],
    pytest.param(answer(b"", 407), Fault.NOT_DELIVERED, id="407"),
    *[
        pytest.param(answer({}, code), Fault.OTHER_REFUSAL, id=str(code))
        for code in (405, 410, 415, 418, 451, 499)
    ],
    *[
        pytest.param(answer({}, code), Fault.OTHER, id=str(code))
        for code in (101, 103, 300, 304, 501, 505, 520, 524, 599, 600, 999)
    ],
]  # fmt: skip


class TestHttpErrors:
    @pytest.mark.parametrize(("seen", "fault"), HTTP_ERRORS)
    def test_each_row_for_generate(self, seen, fault):
        miss = read_submit(seen)

        assert isinstance(miss, Miss), miss
        assert (miss.fault, miss.http_status) == (fault, seen.status)

    @pytest.mark.parametrize(("seen", "fault"), HTTP_ERRORS)
    def test_each_row_for_get_status(self, seen, fault):
        miss = read_status(seen, ID)

        assert isinstance(miss, Miss), miss
        assert (miss.fault, miss.http_status) == (fault, seen.status)

    def test_which_403_it_is_in_the_order_of_the_page(self):
        html = answer(b"<html>insufficient balance</html>", 403, retry_after="5")
        credit = answer({"error": "Insufficient balance"}, 403, retry_after="5")

        assert read_submit(html).fault is Fault.FIREWALL
        assert read_submit(credit).fault is Fault.CREDIT

    def test_the_gateways_words_are_quoted_in_one_bounded_line(self):
        miss = read_submit(answer({"error": "no\r\nway " * 100_000}, 400))

        assert "no way" in miss.detail
        assert len(miss.detail) < 300
        assert miss.detail.isprintable()

    def test_an_html_page_is_not_quoted(self):
        assert "<" not in read_submit(answer(b"<html><body>Blocked</body></html>", 403)).detail

    def test_the_pause_that_is_only_in_the_text_is_found(self):
        body = {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 17 seconds."}

        assert read_submit(answer(body, 429)).retry_after == "17"

    def test_the_header_goes_before_the_text(self):
        body = {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 17 seconds."}

        assert read_submit(answer(body, 429, retry_after="3")).retry_after == "3"

    def test_what_never_became_an_answer_stays_what_it_was(self):
        lost = Miss(Fault.LOST, "was lost")

        assert read_submit(lost) is lost
        assert read_status(lost, ID) is lost


def asked(*answers: object, field: str = "auto"):
    """Drive one look with these answers; return the fields sent, what was seen, the field to keep."""
    steps = look(APPYPIE, ID, field)
    sent = []
    try:
        call = next(steps)
        for each in answers:
            (name,) = json.loads(call.body)
            sent.append(name)
            call = steps.send(each if isinstance(each, (Answer, Miss)) else answer(each))
    except StopIteration as end:
        seen, keep = end.value
        return sent, seen, keep
    raise AssertionError(f"it wanted to ask once more, after {sent}")


NOT_FOUND = {"status": "NOT_FOUND", "error": "The requested resource could not be located."}


class TestTheIdsFieldThatThePageContradictsItselfOn:
    def test_task_id_goes_first_and_is_kept_once_it_worked(self):
        sent, seen, keep = asked({"status": "processing"})

        assert (sent, keep) == (["task_id"], "task_id")
        assert seen.status is GenerationStatus.PENDING

    @pytest.mark.parametrize(
        "turned_down",
        [answer({}, 400), answer({}, 404), NOT_FOUND, answer(NOT_FOUND, 404)],
        ids=["400", "404", "not-found", "404-not-found"],
    )
    def test_what_turns_task_id_down_is_followed_by_request_id_once(self, turned_down):
        sent, seen, keep = asked(turned_down, {"status": "completed", "video_url": VIDEO})

        assert (sent, keep) == (["task_id", "requestId"], "requestId")
        assert seen.video_url == VIDEO

    @pytest.mark.parametrize("code", [401, 403, 408, 413, 422, 429, 500, 503, 301])
    def test_nothing_else_is(self, code):
        sent, seen, keep = asked(answer({}, code))

        assert (sent, keep) == (["task_id"], "auto")
        assert isinstance(seen, Miss)

    def test_not_found_by_both_settles_nothing(self):
        sent, seen, keep = asked(NOT_FOUND, NOT_FOUND)

        assert (sent, keep) == (["task_id", "requestId"], "auto")
        assert seen.status is GenerationStatus.NOT_FOUND

    @pytest.mark.parametrize(
        "order", [(NOT_FOUND, answer({}, 400)), (answer({}, 400), NOT_FOUND)], ids=["a", "b"]
    )
    def test_not_found_is_kinder_than_a_refused_body(self, order):
        _, seen, keep = asked(*order)

        assert isinstance(seen, Generation)
        assert seen.status is GenerationStatus.NOT_FOUND
        assert keep == "auto"

    def test_400_by_both_is_bad_input(self):
        _, seen, _ = asked(answer({}, 400), answer({}, 400))

        assert seen.fault is Fault.INPUT

    @pytest.mark.parametrize("field", ["task_id", "requestId"])
    def test_a_field_settled_by_hand_is_the_only_one(self, field):
        sent, _, keep = asked(NOT_FOUND, field=field)

        assert (sent, keep) == ([field], field)

    @pytest.mark.parametrize("body", [{"error": "Missing requestId"}, {"error": "x", "status": ""}], ids=repr)
    def test_an_answer_without_a_status_settles_nothing(self, body):
        """The description: a field is remembered once it has given a *status* other than NOT_FOUND."""
        _, _, keep = asked(body)

        assert keep == "auto", f"{body} settled the field as {keep}: the other one would never be tried again"


class TestDecoding:
    def test_plain(self):
        assert decoded(b"abc", None) == (b"abc", False)
        assert decoded(b"abc", " Identity ") == (b"abc", False)

    @pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
    def test_gzip_that_was_not_asked_for(self, encoding):
        assert decoded(gzip.compress(b"abc"), encoding) == (b"abc", False)

    def test_deflate(self):
        assert decoded(zlib.compress(b"abc"), "deflate") == (b"abc", False)

    def test_a_bomb_is_read_within_the_bound(self):
        body, cut = decoded(gzip.compress(b"a" * (MAX_ANSWER_BYTES * 8)), "gzip")

        assert len(body) <= MAX_ANSWER_BYTES
        assert cut

    def test_too_much_is_cut(self):
        body, cut = decoded(b"a" * (MAX_ANSWER_BYTES + 1), None)

        assert (len(body), cut) == (MAX_ANSWER_BYTES, True)

    @pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "\x00"])
    def test_what_cannot_be_decoded_is_not_read(self, encoding):
        assert decoded(b'{"requestId": "abc"}', encoding) == (b"", True)

    @settings(max_examples=60)
    @given(
        st.binary(max_size=200),
        st.sampled_from(["gzip", "deflate", "x-gzip", "", "br"]) | st.text(max_size=8),
    )
    def test_any_bytes_under_any_name_are_bounded(self, raw, encoding):
        body, _ = decoded(raw, encoding)

        assert len(body) <= MAX_ANSWER_BYTES


class TestDepth:
    """Nesting that one JSON function bears, another may not."""

    @pytest.mark.parametrize(
        "depth", [100, 300, 600, 900, 950, 980, 990, 1000, 3000, 10_000, 60_000, 100_000]
    )
    @pytest.mark.parametrize("brackets", ["[]", "{}"])
    def test_a_deeply_nested_reason_ends_in_a_value_of_ours(self, depth, brackets):
        nested = ("[" * depth + "]" * depth) if brackets == "[]" else ('{"a":' * depth + "1" + "}" * depth)
        body = f'{{"status": "failed", "error": {nested}}}'.encode()

        for code in (200, 400, 403, 500):
            assert isinstance(read_status(answer(body, code), ID), (Generation, Miss))
            assert isinstance(read_submit(answer(body, code)), Miss)

    def test_every_depth_around_the_interpreters_limit(self):
        for depth in range(850, 1010):
            body = f'{{"status": "failed", "error": {"[" * depth}{"]" * depth}}}'.encode()
            try:
                read_status(answer(body), ID)
            except RecursionError:
                pytest.fail(f"RecursionError at a depth of {depth}")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)
telling = st.dictionaries(
    st.sampled_from(["status", "video_url", "error", "msg", "message", "requestId", "task_id", "reason"]),
    anything | st.sampled_from(["completed", "failed", "NOT_FOUND", VIDEO, ID]),
)


class TestAnyAnswer:
    @settings(max_examples=250, deadline=None)
    @given(
        st.integers(min_value=100, max_value=999) | st.sampled_from([200, 400, 403, 404, 429]),
        st.dictionaries(
            st.sampled_from(["retry-after", "date", "content-type", "location"]), st.text(max_size=20)
        ),
        st.binary(max_size=200) | (anything | telling).map(lambda value: json.dumps(value).encode()),
        st.booleans(),
    )
    def test_is_a_generation_an_id_or_a_fault(self, status, headers, body, cut):
        whole = Answer(status, headers, body, cut)

        submitted, seen = read_submit(whole), read_status(whole, ID)

        assert isinstance(submitted, (str, Miss))
        assert isinstance(seen, (Generation, Miss))
        if not 200 <= status < 300:
            assert isinstance(submitted, Miss)
        for miss in (submitted, seen):
            if isinstance(miss, Miss):
                assert miss.detail.isprintable(), ascii(miss.detail)
                assert len(miss.detail) < 400
        if isinstance(seen, Generation) and seen.status is GenerationStatus.COMPLETED:
            assert 200 <= status < 300
            assert not cut


class TestTheKeyInAnAnswer:
    KEY = "abcdefgh"

    def test_is_not_handed_on_in_an_address_or_an_id(self):
        for spelt in (self.KEY, self.KEY.replace("a", "%61")):
            body = {"requestId": ID, "status": "completed", "video_url": f"https://h/{spelt}.mp4"}
            seen = read_status(Answer(200, {}, json.dumps(body).encode(), secret=self.KEY), ID)
            assert (seen.status, seen.video_url) == (GenerationStatus.COMPLETED, None)
        given = Answer(200, {}, json.dumps({"requestId": f"x-{self.KEY}"}).encode(), secret=self.KEY)
        assert isinstance(read_submit(given), Miss)

    def test_of_a_few_characters_hides_no_id(self):
        given = Answer(200, {}, json.dumps({"requestId": "a-1"}).encode(), secret="a-1")
        assert read_submit(given) == "a-1"


class TestWhatIsTold:
    def test_an_explanation_may_be_an_object(self):
        seen = generation({"status": "failed", "error": {"code": 7, "text": "zu groß"}})
        assert seen.reason == '{"code": 7, "text": "zu groß"}'

    def test_a_pending_or_complete_generation_has_no_reason(self):
        assert generation({"status": "queued", "error": "soon"}).reason is None
        assert generation({"status": "done", "video_url": "https://h/a.mp4", "msg": "ok"}).reason is None

    def test_nothing_at_all_is_unknown(self):
        assert generation({}).status is GenerationStatus.UNKNOWN

    def test_a_look_says_whose_it_is(self):
        assert generation({"status": "queued"}).request_id == ID

    def test_the_gateways_own_clock_comes_with_a_refusal(self):
        miss = read_status(answer("slow down", 429, Date="then", Retry_After="soon"), ID)
        assert (miss.date, miss.retry_after) == ("then", "soon")

    def test_an_answer_about_another_says_so(self):
        miss = read_status(answer({"requestId": "other", "status": "queued"}), ID)
        assert miss.detail.startswith("answered about another request id than the one asked about")

    def test_a_status_that_is_in_no_table_goes_by_its_hundred(self):
        faults = {status: read_status(answer({}, status), ID).fault for status in (418, 499, 501, 599)}
        assert [faults[418], faults[499]] == [Fault.OTHER_REFUSAL] * 2
        assert [faults[501], faults[599]] == [Fault.OTHER] * 2
