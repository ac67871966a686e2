"""The page at ``/`` is self-contained, shows nobody the key, and leaves no trace in the emulator's record."""

from __future__ import annotations

import re

import pytest
import requests

from airflow_provider_luma.emulator import Emulator

FILES = {"/": "text/html", "/_emulator/page.css": "text/css", "/_emulator/page.js": "text/javascript"}
HOSTILE = "<img src=x onerror=alert(1)>"


def get(emulator: Emulator, path: str, **headers: str) -> requests.Response:
    return requests.get(emulator.url + path, headers=headers, timeout=5)


class TestTheFiles:
    @pytest.mark.parametrize("path", FILES)
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_are_served_under_a_policy_that_lets_nothing_else_in(self, emulator, path, method):
        answer = requests.request(method, emulator.url + path, timeout=5)

        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == f"{FILES[path]}; charset=utf-8"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert bool(answer.content) is (method == "GET")

    @pytest.mark.parametrize("path", FILES)
    def test_name_no_other_host(self, emulator, path):
        assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", get(emulator, path).text) == []

    def test_put_nothing_into_the_page_as_html(self, emulator):
        script = get(emulator, "/_emulator/page.js").text

        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script) == []

    def test_leave_no_trace(self, emulator):
        for path in FILES:
            get(emulator, path)
        get(emulator, "/_emulator/state")

        assert emulator.requests == []
        assert emulator.count("unknown") == 0

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_are_only_to_be_read(self, emulator, method):
        assert requests.request(method, emulator.url, timeout=5).status_code == 404
        assert emulator.count("unknown") == 1

    def test_are_not_what_is_asked_for_with_a_key(self, emulator):
        """What strays here with a key, by a redirect for instance, must be seen."""
        assert get(emulator, "/", **{"Ocp-Apim-Subscription-Key": emulator.key}).status_code == 404
        assert emulator.count("unknown") == 1


class TestWhatItShows:
    def test_has_hostile_text_as_data_only(self, emulator, gateway):
        gateway.submit(HOSTILE)
        state = get(emulator, "/_emulator/state")

        assert state.headers["Content-Type"].startswith("application/json")
        assert state.json()["generations"][0]["prompt"] == HOSTILE
        assert HOSTILE not in get(emulator, "/").text

    def test_never_holds_the_key(self, emulator, gateway):
        gateway.submit(f"a prompt with {emulator.key} in it")

        assert all(emulator.key not in get(emulator, path).text for path in (*FILES, "/_emulator/state"))

    @pytest.mark.parametrize("key", ["emulator", "generate", "completed", "videos"])
    def test_is_whole_whatever_the_key_is(self, key):
        with Emulator(key=key) as emulator:
            request_id = emulator.add(prompt=f"my {key}", seconds=0)
            state = get(emulator, "/_emulator/state").json()

        (made,) = state["generations"]
        assert made["own_video"] == f"/_emulator/videos/{request_id}.mp4"
        assert "generate" in state["counts"]
        assert made["prompt"] == "my <the right key>"

    def test_is_its_own_video_only(self, emulator):
        emulator.add("here", seconds=0)
        emulator.add("elsewhere", seconds=0, video_url="https://cdn.example/v.mp4")
        emulator.add("failed", seconds=0, outcome="failed")
        emulator.add("later", seconds=60)
        made = {one["request_id"]: one for one in get(emulator, "/_emulator/state").json()["generations"]}

        assert made["here"]["own_video"] == "/_emulator/videos/here.mp4"
        assert [made[name]["own_video"] for name in ("elsewhere", "failed", "later")] == [None] * 3
        assert [made[name]["over"] for name in ("here", "failed", "later")] == [True, True, False]

    def test_plays_videos_that_count_for_nothing(self, emulator):
        request_id = emulator.add(seconds=0)
        emulator.misbehave("video", "500", times=1)
        film = get(emulator, f"/_emulator/videos/{request_id}.mp4", Range="bytes=0-99")

        assert (film.status_code, len(film.content)) == (206, 100)
        assert emulator.video_bytes(request_id).startswith(film.content)
        assert emulator.count("video") == 0
        assert requests.get(emulator.video_url(request_id), timeout=5).status_code == 500, "fault used up"

    def test_stays_small_however_many_there_are(self, emulator):
        for number in range(10_000):
            emulator.add(f"id-{number}", seconds=0)
        answer = get(emulator, "/_emulator/state?limit=24")

        assert len(answer.content) < 24 * 1000
        assert [one["request_id"] for one in answer.json()["generations"]] == [
            f"id-{number}" for number in range(9_976, 10_000)
        ]
        assert answer.json()["generations_total"] == 10_000


class TestAnotherSite:
    @pytest.mark.parametrize(
        "path", [*FILES, "/_emulator/state", "/_emulator/videos/made.mp4", "/_emulator/none"]
    )
    @pytest.mark.parametrize("host", ["localhost", "evil.example"])
    def test_cannot_embed_anything(self, emulator, path, host):
        emulator.add("made", seconds=0)
        headers = get(emulator, path, Host=host).headers

        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"

    @pytest.mark.parametrize("path", ["/", "/_emulator/state", "/_emulator/page.js"])
    def test_cannot_read_under_a_name_of_its_own(self, emulator, path):
        assert get(emulator, path, Host="evil.example").status_code == 403

    @pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null"])
    def test_cannot_arm_a_fault(self, emulator, origin):
        answer = requests.post(
            f"{emulator.url}/_emulator/misbehave",
            json={"target": "generate", "name": "500"},
            headers={"Origin": origin},
            timeout=5,
        )

        assert answer.status_code == 403
        assert get(emulator, "/_emulator/state").json()["faults"] == []

    @pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8077"])
    def test_is_not_what_this_machine_calls_itself(self, emulator, host):
        assert get(emulator, "/", Host=host).status_code == 200
