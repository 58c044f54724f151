"""Clock hours of streams: what ran in them, and their charges, each exactly once.

An hour is a row from the moment a stream runs in it, and is settled once it has passed. What is counted into an hour that is settled
already (a process died between its commit and its record, and was rolled forward later) goes to the next hour that is not: no event is
lost, none is paid twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select

from beam_pipelines.state.finish import add_charge, execution_row
from beam_pipelines.state.record import ChargeLike, StreamHour
from beam_pipelines.state.tables import charges, executions, stream_hours

__all__ = ["Price", "add_events", "charge_next", "find_hours", "hour_key", "touch"]

Price = Callable[[datetime, int], "ChargeLike | None"]
_HOUR = timedelta(hours=1)


def hour_key(service: str, hour: datetime, price_version: str) -> str:
    """Return the idempotency key of the charge of an hour, to be handed to whoever collects the money, too."""
    return hashlib.sha256(f"{service}|{hour.astimezone(timezone.utc).isoformat()}|{price_version}".encode()).hexdigest()


def touch(connection: Connection, service: str, run: str, at: datetime) -> None:
    """Note that a run of a stream was at work in the clock hour of a moment; the hour stays with the run that was there first."""
    hour = _floor(at)
    if _charged(connection, service, hour) is None:
        connection.execute(stream_hours.insert().values(service=service, hour=hour, run=run, events=0))


def add_events(connection: Connection, service: str, run: str, events: int, at: datetime, now: datetime) -> datetime:
    """Count events into the clock hour of their commit, or, when that is settled, into the next one that is not.

    Where there is none yet, that is the one in which the store is told of them.

    Args:
        connection: Of the store, in a transaction that is the only one of the service.
        service: Service id.
        run: Execution that committed them.
        events: Messages.
        at: When they were committed.
        now: The store's clock.

    Returns:
        The hour.
    """
    hour = _floor(at)
    if events and _charged(connection, service, hour):
        mine = (stream_hours.c.service == service) & (stream_hours.c.hour > hour) & stream_hours.c.charged_at.is_(None)
        later = connection.execute(select(stream_hours.c.hour).where(mine).order_by(stream_hours.c.hour).limit(1)).scalar()
        hour = later or max(hour + _HOUR, _floor(now))
        while _charged(connection, service, hour):  # the clock went back
            hour += _HOUR
    touch(connection, service, run, hour)
    here = (stream_hours.c.service == service) & (stream_hours.c.hour == hour)
    connection.execute(stream_hours.update().where(here).values(events=stream_hours.c.events + events))
    return hour


def charge_next(connection: Connection, service: str, price: Price, now: datetime) -> StreamHour | None:
    """Settle the oldest hour that has passed and is not settled; in a transaction that is the only one of the service.

    Returns:
        The hour; None when there is none.
    """
    mine = (stream_hours.c.service == service) & stream_hours.c.charged_at.is_(None) & (stream_hours.c.hour <= now - _HOUR)
    row = connection.execute(select(stream_hours).where(mine).order_by(stream_hours.c.hour).limit(1)).first()
    if row is None:
        return None
    charge = price(row.hour, row.events)
    key = hour_key(service, row.hour, charge.price_version) if charge is not None else None
    here = (stream_hours.c.service == service) & (stream_hours.c.hour == row.hour)
    connection.execute(stream_hours.update().where(here).values(charge=key, charged_at=now))
    amount, currency = (charge.amount, charge.currency) if charge is not None else (None, None)
    if charge is not None and key is not None:
        add_charge(connection, execution_row(connection, row.run), charge, key, now)
        _restate(connection, row)
    return StreamHour(service, row.hour, row.run, row.events, now, key, amount, currency)


def find_hours(connection: Connection, *, service: str | None = None, run: str | None = None) -> list[StreamHour]:
    """Hours of a service, or of a run, oldest first."""
    columns = [stream_hours.c[name] for name in ("service", "hour", "run", "events", "charged_at", "charge")]
    query = select(*columns, charges.c.amount, charges.c.currency).outerjoin_from(
        stream_hours, charges, stream_hours.c.charge == charges.c.key
    )
    if service is not None:
        query = query.where(stream_hours.c.service == service)
    if run is not None:
        query = query.where(stream_hours.c.run == run)
    return [StreamHour(**row._mapping) for row in connection.execute(query.order_by(stream_hours.c.service, stream_hours.c.hour))]


def _charged(connection: Connection, service: str, hour: datetime) -> bool | None:
    """Whether an hour is settled; None: nothing ran in it."""
    here = (stream_hours.c.service == service) & (stream_hours.c.hour == hour)
    row = connection.execute(select(stream_hours.c.charged_at).where(here)).first()
    return None if row is None else row.charged_at is not None


def _restate(connection: Connection, row: Row[Any]) -> None:
    """Write the sum of its charges into the record of a run.

    A definition may change its currency while an hour of an earlier run is not charged: then the sum is of those in the newest currency.
    """
    every = [one for one in find_hours(connection, run=row.run) if one.amount is not None]
    currency = every[-1].currency
    alike = [one.amount for one in every if one.currency == currency and one.amount is not None]
    hours = "1 hour" if len(alike) == 1 else f"{len(alike)} hours"
    others = f", and {len(every) - len(alike)} in another currency" if len(alike) < len(every) else ""
    total = {"amount": format(sum(alike, Decimal(0)), "f"), "currency": currency, "description": f"{hours}{others}"}
    connection.execute(executions.update().where(executions.c.run == row.run).values(charge=total))


def _floor(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)
