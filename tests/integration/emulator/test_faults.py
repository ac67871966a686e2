"""Each fault does what its line in the table says, and creates a generation only where it should."""

from __future__ import annotations

import email.utils
import json
import socket
import threading
import time
import zlib

import pytest
import requests

from airflow_provider_luma.emulator import FAULTS

#: Faults that end without an answer, with what they leave behind.
LOST = {
    "hang": 0,
    "lost-answer": 1,
    "drop-before-reading": 0,
    "drop-after-reading": 1,
    "drop-mid-answer": 1,
    "endless": 1,
}
#: A 200 whose body is no acceptance; the generation runs, and is paid for, all the same.
MANGLED = [
    "truncated-json",
    "empty",
    "not-json",
    "not-object",
    "wrong-type",
    "no-request-id",
    "msg-only",
    "error-no-status",
]
REFUSED = {
    "400": 400,
    "401": 401,
    "403": 403,
    "404": 404,
    "429": 429,
    "500": 500,
    "502": 502,
    "503": 503,
    "504": 504,
    "status": 500,
    "apim-401": 401,
    "apim-429": 429,
    "quota-403": 403,
    "credit-402": 402,
    "credit-403": 403,
    "html-403": 403,
    "429-seconds": 429,
    "429-date": 429,
    "429-bare": 429,
    "429-absurd": 429,
    "redirect": 307,
}


class TestTable:
    def test_every_fault_has_one_line_for_people(self):
        for fault in FAULTS.values():
            assert fault.summary, fault.name
            assert "\n" not in fault.summary, fault.name

    def test_every_fault_does_one_thing(self):
        deeds = {
            name: (fault.answer is not None) + (fault.wire is not None) for name, fault in FAULTS.items()
        }

        assert {name for name, number in deeds.items() if number != 1} == {"latency"}

    def test_every_fault_of_generate_is_tested_here(self):
        tested = {*LOST, *MANGLED, *REFUSED, "latency", "drip", "huge", "bomb", "odd-headers", "wrong-id"}

        assert {name for name, fault in FAULTS.items() if "generate" in fault.targets} == tested


class TestRefusals:
    @pytest.mark.parametrize(("name", "status"), REFUSED.items())
    def test_create_nothing(self, emulator, gateway, name, status):
        emulator.misbehave("generate", name)

        assert gateway.generate().status_code == status
        assert emulator.paid == 0
        assert [(call.fault, call.paid) for call in emulator.calls("generate")] == [(name, False)]

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            ("400", "Invalid request parameters"),
            ("401", "Invalid or missing authentication"),
            ("403", "Access denied for this operation"),
            ("404", "Endpoint not found"),
            ("429", "Rate limit exceeded, please retry later"),
            ("500", "An unexpected error occurred, please try again later"),
        ],
    )
    def test_have_the_documented_bodies(self, emulator, gateway, name, body):
        emulator.misbehave("getStatus", name)

        assert gateway.get_status("x").json() == {"error": body}

    def test_a_500_can_hide_a_generation(self, emulator, gateway):
        emulator.misbehave("generate", "500", paid=True)

        assert gateway.generate().status_code == 500
        assert emulator.paid == 1

    def test_a_status_can_be_made_to_measure(self, emulator, gateway):
        emulator.misbehave(
            "generate", "status", code=418, body="short", headers={"X-Pot": "tea"}, content_type="text/plain"
        )
        answer = gateway.generate()

        assert (answer.status_code, answer.text, answer.headers["X-Pot"]) == (418, "short", "tea")

    def test_rate_limits_say_when_to_come_back(self, emulator, gateway):
        emulator.misbehave("generate", "apim-429", seconds=17)
        emulator.misbehave("generate", "429-seconds", seconds=5)
        emulator.misbehave("generate", "429-date", seconds=30)
        emulator.misbehave("generate", "429-absurd", value="-1")
        emulator.misbehave("generate", "429-bare")
        emulator.misbehave("generate", "quota-403", seconds=3725)
        manager, seconds, date, absurd, bare, quota = (gateway.generate() for _ in range(6))

        assert manager.json() == {
            "statusCode": 429,
            "message": "Rate limit is exceeded. Try again in 17 seconds.",
        }
        assert (manager.headers["Retry-After"], seconds.headers["Retry-After"]) == ("17", "5")
        at = email.utils.parsedate_to_datetime(date.headers["Retry-After"]).timestamp()
        assert 25 < at - time.time() <= 31
        assert absurd.headers["Retry-After"] == "-1"
        assert "Retry-After" not in bare.headers
        assert quota.headers["Retry-After"] == "3725"
        assert "01:02:05" in quota.json()["message"]

    def test_the_firewall_sends_a_page(self, emulator, gateway):
        emulator.misbehave("getStatus", "html-403")
        answer = gateway.get_status("x")

        assert answer.headers["Content-Type"] == "text/html"
        assert answer.text.startswith("<!DOCTYPE html>")

    def test_a_redirect_leads_to_a_host_that_remembers_what_it_got(self, emulator, gateway):
        emulator.misbehave("generate", "redirect", times=2)

        assert (
            gateway.generate().headers["Location"] == f"{emulator.other_host().url}/lumalabs-ai/v1/generate"
        )
        assert emulator.other_host().requests == []
        gateway.post("/lumalabs-ai/v1/generate", {"prompt": "x"}, allow_redirects=True)
        (strayed,) = emulator.other_host().calls("generate")
        assert strayed.headers["Ocp-Apim-Subscription-Key"] == emulator.key


