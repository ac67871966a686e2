"""In good order, the emulator answers as the vendor's page says, and remembers what it was asked."""

from __future__ import annotations

import concurrent.futures
import time
import uuid

import pytest
import requests

from airflow_provider_luma.emulator import Emulator

BAD_REQUEST = {"error": "Invalid request parameters"}
UNAUTHORIZED = {"error": "Invalid or missing authentication"}
NO_SUCH_PLACE = {"error": "Endpoint not found"}
NOT_FOUND = {"status": "NOT_FOUND", "error": "The requested resource could not be located."}


class TestGenerate:
    def test_answers_with_a_request_id_alone(self, emulator, gateway):
        answer = gateway.generate(aspect_ratio="9:16", loop=True)

        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert list(answer.json()) == ["requestId"]
        uuid.UUID(answer.json()["requestId"])

    def test_keeps_what_was_asked_for(self, emulator, gateway):
        request_id = gateway.submit("Über den Wolken", aspect_ratio="21:9", loop=True)

        generation = emulator.generations[request_id]
        assert (generation.prompt, generation.aspect_ratio, generation.loop) == (
            "Über den Wolken",
            "21:9",
            True,
        )
        assert generation.paid
        assert emulator.paid == 1

    def test_has_the_documented_defaults(self, emulator, gateway):
        generation = emulator.generation(gateway.submit())

        assert (generation.aspect_ratio, generation.loop) == ("16:9", False)

    @pytest.mark.parametrize(
        "body",
        [
            {},
            [],
            "text",
            {"prompt": ""},
            {"prompt": "  \n"},
            {"prompt": 7},
            {"prompt": None},
            {"prompt": "x", "aspect_ratio": "wide"},
            {"prompt": "x", "aspect_ratio": "0:9"},
            {"prompt": "x", "aspect_ratio": 1.5},
            {"prompt": "x", "loop": "False"},
            {"prompt": "x", "loop": 1},
            {"prompt": "x", "loop": None},
        ],
    )
    def test_refuses_what_the_page_does_not_allow(self, emulator, gateway, body):
        answer = gateway.post("/lumalabs-ai/v1/generate", body)

        assert (answer.status_code, answer.json()) == (400, BAD_REQUEST)
        assert emulator.paid == 0

    @pytest.mark.parametrize("body", [b"", b"{", b'{"prompt": "\xff"}', b"[" * 100_000])
    def test_refuses_a_body_that_is_not_json(self, emulator, gateway, body):
        headers = {**gateway.headers, "Content-Type": "application/json"}
        answer = gateway.post("/lumalabs-ai/v1/generate", None, data=body, headers=headers)

        assert (answer.status_code, answer.json()) == (400, BAD_REQUEST)
        assert emulator.requests[0].json is None

    def test_refuses_another_content_type(self, emulator, gateway):
        headers = {**gateway.headers, "Content-Type": "text/plain"}
        answer = requests.post(
            f"{emulator.url}/lumalabs-ai/v1/generate", data='{"prompt": "x"}', headers=headers, timeout=5
        )

        assert (answer.status_code, answer.json()) == (400, BAD_REQUEST)

    @pytest.mark.parametrize("key", [None, "", "wrong", "THE-EMULATORS-OWN-TEST-KEY"])
    def test_refuses_any_other_key(self, emulator, gateway, key):
        del gateway.headers["Ocp-Apim-Subscription-Key"]
        if key is not None:
            gateway.headers["Ocp-Apim-Subscription-Key"] = key

        answer = gateway.generate()

        assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)
        assert emulator.paid == 0

    def test_an_image_is_taken_at_the_second_address(self, emulator, gateway):
        body = {"prompt": "Let it rain", "url": "https://example.org/street.png"}
        answer = gateway.post("/lumalabs-ai/v1/generateRequestFromImage", body)

        assert emulator.generation(answer.json()["requestId"]).image_url == "https://example.org/street.png"
        assert len(emulator.calls("generateRequestFromImage")) == emulator.paid == 1

    @pytest.mark.parametrize("url", [None, "", 3, "street.png", "file:///street.png"])
    def test_an_image_needs_an_address_on_the_web(self, emulator, gateway, url):
        answer = gateway.post("/lumalabs-ai/v1/generateRequestFromImage", {"prompt": "x", "url": url})

        assert (answer.status_code, answer.json()) == (400, BAD_REQUEST)


