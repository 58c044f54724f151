"""What a store forgets when its time is over: the index of dead letters, and events.

A stream may run for years as one execution: its dead letters go drain by drain, and its events by their own age, while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from beam_pipelines.state.record import ACTIVE, STREAM
from beam_pipelines.state.tables import events, executions, failed_records

__all__ = ["forget_events", "forget_failed_records", "runs_with_letters"]

_LEFT_BY = func.coalesce(failed_records.c.drain, failed_records.c.run)  # whose file the letters are in
_RUNS_AT_ONCE = 500  # ids in one statement: SQLite allows few parameters in old versions


def runs_with_letters(connection: Connection, service: str, before: datetime | None = None) -> dict[str, list[str]]:
    """Places of dead letters by run, of the runs and drains of a service that ended before a moment (None: of all)."""
    query = select(_LEFT_BY.label("run"), failed_records.c.url).distinct().where(failed_records.c.service == service)
    if before is not None:
        query = query.where(failed_records.c.timestamp < before)
    found: dict[str, list[str]] = {}
    for row in connection.execute(query.order_by(_LEFT_BY, failed_records.c.url)):
        found.setdefault(row.run, []).append(row.url)
    return found


def forget_failed_records(connection: Connection, service: str, runs: Sequence[str]) -> int:
    """Delete the index entries of some runs and drains; returns how many dead letters they counted. The records keep their counts."""
    forgotten = 0
    for first in range(0, len(runs), _RUNS_AT_ONCE):
        some = (failed_records.c.service == service) & _LEFT_BY.in_(runs[first : first + _RUNS_AT_ONCE])
        forgotten += int(connection.execute(select(func.coalesce(func.sum(failed_records.c.count), 0)).where(some)).scalar_one())
        connection.execute(failed_records.delete().where(some))
    return forgotten


def forget_events(connection: Connection, service: str, before: datetime) -> tuple[int, int]:
    """Delete the events of a service before a moment, but for those of runs that have not ended and will: not of streams.

    Returns:
        How many there were, and how many of them had not been delivered.
    """
    unfinished = executions.c.status.in_(ACTIVE) & (executions.c.kind != STREAM)
    at_work = select(executions.c.run).where((executions.c.service == service) & unfinished)
    old = (events.c.service == service) & (events.c.time < before) & events.c.run.not_in(at_work)
    waiting = connection.execute(select(func.count()).select_from(events).where(old & events.c.delivered_at.is_(None))).scalar_one()
    return int(connection.execute(events.delete().where(old)).rowcount), int(waiting)
