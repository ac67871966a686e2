"""
The main job in real Airflow: a scheduler, a triggerer, a dag-processor and an api-server make two videos.

What only real processes can show is shown here: that a waiting task holds no worker, that the triggerer does
the looking, that no secret is left in anything that Airflow writes, and what a user reads when it goes wrong.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.airflow_rest import FINISHED_RUN, RunHistory, Sighting
from dev.mp4 import Video, decode
from dev.secret_search import Find, search_database, search_home
from tests.system.conftest import add_good_connection
from tests.system.watchful import PRICE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_luma.emulator import Emulator
    from dev.airflow_stack import AirflowStack
    from tests.system.metrics import MetricsServer

DAG_ID = "luma_text_to_video"
#: A word that does stand in what Airflow writes (it is part of a prompt): the search must find it.
PLANTED = secrets.token_hex(16)
#: How a User-Agent of this provider says which process sent the request.
LOOKER = re.compile(r"\((\w+); pid (\d+)\)")
#: The metric of how many wait in the triggerer of this machine.
WAITING = f"luma.waiting.luma_default.{re.sub('[^a-zA-Z0-9_-]', '_', socket.gethostname())}"


@dataclass(frozen=True)
class Made:
    """One video, made by a run of the example DAG."""

    prompt: str
    history: RunHistory
    request_id: str
    kept: Path
    video: Video


@dataclass(frozen=True)
class WhileDeferred:
    """What was so at the moment in which the wait of the wide video was seen deferred."""

    triggerer_pids: set[int]
    request_id: str
    #: Where the database held these three.
    of_request_id: set[Find]
    of_key: set[Find]
    of_planted: set[Find]


@dataclass(frozen=True)
class Watched:
    """Two videos made side by side, the wide one watched closely."""

    wide: Made
    tall: Made
    deferred: WhileDeferred


@pytest.fixture(scope="session")
def watched(airflow: AirflowStack, subscription_key: str) -> Watched:
    """Make two videos, from two prompts in two ratios."""
    api = airflow.api
    moments: list[WhileDeferred] = []

    def look_closely(seen: Sighting) -> None:
        if seen.state == "deferred" and not moments:
            request_id = api.xcom(DAG_ID, wide_run, "generate", "requestId")
            moments.append(
                WhileDeferred(
                    triggerer_pids={process.pid for process in airflow.tree("triggerer")},
                    request_id=request_id,
                    of_request_id=_search_database(airflow, request_id),
                    of_key=_search_database(airflow, subscription_key),
                    of_planted=_search_database(airflow, PLANTED),
                )
            )

    wide_prompt = f"A glowing jellyfish in the deep sea, {PLANTED}"
    tall_prompt = "A paper boat in the rain"
    wide_run = api.trigger(DAG_ID, {"prompt": wide_prompt, "aspect_ratio": "16:9"})
    tall_run = api.trigger(DAG_ID, {"prompt": tall_prompt, "aspect_ratio": "9:16"})
    wide = api.wait_for_run(DAG_ID, wide_run, every=0.1, on_sighting=look_closely)
    tall = api.wait_for_run(DAG_ID, tall_run)
    assert moments, f"no task was ever deferred: {wide}\n{_endings(airflow, wide)}"
    return Watched(_made(airflow, wide_prompt, wide), _made(airflow, tall_prompt, tall), moments[0])


def _made(airflow: AirflowStack, prompt: str, history: RunHistory) -> Made:
    assert history.state == "success", f"{history}\n{_endings(airflow, history)}"
    kept = Path(airflow.api.xcom(DAG_ID, history.run_id, "keep").removeprefix("file://"))
    request_id = airflow.api.xcom(DAG_ID, history.run_id, "generate", "requestId")
    return Made(prompt, history, request_id, kept, decode(kept))


class TestEveryDoor:
    """The DAG as it stands, moved from door to door by its connection alone."""

    def test_gives_its_video(self, watched: Watched, airflow: AirflowStack, gateway: Emulator) -> None:
        """The first door has given its own already."""
        made = {gateway.generation(watched.wide.request_id).door: watched.wide}
        try:
            for door in ("luma", "luma_agents", "pixazo"):
                add_good_connection(airflow, gateway, door)
                prompt = f"A fox before the door {door}"
                gateway.next(seconds=1)
                run_id = airflow.api.trigger(DAG_ID, {"prompt": prompt})
                history = airflow.api.wait_for_run(DAG_ID, run_id)
                one = made[gateway.generation(airflow.api.xcom(DAG_ID, run_id, "generate")).door] = _made(
                    airflow, prompt, history
                )
                assert one.kept.read_bytes() == gateway.video_bytes(one.request_id)
                posts = [call for call in gateway.calls("generate") if call.json["prompt"] == prompt]
                assert [post.request_id for post in posts] == [one.request_id]
        finally:
            add_good_connection(airflow, gateway)

        assert list(made) == ["appypie", "luma", "luma_agents", "pixazo"]


class TestTextToVideo:
    """The DAG ends with its video."""

    def test_one_generation_is_ordered_per_run(self, watched: Watched, gateway: Emulator) -> None:
        for made in (watched.wide, watched.tall):
            posts = [call for call in gateway.calls("generate") if call.json["prompt"] == made.prompt]
            assert [post.request_id for post in posts] == [made.request_id]

    def test_the_kept_file_is_the_one_served(self, watched: Watched, gateway: Emulator) -> None:
        for made in (watched.wide, watched.tall):
            assert _sha256(made.kept.read_bytes()) == _sha256(gateway.video_bytes(made.request_id))

    def test_two_prompts_in_two_ratios_give_two_videos(self, watched: Watched) -> None:
        wide, tall = watched.wide, watched.tall
        assert _sha256(wide.kept.read_bytes()) != _sha256(tall.kept.read_bytes())
        assert wide.video.width / wide.video.height == pytest.approx(16 / 9, rel=0.02)
        assert tall.video.width / tall.video.height == pytest.approx(9 / 16, rel=0.02)

    def test_the_videos_move(self, watched: Watched) -> None:
        for made in (watched.wide, watched.tall):
            assert made.video.seconds >= 1
            assert len(set(made.video.frames)) > len(made.video.frames) / 2


class TestWaitingHoldsNoWorker:
    """Only the first look is made on a worker."""

    def test_the_wait_was_deferred(self, watched: Watched) -> None:
        assert "deferred" in watched.wide.history.states("wait"), watched.wide.history

    def test_nothing_was_tried_twice(self, watched: Watched, airflow: AirflowStack) -> None:
        for made in (watched.wide, watched.tall):
            for task_id in ("generate", "wait", "keep"):
                tries = airflow.api.tries(DAG_ID, made.history.run_id, task_id)
                assert [one["state"] for one in tries] == ["success"], f"{task_id}: {made.history}"

    def test_the_worker_looks_once_and_the_triggerer_from_then_on(
        self, watched: Watched, gateway: Emulator
    ) -> None:
        looks = [call for call in gateway.calls("getStatus") if call.request_id == watched.wide.request_id]
        agents = [look.headers["User-Agent"] for look in looks]
        lookers = [(match[1], int(match[2])) for agent in agents if (match := LOOKER.search(agent))]
        assert len(lookers) == len(agents), f"a look does not say who looked: {agents}"
        first, *others = lookers
        assert first[0] == "task", agents
        assert first[1] not in watched.deferred.triggerer_pids, agents
        assert {who for who, _ in others} == {"triggerer"}, agents
        assert {pid for _, pid in others} <= watched.deferred.triggerer_pids, f"{agents}\n{watched.deferred}"


class TestWhatTheTriggererNotes:
    """One channel looks for all; what it finds out about a wait belongs into that wait's log."""

    def test_stands_in_the_log_of_the_task(self, airflow: AirflowStack, gateway: Emulator) -> None:
        gateway.misbehave("getStatus", "500", after=1)
        history = airflow.api.wait_for_run(DAG_ID, airflow.api.trigger(DAG_ID))
        assert history.state == "success", f"{history}\n{_endings(airflow, history)}"
        request_id = airflow.api.xcom(DAG_ID, history.run_id, "generate", "requestId")
        lines = airflow.api.logs(DAG_ID, history.run_id, "wait")
        assert [line for line in lines if request_id in line and "500" in line], "\n".join(lines)


