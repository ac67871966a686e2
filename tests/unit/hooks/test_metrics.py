"""The documented metrics are the ones that are sent."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from airflow_provider_luma.exceptions import LumaGenerationFailed
from airflow_provider_luma.hooks import metrics
from airflow_provider_luma.version_compat import triggerer_stats
from tests.places import REPOSITORY

DOCS = REPOSITORY / "docs"


def sent() -> set[str]:
    source = (REPOSITORY / "airflow_provider_luma" / "hooks" / "metrics.py").read_text()
    return set(re.findall(r'"(luma\.[a-z_]+)', source))


def test_every_metric_is_documented_and_no_other() -> None:
    page = (DOCS / "waiting.md").read_text()
    assert set(re.findall(r"^\| `(luma\.[a-z_]+)", page, re.MULTILINE)) == sent()


class TestTheDashboard:
    @pytest.fixture
    def dashboard(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())
        return loaded

    def test_shows_every_metric_and_no_other(self, dashboard: dict[str, Any]) -> None:
        queries = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
        assert set(re.findall(r"airflow_luma_[a-z_]+", queries)) == {
            f"airflow_{name.replace('.', '_')}" for name in sent()
        }

    def test_asks_for_labels_that_the_mapping_makes(self, dashboard: dict[str, Any]) -> None:
        mappings = yaml.safe_load((DOCS / "statsd-mapping.yml").read_text())["mappings"]
        made = {mapping["name"]: set(mapping["labels"]) for mapping in mappings}
        asked = re.findall(r"sum by \((\w+)\) .*?(airflow_luma_\w+)", json.dumps(dashboard))
        assert len(asked) == 3
        assert all(label in made[metric] for label, metric in asked)
        page = (DOCS / "waiting.md").read_text()
        for mapping in mappings:
            name = mapping["match"].removeprefix("airflow.")
            pattern = "`" + re.escape(name).replace(r"\*", "<[a-z_]+>") + "`"
            assert re.search(pattern, page), f"{name} is no metric of waiting.md"

    def test_has_a_place_for_each_panel(self, dashboard: dict[str, Any]) -> None:
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
        assert len(set(places)) == len({panel["id"] for panel in dashboard["panels"]}) == len(places)
        assert all(panel["description"] and panel["title"] for panel in dashboard["panels"])


class TestMetricsThatCannotBeSent:
    def refuse(self, *args: object, **kwargs: object) -> None:
        raise AttributeError("no such metric")

    def test_end_neither_a_wait_nor_a_task(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        metrics._complain_once.cache_clear()
        monkeypatch.setattr(metrics, "Stats", SimpleNamespace(incr=self.refuse, timing=self.refuse))
        monkeypatch.setattr(metrics, "triggerer_stats", lambda: SimpleNamespace(gauge=self.refuse))

        metrics.looked("luma_default")
        metrics.generation_completed(5.0, "luma_default")
        metrics.ChannelMetrics("luma_default").report(waiting=1)

        assert [record.getMessage() for record in caplog.records] == [
            "A metric could not be sent, which harms nothing else: AttributeError: no such metric"
        ], "said once, not every few seconds"

    def test_leave_an_error_of_ours_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metrics, "Stats", SimpleNamespace(incr=self.refuse))
        failed = metrics.failures_counted(self.fail)

        with pytest.raises(LumaGenerationFailed):
            failed(SimpleNamespace(luma_conn_id="luma_default"))

    def fail(self, operator: object) -> None:
        raise LumaGenerationFailed("no video")


def test_the_triggerers_metrics_of_this_airflow_are_there() -> None:
    stats = triggerer_stats()
    stats.incr("luma.looks", 1, tags={"conn_id": "luma_default"})
    stats.gauge("luma.waiting.luma_default.host", 1, tags={"conn_id": "luma_default"})
