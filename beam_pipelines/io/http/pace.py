"""How fast an API is asked, and when it is let alone."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Breaker", "Pace"]

_REST = 30.0  # seconds that a server which does not answer is let alone


class Pace:
    """Beginnings of calls, no nearer to each other than an interval (the leaky bucket as a meter, without a burst).

    Used by one event loop: nothing is locked.

    Args:
        interval: Seconds; 0: no limit.
        clock: Seconds that only grow.
    """

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval, self._clock = interval, clock
        self._next = float("-inf")

    def turn(self) -> float:
        """Take the next turn; returns the seconds to wait for it."""
        now = self._clock()
        begin = max(now, self._next)
        self._next = begin + self._interval
        return begin - now

    def rest(self, seconds: float) -> None:
        """Let no call begin for some seconds: the server asked for it."""
        self._next = max(self._next, self._clock() + seconds)


class Breaker:
    """Gives a server up that failed many times in a row, so that a million rows do not wait for it one after the other.

    After `failures` failures without an answer in between, calls are refused for 30 seconds; then one goes through, and if that fails
    too, the next 30 seconds begin.

    Args:
        failures: In a row; each after all of its retries.
        clock: Seconds that only grow.
    """

    def __init__(self, failures: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = failures, clock
        self._failed = 0
        self._until = float("-inf")

    def refuses(self) -> bool:
        """Return whether the next call is not worth beginning; one that is begins."""
        if self._failed < self._limit:
            return False
        now = self._clock()
        if now < self._until:
            return True
        self._until = now + _REST
        return False

    def answered(self) -> None:
        """Note that the server answered, whatever it said."""
        self._failed = 0

    def failed(self) -> None:
        """Note that it did not."""
        self._failed += 1
        if self._failed == self._limit:
            self._until = self._clock() + _REST
