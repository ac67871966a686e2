"""
A distributed Airflow breaks, and nothing is paid twice, nothing is lost.

PostgreSQL, Redis, two Celery workers, two triggerers, real kills; the gateway counts. The same with a hundred
generations under way, at random, under load and for half an hour: ``make distributed``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.distributed.experiment import one_fault
from dev.distributed.faults import FAULTS, Moment
from dev.distributed.flights import Ending, Fleet
from dev.distributed.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

FLEET = Fleet(whole=4, batches=1, batch_size=6, chains=2)

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("distributed")) as place:
        yield place


@pytest.mark.parametrize(
    "name",
    [
        "worker-killed",
        "triggerer-killed",
        "triggerer-paused",
        "scheduler-killed",
        "postgres-restarted",
        "redis-restarted",
        "key-rotated",
        "disk-full",
    ],
)
def test_nothing_is_paid_twice_and_nothing_is_lost(place: Site, name: str) -> None:
    fault = FAULTS[name]
    if not fault.possible(place):
        pytest.skip("a file system of its own, to be filled, takes the right to mount one")
    result = one_fault(place, fault, FLEET)
    judged = result.judgement
    assert judged.violations == []
    assert judged.requests == FLEET.size == sum(judged.endings.values())
    assert judged.paid <= FLEET.size
    assert judged.endings[Ending.LOST] == 0
    if fault.moment is Moment.SUBMITTING:
        # A killed worker takes along the answers of at most the submits that it had under way.
        assert judged.endings[Ending.DELIVERED] >= 1
    else:
        assert result.in_flight == FLEET.size
        assert judged.endings == {Ending.DELIVERED: FLEET.size}
