"""The history of quality: a row for each `validate` step of a run, written when the run ends, and forgotten in its time.

What a run's own record holds of the rows themselves (examples, and values of a profile) is forgotten with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, true

from beam_pipelines.state.record import Outcome, QualityRecord, without_rows
from beam_pipelines.state.tables import execution_steps, quality_history

__all__ = ["KEPT_RUNS", "add_quality", "find_quality", "forget_quality", "old_quality"]

KEPT_RUNS = 100  # of each step, where a definition does not say how long they are kept


def add_quality(connection: Connection, row: Row[Any], outcome: Outcome, ended: datetime) -> None:
    """Add what the rules of a run came to; in the transaction that ends it."""
    found = [dict(values, position=position) for position, values in enumerate(_told(outcome))]
    if found:
        more = {"run": row.run, "service": row.service, "timestamp": ended, "status": outcome.status}
        connection.execute(quality_history.insert(), [values | more for values in found])


def _told(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for step in outcome.steps:
        for one in step.transformations:
            if one.quality is None:
                continue
            counts = {name: one.quality[name] for name in ("total", "passed", "failed", "warnings")}
            result: dict[str, Any] = {"rules": list(one.rules)}
            if one.quality.get("profile"):
                result["profile"] = one.quality["profile"]
            yield {"step": one.id, "table": step.table, **counts, "result": result}


def find_quality(
    connection: Connection, *, service: str | None, step: str | None, until: datetime | None, limit: int | None
) -> list[QualityRecord]:
    """Records, newest run first (by time, then run id), in the order of the steps.

    Args:
        connection: Of the store.
        service: Only of this service.
        step: Only of this step.
        until: Only of runs that ended then or before.
        limit: Of at most so many runs.
    """
    mine: ColumnElement[bool] = true() if service is None else quality_history.c.service == service
    if step is not None:
        mine &= quality_history.c.step == step
    if until is not None:
        mine &= quality_history.c.timestamp <= until
    newest = func.max(quality_history.c.timestamp)
    runs = select(quality_history.c.run).where(mine).group_by(quality_history.c.run).order_by(newest.desc(), quality_history.c.run)
    wanted = mine & quality_history.c.run.in_(select(runs.limit(limit).subquery().c.run))
    columns = [column for column in quality_history.c if column.name != "position"]
    order = (quality_history.c.timestamp.desc(), quality_history.c.run, quality_history.c.position)
    return [QualityRecord(**row._mapping) for row in connection.execute(select(*columns).where(wanted).order_by(*order))]


def old_quality(connection: Connection, service: str, before: datetime | None) -> list[str]:
    """Return the runs of a service whose history is too old, oldest first.

    Args:
        connection: Of the store.
        service: Service id.
        before: Those that ended before; None: those that are not among the last `KEPT_RUNS` runs of any of their steps.
    """
    mine = quality_history.c.service == service
    if before is not None:
        query: Select[Any] = select(quality_history.c.run).distinct().where(mine & (quality_history.c.timestamp < before))
        return sorted(row.run for row in connection.execute(query))
    by = (quality_history.c.step, quality_history.c.table)
    order = (quality_history.c.timestamp.desc(), quality_history.c.run)
    ranked = select(quality_history.c.run, func.row_number().over(partition_by=by, order_by=order).label("place")).where(mine).subquery()
    query = select(ranked.c.run).group_by(ranked.c.run).having(func.min(ranked.c.place) > KEPT_RUNS)
    return sorted(row.run for row in connection.execute(query))


def forget_quality(connection: Connection, service: str, runs: list[str]) -> int:
    """Delete the history of some runs, and what their records hold of the rows themselves; returns of how many runs there was any."""
    gone = 0
    for run in runs:
        mine = (quality_history.c.service == service) & (quality_history.c.run == run)
        gone += bool(connection.execute(quality_history.delete().where(mine)).rowcount)
        of_run = execution_steps.c.run == run
        for row in connection.execute(select(execution_steps.c.position, execution_steps.c.transformations).where(of_run)).all():
            kept = without_rows({"transformations": row.transformations})["transformations"]
            if kept != row.transformations:
                here = of_run & (execution_steps.c.position == row.position)
                connection.execute(execution_steps.update().where(here).values(transformations=kept))
    return gone
