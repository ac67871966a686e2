"""How fast a channel may ask, by a clock that the test holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from airflow_provider_luma.api.pacing import BURST, GENTLE, HEADROOM, LEAST_SHARE, OUTAGE, Pace

#: A thousand waits, each looking every five seconds.
LOAD = 200.0


@dataclass
class Gate:
    """A pace, a clock, and always somebody who wants to send; ``sent`` holds when."""

    pace: Pace
    now: float = 1000.0
    sent: list[float] = field(default_factory=list)

    def run(self, seconds: float, load: float | None = LOAD) -> int:
        """Let through all that may go within so many seconds; return how many."""
        end, before = self.now + seconds, len(self.sent)
        while self.now < end:
            pause = self.pace.turn(self.now, load)
            if pause == 0.0:
                self.sent.append(self.now)
            else:
                assert pause > 0.0
                self.now += pause
        self.now = end
        return len(self.sent) - before

    def most_in(self, window: float) -> int:
        """Return the largest number sent within any window of so many seconds."""
        return max(
            sum(1 for other in self.sent[at:] if other < start + window) for at, start in enumerate(self.sent)
        )


class TestTheWaitsOwnLoad:
    def test_is_exceeded_by_half_to_catch_up_and_not_by_more(self):
        gate = Gate(Pace())

        assert gate.run(10) == pytest.approx(LOAD * HEADROOM * 10 + BURST, abs=2)

    def test_after_a_rest_only_a_handful_goes_at_once(self):
        gate = Gate(Pace())
        gate.run(1)
        gate.now += 3600
        gate.sent.clear()
        gate.run(1)

        assert gate.most_in(0.001) <= BURST + 1

    def test_a_single_wait_is_not_held_up(self):
        pace = Pace()
        for look in range(100):
            assert pace.turn(look * 5.0, 0.2) == 0.0

    def test_no_load_at_all_is_no_division_by_zero(self):
        assert Gate(Pace()).run(5, load=0.0) == BURST


class TestTheGivenRate:
    @pytest.mark.parametrize("per_second", [0.2, 1.0, 3.0, 20.0, 25.0, 150.0])
    def test_no_second_sees_more(self, per_second):
        gate = Gate(Pace(per_second))
        gate.run(60)

        assert gate.most_in(1.0) <= max(per_second, 1.0)

    @pytest.mark.parametrize("per_second", [0.2, 3.0, 20.0, 150.0])
    def test_nearly_all_of_it_is_used(self, per_second):
        assert Gate(Pace(per_second)).run(100) >= per_second * 100 * 0.95

    def test_counts_for_one_who_asks_without_a_load_of_waits(self):
        assert Gate(Pace(10.0)).run(10, load=None) == pytest.approx(100, abs=1)

    def test_none_and_no_load_is_no_bound(self):
        pace = Pace()
        assert all(pace.turn(1.0) == 0.0 for _ in range(1000))


class TestARefusal:
    def test_silences_everybody_for_as_long_as_the_gateway_asked(self):
        gate = Gate(Pace())
        gate.run(5)
        gate.pace.refused(gate.now, gate.now, 20.0)

        assert gate.run(19.99) == 0
        assert gate.run(1.0) > 0

    def test_is_followed_by_a_slow_return_to_the_full_pace(self):
        gate = Gate(Pace())
        gate.run(5)
        gate.pace.refused(gate.now, gate.now, 20.0)
        gate.run(20)
        by_second = [gate.run(1) for _ in range(15)]

        assert by_second[0] <= LOAD * HEADROOM * 0.55
        assert all(later >= earlier - 1 for earlier, later in pairwise(by_second))
        assert by_second[-1] == pytest.approx(LOAD * HEADROOM, abs=2)

    def test_counts_once_for_all_that_was_under_way(self):
        pace = Pace()

        assert pace.refused(10.0, 11.0, 5.0)
        assert not pace.refused(10.5, 11.2, 5.0)
        assert pace.share(16.2) == pytest.approx(0.5, abs=0.02)

    def test_that_asks_for_longer_prolongs_the_pause(self):
        pace = Pace()
        pace.refused(10.0, 11.0, 5.0)
        pace.refused(10.5, 11.2, 30.0)

        assert pace.paused(12.0) == pytest.approx(29.2)

    def test_after_a_refusal_halves_again_but_not_to_nothing(self):
        gate = Gate(Pace())
        for _ in range(30):
            gate.pace.refused(gate.now, gate.now, 1.0)
            gate.run(1.001)

        assert LEAST_SHARE <= gate.pace.share(gate.now) <= LEAST_SHARE + 0.1
        assert gate.run(1) >= GENTLE - 1

    def test_finds_the_rate_that_the_gateway_bears(self):
        """A gateway that bears 100 a second and refuses above that, for a second."""
        gate, refusals = Gate(Pace()), 0
        for _ in range(120):
            if gate.run(1) > 100:
                refusals += 1
                gate.pace.refused(gate.now, gate.now, 1.0)
            else:
                gate.pace.answered()

        assert len(gate.sent) / 120 > 40, "far below what it would bear"
        assert refusals < 30, "asked for too much again and again"


class TestAnOutage:
    def test_slows_down_to_a_trickle(self):
        gate = Gate(Pace())
        gate.run(5)
        for _ in range(OUTAGE):
            gate.pace.failed(gate.now)

        assert gate.run(1) <= LOAD * HEADROOM * (LEAST_SHARE + 0.05) + BURST

    def test_of_a_few_waits_leaves_them_their_interval(self):
        pace = Pace()
        for look in range(1000):
            now = look * 5.0
            assert pace.turn(now, 0.2) == 0.0
            pace.failed(now)

    def test_ends_with_one_answer_and_no_storm(self):
        gate = Gate(Pace())
        for _ in range(600):
            gate.pace.failed(gate.now)
            gate.run(1)
        gate.pace.answered()
        by_second = [gate.run(1) for _ in range(30)]

        assert by_second[0] <= LOAD * HEADROOM * 0.15
        assert max(by_second) <= LOAD * HEADROOM + 1
        assert by_second[-1] == pytest.approx(LOAD * HEADROOM, abs=2)

    def test_is_not_one_answer_in_ten_that_fails(self):
        gate = Gate(Pace())
        for look in range(10_000):
            gate.pace.failed(gate.now) if look % 10 == 0 else gate.pace.answered()

        assert gate.pace.share(gate.now) == 1.0


class TestWhatItRemembers:
    def test_refusals_are_counted_until_an_answer_comes(self):
        pace = Pace()
        for count in (1, 2, 3):
            assert pace.refused(1000.0 + count, 1000.0 + count, 0.5)
            assert pace.refusals == count
        pace.answered()
        assert pace.refusals == 0

    def test_a_pause_is_over_when_it_is_over(self):
        pace = Pace()
        pace.refused(1000.0, 1000.0, 10.0)
        assert (pace.paused(1004.0), pace.paused(1010.0), pace.paused(1020.0)) == (6.0, 0.0, 0.0)
        assert pace.turn(1004.0, LOAD) == 6.0

    def test_nothing_saved_up_before_a_pause_is_spent_after_it(self):
        gate = Gate(Pace())
        gate.pace.refused(1000.0, 1000.0, 10.0)
        gate.now = 1010.0

        assert gate.run(0.001) == 0

    def test_one_failure_less_than_an_outage_is_none_and_an_answer_begins_anew(self):
        pace = Pace()
        for _ in range(OUTAGE - 1):
            pace.failed(1000.0)
        assert pace.share(1000.0) == 1.0
        pace.answered()
        for _ in range(OUTAGE - 1):
            pace.failed(1000.0)
        assert pace.share(1000.0) == 1.0
        pace.failed(1000.0)
        assert pace.share(1000.0) == LEAST_SHARE

    def test_a_given_bound_holds_without_a_load_of_the_waits(self):
        gate = Gate(Pace(per_second=2.0))

        assert gate.run(10, load=None) == pytest.approx(20, abs=1)
