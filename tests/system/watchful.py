"""
An Airflow that writes down all it can, in which all example DAGs have run, and the ways to fail.

What it has written is looked through by ``test_secrets.py`` and ``test_lineage.py``.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator import Emulator
from dev.airflow_rest import FINISHED_RUN
from dev.airflow_stack import AirflowStack
from dev.secret_search import Find, search_database, search_home
from tests.places import CACHE, REPOSITORY
from tests.system.metrics import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dev.airflow_rest import RunHistory, Sighting

KEY, WRONG_KEY, PLANTED = (secrets.token_hex(16) for _ in range(3))
DAG_ID, REVIEW, NIGHTLY, ADOPT = (
    "luma_text_to_video",
    "luma_review_before_publishing",
    "luma_make_nightly",
    "luma_adopt",
)
#: Of a connection each, with the fault that its gateway answers every submit with.
FAILURES: dict[str, dict[str, Any]] = {
    "luma_lost": {"name": "drop-after-reading"},
    # A gateway that repeats the key, in its words and in base64.
    "luma_echo": {"name": "status", "code": 400, "body": f'{{"error": "the key {KEY} is not for this"}}'},
    "luma_hang": {"name": "hang"},
    "luma_down": {"name": "500"},
    "luma_broke": {"name": "credit-402"},
}

#: Of a generation, in the connection's price table.
PRICE = 0.25
#: Where OpenLineage's events go, in Airflow's home: a line each.
LINEAGE = "lineage.jsonl"


@dataclass
class Watchful:
    """That Airflow, and what was run in it."""

    stack: AirflowStack
    gateway: Emulator
    metrics: MetricsServer
    #: The runs that ended well, by DAG.
    runs: dict[str, RunHistory] = field(default_factory=dict)
    #: Where the database held the planted word, and the key, while a task was deferred.
    planted_while_deferred: set[Find] = field(default_factory=set)
    key_while_deferred: set[Find] = field(default_factory=set)

    def search(self, word: str) -> set[Find]:
        """Return every place that holds a word."""
        stack = self.stack
        return set(search_home(stack.home, word, database=stack.database, fernet_key=stack.fernet_key))

    def run_everything(self) -> None:
        """Run all examples to their end, and the first of them into each way to fail."""
        api = self.stack.api
        dag_ids = {path.stem for path in (REPOSITORY / "dags").glob("luma_*.py")}
        dag_ids = dag_ids - {"luma_keep_and_publish"} | {NIGHTLY}
        for dag_id in dag_ids:
            api.wait_for_dag(dag_id)
        adopted = self.gateway.add(request_id=f"adopted-{PLANTED}", seconds=12)
        review = api.trigger(REVIEW, {"prompt": f"An owl, {PLANTED}"})
        self._succeed(ADOPT, api.trigger(ADOPT, {"request_id": adopted}), every=0.1, on_sighting=self._look)
        self._approve(review)
        api.call("PATCH", f"dags/{NIGHTLY}", {"is_paused": False})
        nightly = {"logical_date": "2026-01-01T00:00:00Z", "dag_run_id": "night", "conf": {}}
        api.call("POST", f"dags/{NIGHTLY}/dagRuns", nightly)
        self._succeed(NIGHTLY, "night")
        params = {
            DAG_ID: {"prompt": f"A fox, {PLANTED}"},
            "luma_image_to_video": {"image_url": f"https://images.example/street.png?sig={PLANTED}"},
        }
        # Not all at once: SQLite does not bear it.
        for some in in_threes(sorted(dag_ids - {REVIEW, ADOPT, NIGHTLY})):
            run_ids = {dag_id: api.trigger(dag_id, params.get(dag_id)) for dag_id in some}
            for dag_id, run_id in run_ids.items():
                self._succeed(dag_id, run_id)
        for some in in_threes(["luma_wrong_key", *FAILURES]):
            prompt = f"A bear, {PLANTED}"
            failing = [api.trigger(DAG_ID, {"prompt": prompt, "luma_conn_id": conn_id}) for conn_id in some]
            for run_id in failing:
                assert api.wait_for_run(DAG_ID, run_id, until=over).state != "success"
        for conn_id, password in (("luma_default", KEY), ("luma_wrong_key", WRONG_KEY)):
            tried = {"connection_id": conn_id, "conn_type": "luma", "host": self.gateway.url}
            api.call("POST", "connections/test", {**tried, "password": password})
        assert self.planted_while_deferred, "no task was ever seen deferred"

    def _look(self, seen: Sighting) -> None:
        if seen.state == "deferred":
            self.planted_while_deferred |= self._database_of(PLANTED)
            self.key_while_deferred |= self._database_of(KEY)

    def _database_of(self, word: str) -> set[Find]:
        return set(search_database(self.stack.database, word, fernet_key=self.stack.fernet_key))

    def _succeed(self, dag_id: str, run_id: str, **options: Any) -> None:
        api = self.stack.api
        history = api.wait_for_run(dag_id, run_id, **options)
        tails = [api.logs(dag_id, run_id, task_id)[-5:] for task_id in history.failed_tasks()]
        assert history.state == "success", f"{history}\n{tails}"
        self.runs[dag_id] = history

    def _approve(self, run_id: str) -> None:
        api = self.stack.api
        api.wait_for_run(REVIEW, run_id, until=lambda history: "awaiting_input" in history.states("approve"))
        # Airflow fails a task that is resumed before its first process has been noted as ended.
        time.sleep(5)
        details = f"dags/{REVIEW}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        api.call("PATCH", details, {"chosen_options": ["Approve"], "params_input": {}})
        self._succeed(REVIEW, run_id)


def in_threes(words: Iterable[str]) -> Iterator[list[str]]:
    words = iter(words)
    while some := [*islice(words, 3)]:
        yield some


def over(history: RunHistory) -> bool:
    return history.state in FINISHED_RUN or any(one.state == "up_for_retry" for one in history.sightings)


@contextmanager
def watchful_airflow(folder: Path) -> Iterator[Watchful]:
    """Start it in a folder, with a good connection, a refused one, and one for each way to fail."""
    home, dags = folder / "home", folder / "dags"
    shutil.copytree(REPOSITORY / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    adopt = dags / "luma_adopt.py"
    # Planted where the source and the serialised form of a DAG are kept.
    adopt.write_text(adopt.read_text().replace('tags=["luma", "example"]', f'tags=["luma", "{PLANTED}"]'))
    with ExitStack() as entered:
        gateway = entered.enter_context(Emulator(key=KEY, seconds=4, videos="tiny"))
        metrics = entered.enter_context(MetricsServer())
        failing = {
            conn_id: entered.enter_context(Emulator(key=KEY, seconds=1, videos="tiny"))
            for conn_id in FAILURES
        }
        for conn_id, fault in FAILURES.items():
            failing[conn_id].misbehave("generate", times=None, **fault)
        env = {
            "LUMA_DEMO_VIDEOS": str(home / "videos"),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            **metrics.settings,
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(home / LINEAGE), "append": True}
            ),
        }
        stack = entered.enter_context(
            AirflowStack(home, dags=dags, env=env, parallelism=3, migrated_copies=CACHE, grace=5)
        )
        prices = {"currency": "USD", "text_to_video": PRICE}
        extra = json.dumps({"typical_seconds": 4, "price_table": prices})
        stack.api.add_connection(
            "luma_default", "luma", replace=True, host=gateway.url, password=KEY, extra=extra
        )
        stack.api.add_connection("luma_wrong_key", "luma", host=gateway.url, password=WRONG_KEY)
        for conn_id, emulator in failing.items():
            extra = json.dumps({"timeout": 2, "typical_seconds": 1})
            stack.api.add_connection(conn_id, "luma", host=emulator.url, password=KEY, extra=extra)
        yield Watchful(stack, gateway, metrics)