class TestLostAnswers:
    @pytest.mark.parametrize(("name", "paid"), LOST.items())
    def test_leave_behind_what_the_table_says(self, emulator, gateway, name, paid):
        emulator.misbehave("generate", name)

        with pytest.raises(
            (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        ):
            # The time-out of requests starts again with every byte, so an endless answer needs its own end.
            read_for(gateway, seconds=0.2)
        assert emulator.paid == paid
        assert len(emulator.calls("generate")) == 1

    def test_a_drop_before_reading_reads_nothing(self, emulator, gateway):
        emulator.misbehave("generate", "drop-before-reading")
        with pytest.raises(requests.ConnectionError):
            gateway.generate()

        assert emulator.calls("generate")[0].body == b""

    @pytest.mark.parametrize(("how", "end"), [("reset", "reset"), ("close", "closed")])
    def test_a_drop_resets_or_closes(self, emulator, gateway, how, end):
        emulator.misbehave("generate", "drop-after-reading", how=how)

        assert raw_post(emulator) == end

    def test_half_an_answer_comes_under_its_full_length(self, emulator, gateway):
        emulator.misbehave("generate", "drop-mid-answer")
        url = f"{emulator.url}/lumalabs-ai/v1/generate"
        answer = requests.post(url, json={"prompt": "x"}, headers=gateway.headers, timeout=5, stream=True)
        received = answer.raw.read1(1000)

        assert 0 < len(received) < int(answer.headers["Content-Length"])

    def test_what_hangs_ends_when_the_client_leaves(self, emulator, gateway):
        emulator.misbehave("getStatus", "hang")
        with pytest.raises(requests.Timeout):
            gateway.post("/lumalabs-ai-polling/v1/getStatus", {"task_id": "x"}, timeout=0.1)

        emulator.wait_for(lambda e: e.in_flight["getStatus"] == 0, timeout=2)

    def test_latency_comes_on_top_of_another_fault(self, emulator, gateway):
        emulator.misbehave("generate", "latency", seconds=0.2)
        emulator.misbehave("generate", "503")
        started = time.monotonic()

        assert gateway.generate().status_code == 503
        assert time.monotonic() - started >= 0.2
        assert emulator.requests[0].fault == "latency+503"

    def test_latency_lets_the_generation_begin_at_once(self, emulator, gateway):
        emulator.misbehave("generate", "latency", seconds=20)
        with pytest.raises(requests.Timeout):
            gateway.post("/lumalabs-ai/v1/generate", {"prompt": "x"}, timeout=0.1)

        assert emulator.paid == 1


class TestMangledAnswers:
    @pytest.mark.parametrize("name", MANGLED)
    def test_carry_no_request_id_though_the_generation_runs(self, emulator, gateway, name):
        emulator.misbehave("generate", name)
        answer = gateway.generate()

        assert answer.status_code == 200
        assert usable_request_id(answer) is None
        assert emulator.paid == 1

    def test_none_of_them_lets_a_wrong_key_buy_anything(self, emulator, gateway):
        gateway.headers["Ocp-Apim-Subscription-Key"] = "wrong"
        for name in MANGLED:
            emulator.misbehave("generate", name)
            gateway.generate()

        assert emulator.paid == 0

    def test_a_drip_arrives_in_the_end(self, emulator, gateway):
        emulator.misbehave("generate", "drip", every=0.002)

        assert gateway.submit() in emulator.generations

    def test_a_huge_answer_is_valid_and_as_big_as_asked(self, emulator, gateway):
        emulator.misbehave("generate", "huge", size=3_000_000)
        answer = gateway.generate()

        assert len(answer.content) == int(answer.headers["Content-Length"]) == 3_000_000
        assert answer.json()["requestId"] in emulator.generations

    def test_who_has_had_enough_of_an_answer_leaves_no_trace_in_its_log(self, emulator, caplog):
        body = b'{"prompt": "x"}'
        head = f"POST /lumalabs-ai/v1/generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: application/json\r\nOcp-Apim-Subscription-Key: {emulator.key}\r\n\r\n"
        emulator.misbehave("generate", "huge", times=20, size=3_000_000)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2]))) as asking:
                asking.sendall(head.encode() + body)
                asking.recv(10)
        emulator.wait_for(lambda emulator: emulator.paid == 20 and not emulator.in_flight["generate"])

        assert "Error handling request" not in caplog.text

    def test_a_bomb_is_small_on_the_wire_and_big_unpacked(self, emulator, gateway):
        emulator.misbehave("generate", "bomb", size=5_000_000)
        url = f"{emulator.url}/lumalabs-ai/v1/generate"
        answer = requests.post(url, json={"prompt": "x"}, headers=gateway.headers, timeout=5, stream=True)
        packed = answer.raw.read(decode_content=False)
        unpacked = zlib.decompress(packed, wbits=31)

        assert answer.headers["Content-Encoding"] == "gzip"
        assert (len(packed) < 20_000, len(unpacked)) == (True, 5_000_000)
        assert json.loads(unpacked)["requestId"] in emulator.generations

    def test_odd_headers_surround_an_honest_answer(self, emulator, gateway):
        emulator.misbehave("generate", "odd-headers")
        answer = gateway.generate()

        assert answer.json()["requestId"] in emulator.generations
        assert answer.headers["X-Note"] == "caf\u00e9"
        assert answer.reason == "Whatever you say"

    def test_header_lines_are_sent_as_they_are_given(self, emulator, gateway):
        emulator.misbehave("generate", "odd-headers", lines=["X-One: a\r\nX-Two: b"])

        assert gateway.generate().headers["X-Two"] == "b"

    def test_a_wrong_id_is_somebody_elses(self, emulator, gateway):
        first = gateway.submit()
        emulator.misbehave("generate", "wrong-id")

        assert gateway.submit() == first
        assert emulator.paid == 2

    def test_a_status_can_be_somebody_elses(self, emulator, gateway):
        emulator.add("theirs", outcome="failed", seconds=0, reason="theirs")
        ours = gateway.submit()
        emulator.misbehave("getStatus", "wrong-id", request_id="theirs")

        assert gateway.get_status(ours).json() == {"status": "failed", "error": "theirs"}


