"""Text from outside never reaches a log as it came: one line, bounded, printable."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_luma.api.text import (
    EXCERPT_LENGTH,
    one_line,
    quoted_prompt,
    shown_url,
    without_credentials,
)


class TestOneLine:
    @given(st.text(max_size=2000), st.integers(min_value=2, max_value=300))
    def test_is_one_bounded_printable_line(self, text, limit):
        line = one_line(text, limit)

        assert len(line) <= limit, (len(line), limit)
        assert line.isprintable(), ascii(line)

    def test_short_text_stays_as_it_is(self):
        assert one_line("Invalid request parameters") == "Invalid request parameters"

    def test_line_breaks_cannot_forge_a_log_line(self):
        assert one_line("no\r\n2026-01-01 INFO all is well\n") == "no 2026-01-01 INFO all is well"

    @pytest.mark.parametrize("char", ["\x00", "\x1b", "\x7f", "\u202e", "\ud800", "\u2028"])
    def test_what_cannot_be_printed_is_shown_as_such_or_folded(self, char):
        assert char not in one_line(f"a{char}b")

    def test_a_cut_is_shown(self):
        line = one_line("x" * 1000)

        assert len(line) == EXCERPT_LENGTH
        assert line.endswith("…")

    def test_of_megabytes_only_the_start_is_looked_at(self):
        text = " " * 50_000_000
        started = time.perf_counter()
        line = one_line(text)

        assert time.perf_counter() - started < 0.1
        assert line == "…"


class TestPrompts:
    def test_a_long_prompt_is_never_quoted_whole(self):
        prompt = "A confidential product, seen from above, " * 10

        assert len(quoted_prompt(prompt)) <= 60
        assert quoted_prompt(prompt).endswith("…")


class TestShownUrl:
    def test_a_signature_does_not_reach_a_log(self):
        shown = shown_url("https://cdn.example/v/a.mp4?X-Signature=abcdef#part")

        assert shown == "https://cdn.example/v/a.mp4?…"

    def test_a_password_does_not_reach_a_log(self):
        assert "swordfish" not in shown_url("https://someone:swordfish@cdn.example:8443/a.mp4")

    @given(st.text())
    def test_any_text_gives_one_line(self, url):
        assert shown_url(url).isprintable()


class TestAddressesInText:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ftp://me:swordfish@host/videos/", "ftp://…@host/videos/"),
            ("ftp://me:sword@fish@host/videos/", "ftp://…@host/videos/"),
            ("s3://AKIA:sword/fish+g@bucket/x", "s3://…@bucket/x"),
            ("https://swordfish@host/x", "https://…@host/x"),
            ("no https://a.example/v.mp4?X-Sig=swordfish#x, sorry", "no https://a.example/v.mp4?… sorry"),
            ("'https://a.example/?key=swordfish' and \"s3://u:p@b/k?v=1\"", None),
            ("GET http://u:swordfish@h:80/p?q=1&r=2 failed", "GET http://…@h:80/p?… failed"),
            ("url: /v.mp4?X-Amz-Signature=swordfish (Caused by", "url: /v.mp4?… (Caused by"),
        ],
    )
    def test_lose_passwords_and_queries(self, text, expected):
        shown = without_credentials(text)

        assert "sword" not in shown
        assert expected is None or shown == expected

    @pytest.mark.parametrize("text", ["://a" * 200_000, "://" + "a:" * 200_000, "?a=" * 200_000])
    def test_take_no_time_however_long(self, text):
        started = time.perf_counter()
        without_credentials(text)

        assert time.perf_counter() - started < 0.5

    @pytest.mark.parametrize(
        "text",
        [
            "s3://aws_default@bucket/videos/a.mp4",
            "file:///videos/a@b.mp4",
            "Is it 3? No: 4 @ 5",
            "https://a.example/b@c/v.mp4",
            "",
        ],
    )
    def test_that_hold_none_stay_as_they_are(self, text):
        assert without_credentials(text) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://cdn.example/a.mp4", "https://cdn.example/a.mp4"),
        ("https://cdn.example:8443/a.mp4", "https://cdn.example:8443/a.mp4"),
        ("http://[::1]:8080/a.mp4", "http://[::1]:8080/a.mp4"),
        ("https://cdn.example/a.mp4?key=1", "https://cdn.example/a.mp4?…"),
        ("https://cdn.example/a.mp4#key", "https://cdn.example/a.mp4?…"),
    ],
)
def test_what_is_no_secret_in_an_address_is_shown(url, shown):
    assert shown_url(url) == shown
