"""The control API does from another process what the methods do in this one, and never shows a key."""

from __future__ import annotations

import pytest
import requests


@pytest.fixture
def control(emulator):
    def call(method, name, body=None):
        return requests.request(method, f"{emulator.url}/_emulator/{name}", json=body, timeout=5)

    return call


class TestReading:
    def test_health(self, emulator, control):
        assert control("GET", "health").json() == {"ok": True, "url": emulator.url}

    def test_state_counts_and_lists_generations(self, emulator, control, gateway):
        request_id = gateway.submit("a prompt")
        gateway.get_status(request_id)
        state = control("GET", "state").json()

        assert (state["paid"], state["generations_total"]) == (1, 1)
        assert (state["counts"]["generate"], state["counts"]["getStatus"]) == (1, 1)
        (generation,) = state["generations"]
        assert (generation["request_id"], generation["prompt"], generation["looks"]) == (
            request_id,
            "a prompt",
            1,
        )
        assert generation["answer"]["status"] == "completed"

    def test_state_and_requests_can_be_limited(self, control, gateway):
        for _ in range(3):
            last = gateway.submit()

        assert [item["request_id"] for item in control("GET", "state?limit=1").json()["generations"]] == [
            last
        ]
        requested = control("GET", "requests?target=generate&limit=1").json()
        assert (requested["total"], [item["request_id"] for item in requested["requests"]]) == (3, [last])

    def test_its_own_requests_are_not_recorded(self, emulator, control):
        control("GET", "state")

        assert emulator.requests == []

    def test_the_table_of_faults_is_there(self, control):
        names = [fault["name"] for fault in control("GET", "faults").json()["faults"]]

        assert {"500", "hang", "bomb", "word"} <= set(names)


class TestDeeds:
    def test_misbehave_and_behave(self, control, gateway):
        control("POST", "misbehave", {"target": "getStatus", "name": "status", "code": 418, "times": None})
        assert gateway.get_status("x").status_code == 418
        assert [rule["fired"] for rule in control("GET", "state").json()["faults"]] == [1]

        control("POST", "behave")
        assert gateway.get_status("x").status_code == 200

    def test_a_redirect_finds_its_other_host(self, emulator, control, gateway):
        control("POST", "misbehave", {"target": "generate", "name": "redirect"})
        gateway.generate()

        assert control("GET", "state").json()["other_host"] == {
            "url": emulator.other_host().url,
            "requests": 0,
        }

    def test_next_add_set_and_reset(self, emulator, control, gateway):
        control("POST", "next", {"outcome": "failed", "reason": "why"})
        assert gateway.get_status(gateway.submit()).json() == {"status": "failed", "error": "why"}

        request_id = control("POST", "add", {"seconds": 0}).json()["request_id"]
        control("POST", "set", {"request_id": request_id, "status": "ready"})
        assert gateway.get_status(request_id).json()["status"] == "ready"

        control("POST", "reset")
        assert (emulator.paid, emulator.generations) == (0, {})

    @pytest.mark.parametrize(
        ("name", "body", "status", "message"),
        [
            ("misbehave", {"target": "generate", "name": "explode"}, 400, "There is no fault 'explode'"),
            ("misbehave", {}, 400, "missing"),
            ("next", {"outcome": "done"}, 400, "Unknown outcome"),
            ("next", ["failed"], 400, "must be a JSON object"),
            ("set", {"request_id": "nobody"}, 404, "no generation 'nobody'"),
            ("explode", {}, 404, "There is no POST"),
        ],
    )
    def test_a_mistake_is_answered_with_what_is_wrong(self, control, name, body, status, message):
        answer = control("POST", name, body)

        assert answer.status_code == status
        assert message in answer.json()["error"]


class TestSecrecy:
    def test_no_key_is_shown_wherever_it_was_sent(self, emulator, control, gateway):
        gateway.headers["X-Copy"] = f"Bearer {emulator.key}"
        gateway.headers["Authorization"] = "Basic c2VjcmV0"
        gateway.generate(f"the key is {emulator.key}")
        gateway.post(f"/unknown?key={emulator.key}", {})
        gateway.headers["Ocp-Apim-Subscription-Key"] = "a-key-of-somebody-else"
        gateway.generate()
        shown = control("GET", "requests")
        headers = [dict(request["headers"]) for request in shown.json()["requests"]]

        assert emulator.key not in shown.text + control("GET", "state").text
        assert "a-key-of-somebody-else" not in shown.text
        assert "c2VjcmV0" not in shown.text
        assert [each["Ocp-Apim-Subscription-Key"] for each in headers] == [
            "<the right key>",
            "<the right key>",
            "<a wrong key>",
        ]

    def test_no_key_is_logged(self, emulator, gateway, caplog):
        caplog.set_level("DEBUG")
        gateway.generate()
        gateway.post(f"/unknown?key={emulator.key}", {})

        assert "/lumalabs-ai/v1/generate" in caplog.text
        assert emulator.key not in "".join(
            record.getMessage()
            for record in caplog.records
            if record.name.startswith("airflow_provider_luma")
        )