class TestStatusAnswers:
    @pytest.mark.parametrize(
        ("name", "options", "expected"),
        [
            ("word", {}, {"status": "finalizing"}),
            (
                "word",
                {"word": "CoMpleted", "video_url": "https://x/y"},
                {"status": "CoMpleted", "video_url": "https://x/y"},
            ),
            ("word", {"word": None, "video_url": "https://x/y"}, {"video_url": "https://x/y"}),
            ("no-address", {}, {"status": "completed"}),
            ("failed", {"status": "rejected", "reason": "no"}, {"status": "rejected", "error": "no"}),
            ("error-no-status", {"error": "hm"}, {"error": "hm"}),
            ("msg-only", {}, {"msg": "Image Getting Created"}),
            ("not-object", {"value": "text"}, "text"),
            ("wrong-type", {}, {"status": 7, "video_url": {"url": 1}}),
            ("wrong-type", {"value": {"status": []}}, {"status": []}),
        ],
    )
    def test_say_what_they_are_told_to(self, emulator, gateway, name, options, expected):
        request_id = gateway.submit()
        emulator.misbehave("getStatus", name, **options)

        assert gateway.get_status(request_id).json() == expected
        assert gateway.get_status(request_id).json()["status"] == "completed"
        assert emulator.generation(request_id).looks == 2

    def test_a_padded_word_can_carry_the_real_address(self, emulator, gateway):
        request_id = gateway.submit()
        emulator.misbehave("getStatus", "word", word=" completed ", video_url=True)

        said = gateway.get_status(request_id).json()
        assert said == {"status": " completed ", "video_url": emulator.video_url(request_id)}

    @pytest.mark.parametrize("code", [200, 404])
    def test_not_found_can_pass(self, emulator, gateway, code):
        request_id = gateway.submit()
        emulator.misbehave("getStatus", "not-found", code=code)
        answer = gateway.get_status(request_id)

        assert (answer.status_code, answer.json()["status"]) == (code, "NOT_FOUND")