class TestMetrics:
    """Airflow passes them on, from the tasks' processes as from the triggerer's."""

    @pytest.fixture(autouse=True)
    def all_told(self, watched: Watched, metrics: MetricsServer) -> None:
        """Wait for the triggerer to say that nobody waits any more: it says so last."""
        metrics.wait_for(WAITING, (0.0, "g"))

    def test_said_that_somebody_waited(self, metrics: MetricsServer) -> None:
        assert max(metrics.values(WAITING)) >= (1.0, "g")

    def test_count_every_look(self, gateway: Emulator, metrics: MetricsServer) -> None:
        counted = metrics.values("luma.looks")
        assert {kind for _, kind in counted} == {"c"}
        assert sum(count for count, _ in counted) == gateway.count("getStatus")

    def test_add_up_what_was_accepted(self, gateway: Emulator, metrics: MetricsServer) -> None:
        counted = metrics.values("luma.estimated_cost.USD")
        assert gateway.paid >= 2
        assert counted == [(PRICE, "c")] * gateway.paid

    def test_tell_how_long_each_generation_took(self, metrics: MetricsServer) -> None:
        told = metrics.values("luma.generation_seconds")
        assert len(told) >= 2, told
        assert all(kind == "ms" and 1000 <= value < 120_000 for value, kind in told), told


