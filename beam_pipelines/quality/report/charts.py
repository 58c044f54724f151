"""The geometry of the charts of a page: numbers from 0 to 100, x to the right and y downwards, that SVG stretches to the room there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_pipelines.quality.report.quantity import figure

__all__ = ["box", "floor_of", "line"]

_FLOORS = (0.99, 0.98, 0.95, 0.9, 0.8, 0.6, 0.5)
_ROOM = 6.0  # above and below, so that no dot is cut off
_SHARES = ("0.05", "0.25", "0.5", "0.75", "0.95")


def floor_of(rates: Sequence[float | None]) -> float:
    """Return where an axis of rates that ends at 1 begins: below all of them, but not so far that nothing can be seen.

    >>> floor_of([0.97, 0.993]), floor_of([0.2]), floor_of([None])
    (0.95, 0.0, 0.99)
    """
    least = min((rate for rate in rates if rate is not None), default=1.0)
    return next((floor for floor in _FLOORS if floor < least), 0.0)


def line(values: Sequence[float | None], low: float, high: float) -> tuple[list[tuple[float, float] | None], str]:
    """Return the point of each value, and the path through them; what is None has no point, and the path goes on behind it.

    Args:
        values: In order, at equal distances.
        low: At the bottom.
        high: At the top; above `low`.
    """
    step = 100 / max(1, len(values) - 1)
    points: list[tuple[float, float] | None] = []
    for at, value in enumerate(values):
        x = at * step if len(values) > 1 else 50.0
        # A value that is out of the range, as rounding may make one, stays at its edge.
        part = None if value is None else min(1.0, max(0.0, (value - low) / (high - low)))
        points.append(None if part is None else (round(x, 2), round(100 - _ROOM - part * (100 - 2 * _ROOM), 2)))
    there = [f"{x} {y}" for x, y in filter(None, points)]
    return points, f"M{' L'.join(there)}" if there else ""


def box(column: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return where the quantiles of a column lie between its least and its greatest value; None where there are none.

    Returns:
        `whiskers`, `box` and `median`, from 0 to 100, and `told`, in words.
    """
    quantiles = column.get("quantiles") or {}
    try:
        low, high, *at = (float(value) for value in (column["min"], column["max"], *(quantiles[share] for share in _SHARES)))
    except (KeyError, TypeError, ValueError):
        return None
    if not high > low:
        return None
    fifth, first, middle, third, last = (round(100 * (value - low) / (high - low), 2) for value in at)
    words = ", ".join(f"{name} {figure(value)}" for name, value in zip(("5%", "25%", "median", "75%", "95%"), at, strict=True))
    return {"whiskers": (fifth, last), "box": (first, third), "median": middle, "told": words}
