"""How fast an API is asked."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace"]


class Pace:
    """Beginnings of calls, no nearer to each other than an interval (the leaky bucket as a meter, without a burst).

    Used by one event loop: nothing is locked.

    Args:
        interval: Seconds; 0: no limit.
        clock: Seconds that only grow.
    """

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval, self._clock = interval, clock
        self._next = self._until = float("-inf")
        self.rests = 0  # that were asked for: a turn taken before the last one is not valid

    def turn(self) -> float:
        """Take the next turn; returns the seconds to wait for it."""
        now = self._clock()
        begin = max(now, self._next)
        self._next = begin + self._interval
        return begin - now

    def rest(self, seconds: float) -> None:
        """Let no call begin for some seconds: the server asked for it. Turns that are waited for are to be taken again."""
        now = self._clock()
        self.rests += 1
        self._until = max(self._until, now + seconds)
        # No call that has begun did so later than now.
        self._next = max(self._until, min(self._next, now + self._interval))
