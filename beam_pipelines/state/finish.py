"""Ends an execution exactly once: everything that follows from the end of a run is written in the transaction that sets its status."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from beam_pipelines.errors import FatalError
from beam_pipelines.state import outbox
from beam_pipelines.state.event import ALERT, CHARGE, DELIVER, FAIL, PhaseProgress, alert_data, charge_data, deliver_data, fail_data
from beam_pipelines.state.history import add_quality
from beam_pipelines.state.record import ACTIVE, ChargeLike, Incident, Metrics, Outcome, Watermark
from beam_pipelines.state.tables import (
    alerts,
    charges,
    execution_files,
    execution_steps,
    executions,
    failed_records,
    pipeline_metrics,
    service_requests,
    watermarks,
)

__all__ = ["ALERT_FAILURES", "ALERT_WINDOW", "charge_key", "finish", "put_watermark"]

ALERT_FAILURES = 100  # failures in the window that are still quiet: the seed alerts above
ALERT_WINDOW = timedelta(hours=1)


def finish(connection: Connection, run: str, outcome: Outcome, now: datetime) -> bool:
    """Record how a run ended; in a transaction that is the only one of its service.

    Returns:
        True if this call did it, False if the run had ended already (nothing is written).

    Raises:
        FatalError: There is no such run.
    """
    row = _execution(connection, run)
    ended = outcome.completed_at or now
    duration = max(0, round((ended - row.started_at).total_seconds() * 1000))
    if outcome.files is not None and outcome.status == "success":
        # Workers tell how far they are by messages that may be lost: that all is done is told here, in the transaction that says so.
        done = PhaseProgress("commit", "completed", outcome.metrics.records_extracted, outcome.to_read, outcome.to_read)
        outbox.put_progress(connection, run, [done], now)
    if not _end_execution(connection, row, outcome, ended, duration):
        return False
    _add_steps(connection, run, outcome)
    _add_files(connection, run, outcome)
    _add_metric(connection, row, outcome.metrics, ended, duration)
    add_quality(connection, row, outcome, ended)
    quiet_before = _recent_failures(connection, row.service, now) <= ALERT_FAILURES
    _add_failures(connection, row, outcome, ended)
    for watermark in outcome.watermarks:
        put_watermark(connection, watermark, now, guarded=True)
    _answer_request(connection, row, outcome, duration, now)
    if outcome.charge is not None and outcome.status == "success":
        _charge(connection, row, outcome.charge, now)
    if outcome.failures:
        _alert(connection, row, quiet_before, now)
    for incident in outcome.incidents:
        _tell(connection, row, incident, now)
    return True


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


def _execution(connection: Connection, run: str) -> Row[Any]:
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
        "watermark": _watermark_of(outcome.watermarks),
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


def _add_steps(connection: Connection, run: str, outcome: Outcome) -> None:
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
        for position, step in enumerate(outcome.steps)
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


def _add_failures(connection: Connection, row: Row[Any], outcome: Outcome, ended: datetime) -> None:
    rows = [
        {"run": row.run, "position": position, "service": row.service, "timestamp": ended, **vars(failure)}
        for position, failure in enumerate(outcome.failures)
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


def _charge(connection: Connection, row: Row[Any], charge: ChargeLike, now: datetime) -> None:
    values = {
        "key": charge_key(row.service, row.run, charge.price_version),
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


def _recent_failures(connection: Connection, service: str, now: datetime) -> int:
    # A row that a rule rejects is a result, not a failure: its threshold says how many are too many.
    failed = failed_records.c.code != "rule-violated"
    mine = (failed_records.c.service == service) & (failed_records.c.timestamp > now - ALERT_WINDOW) & failed
    return int(connection.execute(select(func.coalesce(func.sum(failed_records.c.count), 0)).where(mine)).scalar_one())


def _alert(connection: Connection, row: Row[Any], quiet_before: bool, now: datetime) -> None:
    """Alert when the failures of the last hour pass the limit: at the crossing, and hourly while they stay above.

    Between two runs the count only falls, by ageing, so "it fell below since" is the same as "it was below before this run's
    failures were added", and no memory of it is needed.
    """
    failures = _recent_failures(connection, row.service, now)
    if failures <= ALERT_FAILURES:
        return
    newest = select(func.max(alerts.c.created_at, type_=alerts.c.created_at.type)).where(
        (alerts.c.service == row.service) & alerts.c.incident.is_(None)
    )
    last: datetime | None = connection.execute(newest).scalar()
    if not quiet_before and last is not None and now - last < ALERT_WINDOW:
        return
    message = f"Pipeline {row.name} has {failures} failures in last hour"
    _say(connection, row, "high", message, now, failures=failures)


def _tell(connection: Connection, row: Row[Any], incident: Incident, now: datetime) -> None:
    """Alert of an incident, unless a run of the service has: its transactions come one at a time, so looking is enough."""
    told = (alerts.c.service == row.service) & (alerts.c.incident == incident.key)
    if connection.execute(select(alerts.c.id).where(told)).first() is None:
        message = f"Pipeline {row.name}: {incident.message}"
        _say(connection, row, incident.severity, message, now, failures=0, incident=incident.key)


def _say(connection: Connection, row: Row[Any], severity: str, message: str, now: datetime, **more: Any) -> None:
    key = outbox.put(connection, row.service, row.run, ALERT, alert_data(severity, message), now)
    values = {"id": key, "service": row.service, "run": row.run, "severity": severity, "message": message}
    connection.execute(alerts.insert().values(**values, **more, created_at=now))
