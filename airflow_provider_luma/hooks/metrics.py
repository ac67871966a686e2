"""
What Airflow's own metrics (StatsD, OpenTelemetry) are told of generations and looks.

All names begin with ``luma.``. A counter that moves with every look is added up here and told every few
seconds, so that ten thousand waits cost no more metrics than one.

Nothing here raises: a metric that cannot be sent must not end a wait for a video that is paid for.
"""

from __future__ import annotations

import functools
import logging
import re
import socket
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_luma.exceptions import LumaError
from airflow_provider_luma.version_compat import triggerer_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_luma.api.cost import Cost

log = logging.getLogger(__name__)

_R = TypeVar("_R")

_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _complain_once(f"{type(error).__name__}: {error}")


@functools.lru_cache(maxsize=32)
def _complain_once(of: str) -> None:
    log.warning("A metric could not be sent, which harms nothing else: %s", of)


@_harmless()
def looked(conn_id: str) -> None:
    """Count a look that a task has made itself."""
    Stats.incr("luma.looks", tags={"conn_id": conn_id})


@_harmless()
def generation_completed(seconds: float, conn_id: str) -> None:
    """Note how long a generation was waited for, from the first look to the video."""
    Stats.timing("luma.generation_seconds", timedelta(seconds=seconds), tags={"conn_id": conn_id})


@_harmless()
def cost_estimated(cost: Cost, conn_id: str) -> None:
    """Count what an accepted generation is estimated to cost, in its currency."""
    name = f"luma.estimated_cost.{cost.currency}"
    Stats.incr(name, float(cost.amount), tags={"conn_id": conn_id})  # type: ignore[arg-type,unused-ignore]


def failures_counted(execute: Callable[..., _R]) -> Callable[..., _R]:
    """Count the errors of ours in which an operator's method ends, by their kind."""

    @functools.wraps(execute)
    def counted(operator: Any, *args: Any, **kwargs: Any) -> _R:
        try:
            return execute(operator, *args, **kwargs)
        except LumaError as error:
            with _harmless():
                Stats.incr(f"luma.failures.{error.kind}", tags={"conn_id": str(operator.luma_conn_id)})
            raise

    return counted


class ChannelMetrics:
    """
    What one channel counts between two reports.

    :param conn_id: of the channel.
    :param of_task: whether it lives in a task's process and not in the triggerer, whose waits alone are a
        gauge.
    """

    def __init__(self, conn_id: str, *, of_task: bool = False) -> None:
        self._of_task = of_task
        self.looks = 0
        self.pauses = 0
        self._tags = {"conn_id": conn_id}
        # A gauge of several triggerers under one name would be the last one's: as Airflow's own gauges.
        host = _NOT_A_NAME.sub("_", socket.gethostname())
        self._waiting = f"luma.waiting.{_NOT_A_NAME.sub('_', conn_id)}.{host}"

    @_harmless()
    def report(self, waiting: int) -> None:
        """Tell what was counted since the last report, and how many are waiting."""
        stats = Stats if self._of_task else triggerer_stats()
        if self.looks:
            stats.incr("luma.looks", self.looks, tags=self._tags)
        if self.pauses:
            stats.incr("luma.rate_limit_pauses", self.pauses, tags=self._tags)
        if not self._of_task:
            stats.gauge(self._waiting, waiting, tags=self._tags)
        self.looks = self.pauses = 0
