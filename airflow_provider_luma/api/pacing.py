"""
How fast one channel may ask the gateway: the decision that keeps thousands of waits from becoming a storm.

Three bounds, the tightest of which counts:

* the connection's ``requests_per_second``, if it names one, which no second exceeds;
* the load that the waits themselves make (each one look an interval), and half as much again. So whatever has
  piled up, behind a pause, an outage or a restart, is worked off over some seconds and never in one burst;
* what the gateway bears: when it refuses for being asked too often (429, a quota's 403), *nothing* is asked
  until the pause that it wants is over, and then half as much as before, growing back within seconds. When
  nothing but failures comes back, it is asked seldom until one answer comes.

Without a clock: the time, by a monotonic clock, is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: The waits' own load may be exceeded by this factor, to catch up.
HEADROOM = 1.5
#: Requests that may be caught up on at once.
BURST = 16
#: Requests per second to which the gateway's trouble slows a channel down at most: so few are no storm.
GENTLE = 5.0
#: The share of the full pace below which trouble slows no channel down, and what it grows by in a second.
LEAST_SHARE = 0.05
SHARE_PER_SECOND = 0.05
#: Failures in a row, over all waits, that count as an outage.
OUTAGE = 16


@dataclass(slots=True)
class _Bucket:
    """Allows ``rate`` requests a second, and up to ``capacity`` at once after a time of rest."""

    capacity: float
    tokens: float
    at: float | None = None

    def seconds_until_one(self, now: float, rate: float) -> float:
        """Return the seconds until a request is allowed; nothing is taken yet."""
        if self.at is not None:
            self.tokens = min(self.capacity, self.tokens + max(now - self.at, 0.0) * rate)
        self.at = now
        # Not quite one, by rounding: the pause for it would be too short for any clock to show.
        return 0.0 if self.tokens >= 1.0 - 1e-6 else (1.0 - self.tokens) / rate


@dataclass(slots=True)
class Pace:
    """
    The pace of one channel.

    :param per_second: requests per second that are never exceeded; ``None``: no such bound.
    """

    per_second: float | None = None
    _own: _Bucket = field(default_factory=lambda: _Bucket(BURST, BURST))
    _given: _Bucket | None = None
    _paused_until: float = 0.0
    _paused_at: float = float("-inf")
    _share: float = 1.0
    _share_at: float = 0.0
    _refusals: int = 0
    _failures: int = 0

    def __post_init__(self) -> None:
        """Make the bucket of the given bound: a fiftieth of a second's worth may go at once."""
        if self.per_second is not None:
            capacity = max(1.0, self.per_second / 50)
            self._given = _Bucket(capacity, capacity)

    def turn(self, now: float, load: float | None = None) -> float:
        """
        Return 0 and count a request that is sent now, or the seconds after which to ask again.

        :param load: requests per second that the waits make of themselves; ``None``: no such bound.
        """
        if now < self._paused_until:
            return self._paused_until - now
        pause = 0.0
        if load is not None:
            full = load * HEADROOM
            rate = max(full * self.share(now), min(full, GENTLE), 1e-6)
            pause = self._own.seconds_until_one(now, rate)
        if self._given is not None and self.per_second is not None:
            # What may go at once is taken off the rate, so that no second sees more than what was given.
            at_once = self._given.capacity
            given = self.per_second - (at_once if at_once > 1.0 else 0.0)
            pause = max(pause, self._given.seconds_until_one(now, given))
        if pause > 0.0:
            return pause
        self._own.tokens -= 1.0
        if self._given is not None:
            self._given.tokens -= 1.0
        return 0.0

    def share(self, now: float) -> float:
        """Return how much of the full pace the gateway is trusted to bear now."""
        return min(1.0, self._share + max(now - self._share_at, 0.0) * SHARE_PER_SECOND)

    def paused(self, now: float) -> float:
        """Return the seconds for which nothing is to be asked because the gateway said so."""
        return max(self._paused_until - now, 0.0)

    def refused(self, sent_at: float, now: float, pause: float) -> bool:
        """
        Take note that a request was refused for being one too many; return whether that is news.

        :param sent_at: when the request was sent: one that was under way when the last pause began does not
            count again.
        :param pause: seconds for which the gateway asked to be left alone, or a backoff.
        """
        self._paused_until = max(self._paused_until, now + pause)
        if sent_at < self._paused_at:
            return False
        self._share = max(self.share(now) / 2, LEAST_SHARE)
        self._share_at = self._paused_until
        self._own.tokens = 0.0
        self._own.at = self._paused_until
        self._paused_at = now
        self._refusals += 1
        return True

    @property
    def refusals(self) -> int:
        """How many pauses there have been since the last answer."""
        return self._refusals

    def answered(self) -> None:
        """Take note of an answer: the gateway is there."""
        self._refusals = 0
        self._failures = 0

    def failed(self, now: float) -> None:
        """Take note of a request without an answer, or with one that is a failure of the gateway."""
        self._failures += 1
        if self._failures >= OUTAGE:
            self._share = LEAST_SHARE
            self._share_at = now
