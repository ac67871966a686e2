"""The table of docs/compatibility.md is what was recorded, and nothing in it has failed."""

from __future__ import annotations

import pytest

from dev.compat import AIRFLOWS, PAGE, read_rows, written
from tests.places import IS_CHECKOUT

PAIRS = {(airflow.version, python) for airflow in AIRFLOWS for python in airflow.pythons}

pytestmark = pytest.mark.skipif(not IS_CHECKOUT, reason="this is not a git checkout")


class TestThePage:
    def test_is_what_was_recorded(self) -> None:
        assert PAGE.read_text() == written(PAGE.read_text(), read_rows())

    def test_has_every_pair_and_no_other(self) -> None:
        assert {(row.airflow, row.python) for row in read_rows()} == PAIRS

    def test_has_no_failure_and_no_skip_without_a_reason(self) -> None:
        assert [(row.airflow, row.python) for row in read_rows() if not row.good] == []
        assert all(reason for row in read_rows() for reason in row.skipped)