class TestSchedule:
    def statuses(self, gateway, number):
        return [gateway.get_status("x").status_code for _ in range(number)]

    def test_faults_take_turns(self, emulator, gateway):
        emulator.misbehave("getStatus", "500", times=2)
        emulator.misbehave("getStatus", "429")

        assert self.statuses(gateway, 4) == [500, 500, 429, 200]

    def test_after_lets_calls_pass_first(self, emulator, gateway):
        emulator.misbehave("getStatus", "500", after=2)

        assert self.statuses(gateway, 4) == [200, 200, 500, 200]

    def test_for_ever_lasts_until_behave(self, emulator, gateway):
        emulator.misbehave("getStatus", "500", times=None)
        emulator.misbehave("generate", "401", times=None)

        assert self.statuses(gateway, 3) == [500] * 3
        emulator.behave("getStatus")
        assert self.statuses(gateway, 1) == [200]
        assert gateway.generate().status_code == 401
        emulator.behave()
        assert gateway.generate().status_code == 200

    def test_targets_do_not_meet_each_others_faults(self, emulator, gateway):
        emulator.misbehave("generate", "500", times=None)

        assert self.statuses(gateway, 2) == [200, 200]

    def test_a_rate_is_a_share_and_the_seed_repeats_it(self, emulator, gateway):
        emulator.misbehave("getStatus", "500", times=None, rate=0.3, seed=7)
        first = self.statuses(gateway, 60)
        emulator.behave()
        emulator.misbehave("getStatus", "500", times=None, rate=0.3, seed=7)

        assert self.statuses(gateway, 60) == first
        assert 6 <= first.count(500) <= 30

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"name": "explode"}, "There is no fault 'explode'. There are: 400, 401"),
            ({"name": "500", "target": "status"}, "no target 'status'"),
            ({"name": "word", "target": "generate"}, "can be aimed at getStatus"),
            ({"name": "hang", "seconds": 3}, "has no option seconds; it takes times"),
            ({"name": "500", "times": 0}, "times must be at least 1"),
            ({"name": "500", "rate": 5}, "between 0 and 1"),
            ({"name": "drop-before-reading", "paid": True}, "cannot be paid for"),
        ],
    )
    def test_what_cannot_be_is_an_error_that_says_why(self, emulator, arguments, message):
        with pytest.raises(ValueError, match=message):
            emulator.misbehave(**{"target": "generate", **arguments})


def usable_request_id(answer):
    try:
        value = answer.json()
    except ValueError:
        return None
    request_id = value.get("requestId") if isinstance(value, dict) else None
    return request_id if isinstance(request_id, str) else None


def read_for(gateway, seconds):
    """POST, and read the answer to its end or for so many seconds."""
    url = f"{gateway.emulator.url}/lumalabs-ai/v1/generate"
    answer = requests.post(url, json={"prompt": "x"}, headers=gateway.headers, timeout=seconds, stream=True)
    until = time.monotonic() + seconds
    for _ in answer.iter_content(512):
        if time.monotonic() > until:
            answer.close()
            raise requests.Timeout("The answer does not end")


def raw_post(emulator):
    """POST over a bare socket and say how the connection ended."""
    body = b'{"prompt": "x"}'
    head = (
        "POST /lumalabs-ai/v1/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Ocp-Apim-Subscription-Key: {emulator.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    port = int(emulator.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(head.encode() + body)
        try:
            return "closed" if connection.recv(1000) == b"" else "answered"
        except ConnectionResetError:
            return "reset"


class TestFaultsOfVideos:
    def test_a_video_can_end_in_the_middle(self, emulator, gateway):
        request_id = gateway.submit()
        emulator.misbehave("video", "drop-mid-answer")

        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            _ = requests.get(emulator.video_url(request_id), timeout=5).content
        assert emulator.calls("video")[0].request_id == request_id

    def test_a_video_can_be_refused(self, emulator, gateway):
        request_id = gateway.submit()
        emulator.misbehave("video", "403")

        assert requests.get(emulator.video_url(request_id), timeout=5).status_code == 403
        assert requests.get(emulator.video_url(request_id), timeout=5).status_code == 200


class TestMisbehavingFromAnotherThread:
    def test_a_fault_given_while_requests_run_is_applied_once(self, emulator, gateway):
        threads = [threading.Thread(target=emulator.misbehave, args=("getStatus", "500")) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [gateway.get_status("x").status_code for _ in range(12)] == [500] * 10 + [200] * 2
