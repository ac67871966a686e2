"""
What a person does who sets this up, in a real browser: adds the connection by its form, tests it, runs the
example DAG with a prompt, sees it wait without a worker, and opens the video.

One page and one order, as a person would have them; each test goes on where the one before it ended.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from tests.system.browser import keep_screenshot, needs_browser, open_page
from tests.system.conftest import add_good_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_luma.emulator import Emulator
    from dev.airflow_stack import AirflowStack

pytestmark = needs_browser

CONN_ID = "luma_default"
DAG_ID = "luma_text_to_video"
LINK = "Luma video"
PROMPT = "A lighthouse in the fog, its beam turning slowly"
#: Milliseconds that a page may take on a busy machine.
PATIENCE = 60_000
#: Long enough to be seen waiting, by a page that looks at Airflow every few seconds.
SECONDS_TO_BE_SEEN = 15


@pytest.fixture(scope="module")
def page(airflow: AirflowStack, gateway: Emulator) -> Iterator[Any]:
    """Give one page to all tests, in front of an Airflow that has no connection of this id."""
    airflow.api.call("DELETE", f"connections/{CONN_ID}")
    with open_page() as page:
        page.set_default_timeout(PATIENCE)
        yield page
    add_good_connection(airflow, gateway)


@pytest.fixture(scope="module", autouse=True)
def answers(page: Any) -> list[str]:
    """Return all that Airflow says to the browser of connections."""
    said: list[str] = []

    def listen(response: Any) -> None:
        if "/connections" in response.url:
            said.append(response.text())

    page.on("response", listen)
    return said


def open_connections(page: Any, airflow: AirflowStack) -> Any:
    """Open the list of connections, and return the row of ours."""
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").wait_for()
    return page.locator("tr", has_text=CONN_ID)


def edit(page: Any, airflow: AirflowStack) -> Any:
    """Open the form of our connection."""
    open_connections(page, airflow).locator("button[aria-label*=Edit]").click(force=True)
    page.locator("input[name=host]").wait_for()
    return page.get_by_role("dialog")


def save(page: Any) -> None:
    page.get_by_role("button", name="Save").click()
    page.locator("input[name=connection_id]").wait_for(state="detached")


def extra_of(airflow: AirflowStack) -> dict[str, Any]:
    extra: dict[str, Any] = json.loads(airflow.api.call("GET", f"connections/{CONN_ID}")["extra"])
    return extra


def press_test(page: Any, airflow: AirflowStack) -> str:
    """Press the button Test, and return what it said."""
    row = open_connections(page, airflow)
    row.locator("button[aria-label*=Test]").click(force=True)
    toast = page.locator("[data-scope=toast][data-part=description]").last
    toast.wait_for()
    page.wait_for_timeout(700)  # it slides in
    said: str = toast.inner_text()
    return said


class TestTheConnection:
    def test_is_created_by_its_form(
        self, page: Any, airflow: AirflowStack, gateway: Emulator, subscription_key: str
    ) -> None:
        open_connections(page, airflow)
        page.get_by_role("button", name="Add Connection").click()
        page.fill("input[name=connection_id]", CONN_ID)
        page.get_by_role("dialog").get_by_role("combobox").first.click()
        page.keyboard.type("Luma Dream")
        page.get_by_role("option", name="Luma Dream Machine").click()
        host, _, port = gateway.url.rpartition(":")
        assert page.get_by_placeholder("https://gateway.appypie.com").count() == 1
        assert page.locator("input[name=login]").count() == 0, "what does not apply is hidden"
        page.fill("input[name=password]", subscription_key)
        page.fill("input[name=host]", host)
        page.fill("input[name=port]", port)
        keep_screenshot(page, "connection-form")
        page.get_by_text("Extra Fields", exact=True).click()
        page.get_by_label("Typical generation").or_(page.locator("#element_typical_seconds")).first.wait_for()
        page.locator("[name=element_typical_seconds]").fill(str(SECONDS_TO_BE_SEEN))
        page.wait_for_timeout(1000)
        keep_screenshot(page, "connection-settings")
        save(page)

        found = airflow.api.call("GET", f"connections/{CONN_ID}")
        assert (found["conn_type"], found["host"], found["port"]) == ("luma", host, int(port))
        extra = extra_of(airflow)
        assert extra.pop("typical_seconds") == SECONDS_TO_BE_SEEN
        assert extra.pop("trust_env") is True
        assert set(extra.values()) == {None}, "what nobody has filled must say nothing"

    def test_is_accepted(self, page: Any, airflow: AirflowStack, gateway: Emulator) -> None:
        paid = gateway.paid

        assert "accepted the key" in press_test(page, airflow)
        keep_screenshot(page, "connection-test", height=420)
        assert gateway.paid == paid, "a test bills nothing"

    def test_is_edited_without_losing_the_key(self, page: Any, airflow: AirflowStack) -> None:
        form = edit(page, airflow)
        form.get_by_text("Extra Fields", exact=True).click()
        page.locator("[name=element_timeout]").fill("12.5")
        save(page)

        edit(page, airflow).get_by_text("Extra Fields", exact=True).click()
        assert page.locator("[name=element_timeout]").input_value() == "12.5"
        assert extra_of(airflow)["timeout"] == 12.5
        assert "accepted the key" in press_test(page, airflow)

    def test_with_a_wrong_key_is_told_so(self, page: Any, airflow: AirflowStack, wrong_key: str) -> None:
        edit(page, airflow)
        page.fill("input[name=password]", wrong_key)
        save(page)
        said = press_test(page, airflow)
        keep_screenshot(page, "connection-test-wrong-key", height=420)

        assert "refused the key" in said
        assert wrong_key not in said

    def test_with_the_right_key_is_accepted_again(
        self, page: Any, airflow: AirflowStack, subscription_key: str
    ) -> None:
        edit(page, airflow)
        page.fill("input[name=password]", subscription_key)
        save(page)

        assert "accepted the key" in press_test(page, airflow)

    def test_shows_its_keys_to_nobody(
        self, page: Any, answers: list[str], subscription_key: str, wrong_key: str
    ) -> None:
        everything = "\n".join([page.content(), *answers])

        assert CONN_ID in everything, "nothing was heard"
        assert subscription_key not in everything
        assert wrong_key not in everything


class TestTheExample:
    def test_is_run_with_a_prompt(self, page: Any, airflow: AirflowStack, gateway: Emulator) -> None:
        gateway.next(seconds=SECONDS_TO_BE_SEEN)
        airflow.api.wait_for_dag(DAG_ID)
        page.goto(f"{airflow.url}/dags/{DAG_ID}")
        page.get_by_role("button", name="Trigger").first.click()
        form = page.get_by_role("dialog").filter(has=page.locator("[name=element_prompt]"))
        form.locator("[name=element_prompt]").fill(PROMPT)
        form.locator("[name=element_prompt]").blur()
        keep_screenshot(page, "trigger")
        form.get_by_role("button", name="Trigger").click()
        page.wait_for_url("**/runs/**")

    def test_waits_without_a_worker(self, page: Any) -> None:
        page.get_by_text("Deferred").first.wait_for()
        keep_screenshot(page, "deferred")

    def test_succeeds(self, page: Any, airflow: AirflowStack, gateway: Emulator) -> None:
        run_id = unquote(page.url.rpartition("/runs/")[2])

        assert airflow.api.wait_for_run(DAG_ID, run_id).state == "success"
        # The run, and its three tasks.
        page.get_by_text("Success", exact=True).nth(3).wait_for()
        keep_screenshot(page, "success")
        assert [made.prompt for made in gateway.generations.values()].count(PROMPT) == 1

    def test_has_a_log_that_tells_the_story(self, page: Any) -> None:
        run = page.url
        page.goto(f"{run}/tasks/wait")
        page.get_by_text("is complete after").first.wait_for()
        keep_screenshot(page, "log")
        text = page.inner_text("body")
        story = ["waiting in the triggerer until", "is complete after"]
        assert [text.index(part) for part in story] == sorted(text.index(part) for part in story)
        page.goto(run)

    def test_leads_to_the_video_with_one_click(self, page: Any, gateway: Emulator) -> None:
        page.goto(f"{page.url}/tasks/keep/details")
        button = page.get_by_role("link", name=LINK).or_(page.get_by_role("button", name=LINK))
        button.first.wait_for()
        keep_screenshot(page, "video-link")
        before = gateway.count("video")
        with page.expect_popup() as opened:
            button.first.click()
        video = opened.value.locator("video")
        video.evaluate("video => { video.muted = true; return video.play(); }")
        opened.value.wait_for_function("() => document.querySelector('video').currentTime > 0.5")
        keep_screenshot(opened.value, "video")

        assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [640, 360]
        assert gateway.count("video") > before
