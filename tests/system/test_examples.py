"""Examples that only a real Airflow runs to their end: what starts workers, and what waits for a person."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.mail import MailServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

    from airflow_provider_luma.emulator import Emulator
    from dev.airflow_rest import RunHistory
    from dev.airflow_stack import AirflowStack

pytestmark = pytest.mark.timeout(300)

REVIEW = "luma_review_before_publishing"


def videos(airflow: AirflowStack) -> Path:
    return Path(airflow.env["LUMA_DEMO_VIDEOS"])


class TestTheWholeInOneTask:
    def test_takes_two_starts_of_a_worker(self, airflow: AirflowStack) -> None:
        airflow.api.wait_for_dag("luma_image_to_video")
        run_id = airflow.api.trigger("luma_image_to_video", {"image_url": "https://example.org/a.png"})
        history = airflow.api.wait_for_run("luma_image_to_video", run_id)
        assert history.state == "success", history
        request_id = airflow.api.xcom("luma_image_to_video", run_id, "make", "requestId")
        assert (videos(airflow) / f"{request_id}.mp4").stat().st_size > 0
        lines = airflow.api.logs("luma_image_to_video", run_id, "make")
        assert sum("DAG bundles loaded" in line for line in lines) == 2, lines
        assert "deferred" in history.states("make")


@pytest.fixture(scope="module")
def runs(airflow: AirflowStack) -> dict[str, str]:
    """Give two runs that wait for their answer, by the answer."""
    airflow.api.wait_for_dag(REVIEW)
    return {answer: airflow.api.trigger(REVIEW) for answer in ("Approve", "Reject")}


class TestAPersonLooksFirst:
    def answered(self, airflow: AirflowStack, run_id: str, answer: str) -> RunHistory:
        airflow.api.wait_for_run(
            REVIEW, run_id, until=lambda history: "awaiting_input" in history.states("approve")
        )
        path = f"dags/{REVIEW}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        asked = airflow.api.call("GET", path)
        assert "/videos/" in asked["body"], "whoever decides can look at it"
        # No person answers in the same moment: Airflow fails a task that is resumed before its first process
        # has been noted as ended, as it does after a deferral that is too short.
        time.sleep(5)
        airflow.api.call("PATCH", path, {"chosen_options": [answer], "params_input": {}})
        return airflow.api.wait_for_run(REVIEW, run_id)

    def test_and_publishes(self, airflow: AirflowStack, runs: dict[str, str]) -> None:
        history = self.answered(airflow, runs["Approve"], "Approve")
        logs = [airflow.api.logs(REVIEW, history.run_id, task_id) for task_id in history.failed_tasks()]
        assert history.state == "success", f"{history}\n{logs}"
        published = airflow.api.xcom(REVIEW, runs["Approve"], "publish")
        assert Path(published.removeprefix("file://")).exists()

    def test_or_does_not(self, airflow: AirflowStack, runs: dict[str, str]) -> None:
        history = self.answered(airflow, runs["Reject"], "Reject")
        assert history.state == "success"
        assert history.states("publish")[-1] == "skipped"


WATCHED = "luma_watched"


def text_of(mail: EmailMessage) -> str:
    """Return subject and body."""
    body = mail.get_body()
    assert body is not None
    return f"{mail['subject']}: {body.get_content()}"


class TestSomebodyHears:
    @pytest.fixture(scope="class")
    @classmethod
    def mail(cls, airflow: AirflowStack) -> Iterator[MailServer]:
        with MailServer() as server:
            extra = json.dumps({"disable_ssl": True, "disable_tls": True})
            fields = {"host": "127.0.0.1", "port": server.port, "extra": extra}
            airflow.api.add_connection("smtp_default", "smtp", replace=True, **fields)
            airflow.api.wait_for_dag(WATCHED)
            yield server

    def heard(self, mail: MailServer, what: str) -> str:
        deadline = time.monotonic() + 90
        while not (found := [text for text in map(text_of, mail.mails) if what in text]):
            assert time.monotonic() < deadline, [*map(text_of, mail.mails)]
            time.sleep(0.2)
        return found[0]

    def test_of_a_video_that_is_late_which_is_waited_for_all_the_same(
        self, airflow: AirflowStack, gateway: Emulator, mail: MailServer
    ) -> None:
        gateway.next(seconds=20)
        run_id = airflow.api.trigger(WATCHED)
        assert "do not submit it again" in self.heard(mail, "The video is late")
        assert airflow.api.run_state(WATCHED, run_id) == "running"
        assert airflow.api.wait_for_run(WATCHED, run_id).state == "success"

    def test_of_a_failure_and_of_what_it_cost(
        self, airflow: AirflowStack, gateway: Emulator, mail: MailServer
    ) -> None:
        gateway.next(outcome="failed", reason="No frame", seconds=0)
        run_id = airflow.api.trigger(WATCHED)
        assert airflow.api.wait_for_run(WATCHED, run_id).state == "failed"
        said = self.heard(mail, "No video")
        assert run_id in said
        assert "No frame" in said
        assert airflow.api.xcom(WATCHED, run_id, "make", "requestId") in said
        assert "may have been charged" in said