class TestOtherAddresses:
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_a_wrong_method_is_not_found(self, emulator, gateway, method):
        answer = requests.request(
            method, f"{emulator.url}/lumalabs-ai/v1/generate", headers=gateway.headers, timeout=5
        )

        assert (answer.status_code, answer.json()) == (404, NO_SUCH_PLACE)
        assert emulator.calls("generate") == []

    def test_an_unknown_path_is_not_found_and_recorded(self, emulator, gateway):
        answer = gateway.post("/lumalabs-ai/v2/generate?x=1", {"prompt": "x"})

        assert (answer.status_code, answer.json()) == (404, NO_SUCH_PLACE)
        assert [request.path for request in emulator.calls("unknown")] == ["/lumalabs-ai/v2/generate?x=1"]


class TestGetStatus:
    def test_is_pending_first_and_completed_in_time(self):
        with Emulator(seconds=0.3) as emulator:
            headers = {"Ocp-Apim-Subscription-Key": emulator.key}
            generate, status = "/lumalabs-ai/v1/generate", "/lumalabs-ai-polling/v1/getStatus"
            started = time.monotonic()
            answer = requests.post(emulator.url + generate, json={"prompt": "x"}, headers=headers, timeout=5)
            body = {"task_id": answer.json()["requestId"]}

            first = requests.post(emulator.url + status, json=body, headers=headers, timeout=5).json()
            said = first
            while said["status"] == "processing":
                time.sleep(0.02)
                said = requests.post(emulator.url + status, json=body, headers=headers, timeout=5).json()

            assert first == {"status": "processing"}
            assert 0.3 <= time.monotonic() - started < 3
            assert said == {
                "status": "completed",
                "video_url": f"{emulator.url}/videos/{body['task_id']}.mp4",
            }

    @pytest.mark.parametrize(
        ("accepted", "task_id", "request_id"),
        [("both", 200, 200), ("task_id", 200, 400), ("requestId", 400, 200)],
    )
    def test_takes_the_id_in_the_field_that_is_set(self, emulator, gateway, accepted, task_id, request_id):
        emulator.status_id_field = accepted
        made = gateway.submit()

        assert gateway.get_status(made, "task_id").status_code == task_id
        assert gateway.get_status(made, "requestId").status_code == request_id

    @pytest.mark.parametrize("value", ["", " ", None, 7, ["x"]])
    def test_refuses_an_id_that_is_no_text(self, gateway, value):
        answer = gateway.get_status(value)

        assert (answer.status_code, answer.json()) == (400, BAD_REQUEST)

    @pytest.mark.parametrize("status", [200, 404])
    def test_an_unknown_id_is_not_found_as_documented(self, emulator, gateway, status):
        emulator.not_found_status = status

        answer = gateway.get_status(str(uuid.uuid4()))

        assert (answer.status_code, answer.json()) == (status, NOT_FOUND)

    def test_counts_the_looks_at_each_generation(self, emulator, gateway):
        one, two = gateway.submit(), gateway.submit()
        for _ in range(3):
            gateway.get_status(one)

        assert (emulator.generation(one).looks, emulator.generation(two).looks) == (3, 0)


