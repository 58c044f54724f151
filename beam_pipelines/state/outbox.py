"""Puts events into the outbox, in the transaction of the state change that they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from beam_pipelines.state.event import PROGRESS, PhaseProgress, event_id
from beam_pipelines.state.record import ACTIVE
from beam_pipelines.state.tables import events, executions

__all__ = ["put", "put_progress"]


def put(connection: Connection, service: str, run: str, kind: str, data: dict[str, Any], now: datetime) -> str:
    """Add an event with the run's next sequence number.

    Returns:
        Its id.
    """
    _count(connection, executions.c.run == run, 1)
    row = _numbered(connection, run)
    event = _event(service, run, kind, row.event_sequence, data, now)
    connection.execute(events.insert().values(event))
    return str(event["id"])


def put_progress(connection: Connection, run: str, phases: Sequence[PhaseProgress], now: datetime) -> bool:
    """Add progress events in place of the undelivered ones of their phases; False when the run has ended (nothing is added)."""
    if not _count(connection, (executions.c.run == run) & executions.c.status.in_(ACTIVE), len(phases)):
        return False
    row = _numbered(connection, run)
    names = [one.phase for one in phases]
    stale = (events.c.run == run) & (events.c.type == PROGRESS) & events.c.phase.in_(names) & events.c.delivered_at.is_(None)
    connection.execute(events.delete().where(stale))
    first = row.event_sequence - len(phases) + 1
    told = [{"requestId": row.request, **one.to_json()} for one in phases]
    connection.execute(
        events.insert(),
        [
            _event(row.service, run, PROGRESS, first + number, data, now, name)
            for number, (name, data) in enumerate(zip(names, told, strict=True))
        ],
    )
    return True


def _count(connection: Connection, runs: ColumnElement[bool], by: int) -> bool:
    """Move the sequence number on, which locks the execution's row: two writers of one run never take the same number."""
    moved = executions.update().where(runs).values(event_sequence=executions.c.event_sequence + by)
    return bool(connection.execute(moved).rowcount)


def _numbered(connection: Connection, run: str) -> Any:
    columns = (executions.c.event_sequence, executions.c.service, executions.c.request)
    return connection.execute(select(*columns).where(executions.c.run == run)).one()


def _event(
    service: str, run: str, kind: str, sequence: int, data: dict[str, Any], now: datetime, phase: str | None = None
) -> dict[str, Any]:
    key = event_id(run, kind, sequence)
    return {"id": key, "service": service, "run": run, "type": kind, "sequence": sequence, "phase": phase, "time": now, "data": data}
