"""Moves the record of a stream on by one drain, exactly once: all that follows from a commit is written in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from beam_pipelines.state import alarm, hours, outbox, query
from beam_pipelines.state.event import PROGRESS, PhaseProgress
from beam_pipelines.state.finish import add_failures, add_steps, execution_row, put_watermark, restate_metric
from beam_pipelines.state.record import ACTIVE, LIVE_COUNTERS, STREAM, Advance, Failure, merged, moment_text
from beam_pipelines.state.tables import events, execution_steps, executions, failed_records, watermarks

__all__ = ["advance", "heartbeat", "refuse"]

_TOLD_EVERY = timedelta(seconds=10)  # between two `PipelineProgress.updated` of a stream: the outbox is no progress bar


def advance(connection: Connection, run: str, step: Advance, now: datetime) -> bool:
    """Add what one drain committed to the record of its stream; in a transaction that is the only one of its service.

    A stream that has ended meanwhile (it was given up, and had committed all the same) is added to as well: its commit stands.

    Returns:
        True if this call did it, False if it had been done (nothing is written).

    Raises:
        FatalError: There is no such run.
        ValueError: It is no stream, or one of another service than the watermark.
    """
    row = execution_row(connection, run)
    if row.kind != STREAM or row.service != step.watermark.service:
        raise ValueError(f"expected a stream of service {step.watermark.service!r}, got run {run} of {row.kind} service {row.service!r}")
    if _done(connection, row, step):
        return False
    alarm.recover(connection, row, now)
    live = _live(row.live or {}, step)
    _add_to_execution(connection, row, step, live)
    if row.status not in ACTIVE:
        restate_metric(connection, execution_row(connection, run))
    known = query.find_steps(connection, [run]).get(run, ())
    connection.execute(execution_steps.delete().where(execution_steps.c.run == run))
    add_steps(connection, run, merged(known, step.steps))
    add_failures(connection, row, step.failures, step.committed_at, first=_next_position(connection, run), drain=step.drain)
    put_watermark(connection, step.watermark, now, guarded=True)
    hours.add_events(connection, row.service, run, step.events, step.committed_at, now)
    alarm.sound(connection, row, now)
    for incident in step.incidents:
        alarm.tell(connection, row, incident, now)
    _tell(connection, row, step, live, now)
    return True


def refuse(connection: Connection, run: str, drain: str, failures: Sequence[Failure], at: datetime, now: datetime) -> bool:
    """Add dead letters of what another sink refused of a drain to the index, once a file; in a transaction as `advance`.

    Returns:
        True if this call did it, False if it had been done (nothing is written).

    Raises:
        FatalError: There is no such run.
    """
    row = execution_row(connection, run)
    places = {failure.url for failure in failures}
    mine = (failed_records.c.run == run) & (failed_records.c.drain == drain) & failed_records.c.url.in_(places)
    if not failures or connection.execute(select(failed_records.c.position).where(mine).limit(1)).first() is not None:
        return False
    alarm.recover(connection, row, now)
    add_failures(connection, row, failures, at, first=_next_position(connection, run), drain=drain)
    alarm.sound(connection, row, now)
    return True


def _next_position(connection: Connection, run: str) -> int:
    last = connection.execute(select(func.max(failed_records.c.position)).where(failed_records.c.run == run)).scalar()
    return 0 if last is None else last + 1


def heartbeat(connection: Connection, run: str, now: datetime) -> None:
    """Note that a stream runs, though no message may come: its clock hour, and that its failures have aged.

    Raises:
        FatalError: There is no such run.
    """
    row = execution_row(connection, run)
    if row.status in ACTIVE:
        hours.touch(connection, row.service, run, now)
        alarm.recover(connection, row, now)


def _done(connection: Connection, row: Row[Any], step: Advance) -> bool:
    """Whether a drain was added before: to this execution, or by the copy of the watermark to another one.

    A copy that a person has set or cleared says nothing of drains.
    """
    if row.generation is not None and row.generation >= step.generation:
        return True
    mine = (watermarks.c.service == row.service) & (watermarks.c.table == step.load)
    copy = connection.execute(select(watermarks.c.generation, watermarks.c.run).where(mine)).first()
    return copy is not None and copy.run is not None and copy.generation >= step.generation


def _live(before: dict[str, Any], step: Advance) -> dict[str, Any]:
    counted = {name: before.get(name, 0) + step.live.get(name, 0) for name in LIVE_COUNTERS}
    return {**before, **step.live, **counted, "updatedAt": moment_text(step.committed_at)}


def _add_to_execution(connection: Connection, row: Row[Any], step: Advance, live: dict[str, Any]) -> None:
    sums = {name: executions.c[name] + count for name, count in vars(step.metrics).items() if count}
    values = {**sums, "live": live, "watermark": step.watermark.value, "generation": step.generation}
    connection.execute(executions.update().where(executions.c.run == row.run).values(values))


def _tell(connection: Connection, row: Row[Any], step: Advance, live: dict[str, Any], now: datetime) -> None:
    """Put `PipelineProgress.updated` into the outbox, unless that was done a moment ago, or the stream has ended."""
    if row.status not in ACTIVE:
        return
    told = select(events.c.time).where((events.c.run == row.run) & (events.c.type == PROGRESS))
    last: datetime | None = connection.execute(told.order_by(events.c.sequence.desc()).limit(1)).scalar()
    if last is not None and abs(now - last) < _TOLD_EVERY:
        return
    records, size = (getattr(row, name) + getattr(step.metrics, name) for name in ("records_extracted", "bytes_processed"))
    outbox.put_progress(connection, row.run, [PhaseProgress(STREAM, "running", records, size, live=live)], now)
