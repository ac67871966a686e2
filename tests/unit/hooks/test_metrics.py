"""The documented metrics are the ones that are sent."""

from __future__ import annotations

import re

from tests.places import REPOSITORY


def test_every_metric_is_documented_and_no_other() -> None:
    source = (REPOSITORY / "airflow_provider_luma" / "hooks" / "metrics.py").read_text()
    sent = set(re.findall(r'"(luma\.[a-z_]+)', source))
    page = (REPOSITORY / "docs" / "waiting.md").read_text()
    documented = set(re.findall(r"^\| `(luma\.[a-z_]+)", page, re.MULTILINE))
    assert documented == sent
