"""Headless Chromium for the system tests, and where its pictures go."""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: What a browser in a container needs, and what keeps it from calling home.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

needs_browser = pytest.mark.skipif(
    importlib.util.find_spec("playwright") is None or CHROMIUM is None,
    reason="playwright or Chromium (Debian package chromium) is not installed",
)


@contextmanager
def open_page(**options: Any) -> Iterator[Any]:
    """Give a page of a fresh browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser.new_page(**({"viewport": {"width": 1280, "height": 800}} | options))
        finally:
            browser.close()


def keep_screenshot(page: Any, name: str, *, height: int | None = None) -> None:
    """Keep a picture in the folder that ``LUMA_TEST_SCREENSHOTS`` names, for the docs."""
    folder = os.environ.get("LUMA_TEST_SCREENSHOTS")
    if not folder:
        return
    from PIL import Image

    path = Path(folder) / f"{name}.png"
    size = page.viewport_size
    if height is not None:
        page.set_viewport_size(size | {"height": height})
        page.wait_for_timeout(500)
    page.screenshot(path=path)
    page.set_viewport_size(size)
    # A page has few colours: a palette keeps them and takes a quarter of the bytes.
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
