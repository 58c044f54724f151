"""Numbers as a reader of a report takes them in."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["count", "figure", "many", "percent", "share"]


def count(number: int) -> str:
    """Return a count with its thousands apart.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def many(number: int, one: str, several: str = "") -> str:
    """Return a count with what is counted.

    >>> many(1, "row"), many(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count(number)} {one if number == 1 else several or one + 's'}"


def share(part: int, whole: int) -> float | None:
    """Return a share from 0 to 1; None of nothing."""
    return part / whole if whole else None


def percent(value: float | None) -> str:
    """Return a share in percent; one that is not all never reads as all, and one that is not nothing never as nothing.

    >>> percent(1.0), percent(0.999999), percent(0.5), percent(0.0123), percent(0.000001), percent(0.0), percent(None)
    ('100%', '>99.99%', '50%', '1.23%', '<0.01%', '0%', '')
    """
    if value is None:
        return ""
    if value <= 0 or value >= 1:
        return f"{100 * value:g}%"
    if value > 0.9999:
        return ">99.99%"
    if value < 0.0001:
        return "<0.01%"
    return f"{100 * value:.2f}".rstrip("0").rstrip(".") + "%"


def figure(value: Any) -> str:
    """Return a plain value, a number with at most six digits that say something.

    >>> figure(31.0), figure(0.003009027), figure(1234567), figure(1234567.5), figure(None), figure("1.50"), figure(True)
    ('31', '0.00300903', '1,234,567', '1,234,568', '', '1.50', 'true')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        size = abs(value)
        if value == int(value) and size < 1e15:
            return count(int(value))
        return f"{value:,.0f}" if 1e6 <= size < 1e15 else f"{value:,.6g}"
    return str(value)
