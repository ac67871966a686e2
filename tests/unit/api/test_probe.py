"""Only this gateway's own word for a generation shows that the key was accepted."""

from __future__ import annotations

import json

import pytest

from airflow_provider_luma.api.exchange import Answer, Fault, Miss
from airflow_provider_luma.api.gateways import appypie
from airflow_provider_luma.api.probe import _WORDS, probe

NOBODYS = "connection-test-0"
NOT_FOUND = {"status": "NOT_FOUND", "error": "The requested resource could not be located."}
MANAGEMENT = {"statusCode": 404, "message": "Resource not found"}


def answered(status: int, body: object, **headers: str) -> tuple[bool, str]:
    """Return the verdict where every question of the test is answered like this."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return probed(*[Answer(status, headers, raw)] * 2)


def probed(*answers: Answer | Miss, field: str = "auto") -> tuple[bool, str]:
    """Return the verdict on these answers, to one question each."""
    steps = probe(appypie, NOBODYS, field)
    next(steps)
    try:
        for answer in answers:
            steps.send(answer)
    except StopIteration as end:
        verdict: tuple[bool, str] = end.value
        return verdict
    raise AssertionError("it asks once more")


class TestAccepted:
    @pytest.mark.parametrize("status", [200, 404])
    def test_is_the_documented_not_found(self, status):
        ok, words = answered(status, NOT_FOUND)

        assert ok
        assert "Nothing was generated or charged" in words

    @pytest.mark.parametrize("word", ["processing", "Queued", "completed", "failed"])
    def test_is_any_status_of_a_generation(self, word):
        assert answered(200, {"status": word})[0]

    def test_is_a_failure_that_is_not_about_the_key(self):
        assert answered(200, {"status": "failed", "error": "There is no such task"})[0]

    def test_needs_one_question_only(self):
        """A gateway that limits to one call a second could never pass a test of two."""
        assert probed(Answer(200, {}, json.dumps(NOT_FOUND).encode()))[0]

    @pytest.mark.parametrize("field", ["task_id", "requestId"])
    def test_asks_under_a_name_that_was_settled_and_no_other(self, field):
        asked = next(probe(appypie, NOBODYS, field))
        assert json.loads(asked.body) == {field: NOBODYS}

        refused = Answer(400, {}, b'{"error": "Invalid request parameters"}')
        assert not probed(refused, field=field)[0]

    def test_says_what_a_stranger_says(self):
        _, words = answered(200, {"status": "ok"})
        assert words.endswith(" It says 'ok'.")
        _, words = answered(200, {})
        assert "It says" not in words

    @pytest.mark.parametrize("status", [400, 404])
    def test_may_come_to_the_other_name_of_the_id(self, status):
        refused = Answer(status, {}, b'{"error": "Invalid request parameters"}')

        assert probed(refused, Answer(200, {}, json.dumps(NOT_FOUND).encode()))[0]


class TestNotAccepted:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (404, {"error": "Endpoint not found"}),
            (404, MANAGEMENT),
            (200, MANAGEMENT),
            (200, {"status": 200, "message": "OK"}),
            (200, {"status": "200"}),
            (200, {"status": "ok"}),
            (200, {"status": "UP"}),
            (200, {"status": "a word of tomorrow"}),
            (200, {"status": True}),
            (200, {"status": {}}),
            (200, {"status": -1}),
            (200, {"message": "Welcome"}),
            (200, {"msg": "Hello"}),
            (200, {"video_url": "https://cdn.example/a.mp4"}),
            (200, {}),
            (200, []),
            (200, b"<!doctype html><title>A start page</title>"),
            (200, b""),
            (404, b"not found"),
            (405, {"status": "NOT_FOUND"}),
        ],
        ids=str,
    )
    def test_is_what_this_gateway_does_not_say(self, status, body):
        ok, words = answered(status, body)

        assert not ok
        assert "not as this gateway does" in words

    @pytest.mark.parametrize(
        ("status", "body", "headers", "words"),
        [
            (200, {"status": "error", "message": "invalid subscription key"}, {}, "refused the key"),
            (400, {"error": "Invalid request parameters"}, {}, "id field of getStatus"),
            (409, {"error": "Conflict"}, {}, "busy"),
            (401, {"error": "Invalid or missing authentication"}, {}, "refused the key"),
            (401, {"statusCode": 401, "message": "Access denied"}, {}, "refused the key"),
            (403, {"error": "Access denied for this operation"}, {}, "denies access"),
            (403, b"<html>Blocked</html>", {}, "firewall"),
            (403, {"message": "Out of call volume quota."}, {"retry-after": "3600"}, "quota"),
            (403, {"error": "Insufficient balance"}, {}, "out of credit"),
            (402, {"error": "Payment required"}, {}, "out of credit"),
            (429, {"error": "Rate limit exceeded"}, {"retry-after": "17"}, "limits requests"),
            (302, b"", {"location": "https://elsewhere.example/"}, "somewhere else"),
            (500, {"error": "An unexpected error occurred"}, {}, "problem of its own"),
            (503, b"", {}, "out of service"),
        ],
        ids=str,
    )
    def test_tells_apart_why(self, status, body, headers, words):
        ok, said = answered(status, body, **headers)

        assert not ok
        assert words in said
        assert status == 200 or f"HTTP {status}" in said

    @pytest.mark.parametrize("fault", list(Fault))
    def test_always_says_what_was_seen(self, fault):
        ok, said = probed(Miss(fault, "did something odd"))

        assert not ok
        assert said.endswith("It did something odd.")

    def test_of_an_unreachable_host_says_what_to_check(self):
        assert "cannot be reached" in probed(Miss(Fault.NOT_DELIVERED, "refused the connection"))[1]


class TestTheWords:
    def test_are_there_for_every_fault_that_is_not_about_the_address(self):
        assert set(Fault) - set(_WORDS) == {
            Fault.UNUSABLE,
            Fault.ADDRESS,
            Fault.OTHER_REFUSAL,
            Fault.OTHER,
        }
