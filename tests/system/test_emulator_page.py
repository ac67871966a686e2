"""The emulator's page in a real browser: what was generated, its videos playing, and nothing of it run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma.emulator import Emulator
from airflow_provider_luma.emulator.video import VideoStore, VideosUnavailable
from tests.system.browser import keep_screenshot, needs_browser, open_page

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_browser

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PROMPTS = {
    "A paper boat on a rain-washed street, at dusk": {"seconds": 0},
    "A fox in the snow, looking back over its shoulder": {"seconds": 0, "aspect_ratio": "9:16", "loop": True},
    "A city of glass, seen from a slow balloon": {"seconds": 0, "image_url": "https://a.example/first.png"},
    "Two dancers in an empty hall": {"seconds": 3600},
    "A wave that breaks upwards": {"outcome": "failed", "seconds": 0, "reason": "The model gave up"},
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def card(page: Any, prompt: str) -> Any:
    return page.get_by_role("listitem").filter(has_text=prompt)


def plays(page: Any, prompt: str) -> tuple[int, int]:
    """Wait until the video of a prompt plays by itself, and return its size."""
    video = card(page, prompt).locator("video")
    deadline = time.monotonic() + 60
    # Not wait_for_function: it needs an eval, which the page's policy forbids.
    while video.evaluate("video => video.currentTime") < 0.5:
        assert time.monotonic() < deadline, "it does not play"
        page.wait_for_timeout(100)
    width, height = video.evaluate("video => [video.videoWidth, video.videoHeight]")
    return width, height


class TestThePage:
    @pytest.mark.parametrize("name", ["light", "dark", "phone"])
    def test_shows_what_was_generated_with_the_videos_playing(self, emulator: Emulator, name: str) -> None:
        for prompt, fields in PROMPTS.items():
            emulator.add(prompt=prompt, **fields)  # type: ignore[arg-type]
        emulator.misbehave("generate", "429", times=2)
        first, tall = list(PROMPTS)[:2]
        size = {"width": 390, "height": 844} if name == "phone" else {"width": 1280, "height": 900}
        with open_page(viewport=size, color_scheme="dark" if name == "dark" else "light") as page:
            page.goto(emulator.url)
            card(page, first).scroll_into_view_if_needed()
            assert plays(page, first) == (640, 360)
            card(page, tall).scroll_into_view_if_needed()
            assert plays(page, tall) == (360, 640)
            assert "ready in" in card(page, "Two dancers").inner_text()
            assert "The model gave up" in card(page, "A wave").inner_text()
            assert card(page, "A city").get_by_role("link").get_attribute("href").endswith("/first.png")
            assert "429, 2 more" in page.get_by_label("Faults that are armed").inner_text()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(300)
            keep_screenshot(page, f"emulator-{name}")
        assert emulator.requests == [], "looking at the page is no request to the gateway"

    def test_runs_nothing_that_a_prompt_says(self, emulator: Emulator) -> None:
        emulator.add(prompt=HOSTILE, seconds=0, video_url="javascript:alert(3)")
        emulator.add(prompt="failed", outcome="failed", seconds=0, reason=HOSTILE)
        emulator.add("<b>id", prompt="an id", image_url="javascript:alert(4)")
        alarms: list[str] = []
        with open_page() as page:
            page.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
            page.on("pageerror", lambda error: alarms.append(str(error)))
            page.goto(emulator.url)
            page.get_by_text(HOSTILE).first.wait_for()
            assert page.locator("main img, main script").count() == 0
            assert page.get_by_role("link").count() == 0, "javascript: is no address"
            assert page.get_by_text("<b>id").count() == 1
        assert alarms == []

    def test_keeps_up_by_itself(self, emulator: Emulator) -> None:
        with open_page() as page:
            page.goto(emulator.url)
            page.get_by_text("Nothing was generated yet").wait_for()
            assert emulator.url in page.inner_text("#empty")
            keep_screenshot(page, "emulator-empty", height=420)
            request_id = emulator.add(prompt="A late one", seconds=3600)
            card(page, "A late one").wait_for()
            assert page.get_by_text("Nothing was generated yet").is_hidden()
            emulator.set(request_id, seconds=0)
            assert plays(page, "A late one") == (640, 360)
            player = card(page, "A late one").locator("video").element_handle()
            emulator.add(prompt="Another one", seconds=0)
            card(page, "Another one").wait_for()
            assert player.evaluate("video => video.isConnected && !video.paused"), "it was drawn anew"

    def test_shows_the_newest_first_and_more_on_demand(self, emulator: Emulator) -> None:
        for number in range(100):
            emulator.add(prompt=f"Number {number}.", seconds=3600)
        with open_page() as page:
            page.goto(emulator.url)
            page.get_by_text("Number 99.").wait_for()
            prompts = page.locator(".prompt").all_inner_texts()
            assert prompts == [f"Number {number}." for number in range(99, 75, -1)]
            page.get_by_role("button", name="Show more").click()
            page.get_by_text("Number 0.").wait_for()
            prompts = page.locator(".prompt").all_inner_texts()
            assert prompts == [f"Number {number}." for number in range(99, -1, -1)]

    def test_loads_only_what_is_looked_at(self, emulator: Emulator) -> None:
        for number in range(100):
            emulator.add(f"id-{number}", seconds=0)
        asked: list[str] = []
        with open_page() as page:
            # None is answered, so that the first one would keep the others waiting for ever.
            page.route("**/_emulator/videos/*", lambda route: asked.append(route.request.url))
            page.goto(emulator.url)
            page.get_by_text("id-99", exact=True).wait_for()
            # Not a click, which scrolls there.
            page.get_by_role("button", name="Show more").dispatch_event("click")
            page.get_by_text("id-0", exact=True).wait_for()
            assert [url.rpartition("/")[2] for url in asked] == ["id-99.mp4"]
            page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            page.wait_for_timeout(1000)
            assert len(asked) == 2, "one at a time, and not what was scrolled past"
            assert int(asked[1].rpartition("-")[2].removesuffix(".mp4")) < 10, "what is in view comes first"
            assert page.locator("video[src]").count() == 1, "what is far away is let go"

    def test_tries_again_what_did_not_load(self, emulator: Emulator) -> None:
        emulator.add(prompt="A late one", seconds=0)
        with open_page() as page:
            page.route("**/_emulator/videos/*", lambda route: route.abort())
            page.goto(emulator.url)
            page.get_by_text("The video did not load.").wait_for()
            page.unroute("**/_emulator/videos/*")
            assert plays(page, "A late one") == (640, 360)

    def test_says_what_drawing_needs(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        def get(store: VideoStore, scene: object) -> None:
            raise VideosUnavailable("av")

        monkeypatch.setattr(VideoStore, "get", get)
        emulator.add(seconds=0)
        with open_page() as page:
            page.goto(emulator.url)
            page.get_by_text("pip install airflow-provider-luma[emulator]").wait_for()

    def test_follows_what_a_test_changes(self, emulator: Emulator) -> None:
        emulator.add("id", prompt="Before", seconds=0, video_url="https://a.example/1.mp4")
        with open_page() as page:
            page.goto(emulator.url)
            page.get_by_role("link", name="https://a.example/1.mp4").wait_for()
            emulator.set("id", video_url="https://a.example/2.mp4")
            page.get_by_role("link", name="https://a.example/2.mp4").wait_for()
            emulator.reset()
            emulator.add("id", prompt="After", seconds=3600)
            page.get_by_text("After").wait_for()
            assert page.locator(".prompt").all_inner_texts() == ["After"]

    def test_rests_while_nobody_looks(self, emulator: Emulator) -> None:
        with open_page() as page:
            page.goto(emulator.url)
            page.get_by_text("Nothing was generated yet").wait_for()
            # A headless browser has no tab to be hidden behind.
            hide = """hidden => {
                Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
            page.evaluate(hide, arg=True)
            emulator.add(prompt="A late one", seconds=3600)
            page.wait_for_timeout(2500)
            assert card(page, "A late one").count() == 0
            page.evaluate(hide, arg=False)
            card(page, "A late one").wait_for(timeout=1500)

    def test_says_when_the_emulator_has_gone(self, emulator: Emulator) -> None:
        emulator.add(prompt="What was there")
        with open_page() as page:
            page.goto(emulator.url)
            card(page, "What was there").wait_for()
            emulator.stop()
            page.get_by_text("does not answer").wait_for()
            assert card(page, "What was there").is_visible()
