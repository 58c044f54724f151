"""Streams are priced by UTC clock hour: once for every hour in which the stream ran at any time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

from beam_pipelines.errors import PlanError
from beam_pipelines.pricing.charge import Charge, PricingLike, make_charge, make_line

__all__ = ["charge_hour", "hours_between"]

_HOUR = timedelta(hours=1)


def hours_between(started: datetime, ended: datetime) -> list[datetime]:
    """Return the UTC clock hours that the time from `started` to before `ended` touches, oldest first.

    Args:
        started: Aware.
        ended: Aware, not before `started`. Ending on the hour does not touch the next one; a moment without length touches its own.

    Raises:
        ValueError: A time without zone, or `ended` before `started`.
    """
    if started.tzinfo is None or ended.tzinfo is None:
        raise ValueError("expected times with a zone")
    if ended < started:
        raise ValueError(f"expected an end at or after {started.isoformat()}, got {ended.isoformat()}")
    hour = _floor(started)
    hours = [hour]
    while (hour := hour + _HOUR) < ended:
        hours.append(hour)
    return hours


def charge_hour(pricing: PricingLike, *, hour: datetime, events: int, title: str = "Stream Pipeline") -> Charge:
    """Compute the charge of one clock hour in which a stream ran.

    The hour costs `rate`; it holds `includes` events, and each event above costs `overage`.

    Args:
        pricing: Model `per-hour`.
        hour: Aware; any moment of the hour.
        events: Events whose offsets were committed in that hour.
        title: First words of the description.

    Raises:
        PlanError: The model is not `per-hour`.
        ValueError: A time without zone, or fewer than 0 events.
    """
    if pricing.model != "per-hour":
        raise PlanError(f"expected pricing `model` 'per-hour' for a stream, got {pricing.model!r}", code="not-served")
    if hour.tzinfo is None or events < 0:
        raise ValueError(f"expected an hour with a zone and 0 events or more, got {hour.isoformat()} and {events}")
    included: Decimal | int | None = getattr(pricing, "includes", None)
    overage: Decimal | None = getattr(pricing, "overage", None)
    lines = [make_line("hour", Decimal(1), "hour", pricing.rate)]
    if included is not None and overage is not None:
        above = max(Decimal(0), Decimal(events) - Decimal(included))
        lines.append(make_line("events above the included", above, "event", overage))
    return make_charge(pricing, tuple(lines), f"{title} - hour {_floor(hour):%Y-%m-%dT%H}Z, {events} events processed")


def _floor(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)
