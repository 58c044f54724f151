"""Puts events into the outbox, in the transaction of the state change that they tell of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from beam_pipelines.state.event import PROGRESS, event_id
from beam_pipelines.state.record import ACTIVE
from beam_pipelines.state.tables import events, executions

__all__ = ["put", "put_progress"]


def put(connection: Connection, service: str, run: str, kind: str, data: dict[str, Any], now: datetime) -> str:
    """Add an event with the run's next sequence number.

    Returns:
        Its id.
    """
    _count(connection, executions.c.run == run)
    return _insert(connection, service, run, kind, data, now, None)


def put_progress(connection: Connection, run: str, phase: str, data: dict[str, Any], now: datetime) -> bool:
    """Add a progress event in place of the undelivered ones of its phase; False when the run has ended (nothing is added)."""
    if not _count(connection, (executions.c.run == run) & executions.c.status.in_(ACTIVE)):
        return False
    row = connection.execute(select(executions.c.service, executions.c.request).where(executions.c.run == run)).one()
    stale = (events.c.run == run) & (events.c.type == PROGRESS) & (events.c.phase == phase) & events.c.delivered_at.is_(None)
    connection.execute(events.delete().where(stale))
    _insert(connection, row.service, run, PROGRESS, {"requestId": row.request, **data}, now, phase)
    return True


def _count(connection: Connection, runs: ColumnElement[bool]) -> bool:
    """Move the sequence number on, which locks the execution's row: two writers of one run never take the same number."""
    moved = executions.update().where(runs).values(event_sequence=executions.c.event_sequence + 1)
    return bool(connection.execute(moved).rowcount)


def _insert(connection: Connection, service: str, run: str, kind: str, data: dict[str, Any], now: datetime, phase: str | None) -> str:
    sequence = connection.execute(select(executions.c.event_sequence).where(executions.c.run == run)).scalar_one()
    key = event_id(run, kind, sequence)
    row = {"id": key, "service": service, "run": run, "type": kind, "sequence": sequence, "phase": phase, "time": now, "data": data}
    connection.execute(events.insert().values(row))
    return key
