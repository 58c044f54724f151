"""Counts, sizes and times as people read them."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

__all__ = ["count", "moment", "short", "size", "span"]


def count(number: int | None) -> str:
    """Return a count with its thousands apart; nothing for None.

    >>> count(1234567)
    '1,234,567'
    """
    return "" if number is None else f"{number:,}"


def size(number: int) -> str:
    """Return bytes in powers of 1,024, as they are billed.

    >>> size(999), size(1536), size(5 << 30)
    ('999 B', '1.5 KiB', '5.0 GiB')
    """
    value, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{number:,} B" if unit == "B" else f"{value:,.1f} {unit}"


def short(number: str) -> str:
    """Return a decimal number, which the record has exactly, with at most six decimals.

    >>> short("9.99998008413240"), short("10.00"), short("0.0000000004")
    ('9.99998', '10', '0.0000000004')
    """
    value = Decimal(number)
    rounded = value.quantize(Decimal("0.000001")) or value
    text = format(rounded, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def span(seconds: float) -> str:
    """Return a duration.

    >>> span(0.042), span(12.34), span(245), span(3720)
    ('42 ms', '12.3 s', '4 min 5 s', '1 h 2 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(when: datetime | None) -> str:
    """Return a moment in UTC to the second; nothing for None."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ") if when else ""
