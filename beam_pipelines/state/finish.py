"""Ends an execution exactly once: everything that follows from the end of a run is written in the transaction that sets its status."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from beam_pipelines.errors import FatalError
from beam_pipelines.state import alarm, outbox, query
from beam_pipelines.state.event import CHARGE, DELIVER, FAIL, PhaseProgress, charge_data, deliver_data, fail_data
from beam_pipelines.state.history import add_quality
from beam_pipelines.state.record import ACTIVE, STREAM, ChargeLike, Failure, Metrics, Outcome, Step, Watermark
from beam_pipelines.state.tables import (
    charges,
    execution_files,
    execution_steps,
    executions,
    failed_records,
    pipeline_metrics,
    service_requests,
    watermarks,
)

__all__ = ["add_charge", "add_failures", "add_steps", "charge_key", "execution_row", "finish", "put_watermark", "restate_metric"]


def finish(connection: Connection, run: str, outcome: Outcome, now: datetime) -> bool:
    """Record how a run ended; in a transaction that is the only one of its service.

    What a stream did was recorded as it advanced: of its outcome nothing is added to that, and no charge made.

    Returns:
        True if this call did it, False if the run had ended already (nothing is written).

    Raises:
        FatalError: There is no such run.
    """
    row = execution_row(connection, run)
    if row.kind == STREAM:
        outcome = _advanced(connection, row, outcome)
    ended = outcome.completed_at or now
    duration = max(0, round((ended - row.started_at).total_seconds() * 1000))
    if outcome.files is not None and outcome.status == "success":
        # Workers tell how far they are by messages that may be lost: that all is done is told here, in the transaction that says so.
        done = PhaseProgress("commit", "completed", outcome.metrics.records_extracted, outcome.to_read, outcome.to_read)
        outbox.put_progress(connection, run, [done], now)
    if not _end_execution(connection, row, outcome, ended, duration):
        return False
    if row.kind != STREAM:
        add_steps(connection, run, outcome.steps)
    _add_files(connection, run, outcome)
    _add_metric(connection, row, outcome.metrics, ended, duration)
    add_quality(connection, row, outcome, ended)
    quiet_before = alarm.quiet(connection, row.service, now)
    add_failures(connection, row, outcome.failures, ended)
    for watermark in outcome.watermarks:
        put_watermark(connection, watermark, now, guarded=True)
    _answer_request(connection, row, outcome, duration, now)
    if outcome.charge is not None and outcome.status == "success":
        add_charge(connection, row, outcome.charge, charge_key(row.service, run, outcome.charge.price_version), now)
    if outcome.failures:
        alarm.of_run(connection, row, quiet_before, now)
    for incident in outcome.incidents:
        alarm.tell(connection, row, incident, now)
    return True


def restate_metric(connection: Connection, row: Row[Any]) -> None:
    """Write the row of metrics of a run that has ended anew, from its record."""
    connection.execute(pipeline_metrics.delete().where(pipeline_metrics.c.run == row.run))
    _add_metric(connection, row, _metrics_of(row), row.completed_at, row.duration)


def _metrics_of(row: Row[Any]) -> Metrics:
    return Metrics(**{name: getattr(row, name) for name in Metrics.__dataclass_fields__})


def _advanced(connection: Connection, row: Row[Any], outcome: Outcome) -> Outcome:
    """The outcome of a stream: how it ended, with the sums of what it advanced by."""
    steps = query.find_steps(connection, [row.run]).get(row.run, ())
    return replace(outcome, metrics=_metrics_of(row), steps=steps, failures=(), watermarks=(), charge=None, files=None)


def charge_key(service: str, run: str, price_version: str) -> str:
    """Return the idempotency key of a charge, to be handed to whoever collects the money, too."""
    return hashlib.sha256(f"{service}|{run}|{price_version}".encode()).hexdigest()


def put_watermark(connection: Connection, watermark: Watermark, now: datetime, *, guarded: bool) -> bool:
    """Store the copy of a watermark; `guarded` leaves a newer generation alone. Returns whether it was stored."""
    mine = (watermarks.c.service == watermark.service) & (watermarks.c.table == watermark.table)
    stored = connection.execute(select(watermarks.c.generation).where(mine)).scalar()
    if guarded and stored is not None and stored > watermark.generation:
        return False
    values = {"value": watermark.value, "fingerprint": watermark.fingerprint, "generation": watermark.generation}
    values |= {"run": watermark.run, "updated_at": now}
    if stored is None:
        connection.execute(watermarks.insert().values(service=watermark.service, table=watermark.table, **values))
    else:
        connection.execute(watermarks.update().where(mine).values(values))
    return True


def execution_row(connection: Connection, run: str) -> Row[Any]:
    """The row of a run.

    Raises:
        FatalError: There is no such run.
    """
    row = connection.execute(select(executions).where(executions.c.run == run)).first()
    if row is None:
        raise FatalError(f"expected a run that was begun in this state store, got {run!r}", details={"run": run})
    return row


def _end_execution(connection: Connection, row: Row[Any], outcome: Outcome, ended: datetime, duration: int) -> bool:
    """Compare and set the status: of two that end a run at once, one finds it ended."""
    metrics = outcome.metrics
    values: dict[str, Any] = {
        "status": outcome.status,
        "completed_at": ended,
        "duration": duration,
        **vars(metrics),
        "watermark": _watermark_of(outcome.watermarks) if row.kind != STREAM else row.watermark,
        "error": outcome.error,
        "error_code": outcome.error_code,
        "files": outcome.files.counts() if outcome.files is not None else None,
    }
    if outcome.guarantee is not None:
        values["guarantee"] = outcome.guarantee
    if outcome.charge is not None and outcome.status == "success":
        values["charge"] = outcome.charge.to_json()
    active = (executions.c.run == row.run) & executions.c.status.in_(ACTIVE)
    return bool(connection.execute(executions.update().where(active).values(values)).rowcount)


def _watermark_of(stored: Sequence[Watermark]) -> Any:
    if len(stored) == 1:
        return stored[0].value
    return {one.table: one.value for one in stored} or None


def add_steps(connection: Connection, run: str, steps: Sequence[Step]) -> None:
    """Add the phases of a run."""
    rows = [
        {
            "run": run,
            "position": position,
            "phase": step.phase,
            "success": step.success,
            "record_count": step.record_count,
            "loaded": step.loaded,
            "errors": step.errors,
            "method": step.method,
            "duration": step.duration,
            "table": step.table,
            "transformations": [one.to_json() for one in step.transformations],
        }
        for position, step in enumerate(steps)
    ]
    if rows:
        connection.execute(execution_steps.insert(), rows)


def _add_files(connection: Connection, run: str, outcome: Outcome) -> None:
    told = outcome.files.told if outcome.files is not None else None
    if told:
        connection.execute(execution_files.insert(), [{"run": run, "position": at, "file": file} for at, file in enumerate(told)])


def _add_metric(connection: Connection, row: Row[Any], metrics: Metrics, ended: datetime, duration: int) -> None:
    values = {
        "run": row.run,
        "service": row.service,
        "timestamp": ended,
        "records_processed": metrics.records_loaded,
        "bytes_processed": metrics.bytes_processed,
        "duration": duration,
        "throughput": metrics.records_loaded / (duration / 1000) if duration else None,
        "error_rate": metrics.errors / metrics.records_extracted if metrics.records_extracted else None,
    }
    connection.execute(pipeline_metrics.insert().values(values))


def add_failures(
    connection: Connection, row: Row[Any], failures: Sequence[Failure], at: datetime, *, first: int = 0, drain: str | None = None
) -> None:
    """Add to the index of a run's dead letters, from position `first` on."""
    rows = [
        {"run": row.run, "position": position, "service": row.service, "timestamp": at, "drain": drain, **vars(failure)}
        for position, failure in enumerate(failures, first)
    ]
    if rows:
        connection.execute(failed_records.insert(), rows)


def _answer_request(connection: Connection, row: Row[Any], outcome: Outcome, duration: int, now: datetime) -> None:
    delivered = outcome.status == "success"
    if delivered:
        data = deliver_data(row.request, outcome.metrics, duration, outcome.steps, outcome.files)
        outbox.put(connection, row.service, row.run, DELIVER, data, now)
    else:
        outbox.put(connection, row.service, row.run, FAIL, fail_data(row.request, outcome), now)
    answer = {"status": "delivered" if delivered else "failed", "completed_at": now}
    connection.execute(service_requests.update().where(service_requests.c.run == row.run).values(answer))


def add_charge(connection: Connection, row: Row[Any], charge: ChargeLike, key: str, now: datetime) -> None:
    """Charge a run: the charge, and the event that asks for the payment."""
    values = {
        "key": key,
        "service": row.service,
        "run": row.run,
        "request": row.request,
        "customer": row.customer,
        "amount": charge.amount,
        "currency": charge.currency,
        "description": charge.description,
        "price_version": charge.price_version,
        "data": charge.to_json(),
        "charged_at": now,
    }
    connection.execute(charges.insert().values(values))
    outbox.put(connection, row.service, row.run, CHARGE, charge_data(row.customer, charge), now)
