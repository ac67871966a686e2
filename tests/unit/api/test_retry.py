"""
The money rule: what may be sent again, when, and what it is called when it is over.

One case for each row of the gateway's table "HTTP errors", in both columns.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_luma.api.exchange import Answer, Call, Fault, Miss
from airflow_provider_luma.api.gateways.appypie import read_status, read_submit
from airflow_provider_luma.api.retry import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    MAX_RETRY_AFTER,
    MAX_TRIES,
    MAX_WORKER_PAUSE,
    SENDING_RULES,
    backoff,
    error_for,
    pause_before_next,
    retry_after_seconds,
)
from airflow_provider_luma.exceptions import (
    LumaAccessRefused,
    LumaAddressRefused,
    LumaCreditRefused,
    LumaError,
    LumaFirewallRefused,
    LumaGatewayError,
    LumaInputRefused,
    LumaKeyRefused,
    LumaProtocolError,
    LumaRateRefused,
    LumaRefused,
    LumaSubmitOutcomeUnknown,
    LumaUnreachable,
)

NOW = 1_800_000_000.0
ID = "20dd7c76-a931"

#: How often a call is sent at most, the first time included.
ONCE = {1}
TWO_OR_THREE = {2, 3}
SEVERAL = set(range(2, 11))


@dataclass
class Row:
    """One row of the table: an exchange, and for each call the sends and the error that it ends in."""

    name: str
    came_to: Answer | Miss
    generate: tuple[set[int], type[LumaError]]
    get_status: tuple[set[int], type[LumaError]]


def http(status: int, body: object = b"", **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): text for name, text in headers.items()}, raw)


UNKNOWN = (ONCE, LumaSubmitOutcomeUnknown)
NOTHING_DELIVERED = (SEVERAL, LumaUnreachable)
BROKE = (SEVERAL, LumaGatewayError)

TABLE = [
    *[
        Row(what, Miss(Fault.NOT_DELIVERED, f"not reached: {what}"), NOTHING_DELIVERED, NOTHING_DELIVERED)
        for what in ("DNS", "refused", "connect timeout", "TLS", "proxy refuses CONNECT")
    ],
    *[Row(what, Miss(Fault.LOST, what), UNKNOWN, BROKE) for what in ("read timeout", "reset", "closed")],
    Row("2xx without an id", http(200, b"{}", etag="x"), UNKNOWN, (SEVERAL, LumaProtocolError)),
    *[Row(str(code), http(code, {"error": "no"}), (ONCE, LumaInputRefused), (ONCE, LumaInputRefused))
      for code in (400, 413, 422)],
    Row("401", http(401, {"error": "no"}), (ONCE, LumaKeyRefused), (TWO_OR_THREE, LumaKeyRefused)),
    Row("402", http(402), (ONCE, LumaCreditRefused), (ONCE, LumaCreditRefused)),
    Row("403 balance", http(403, {"error": "Insufficient balance"}), (ONCE, LumaCreditRefused),
        (ONCE, LumaCreditRefused)),
    Row("403 with Retry-After", http(403, {"message": "quota"}, retry_after="2"), (SEVERAL, LumaRateRefused),
        (SEVERAL, LumaRateRefused)),
    Row("403 HTML page", http(403, b"<html>"), (ONCE, LumaFirewallRefused), (SEVERAL, LumaFirewallRefused)),
    Row("other 403", http(403, {"error": "Access denied"}), (ONCE, LumaAccessRefused),
        (TWO_OR_THREE, LumaAccessRefused)),
    Row("404", http(404, {"error": "Endpoint not found"}), (ONCE, LumaAddressRefused),
        (ONCE, LumaAddressRefused)),
    *[Row(str(code), http(code), UNKNOWN, BROKE) for code in (408, 409)],
    Row("429", http(429, retry_after="1"), (SEVERAL, LumaRateRefused), (SEVERAL, LumaRateRefused)),
    Row("429 bare", http(429), (SEVERAL, LumaRateRefused), (SEVERAL, LumaRateRefused)),
    *[Row(str(code), http(code), UNKNOWN, BROKE) for code in (500, 502, 503, 504)],
    *[Row(f"redirect {code}", http(code, location="https://other/"), (ONCE, LumaAddressRefused),
          (ONCE, LumaAddressRefused)) for code in (301, 302, 303, 307, 308)],
    Row("407", http(407), NOTHING_DELIVERED, NOTHING_DELIVERED),
    *[Row(f"other 4xx: {code}", http(code), (ONCE, LumaRefused), (ONCE, LumaRefused)) for code in
      (405, 410, 418, 451)],
    *[Row(f"other: {code}", http(code), UNKNOWN, BROKE) for code in (102, 304, 501, 505, 520, 524, 999)],
]  # fmt: skip


def miss_of(call: Call, came_to: Answer | Miss) -> Miss:
    miss = read_submit(came_to) if call is Call.GENERATE else read_status(came_to, ID)
    if call is Call.STATUS and isinstance(came_to, Answer) and came_to.status == 200:
        # {} says nothing of a generation and is no fault of getStatus; an answer that is no JSON is.
        miss = read_status(http(200, b"no json"), ID)
    assert isinstance(miss, Miss), miss
    return miss


def sends(call: Call, miss: Miss, **options: bool) -> int:
    """Return how often a call is sent that always comes to the same."""
    for tries in range(1, 100):
        if pause_before_next(call, miss, tries=tries, now=NOW, random=0.5, **options) is None:
            return tries
    raise AssertionError("It is sent for ever")


class TestTheTable:
    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
    def test_generate(self, row):
        allowed, error = row.generate
        miss = miss_of(Call.GENERATE, row.came_to)

        assert sends(Call.GENERATE, miss) in allowed
        assert type(error_for(Call.GENERATE, miss, now=NOW)) is error

    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
    def test_get_status(self, row):
        allowed, error = row.get_status
        miss = miss_of(Call.STATUS, row.came_to)

        assert sends(Call.STATUS, miss) in allowed
        assert type(error_for(Call.STATUS, miss, now=NOW, request_id=ID)) is error

    def test_every_fault_there_is_stands_in_a_row(self):
        tested = {miss_of(Call.GENERATE, row.came_to).fault for row in TABLE}

        assert tested == set(Fault) == set(SENDING_RULES)

    @pytest.mark.parametrize("fault", list(Fault))
    def test_generate_is_sent_again_for_these_faults_and_no_others(self, fault):
        again = sends(Call.GENERATE, Miss(fault, "x")) > 1

        assert again is (fault in {Fault.NOT_DELIVERED, Fault.QUOTA, Fault.RATE}), fault

    @pytest.mark.parametrize("call", list(Call))
    @pytest.mark.parametrize("fault", list(Fault))
    def test_nothing_is_sent_more_often_than_the_bound(self, call, fault):
        assert sends(call, Miss(fault, "x"), retry_generate_on_503=True) <= MAX_TRIES

    def test_an_html_403_is_asked_about_again_only_at_a_long_interval(self):
        miss = miss_of(Call.STATUS, http(403, b"<html>"))
        pause = pause_before_next(Call.STATUS, miss, tries=1, now=NOW, random=0.999)

        assert pause is None or pause >= 10, f"{pause:.2f} s is no long interval"


class TestTheSwitchFor503:
    def test_allows_503(self):
        miss = miss_of(Call.GENERATE, http(503))

        assert sends(Call.GENERATE, miss, retry_generate_on_503=True) in SEVERAL
        assert not isinstance(
            error_for(Call.GENERATE, miss, now=NOW, retry_generate_on_503=True), LumaSubmitOutcomeUnknown
        )

    @pytest.mark.parametrize("code", [500, 501, 502, 504, 505, 520, 408, 409])
    def test_allows_nothing_else(self, code):
        miss = miss_of(Call.GENERATE, http(code))

        assert sends(Call.GENERATE, miss, retry_generate_on_503=True) == 1
        assert isinstance(
            error_for(Call.GENERATE, miss, now=NOW, retry_generate_on_503=True), LumaSubmitOutcomeUnknown
        )

    def test_does_not_allow_a_lost_answer(self):
        assert sends(Call.GENERATE, Miss(Fault.LOST, "x"), retry_generate_on_503=True) == 1


class TestRetryAfter:
    @staticmethod
    def seconds(text: str | None, *, date: str | None = None, now: float = NOW) -> float | None:
        return retry_after_seconds(Miss(Fault.RATE, "x", 429, text, date), now=now)

    @pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("17", 17), (" 17 ", 17), ("1.5", 1.5)])
    def test_seconds(self, text, seconds):
        assert self.seconds(text) == seconds

    def test_a_date_is_read_by_the_gateways_own_clock(self):
        at = formatdate(NOW + 90, usegmt=True)
        date = formatdate(NOW, usegmt=True)

        assert [self.seconds(at, date=date, now=NOW + skew) for skew in (0, -86_400, 86_400, 1e9)] == [
            90.0
        ] * 4

    def test_a_date_without_the_gateways_clock_is_read_by_ours(self):
        assert self.seconds(formatdate(NOW + 90, usegmt=True)) == 90.0

    @pytest.mark.parametrize("jump", [-1e9, -86_400, 86_400, 1e9])
    def test_a_jump_of_our_clock_does_no_harm(self, jump):
        seconds = self.seconds(formatdate(NOW + 90, usegmt=True), now=NOW + jump)

        assert seconds is not None
        assert 0 <= seconds <= MAX_RETRY_AFTER

    def test_a_date_in_the_past_is_now(self):
        assert self.seconds(formatdate(NOW - 90, usegmt=True)) == 0.0

    @pytest.mark.parametrize("date", ["yesterday", "", "99999", "Mon, 99 Foo 2024 00:00:00 GMT"])
    def test_a_date_header_of_the_gateway_that_is_none_is_ignored(self, date):
        assert self.seconds(formatdate(NOW + 90, usegmt=True), date=date) == 90.0

    @pytest.mark.parametrize(
        "text",
        [None, "", "  ", "soon", "-5", "+5", "1e3", "0x10", "NaN", "inf", "5 seconds", "\x00", "1,5", "--"],
    )
    def test_garbage_says_nothing(self, text):
        assert self.seconds(text) is None

    @pytest.mark.parametrize(
        "text",
        ["3601", "99999999", "9" * 12, "9" * 13, "9" * 30, "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"],
        ids=lambda text: text if len(text) < 20 else f"{len(text)} characters",
    )
    def test_what_is_absurd_is_capped(self, text):
        assert self.seconds(text) == MAX_RETRY_AFTER, f"{text[:20]}… counts as {self.seconds(text)}"

    @given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} .{0,12}"))
    def test_any_text_is_a_bounded_number_or_nothing(self, text):
        seconds = self.seconds(text, date=text[::-1])

        assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


class TestPauses:
    @pytest.mark.parametrize("call", list(Call))
    @pytest.mark.parametrize("asked", ["0", "1", "60", "180"])
    def test_what_the_gateway_asks_for_is_kept(self, call, asked):
        pause = pause_before_next(call, Miss(Fault.RATE, "x", 429, asked), tries=1, now=NOW, random=0.0)

        assert pause is not None
        assert pause >= float(asked)

    @pytest.mark.parametrize("asked", ["180.1", "181", "3600", "99999999"])
    @pytest.mark.parametrize("fault", [Fault.RATE, Fault.QUOTA])
    def test_a_worker_does_not_sleep_for_longer_than_a_few_minutes(self, fault, asked):
        miss = Miss(fault, "x", 429, asked)

        assert MAX_WORKER_PAUSE <= 300
        assert pause_before_next(Call.GENERATE, miss, tries=1, now=NOW, random=0.5) is None
        assert error_for(Call.GENERATE, miss, now=NOW).retry_after == min(float(asked), MAX_RETRY_AFTER)
        assert "asks for a pause" in str(error_for(Call.GENERATE, miss, now=NOW))

    def test_without_a_word_it_backs_off(self):
        pauses = [
            pause_before_next(Call.GENERATE, Miss(Fault.RATE, "x"), tries=tries, now=NOW, random=0.999)
            for tries in range(1, MAX_TRIES)
        ]

        assert pauses == sorted(pauses)
        assert pauses[-1] > pauses[0] * 4

    @given(st.integers(min_value=0, max_value=10**6), st.floats(min_value=0, max_value=1, exclude_max=True))
    def test_full_jitter_is_anything_from_nothing_to_the_bound(self, tries, random):
        bound = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(max(tries - 1, 0), 30))

        assert backoff(tries, 0.0) == 0.0
        assert 0 <= backoff(tries, random) <= bound
        assert backoff(tries, random) == pytest.approx(bound * random)

    def test_two_tasks_do_not_come_back_in_step(self):
        asked = Miss(Fault.RATE, "x", 429, "10")
        pauses = {
            pause_before_next(Call.GENERATE, asked, tries=1, now=NOW, random=random / 100)
            for random in range(100)
        }

        assert len(pauses) == 100


class TestMessages:
    """Each error says what happened, to which request id, what it means for money and what to do next."""

    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
    def test_of_generate(self, row):
        miss = miss_of(Call.GENERATE, row.came_to)
        text = str(error_for(Call.GENERATE, miss, now=NOW, tries=3))

        assert miss.detail in text
        assert "3 tries" in text
        if row.generate == UNKNOWN:
            assert "may be running" in text
            assert "billed" in text
            assert "not retried" in text
            assert "nothing is charged" not in text
        else:
            assert "nothing is charged" in text
            assert "may be" not in text.replace(miss.detail, "")
            assert text.rstrip().endswith(".")
            assert any(word in text for word in ("retry is safe", "clear this task"))

    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
    def test_of_get_status(self, row):
        miss = miss_of(Call.STATUS, row.came_to)
        text = str(error_for(Call.STATUS, miss, now=NOW, request_id=ID))

        assert miss.detail in text
        assert ID in text
        assert "is paid for" in text
        assert "do not submit again" in text
        assert "nothing is charged" not in text.lower()
        assert "nothing was generated" not in text.lower()

    def test_what_is_known_is_on_the_error(self):
        error = error_for(Call.STATUS, Miss(Fault.RATE, "x", 429, "17"), now=NOW, request_id=ID)

        assert (error.request_id, error.http_status, error.retry_after) == (ID, 429, 17.0)

    def test_a_message_is_one_line(self):
        miss = read_submit(http(400, {"error": "a\nb\r\nc\x00"}))

        assert str(error_for(Call.GENERATE, miss, now=NOW)).isprintable()


class TestTheWordsOfAnError:
    MISS = Miss(Fault.SERVER, "answered HTTP 500", 500)

    def test_name_the_connection_where_it_is_known(self) -> None:
        for call in Call:
            assert "through connection 'mine'" in str(error_for(call, self.MISS, now=0, conn_id="mine"))
            assert "connection" not in error_for(call, self.MISS, now=0).what

    @pytest.mark.parametrize(("tries", "submit", "status"), [(1, "", ""), (2, " after 2 tries", " 2 times")])
    def test_count_the_tries_where_there_were_several(self, tries: int, submit: str, status: str) -> None:
        submitted = error_for(Call.GENERATE, self.MISS, now=0, tries=tries).what
        asked = error_for(Call.STATUS, self.MISS, now=0, tries=tries).what
        assert submitted == f"Submitting failed{submit}: the gateway answered HTTP 500."
        assert asked == f"Asking for the status{status} failed: the gateway answered HTTP 500."

    def test_say_that_a_retry_is_safe_only_of_what_was_not_accepted(self) -> None:
        assert "A retry is safe" not in str(error_for(Call.GENERATE, self.MISS, now=0))
        rate = Miss(Fault.RATE, "answered HTTP 429", 429)
        assert "A retry is safe" in str(error_for(Call.GENERATE, rate, now=0))
        vouched = Miss(Fault.UNAVAILABLE, "answered HTTP 503", 503)
        error = error_for(Call.GENERATE, vouched, now=0, retry_generate_on_503=True)
        assert str(error).endswith("Nothing was generated, nothing is charged. A retry is safe.")

    def test_of_a_look_say_to_resume_and_not_to_submit_again(self) -> None:
        lost = str(error_for(Call.STATUS, self.MISS, now=0))
        assert lost.endswith("Clear this task to resume the wait for free; do not submit again.")
        key = str(error_for(Call.STATUS, Miss(Fault.KEY, "answered HTTP 401", 401), now=0))
        assert "subscription key" in key
        assert key.endswith("That resumes the wait for free; do not submit again.")

    def test_a_date_is_read_by_the_clock_that_is_handed_in(self) -> None:
        miss = Miss(Fault.RATE, "answered HTTP 429", 429, retry_after=formatdate(1_000_030, usegmt=True))
        assert error_for(Call.STATUS, miss, now=1_000_000).retry_after == 30
        assert pause_before_next(Call.STATUS, miss, tries=1, now=1_000_000, random=0.5) == pytest.approx(
            30 + 0.5 * BACKOFF_BASE
        )

    def test_a_503_is_safe_only_where_somebody_vouches_for_it(self) -> None:
        miss = Miss(Fault.UNAVAILABLE, "answered HTTP 503", 503)
        assert pause_before_next(Call.GENERATE, miss, tries=1, now=0, random=0.5) is None
        assert isinstance(error_for(Call.GENERATE, miss, now=0), LumaSubmitOutcomeUnknown)
