"""The documented metrics are the ones that are sent."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from airflow_provider_luma.exceptions import LumaGenerationFailed
from airflow_provider_luma.hooks import metrics
from airflow_provider_luma.version_compat import triggerer_stats
from tests.places import REPOSITORY


def test_every_metric_is_documented_and_no_other() -> None:
    source = (REPOSITORY / "airflow_provider_luma" / "hooks" / "metrics.py").read_text()
    sent = set(re.findall(r'"(luma\.[a-z_]+)', source))
    page = (REPOSITORY / "docs" / "waiting.md").read_text()
    documented = set(re.findall(r"^\| `(luma\.[a-z_]+)", page, re.MULTILINE))
    assert documented == sent


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
