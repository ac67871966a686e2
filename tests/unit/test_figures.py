"""The figures in the documents are those of the committed raw results."""

from __future__ import annotations

import json
import re
from collections import Counter

from tests.places import REPOSITORY


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
