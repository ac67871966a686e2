"""
A Luma Dream Machine gateway on loopback, for tests and demos.

It behaves as the vendor's page says and misbehaves on demand::

    from airflow_provider_luma.emulator import Emulator

    with Emulator(seconds=0.2) as emulator:
        emulator.misbehave("generate", "drop-after-reading")
        ...  # point a connection at emulator.url, with emulator.key
        assert emulator.paid == 1

``python -m airflow_provider_luma.emulator`` runs it on its own. It imports nothing else of this package, and
needs only aiohttp until a video is asked for: those come with the extra ``emulator``.
"""

from __future__ import annotations

from airflow_provider_luma.emulator.faults import FAULTS
from airflow_provider_luma.emulator.models import OUTCOMES, TARGETS, EmulatedGeneration, RecordedRequest
from airflow_provider_luma.emulator.server import Emulator
from airflow_provider_luma.emulator.video import VideosUnavailable

__all__ = [
    "FAULTS",
    "OUTCOMES",
    "TARGETS",
    "EmulatedGeneration",
    "Emulator",
    "RecordedRequest",
    "VideosUnavailable",
]