class TestSecretsStaySecret:
    """The key stands in no file and no cell, while a task waits and afterwards."""

    def test_the_search_finds_what_is_there(self, watched: Watched, airflow: AirflowStack) -> None:
        places = {find.place for find in _search_all(airflow, PLANTED)}
        assert {"dag_run.conf", "rendered_task_instance_fields.rendered_fields"} <= places
        assert any(place.startswith("airflow.db") for place in places), "the raw search has found nothing"

    def test_the_search_reached_the_trigger_row(self, watched: Watched) -> None:
        assert watched.deferred.request_id == watched.wide.request_id
        assert {"trigger.kwargs", "xcom.value"} <= {find.place for find in watched.deferred.of_request_id}
        assert "dag_run.conf" in {find.place for find in watched.deferred.of_planted}

    def test_the_key_is_nowhere_but_encrypted_in_its_connections(
        self, watched: Watched, airflow: AirflowStack, subscription_key: str
    ) -> None:
        its_own = {_password_of("luma_default"), _password_of("luma_unreachable")}
        assert watched.deferred.of_key == its_own
        assert _search_all(airflow, subscription_key) == its_own


class TestWhatTheUserReadsWhenItFails:
    """The last lines of the task's log say what happened and what to do."""

    def test_a_wrong_key(
        self, airflow: AirflowStack, gateway: Emulator, metrics: MetricsServer, wrong_key: str
    ) -> None:
        before = len(gateway.calls("generate"))
        history, ending = _fail(airflow, "generate", {"luma_conn_id": "luma_wrong_key"})
        assert "401" in ending
        assert "key" in ending
        assert "luma_wrong_key" in ending, f"the reader must learn which connection to mend:\n{ending}"
        assert len(gateway.calls("generate")) == before + 1, history
        assert metrics.values("luma.failures.refused_key") == [(1.0, "c")]
        assert _search_all(airflow, wrong_key) == {_password_of("luma_wrong_key")}

    def test_an_unreachable_host(self, airflow: AirflowStack, gateway: Emulator) -> None:
        before = len(gateway.generations)
        _, ending = _fail(airflow, "generate", {"luma_conn_id": "luma_unreachable"})
        assert "luma_unreachable" in ending, f"the reader must learn which connection to mend:\n{ending}"
        assert "127.0.0.1" in ending
        assert len(gateway.generations) == before

    def test_a_failed_generation(
        self, airflow: AirflowStack, gateway: Emulator, subscription_key: str
    ) -> None:
        gateway.next(outcome="failed", reason="The frame could not be rendered")
        history, ending = _fail(airflow, "wait", {})
        assert "The frame could not be rendered" in ending
        assert airflow.api.xcom(DAG_ID, history.run_id, "generate", "requestId") in ending
        # The failures went through logs and events which the runs that succeeded did not have.
        its_own = {_password_of("luma_default"), _password_of("luma_unreachable")}
        assert _search_all(airflow, subscription_key) == its_own


def _fail(airflow: AirflowStack, task_id: str, params: Mapping[str, object]) -> tuple[RunHistory, str]:
    """Run the DAG into its failure; return what was seen, and the last lines of the failed task's log."""

    def failed_or_waits_to_retry(history: RunHistory) -> bool:
        return history.state in FINISHED_RUN or "up_for_retry" in history.states(task_id)

    run_id = airflow.api.trigger(DAG_ID, params)
    history = airflow.api.wait_for_run(DAG_ID, run_id, until=failed_or_waits_to_retry)
    assert {"failed", "up_for_retry"} & set(history.states(task_id)), (
        f"{history}\n{_endings(airflow, history)}"
    )
    lines = [line for line in airflow.api.logs(DAG_ID, run_id, task_id) if not line.startswith("  File ")]
    return history, "\n".join(lines[-5:])


def _endings(airflow: AirflowStack, history: RunHistory) -> str:
    """Return how the logs of the failed tasks end, for the message of an assertion."""
    return "\n".join(
        "\n".join([f"--- {task_id}", *airflow.api.logs(DAG_ID, history.run_id, task_id)[-20:]])
        for task_id in history.failed_tasks()
    )


def _search_database(airflow: AirflowStack, word: str) -> set[Find]:
    return set(search_database(airflow.database, word, fernet_key=airflow.fernet_key))


def _search_all(airflow: AirflowStack, word: str) -> set[Find]:
    return set(search_home(airflow.home, word, database=airflow.database, fernet_key=airflow.fernet_key))


def _password_of(conn_id: str) -> Find:
    return Find("connection.password", conn_id, encrypted=True)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
