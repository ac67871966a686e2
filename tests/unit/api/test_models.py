"""What may be asked for, and what rendered templates turn into before anything is sent."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_luma.api.models import (
    MAX_PROMPT_LENGTH,
    MAX_REQUEST_ID_LENGTH,
    Generation,
    GenerationRequest,
    GenerationStatus,
    is_web_address,
    rendered_request_id,
    usable_request_id,
)
from airflow_provider_luma.exceptions import LumaInvalidRequest

JELLYFISH = "A giant floating jellyfish gliding over a city skyline"


class TestARequestIsCheckedWhenItIsMade:
    def test_only_the_prompt_is_required(self):
        request = GenerationRequest(JELLYFISH)

        assert (request.aspect_ratio, request.loop, request.image_url) == ("16:9", False, None)

    def test_it_is_frozen(self):
        request = GenerationRequest(JELLYFISH)

        with pytest.raises(dataclasses.FrozenInstanceError):
            request.prompt = "another"

    @pytest.mark.parametrize("prompt", ["", " ", "\n\t ", "\N{NO-BREAK SPACE}"])
    def test_a_blank_prompt_is_refused_by_name(self, prompt):
        with pytest.raises(LumaInvalidRequest, match=r"^prompt"):
            GenerationRequest(prompt)

    @pytest.mark.parametrize("prompt", [None, 7, b"bytes", ["a"], "half \ud800 of a character"])
    def test_a_prompt_that_cannot_be_sent_is_refused_by_name(self, prompt):
        with pytest.raises(LumaInvalidRequest, match=r"^prompt"):
            GenerationRequest(prompt)

    def test_a_prompt_may_be_long_but_not_a_book(self):
        assert GenerationRequest("x" * MAX_PROMPT_LENGTH).prompt
        with pytest.raises(LumaInvalidRequest, match=r"^prompt .*20,001"):
            GenerationRequest("x" * (MAX_PROMPT_LENGTH + 1))

    @pytest.mark.parametrize("ratio", ["16:9", "4:3", "1:1", "9:16", "3:4", "21:9", "9:21", "2:1", "239:100"])
    def test_the_ratios_of_the_vendors_page_and_more_are_taken(self, ratio):
        assert GenerationRequest(JELLYFISH, aspect_ratio=ratio).aspect_ratio == ratio

    @pytest.mark.parametrize(
        "ratio",
        ["", "16", "16:", ":9", "16/9", "16x9", "0:9", "16:0", "-16:9", "16:9:1", "1.5:1", "a:b", " 16:9",
         "16:9\n", "16 : 9", None, 16, ("16", "9"), "\N{FULLWIDTH DIGIT ONE}:1"],
    )  # fmt: skip
    def test_what_is_not_w_to_h_in_positive_integers_is_refused_by_name(self, ratio):
        with pytest.raises(LumaInvalidRequest, match=r"^aspect_ratio"):
            GenerationRequest(JELLYFISH, aspect_ratio=ratio)

    @pytest.mark.parametrize("loop", ["true", "False", 1, 0, None, [], "no"])
    def test_loop_must_be_a_bool_here(self, loop):
        with pytest.raises(LumaInvalidRequest, match=r"^loop"):
            GenerationRequest(JELLYFISH, loop=loop)

    @pytest.mark.parametrize("url", ["", "None", "ftp://a/b", "a.png", "https://", "https://u:p@host/a.png"])
    def test_an_image_that_is_no_web_address_is_refused_by_name(self, url):
        with pytest.raises(LumaInvalidRequest, match=r"^image_url"):
            GenerationRequest(JELLYFISH, image_url=url)

    def test_a_refused_address_is_not_repeated_because_it_may_hold_a_password(self):
        with pytest.raises(LumaInvalidRequest) as refused:
            GenerationRequest(JELLYFISH, image_url="https://someone:swordfish@host/a.png")

        assert "swordfish" not in str(refused.value)

    def test_the_error_says_that_nothing_was_sent(self):
        with pytest.raises(LumaInvalidRequest) as refused:
            GenerationRequest("")

        assert "Nothing was sent" in str(refused.value)
        assert "nothing is charged" in str(refused.value)


class TestFingerprint:
    def test_the_same_request_has_the_same(self):
        assert GenerationRequest(JELLYFISH).fingerprint() == GenerationRequest(JELLYFISH).fingerprint()

    def test_every_field_makes_another(self):
        requests = [
            GenerationRequest("a"),
            GenerationRequest("b"),
            GenerationRequest("a", aspect_ratio="1:1"),
            GenerationRequest("a", loop=True),
            GenerationRequest("a", image_url="https://host/a.png"),
        ]

        assert len({request.fingerprint() for request in requests}) == len(requests)

    def test_it_does_not_change_between_releases(self):
        """A record of an older release is compared with it: another value would buy a second video."""
        assert GenerationRequest("a").fingerprint() == (
            "b4199e33255db273122080f3c56057b131bb9625a9f11f2cdfd0c503fb7c8d61"
        )


class TestRenderedTemplates:
    """Rule 9: templates bring strings."""

    @pytest.mark.parametrize("loop", ["true", "True", "TRUE", " true ", "1", "yes", "Yes", True, 1])
    def test_what_means_true(self, loop):
        assert GenerationRequest.from_rendered(JELLYFISH, loop=loop).loop is True

    @pytest.mark.parametrize("loop", ["false", "False", "FALSE", " false\n", "0", "no", "NO", False, 0])
    def test_what_means_false(self, loop):
        assert GenerationRequest.from_rendered(JELLYFISH, loop=loop).loop is False

    @pytest.mark.parametrize("loop", ["maybe", "2", "truefalse", "{{ params.loop }}", 2, [True]])
    def test_what_means_neither_is_refused_by_name(self, loop):
        with pytest.raises(LumaInvalidRequest, match=r"^loop"):
            GenerationRequest.from_rendered(JELLYFISH, loop=loop)

    @pytest.mark.parametrize("url", ["", "None", None, " None ", "  "])
    def test_an_image_that_rendered_to_nothing_is_absent(self, url):
        assert GenerationRequest.from_rendered(JELLYFISH, image_url=url).image_url is None

    def test_an_image_keeps_its_address(self):
        request = GenerationRequest.from_rendered(JELLYFISH, image_url=" https://host/a.png\n")

        assert request.image_url == "https://host/a.png"

    @pytest.mark.parametrize("prompt", ["", "None", None, " None\n", "   "])
    def test_a_prompt_that_rendered_to_nothing_says_what_was_probably_missing(self, prompt):
        with pytest.raises(LumaInvalidRequest, match=r"^prompt .*upstream") as refused:
            GenerationRequest.from_rendered(prompt)

        assert "Nothing was sent" in str(refused.value)

    @pytest.mark.parametrize("prompt", ["None of them came", "none", "Undefined", "nothing"])
    def test_a_prompt_with_such_a_word_in_it_is_a_prompt(self, prompt):
        assert GenerationRequest.from_rendered(prompt).prompt == prompt

    @pytest.mark.parametrize("request_id", ["", "None", None, "  ", " None "])
    def test_a_request_id_that_rendered_to_nothing_says_what_was_probably_missing(self, request_id):
        with pytest.raises(LumaInvalidRequest, match=r"^request_id .*upstream.*requestId"):
            rendered_request_id(request_id)

    @pytest.mark.parametrize("request_id", ["a b", "a\nb", "x" * 5000, "a\x00b", {"id": 1}, 1.5, True])
    def test_a_request_id_that_can_be_none_is_refused_in_one_short_line(self, request_id):
        with pytest.raises(LumaInvalidRequest, match=r"^request_id") as refused:
            rendered_request_id(request_id)

        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 600

    def test_a_number_and_white_space_around_are_borne(self):
        assert rendered_request_id(" 20dd7c76-a931 \n") == "20dd7c76-a931"
        assert rendered_request_id(12345) == "12345"


class TestIdsFromOutside:
    @pytest.mark.parametrize(
        ("value", "found"),
        [
            ("20dd7c76-a931-4ac2-8adb-5c17468b0000", "20dd7c76-a931-4ac2-8adb-5c17468b0000"),
            ("  padded  ", "padded"),
            (7, "7"),
            ("x" * MAX_REQUEST_ID_LENGTH, "x" * MAX_REQUEST_ID_LENGTH),
            ("x" * (MAX_REQUEST_ID_LENGTH + 1), None),
            ("", None),
            ("   ", None),
            ("two words", None),
            ("line\nbreak", None),
            ("half \ud800", None),
            (True, None),
            (1.5, None),
            (None, None),
            ({}, None),
            (["a"], None),
            (10**5000, None),
        ],
        ids=lambda value: repr(value)[:20] if not isinstance(value, int) else f"int{value % 100}",
    )
    def test_what_is_an_id_and_what_is_not(self, value, found):
        assert usable_request_id(value) == found

    @given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.binary(), st.lists(st.text())))
    def test_an_id_can_always_be_logged_and_sent(self, value):
        found = usable_request_id(value)

        if found is not None:
            assert 0 < len(found) <= MAX_REQUEST_ID_LENGTH
            assert found.isprintable()
            assert not any(char.isspace() for char in found)
            assert json.loads(json.dumps(found)) == found
            assert found.encode()


class TestWebAddresses:
    @pytest.mark.parametrize(
        "url",
        [
            "https://storage.cdn-luma.com/lit/video.mp4",
            "http://127.0.0.1:8077/videos/a.mp4",
            "https://host/a?sig=b%20c&e=1#t",
            "https://[::1]:8077/a.mp4",
        ],
    )
    def test_these_are(self, url):
        assert is_web_address(url)

    @pytest.mark.parametrize(
        "url",
        ["", "video.mp4", "//host/a", "ftp://host/a", "file:///etc/passwd", "javascript:alert(1)", "https://",
         "https:///a", "https://host:port/a", "https://host:99999/", "https://a b/", "https://host/\n",
         "https://user@host/", "https://[::1", None, 7, {"url": 1}, "https://h/" + "x" * 10_000],
        ids=lambda url: repr(url)[:24],
    )  # fmt: skip
    def test_these_are_not(self, url):
        assert not is_web_address(url)


class TestShapes:
    def test_the_statuses_are_text_of_their_own_class(self):
        assert {status.name: str(status.value) for status in GenerationStatus} == {
            "PENDING": "pending",
            "COMPLETED": "completed",
            "FAILED": "failed",
            "NOT_FOUND": "not_found",
            "UNKNOWN": "unknown",
        }
        assert isinstance(GenerationStatus.PENDING, str)

    def test_a_generation_is_frozen(self):
        generation = Generation("id", GenerationStatus.PENDING, "queued")

        with pytest.raises(dataclasses.FrozenInstanceError):
            generation.video_url = "https://host/a.mp4"


class TestWhatATemplateGives:
    def test_an_aspect_ratio_is_what_it_says_and_absent_the_default(self):
        assert GenerationRequest.from_rendered("a fox", aspect_ratio=" 9:16 ").aspect_ratio == "9:16"
        for absent in (None, "", "None"):
            assert GenerationRequest.from_rendered("a fox", aspect_ratio=absent).aspect_ratio == "16:9"

    def test_that_is_no_id_is_shown_and_nothing_was_sent(self):
        for value in (None, "two words"):
            with pytest.raises(LumaInvalidRequest, match="Nothing was sent") as raised:
                rendered_request_id(value)
            assert repr(value) in str(raised.value)

    def test_that_is_wrong_is_quoted_within_bounds(self):
        for wrong in (
            lambda text: GenerationRequest("a fox", aspect_ratio=text),
            lambda text: GenerationRequest("a fox", loop=text),
            lambda text: rendered_request_id(f"{text} {text}"),
        ):
            with pytest.raises(LumaInvalidRequest) as raised:
                wrong("odd" * 1000)
            assert "oddodd" in str(raised.value)
            assert len(str(raised.value)) < 300