class TestDestiny:
    @pytest.mark.parametrize(
        ("plan", "expected"),
        [
            ({"outcome": "failed"}, {"status": "failed", "error": "The video could not be generated"}),
            ({"outcome": "failed", "status": "Error", "reason": "no"}, {"status": "Error", "error": "no"}),
            ({"outcome": "pending", "status": "dreaming"}, {"status": "dreaming"}),
            ({"seconds": 60}, {"status": "processing"}),
            ({"outcome": "no-address"}, {"status": "completed"}),
            ({"outcome": "no-status", "video_url": "https://x/y"}, {"video_url": "https://x/y"}),
            ({"outcome": "error-no-status", "reason": "hm"}, {"error": "hm"}),
            ({"outcome": "not-found"}, NOT_FOUND),
            ({"status": "DONE", "video_url": "https://x/y"}, {"status": "DONE", "video_url": "https://x/y"}),
        ],
    )
    def test_the_next_generation_becomes_what_was_planned(self, emulator, gateway, plan, expected):
        emulator.next(**plan)
        planned, usual = gateway.submit(), gateway.submit()

        assert gateway.get_status(planned).json() == expected
        assert gateway.get_status(usual).json()["status"] == "completed"

    def test_a_plan_can_hold_for_several_and_for_ever(self, emulator, gateway):
        emulator.next("failed", times=None)
        emulator.next("pending", times=2)

        said = [gateway.get_status(gateway.submit()).json()["status"] for _ in range(4)]

        assert said == ["processing", "processing", "failed", "failed"]

    def test_an_id_can_be_chosen(self, emulator, gateway):
        emulator.next(request_id="../../odd\r\nid: é")

        assert gateway.submit() == "../../odd\r\nid: é"
        video_url = gateway.get_status("../../odd\r\nid: é").json()["video_url"]
        assert requests.head(video_url, timeout=5).status_code == 200

    def test_a_generation_can_be_changed_while_it_runs(self, emulator, gateway):
        emulator.next(seconds=60)
        request_id = gateway.submit()
        emulator.set(request_id, "failed", seconds=0, reason="moderation")

        assert gateway.get_status(request_id).json() == {"status": "failed", "error": "moderation"}

    def test_one_made_elsewhere_is_not_paid(self, emulator, gateway):
        emulator.add("elsewhere", seconds=0, prompt="not ours")

        assert gateway.get_status("elsewhere").json()["status"] == "completed"
        assert emulator.paid == 0

    def test_an_unknown_outcome_is_an_error(self, emulator):
        with pytest.raises(ValueError, match="Unknown outcome 'finished'; there are: completed"):
            emulator.next("finished")


class TestRecord:
    def test_holds_all_of_a_request(self, emulator, gateway):
        before = time.time()
        request_id = gateway.submit("hé")
        (call,) = emulator.requests

        assert before <= call.at <= time.time()
        assert (call.target, call.method, call.path) == ("generate", "POST", "/lumalabs-ai/v1/generate")
        assert call.headers["ocp-apim-subscription-key"] == emulator.key
        assert call.json == {"prompt": "hé"}
        assert b"prompt" in call.body
        assert (call.request_id, call.fault, call.paid) == (request_id, None, True)
        assert call.client_port > 0

    def test_stands_before_the_answer_is_sent(self, emulator, gateway):
        for number in range(20):
            gateway.generate()
            assert len(emulator.calls("generate")) == number + 1

    def test_neither_repr_shows_the_key(self, emulator, gateway):
        gateway.generate()

        assert emulator.key not in repr(emulator.requests) + repr(emulator)

    def test_is_bounded_while_the_counts_go_on(self):
        with Emulator(record_limit=5) as emulator:
            for _ in range(8):
                requests.get(f"{emulator.url}/nowhere", timeout=5)

            assert len(emulator.requests) == 5
            assert emulator.count("unknown") == 8

    def test_reset_forgets_everything(self, emulator, gateway):
        emulator.misbehave("generate", "500")
        gateway.generate()
        gateway.generate()
        emulator.next("failed")
        emulator.misbehave("getStatus", "500", times=None)
        emulator.reset()

        assert (emulator.requests, emulator.generations, emulator.paid) == ([], {}, 0)
        assert gateway.get_status(gateway.submit()).json()["status"] == "completed"

    def test_an_unknown_target_is_an_error(self, emulator):
        with pytest.raises(ValueError, match="There is no target 'status'"):
            emulator.calls("status")

    def test_many_callers_at_once_are_all_counted(self, emulator, gateway):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            ids = list(pool.map(lambda number: gateway.submit(f"prompt {number}"), range(200)))

        assert len(set(ids)) == emulator.paid == emulator.count("generate") == 200
        assert 1 <= emulator.max_in_flight["generate"] <= 16
        assert {call.request_id for call in emulator.requests} == set(ids)
