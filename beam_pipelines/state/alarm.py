"""Alerts: of failures above a limit, that they are below it again, and of incidents."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from beam_pipelines.state import outbox
from beam_pipelines.state.event import ALERT, alert_data
from beam_pipelines.state.record import Incident
from beam_pipelines.state.tables import alerts, failed_records

__all__ = ["ALERT_FAILURES", "ALERT_WINDOW", "of_run", "quiet", "recover", "sound", "tell"]

ALERT_FAILURES = 100  # failures in the window that are still quiet: the seed alerts above
ALERT_WINDOW = timedelta(hours=1)
_RECOVERED = "info"  # severity of the alert that says that there are no more too many


def quiet(connection: Connection, service: str, now: datetime) -> bool:
    """Whether the failures of the last hour are within the limit."""
    return _recent_failures(connection, service, now) <= ALERT_FAILURES


def of_run(connection: Connection, row: Row[Any], quiet_before: bool, now: datetime) -> None:
    """Alert when the failures of the last hour pass the limit: at the crossing, and hourly while they stay above.

    Between two runs the count only falls, by ageing, so "it fell below since" is the same as "it was below before this run's
    failures were added", and no memory of it is needed.
    """
    failures = _recent_failures(connection, row.service, now)
    if failures <= ALERT_FAILURES:
        return
    newest = select(func.max(alerts.c.created_at, type_=alerts.c.created_at.type)).where(
        (alerts.c.service == row.service) & alerts.c.incident.is_(None) & (alerts.c.severity != _RECOVERED)
    )
    last: datetime | None = connection.execute(newest).scalar()
    if not quiet_before and last is not None and now - last < ALERT_WINDOW:
        return
    _many(connection, row, failures, now)


def sound(connection: Connection, row: Row[Any], now: datetime) -> None:
    """Alert when the failures of a stream pass the limit: once, until it has `recover`ed."""
    failures = _recent_failures(connection, row.service, now)
    if failures > ALERT_FAILURES and not _sounding(connection, row.service):
        _many(connection, row, failures, now)


def recover(connection: Connection, row: Row[Any], now: datetime) -> None:
    """Say once that the failures of a stream are within the limit again, where an alert said that they were not.

    To be asked before new failures are added, too: they may pass the limit again, which is another alert.
    """
    if not _sounding(connection, row.service):
        return
    failures = _recent_failures(connection, row.service, now)
    if failures <= ALERT_FAILURES:
        message = f"Pipeline {row.name} has recovered: {failures} failures in last hour"
        _say(connection, row, _RECOVERED, message, now, failures=failures)


def tell(connection: Connection, row: Row[Any], incident: Incident, now: datetime) -> None:
    """Alert of an incident, unless a run of the service has: its transactions come one at a time, so looking is enough."""
    told = (alerts.c.service == row.service) & (alerts.c.incident == incident.key)
    if connection.execute(select(alerts.c.id).where(told)).first() is None:
        message = f"Pipeline {row.name}: {incident.message}"
        _say(connection, row, incident.severity, message, now, failures=0, incident=incident.key)


def _recent_failures(connection: Connection, service: str, now: datetime) -> int:
    # A row that a rule rejects is a result, not a failure: its threshold says how many are too many.
    failed = failed_records.c.code.not_in(("rule-violated", "late-row"))
    mine = (failed_records.c.service == service) & (failed_records.c.timestamp > now - ALERT_WINDOW) & failed
    return int(connection.execute(select(func.coalesce(func.sum(failed_records.c.count), 0)).where(mine)).scalar_one())


def _sounding(connection: Connection, service: str) -> bool:
    """Whether the newest alert of failures says that there are too many: of two of one moment that is the one that says so."""
    newest = func.max(alerts.c.created_at, type_=alerts.c.created_at.type)
    mine = select(newest).where((alerts.c.service == service) & alerts.c.incident.is_(None))
    raised: datetime | None = connection.execute(mine.where(alerts.c.severity != _RECOVERED)).scalar()
    over: datetime | None = connection.execute(mine.where(alerts.c.severity == _RECOVERED)).scalar()
    return raised is not None and (over is None or raised >= over)


def _many(connection: Connection, row: Row[Any], failures: int, now: datetime) -> None:
    _say(connection, row, "high", f"Pipeline {row.name} has {failures} failures in last hour", now, failures=failures)


def _say(connection: Connection, row: Row[Any], severity: str, message: str, now: datetime, **more: Any) -> None:
    key = outbox.put(connection, row.service, row.run, ALERT, alert_data(severity, message), now)
    values = {"id": key, "service": row.service, "run": row.run, "severity": severity, "message": message}
    connection.execute(alerts.insert().values(**values, **more, created_at=now))
