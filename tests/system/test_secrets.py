"""
The key stands nowhere: all example DAGs and the ways to fail, in an Airflow that logs all it can.

The whole is searched for two canaries, the key of the good connection and that of a refused one, and for a
planted word that does stand in what Airflow writes: a search that does not find it has found nothing.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma.emulator import Emulator
from dev.airflow_rest import FINISHED_RUN
from dev.airflow_stack import AirflowStack
from dev.secret_search import Find, search_database, search_files, search_home
from tests.places import CACHE, REPOSITORY
from tests.system.conftest import LINEAGE, MetricsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev.airflow_rest import RunHistory

pytestmark = pytest.mark.timeout(600)

KEY, WRONG_KEY, PLANTED = (secrets.token_hex(16) for _ in range(3))
DAG_ID, REVIEW, NIGHTLY, ADOPT = (
    "luma_text_to_video",
    "luma_review_before_publishing",
    "luma_make_nightly",
    "luma_adopt",
)
#: Of a connection each, with the fault that its gateway answers every submit with.
FAILURES: dict[str, dict[str, Any] | None] = {
    "luma_lost": {"name": "drop-after-reading"},
    # A gateway that repeats the key, in its words and in base64.
    "luma_echo": {"name": "status", "code": 400, "body": f'{{"error": "the key {KEY} is not for this"}}'},
    "luma_hang": {"name": "hang"},
    "luma_down": {"name": "500"},
    "luma_broke": {"name": "credit-402"},
}


@pytest.fixture(scope="module")
def metrics() -> Iterator[MetricsServer]:
    with MetricsServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateway() -> Iterator[Emulator]:
    with Emulator(key=KEY, seconds=4, videos="tiny") as emulator:
        yield emulator


@pytest.fixture(scope="module")
def gateways() -> Iterator[dict[str, Emulator]]:
    """Give a gateway for each way to fail."""
    found = {}
    try:
        for conn_id, fault in FAILURES.items():
            found[conn_id] = Emulator(key=KEY, seconds=1, videos="tiny").start()
            if fault is not None:
                found[conn_id].misbehave("generate", times=None, **fault)
        yield found
    finally:
        for emulator in found.values():
            emulator.stop()


@pytest.fixture(scope="module")
def watchful(
    gateway: Emulator,
    gateways: dict[str, Emulator],
    metrics: MetricsServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AirflowStack]:
    """Give an Airflow that writes down all it can."""
    folder = tmp_path_factory.mktemp("canary")
    home, dags = folder / "home", folder / "dags"
    shutil.copytree(REPOSITORY / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    adopt = dags / "luma_adopt.py"
    # Planted where the source and the serialised form of a DAG are kept.
    adopt.write_text(adopt.read_text().replace('tags=["luma", "example"]', f'tags=["luma", "{PLANTED}"]'))
    stack = AirflowStack(
        home,
        dags=dags,
        env={
            "LUMA_DEMO_VIDEOS": str(home / "videos"),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(metrics.port),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(home / LINEAGE), "append": True}
            ),
        },
        parallelism=6,
        migrated_copies=CACHE,
        grace=5,
    )
    with stack:
        good = {"host": gateway.url, "password": KEY, "extra": json.dumps({"typical_seconds": 4})}
        stack.api.add_connection("luma_default", "luma", replace=True, **good)
        stack.api.add_connection("luma_wrong_key", "luma", host=gateway.url, password=WRONG_KEY)
        for conn_id, emulator in gateways.items():
            extra = json.dumps({"timeout": 2, "typical_seconds": 1})
            stack.api.add_connection(conn_id, "luma", host=emulator.url, password=KEY, extra=extra)
        yield stack


def searched(stack: AirflowStack, word: str) -> set[Find]:
    return set(search_home(stack.home, word, database=stack.database, fernet_key=stack.fernet_key))


def over(history: RunHistory) -> bool:
    return history.state in FINISHED_RUN or any(
        "up_for_retry" in history.states(task_id) for task_id in {one.task_id for one in history.sightings}
    )


@pytest.fixture(scope="module")
def deferred(watchful: AirflowStack, gateway: Emulator) -> set[Find]:
    """Run everything to its end; give what the database held while a task was deferred."""
    api, moments = watchful.api, []
    dag_ids = sorted(path.stem for path in (REPOSITORY / "dags").glob("luma_*.py"))
    dag_ids = [NIGHTLY if name == "luma_keep_and_publish" else name for name in dag_ids]
    for dag_id in dag_ids:
        api.wait_for_dag(dag_id)
    params: dict[str, dict[str, Any]] = {
        DAG_ID: {"prompt": f"A fox, {PLANTED}"},
        REVIEW: {"prompt": f"An owl, {PLANTED}"},
        ADOPT: {"request_id": gateway.add(request_id=f"adopted-{PLANTED}", seconds=8)},
        "luma_image_to_video": {"image_url": f"https://images.example/{PLANTED}.png"},
    }
    api.call("PATCH", f"dags/{NIGHTLY}", {"is_paused": False})
    runs = [(dag_id, api.trigger(dag_id, params.get(dag_id, {}))) for dag_id in dag_ids]
    failing = [
        (DAG_ID, api.trigger(DAG_ID, {"prompt": f"A bear, {PLANTED}", "luma_conn_id": conn_id}))
        for conn_id in ("luma_wrong_key", *FAILURES)
    ]

    def look(seen: Any) -> None:
        if seen.state == "deferred" and seen.task_id == "wait" and not moments:
            moments.append(
                set(search_database(watchful.database, PLANTED, fernet_key=watchful.fernet_key))
                | {Find(f"key:{find.place}") for find in database_of(watchful, KEY)}
            )

    endings = {ADOPT: api.wait_for_run(ADOPT, dict(runs)[ADOPT], every=0.1, on_sighting=look)}
    review = dict(runs)[REVIEW]
    api.wait_for_run(REVIEW, review, until=lambda history: "awaiting_input" in history.states("approve"))
    # Airflow fails a task that is resumed before its first process has been noted as ended.
    time.sleep(5)
    details = f"dags/{REVIEW}/dagRuns/{review}/taskInstances/approve/-1/hitlDetails"
    api.call("PATCH", details, {"chosen_options": ["Approve"], "params_input": {}})
    for dag_id, run_id in runs:
        endings[dag_id] = api.wait_for_run(dag_id, run_id, timeout=240)
    assert {history.state for history in endings.values()} == {"success"}, endings
    for dag_id, run_id in failing:
        assert api.wait_for_run(dag_id, run_id, until=over, timeout=120).state != "success"
    for conn_id, password in (("luma_default", KEY), ("luma_wrong_key", WRONG_KEY)):
        tried = {"connection_id": conn_id, "conn_type": "luma", "host": gateway.url, "password": password}
        api.call("POST", "connections/test", tried)
    assert moments, "no task was ever seen deferred"
    found: set[Find] = moments[0]
    return found


def database_of(stack: AirflowStack, word: str) -> set[Find]:
    return set(search_database(stack.database, word, fernet_key=stack.fernet_key))


def passwords(*conn_ids: str) -> set[Find]:
    return {Find("connection.password", conn_id, encrypted=True) for conn_id in conn_ids}


class TestTheSearch:
    def test_finds_a_planted_word_wherever_airflow_keeps_things(
        self, watchful: AirflowStack, deferred: set[Find], metrics: MetricsServer
    ) -> None:
        found = searched(watchful, PLANTED)
        places = {find.place for find in found}
        assert {
            "dag_run.conf",
            "rendered_task_instance_fields.rendered_fields",
            "dag_code.source_code",
            "xcom.value",
            LINEAGE,
        } <= places, sorted(places)
        assert places & {"serialized_dag.data", "serialized_dag.data_compressed"}, sorted(places)
        assert any(place.startswith("airflow.db") for place in places), "the raw search found nothing"
        assert any(place.startswith("logs/") for place in places), "no log was searched"
        assert any(place.endswith(".out") for place in places), "no component's own output was searched"
        assert "trigger.kwargs" in {find.place for find in deferred}

    def test_reaches_metrics(self, deferred: set[Find], metrics: MetricsServer) -> None:
        assert metrics.values("luma.looks"), "they were sent"


class TestTheKey:
    def test_is_nowhere_but_encrypted_in_its_connections(
        self, watchful: AirflowStack, deferred: set[Find]
    ) -> None:
        assert searched(watchful, KEY) == passwords("luma_default", *FAILURES)

    def test_was_nowhere_else_while_tasks_waited(self, deferred: set[Find]) -> None:
        places = {find.place.removeprefix("key:") for find in deferred if find.place.startswith("key:")}
        assert places == {"connection.password"}

    def test_that_was_refused_is_nowhere_either(self, watchful: AirflowStack, deferred: set[Find]) -> None:
        assert searched(watchful, WRONG_KEY) == passwords("luma_wrong_key")

    def test_is_in_no_metric(self, deferred: set[Find], metrics: MetricsServer, tmp_path: Path) -> None:
        (tmp_path / "metrics").write_text("\n".join(metrics._lines))
        assert [*search_files(tmp_path, KEY), *search_files(tmp_path, WRONG_KEY)] == []
