"""How a distributed Airflow fares: heartbeats, memory and descriptors, sampled while it works."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import psutil

from dev.distributed.stack import AIRFLOW, TRIGGERERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev.distributed.stack import DistributedStack

#: Seconds without a heartbeat after which Airflow, by default, calls a scheduler or a triggerer unhealthy.
UNHEALTHY = 30.0
#: How many jobs of a kind live: the newest. Those of processes that were killed stay in the database.
JOBS = {"SchedulerJob": 1, "TriggererJob": len(TRIGGERERS)}


class Health:
    """
    Samples of a stack.

    :param every: seconds between two samples of memory and descriptors; heartbeats are looked at each second.
    """

    def __init__(self, stack: DistributedStack, every: float = 5.0) -> None:
        self._stack = stack
        self._every = every
        self._beats_at = self._sizes_at = self._began = time.monotonic()
        #: The longest time without a heartbeat, by the kind of the job.
        self.silence: dict[str, float] = defaultdict(float)
        #: By component: seconds, MiB (what is shared counts once) and descriptors of its lasting processes.
        self.sizes: dict[str, list[tuple[float, float, int]]] = defaultdict(list)

    def look(self) -> None:
        """Take a sample, if it is time for one."""
        now = time.monotonic()
        if now >= self._beats_at:
            self._beats_at = now + 1
            for kind, count in JOBS.items():
                for (age,) in self._stack.select(
                    "SELECT extract(epoch FROM now() - latest_heartbeat) FROM job "
                    "WHERE job_type = %(kind)s ORDER BY id DESC LIMIT %(count)s",
                    kind=kind,
                    count=count,
                ):
                    self.silence[kind] = max(self.silence[kind], float(age))
        if now >= self._sizes_at:
            self._sizes_at = now + self._every
            for name in AIRFLOW:
                with contextlib.suppress(psutil.Error, KeyError):
                    self.sizes[name].append((now - self._began, *self._size(name)))

    def _size(self, name: str) -> tuple[float, int]:
        # A worker's tasks come and go; its own processes are the leader and the pool.
        processes = self._stack.tree(name)
        if name not in TRIGGERERS:
            leader = processes[0]
            processes = [leader, *leader.children()]
        memory = descriptors = 0.0
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                memory += process.memory_full_info().pss / 2**20
                descriptors += process.num_fds()
        return round(memory, 1), int(descriptors)


def drift(samples: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """
    Return by which factor memory, and by how many descriptors, the last third lies above the one before it.

    The first third is the warming up.
    """
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    if not middle:
        return 1.0, 0.0
    memory = [statistics.median(one[1] for one in part) for part in (middle, last)]
    descriptors = [statistics.median(one[2] for one in part) for part in (middle, last)]
    return memory[1] / memory[0], descriptors[1] - descriptors[0]
