"""Where the button leads: to the video, or nowhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_luma.links import luma as links

if TYPE_CHECKING:
    from collections.abc import Callable


TASK = BaseOperator(task_id="keep")


class TestLumaVideoLink:
    def link(self, monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any]) -> str:
        monkeypatch.setattr(links, "XCom", SimpleNamespace(get_value=read))
        return links.LumaVideoLink().get_link(TASK, ti_key=SimpleNamespace())  # type: ignore[arg-type]

    def test_leads_to_the_video(self, monkeypatch: pytest.MonkeyPatch) -> None:
        url = "https://storage.example/v.mp4?X-Amz-Signature=abc&x=%20y"
        assert self.link(monkeypatch, lambda **_: url) == url

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "None",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            " javascript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "file:///etc/passwd",
            "vbscript:x",
            "//storage.example/v.mp4",
            "/dags",
            "https://",
            "https://someone:secret@storage.example/v.mp4",
            "https://storage.example/\u202ev.mp4",
            "https://storage.example/" + "a" * 20_000,
            b"https://storage.example/v.mp4",
            ["https://storage.example/v.mp4"],
            {"url": "https://storage.example/v.mp4"},
            7,
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_leads_nowhere_else(self, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.link(monkeypatch, lambda **_: value) == ""

    @pytest.mark.parametrize("error", [RuntimeError("no database"), KeyError("video_url"), ImportError()])
    def test_never_raises(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def read(**_: object) -> None:
            raise error

        assert self.link(monkeypatch, read) == ""

    def test_outside_of_any_task_says_nothing(self) -> None:
        assert links.LumaVideoLink().get_link(TASK, ti_key=None) == ""  # type: ignore[arg-type]
