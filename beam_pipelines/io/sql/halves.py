"""Which rows of a batch a database refuses, when it refuses all of them at once and does not say why."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["refused_rows"]


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
