"""
One click from the task to its video, in a real Airflow UI and a real browser; and where there is no click.

Needs Chromium (``apt-get install chromium``) and playwright.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.system.browser import needs_browser, open_page

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator
    from dev.airflow_stack import AirflowStack

DAG_ID = "luma_wait_and_keep"
LINK = "Luma video"


def links_of(airflow: AirflowStack, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
    path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/links"
    links: dict[str, Any] = airflow.api.call("GET", path)["extra_links"]
    return {name: url for name, url in links.items() if url}


@pytest.fixture(scope="module")
def run_id(airflow: AirflowStack, gateway: Emulator, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Wait for a tall video, and keep it."""
    request_id = gateway.add(prompt="A lighthouse, seen from below", aspect_ratio="9:16", seconds=0)
    airflow.api.wait_for_dag(DAG_ID)
    folder = tmp_path_factory.mktemp("link")
    run_id = airflow.api.trigger(DAG_ID, {"request_id": request_id, "destination": f"file://{folder}/"})
    history = airflow.api.wait_for_run(DAG_ID, run_id)
    assert history.state == "success", history
    return run_id


@needs_browser
class TestOneClick:
    def test_plays_the_video(self, run_id: str, airflow: AirflowStack, gateway: Emulator) -> None:
        before = gateway.count("video")
        with open_page() as page:
            page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}/tasks/keep/details")
            button = page.get_by_role("link", name=LINK).or_(page.get_by_role("button", name=LINK)).first
            button.wait_for(timeout=60_000)
            with page.expect_popup() as opened:
                button.click()
            video = opened.value.locator("video")
            video.wait_for(timeout=30_000)
            video.evaluate("video => { video.muted = true; return video.play(); }")
            opened.value.wait_for_function(
                "() => document.querySelector('video').currentTime > 0.5", timeout=30_000
            )
            seen = video.evaluate("v => [v.videoWidth, v.videoHeight, v.duration, v.currentSrc]")
        width, height, seconds, source = seen
        assert (width, height) == (360, 640)
        assert seconds == pytest.approx(3.0, abs=0.1)
        assert source in gateway.video_url(source.rpartition("/")[2].removesuffix(".mp4"))
        assert gateway.count("video") > before


class TestWhereThereIsNoVideo:
    def test_a_transfer_that_failed_has_the_link_all_the_same(
        self, airflow: AirflowStack, gateway: Emulator, tmp_path: Path
    ) -> None:
        request_id = gateway.add(seconds=0)
        (tmp_path / "taken.mp4").write_bytes(b"somebody else's")
        run_id = airflow.api.trigger(
            "luma_keep",
            {
                "request_id": request_id,
                "video_url": gateway.video_url(request_id),
                "destination": f"file://{tmp_path}/taken.mp4",
            },
        )
        assert airflow.api.wait_for_run("luma_keep", run_id).state == "failed"
        assert links_of(airflow, "luma_keep", run_id, "keep") == {LINK: gateway.video_url(request_id)}

    def test_a_transfer_that_never_knew_an_address_has_none(
        self, airflow: AirflowStack, tmp_path: Path
    ) -> None:
        run_id = airflow.api.trigger(
            "luma_keep", {"video_url": "javascript:alert(1)", "destination": f"file://{tmp_path}/a.mp4"}
        )
        assert airflow.api.wait_for_run("luma_keep", run_id).state == "failed"
        assert links_of(airflow, "luma_keep", run_id, "keep") == {}
