"""The figures in the documents are those of the committed raw results."""

from __future__ import annotations

import json
import re
from collections import Counter

from tests.places import REPOSITORY


class TestTheTakeover:
    def test_says_what_was_counted(self) -> None:
        raw = json.loads((REPOSITORY / "benchmarks" / "takeover-500.json").read_text())
        page = " ".join((REPOSITORY / "docs" / "waiting.md").read_text().split())
        (written,) = re.findall(
            r"while (\d+) generations are waited for: (\d+) ended with their video, (\d+) were paid for, and "
            r"the other triggerer had all of them after (\d+) s \(Airflow ([\d.]+),",
            page,
        )
        assert written == (
            str(raw["settings"]["waiting"]),
            str(raw["fulfilled"]["ended_with_its_video"]),
            str(raw["paid"]),
            f"{raw['seconds_to_take_over']:.0f}",
            raw["versions"]["apache-airflow-core"],
        )
        assert raw["posts"] == raw["paid"]


class TestTheCrashTable:
    def test_says_what_was_counted(self) -> None:
        raw = json.loads((REPOSITORY / "benchmarks" / "crash-100.json").read_text())
        counted: Counter[tuple[str, str, int]] = Counter(
            (run["operator"], run["ending"], min(run["paid"], 2)) for run in raw["results"]
        )
        ours, plain = sorted({operator for operator, _, _ in counted}, key=lambda name: "http" in name)
        expected = {
            "`LumaGenerateOperator`, ended with its video": [counted[ours, "video", n] for n in range(3)],
            "`LumaGenerateOperator`, ended as unknown": [
                counted[ours, "outcome unknown", n] for n in range(3)
            ],
            "`HttpOperator`, ended with a request id": [counted[plain, "request id", n] for n in range(3)],
        }
        page = (REPOSITORY / "docs" / "money.md").read_text()
        written = {
            name.strip(): [int(cell.strip(" *")) for cell in cells.split("|")]
            for name, cells in re.findall(r"^\| (`[^|]+) \| ([0-9*| ]+) \|$", page, re.MULTILINE)
        }
        assert written == expected
        assert sum(counted.values()) == 200
