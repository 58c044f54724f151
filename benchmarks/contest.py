"""Contestants take turns, round by round: the machine's mood changes by the minute, so only ratios within a round are compared."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.process import Command, Usage, run

__all__ = ["Contestant", "Rounds", "hold"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contestant:
    """One who does the job.

    Args:
        name: Short, unique in its contest.
        prepare: Puts everything back to where the job begins, untimed, and gives the program that is timed.
        check: Raises `BenchmarkError` unless the result is right.
    """

    name: str
    prepare: Callable[[], Command]
    check: Callable[[], None]


@dataclass(frozen=True)
class Rounds:
    """What each contestant took, round by round."""

    taken: dict[str, list[Usage]]

    def seconds(self, name: str) -> list[float]:
        return [usage.seconds for usage in self.taken[name]]

    def cpu(self, name: str) -> list[float]:
        return [usage.cpu for usage in self.taken[name]]

    def peak_bytes(self, name: str) -> int:
        return max(usage.peak_bytes for usage in self.taken[name])

    def median_seconds(self, name: str) -> float:
        return statistics.median(self.seconds(name))


def hold(contestants: Sequence[Contestant], rounds: int) -> Rounds:
    """Let all contestants do the job once a round, and check each result.

    Raises:
        BenchmarkError: A program failed or its result is wrong.
    """
    taken: dict[str, list[Usage]] = {one.name: [] for one in contestants}
    for number in range(rounds):
        # Who comes first finds the machine as the last one left it: the order turns.
        turn = number % len(contestants)
        for one in [*contestants[turn:], *contestants[:turn]]:
            usage = run(one.prepare())
            one.check()
            taken[one.name].append(usage)
            _LOG.info(
                "round %d, %s: %.2f s, %.2f s of CPU, %.0f MB", number + 1, one.name, usage.seconds, usage.cpu, usage.peak_bytes / 1e6
            )
    return Rounds(taken)
