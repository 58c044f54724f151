"""Reads of the store: rows into records, each list in a defined order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, select

from beam_pipelines.state.event import Event
from beam_pipelines.state.record import (
    ACTIVE,
    Alert,
    ChargeRecord,
    Execution,
    FailedRecord,
    Files,
    Metrics,
    PipelineMetric,
    Schedule,
    ServiceRequest,
    Step,
    Transformation,
    Watermark,
)
from beam_pipelines.state.tables import (
    alerts,
    charges,
    events,
    execution_files,
    execution_steps,
    executions,
    failed_records,
    pipeline_metrics,
    schedules,
    service_requests,
    watermarks,
)

__all__ = [
    "find_alerts",
    "find_charges",
    "find_events",
    "find_executions",
    "find_failed_records",
    "find_files",
    "find_metrics",
    "find_requests",
    "find_schedule",
    "find_steps",
    "find_unfinished",
    "find_watermarks",
]

_RUNS_AT_ONCE = 500  # ids in one statement: SQLite allows few parameters in old versions


def find_executions(
    connection: Connection, *, service: str | None = None, run: str | None = None, status: str | None = None, limit: int | None = None
) -> list[Execution]:
    """Executions with their steps, newest first (by start, then run id)."""
    query = _where(select(executions), executions, service=service, run=run, status=status)
    rows = connection.execute(query.order_by(executions.c.started_at.desc(), executions.c.run).limit(limit)).all()
    return _with_steps(connection, rows)


def find_unfinished(connection: Connection, service: str) -> list[Execution]:
    """Executions that have not ended, oldest first: the order in which they roll forward."""
    query = _where(select(executions), executions, service=service).where(executions.c.status.in_(ACTIVE))
    return _with_steps(connection, connection.execute(query.order_by(executions.c.started_at, executions.c.run)).all())


def find_steps(connection: Connection, runs: Collection[str]) -> dict[str, tuple[Step, ...]]:
    """Steps by run, in the order of the run."""
    found: defaultdict[str, list[Step]] = defaultdict(list)
    wanted = list(runs)
    for first in range(0, len(wanted), _RUNS_AT_ONCE):
        some = execution_steps.c.run.in_(wanted[first : first + _RUNS_AT_ONCE])
        query = select(execution_steps).where(some).order_by(execution_steps.c.run, execution_steps.c.position)
        for row in connection.execute(query):
            values = dict(row._mapping)
            run = values.pop("run")
            del values["position"]
            values["transformations"] = tuple(Transformation.from_json(one) for one in values["transformations"])
            found[run].append(Step(**values))
    return {run: tuple(steps) for run, steps in found.items()}


def find_files(connection: Connection, run: str) -> tuple[dict[str, Any], ...]:
    """What became of the files of a run, as far as it is recorded, in order."""
    query = select(execution_files.c.file).where(execution_files.c.run == run).order_by(execution_files.c.position)
    return tuple(connection.execute(query).scalars())


def find_watermarks(connection: Connection, service: str) -> list[Watermark]:
    """Watermarks of a service, by table."""
    query = _where(select(watermarks), watermarks, service=service).order_by(watermarks.c.table)
    return [Watermark(**row._mapping) for row in connection.execute(query)]


def find_failed_records(
    connection: Connection, *, service: str | None, run: str | None, limit: int | None, offset: int
) -> list[FailedRecord]:
    """Index entries, newest first (by time, then run id), in the order of each run."""
    query = _where(select(failed_records), failed_records, service=service, run=run)
    query = query.order_by(failed_records.c.timestamp.desc(), failed_records.c.run, failed_records.c.position)
    return [FailedRecord(**row._mapping) for row in connection.execute(query.limit(limit).offset(offset))]


def find_events(
    connection: Connection, *, service: str | None, run: str | None, kind: str | None, undelivered: bool, limit: int | None
) -> list[Event]:
    """Events in the order they were put into the outbox."""
    columns = [column for column in events.c if column.name != "phase"]
    query = _where(select(*columns), events, service=service, run=run, type=kind)
    if undelivered:
        query = query.where(events.c.delivered_at.is_(None))
    return [Event(**row._mapping) for row in connection.execute(query.order_by(events.c.position).limit(limit))]


def find_charges(connection: Connection, *, service: str | None, run: str | None) -> list[ChargeRecord]:
    """Charges, oldest first (by time, then key)."""
    query = _where(select(charges), charges, service=service, run=run).order_by(charges.c.charged_at, charges.c.key)
    return [ChargeRecord(**row._mapping) for row in connection.execute(query)]


def find_metrics(connection: Connection, *, service: str | None, limit: int | None) -> list[PipelineMetric]:
    """One a run, newest first (by time, then run id)."""
    query = _where(select(pipeline_metrics), pipeline_metrics, service=service)
    query = query.order_by(pipeline_metrics.c.timestamp.desc(), pipeline_metrics.c.run)
    return [PipelineMetric(**row._mapping) for row in connection.execute(query.limit(limit))]


def find_alerts(connection: Connection, *, service: str | None, run: str | None) -> list[Alert]:
    """Alerts, oldest first (by time, then id)."""
    query = _where(select(alerts), alerts, service=service, run=run).order_by(alerts.c.created_at, alerts.c.id)
    return [Alert(**row._mapping) for row in connection.execute(query)]


def find_requests(connection: Connection, *, service: str | None) -> list[ServiceRequest]:
    """Requests, oldest first (by time, then run id)."""
    query = _where(select(service_requests), service_requests, service=service)
    rows = connection.execute(query.order_by(service_requests.c.created_at, service_requests.c.run))
    return [ServiceRequest(**row._mapping) for row in rows]


def find_schedule(connection: Connection, service: str) -> Schedule | None:
    """The schedule recorded for a service."""
    row = connection.execute(_where(select(schedules), schedules, service=service)).first()
    return Schedule(**row._mapping) if row else None


def _with_steps(connection: Connection, rows: Iterable[Row[Any]]) -> list[Execution]:
    records = [dict(row._mapping) for row in rows]
    steps = find_steps(connection, [values["run"] for values in records])
    return [_execution(values, steps.get(values["run"], ())) for values in records]


def _execution(values: dict[str, Any], steps: tuple[Step, ...]) -> Execution:
    del values["event_sequence"], values["generation"]
    metrics = Metrics(**{name: values.pop(name) for name in Metrics.__dataclass_fields__})
    return Execution(**{**values, "files": Files.of(values["files"])}, metrics=metrics, steps=steps)


def _where(query: Select[Any], table: Table, **wanted: str | None) -> Select[Any]:
    """Narrow to rows equal in the columns that are not None."""
    for name, value in wanted.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    return query
