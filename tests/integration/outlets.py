"""A stand-in for Airflow's accessor of outlet events. Not a test."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Asset


class OutletEvents:
    """By an asset's address: assets of Airflow 3.0 have no hash."""

    def __init__(self) -> None:
        self._events: dict[str, SimpleNamespace] = defaultdict(lambda: SimpleNamespace(extra={}))

    def __getitem__(self, asset: Asset) -> SimpleNamespace:
        """Return the event of an asset, with its ``extra``."""
        return self._events[asset.uri]
