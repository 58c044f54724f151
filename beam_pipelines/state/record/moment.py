"""Times of records: aware, and kept as text in UTC."""

from __future__ import annotations

from datetime import datetime, timezone

__all__ = ["aware", "moment_text"]


def aware(moment: datetime) -> datetime:
    """Return the time as it is.

    Raises:
        ValueError: It has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with a zone, got {moment.isoformat()}")
    return moment


def moment_text(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with microseconds, as the store keeps times; None for None."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds") if moment else None
