"""Which of many a database refuses, when it refuses all of them at once and does not say why."""

from __future__ import annotations

from collections.abc import Callable

from beam_pipelines.errors import DataError

__all__ = ["first_refused", "refused_rows"]


def refused_rows(rows: int, taken: Callable[[int, int], bool]) -> list[int]:
    """Find the rows by halves: a few of them cost a few times the logarithm of the batch.

    Args:
        rows: Of the batch.
        taken: Tries rows from a position, so many of them, and undoes it; False when one at least is refused.

    Returns:
        Their positions, sorted.
    """
    bad, parts = list[int](), [(0, rows)]
    while parts:
        low, high = parts.pop()
        if taken(low, high - low):
            continue
        if high - low == 1:
            bad.append(low)
        else:
            middle = (low + high) // 2
            parts += [(middle, high), (low, middle)]
    return sorted(bad)


def first_refused(low: int, high: int, take: Callable[[int, int], None]) -> tuple[int, DataError] | None:
    """Find the first that is refused among those that are refused together; the tries add up to what is there, once.

    Args:
        low: The first of them.
        high: One above the last.
        take: Takes `[low, high)` for good, or takes nothing and raises DataError.

    Returns:
        Its position and why; None when nothing is refused any more.
    """
    while high - low > 1:
        middle = (low + high) // 2
        try:
            take(low, middle)
        except DataError:
            high = middle
        else:
            low = middle
    try:
        take(low, high)
    except DataError as refusal:
        return low, refusal
    return None
