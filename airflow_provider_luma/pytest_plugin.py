"""
A pytest plugin: the fixture ``luma_emulator``, with which the tests of a DAG spend nothing.

pytest loads it wherever this package is installed. It imports the emulator when a test asks for it, not
before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_luma.emulator.testing import LumaEmulator

MARKER = "luma_emulator"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(conn_id='luma_default', extra={{}}, **options): how the fixture luma_emulator is made: "
        "the connection that leads to it, its extras, and options of Emulator such as seconds=2.",
    )


@pytest.fixture
def luma_emulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LumaEmulator]:
    """
    Give a Luma gateway on loopback, with the connection ``luma_default`` leading to it; nothing is paid for.

    ``@pytest.mark.luma_emulator(seconds=2, conn_id="luma_films")`` changes how it is made.
    """
    from airflow_provider_luma.emulator.testing import LumaEmulator

    options = _options(request)
    conn_id, extra = options.pop("conn_id", "luma_default"), options.pop("extra", {})
    with LumaEmulator(monkeypatch.setenv, **options) as emulator:
        emulator.connect(conn_id, **extra)
        yield emulator


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what markers say; the nearest counts, one word at a time."""
    options: dict[str, Any] = {}
    for marker in reversed([*request.node.iter_markers(MARKER)]):
        if marker.args:
            raise pytest.UsageError(f"The marker {MARKER} takes keywords only, not {marker.args!r:.80}.")
        options |= marker.kwargs
    return options
