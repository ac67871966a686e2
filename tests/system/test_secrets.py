"""
The key stands nowhere: all example DAGs and the ways to fail, in an Airflow that logs all it can.

The whole is searched for two canaries, the key of the good connection and that of a refused one, and for a
planted word that does stand in what Airflow writes: a search that does not find it has found nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.secret_search import Find, search_files
from tests.system.watchful import FAILURES, KEY, LINEAGE, PLANTED, WRONG_KEY, Watchful

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)


def passwords(*conn_ids: str) -> set[Find]:
    return {Find("connection.password", conn_id, encrypted=True) for conn_id in conn_ids}


class TestTheSearch:
    def test_finds_a_planted_word_wherever_airflow_keeps_things(self, watchful: Watchful) -> None:
        places = {find.place for find in watchful.search(PLANTED)}
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
        assert "trigger.kwargs" in {find.place for find in watchful.planted_while_deferred}

    def test_has_metrics_to_look_through(self, watchful: Watchful) -> None:
        assert watchful.metrics.values("luma.looks")


class TestTheKey:
    def test_is_nowhere_but_encrypted_in_its_connections(self, watchful: Watchful) -> None:
        assert watchful.search(KEY) == passwords("luma_default", *FAILURES)

    def test_was_nowhere_else_while_tasks_waited(self, watchful: Watchful) -> None:
        assert watchful.key_while_deferred == passwords("luma_default", *FAILURES)

    def test_that_was_refused_is_nowhere_either(self, watchful: Watchful) -> None:
        assert watchful.search(WRONG_KEY) == passwords("luma_wrong_key")

    def test_is_in_no_metric(self, watchful: Watchful, tmp_path: Path) -> None:
        (tmp_path / "metrics").write_text("\n".join(watchful.metrics.lines))
        assert [*search_files(tmp_path, KEY), *search_files(tmp_path, WRONG_KEY)] == []
