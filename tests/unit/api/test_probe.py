"""Only this gateway's own word for a generation shows that the key was accepted."""

from __future__ import annotations

import json

import pytest

from airflow_provider_luma.api.gateway import Answer, Fault, Miss, look
from airflow_provider_luma.api.probe import _WORDS, verdict

NOBODYS = "connection-test-0"
NOT_FOUND = {"status": "NOT_FOUND", "error": "The requested resource could not be located."}
MANAGEMENT = {"statusCode": 404, "message": "Resource not found"}


def answered(status: int, body: object, **headers: str) -> tuple[bool, str]:
    """Return the verdict where every question of the test is answered like this."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    steps = look(NOBODYS, "auto")
    next(steps)
    try:
        while True:
            steps.send(Answer(status, headers, raw))
    except StopIteration as end:
        return verdict(end.value[0])


class TestAccepted:
    @pytest.mark.parametrize("status", [200, 404])
    def test_is_the_documented_not_found(self, status):
        ok, words = answered(status, NOT_FOUND)

        assert ok
        assert "Nothing was generated or charged" in words

    @pytest.mark.parametrize("word", ["processing", "completed", "failed", "a word of tomorrow"])
    def test_is_any_status_of_a_generation(self, word):
        assert answered(200, {"status": word})[0]


class TestNotAccepted:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (404, {"error": "Endpoint not found"}),
            (404, MANAGEMENT),
            (200, MANAGEMENT),
            (200, {"status": 200, "message": "OK"}),
            (200, {"status": "200"}),
            (200, {"message": "Welcome"}),
            (200, {"msg": "Hello"}),
            (200, {"video_url": "https://cdn.example/a.mp4"}),
            (200, {}),
            (200, []),
            (200, b"<!doctype html><title>A start page</title>"),
            (200, b""),
            (404, b"not found"),
            (400, {"error": "Invalid request parameters"}),
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
        assert f"HTTP {status}" in said

    @pytest.mark.parametrize("fault", list(Fault))
    def test_always_says_what_was_seen(self, fault):
        ok, said = verdict(Miss(fault, "did something odd"))

        assert not ok
        assert said.endswith("It did something odd.")

    def test_of_an_unreachable_host_says_what_to_check(self):
        assert "cannot be reached" in verdict(Miss(Fault.NOT_DELIVERED, "refused the connection"))[1]


class TestTheWords:
    def test_are_there_for_every_fault_that_is_not_about_the_address(self):
        assert set(Fault) - set(_WORDS) == {
            Fault.UNUSABLE,
            Fault.INPUT,
            Fault.ADDRESS,
            Fault.CONFLICT,
            Fault.OTHER_REFUSAL,
            Fault.OTHER,
        }
