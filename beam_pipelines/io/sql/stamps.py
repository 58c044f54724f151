"""Ceilings of cursor columns that have a type: the clock, cut to what the column can hold; numbers that count time since 1970."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import CursorSpec
from beam_pipelines.runs.mark import Mark

__all__ = ["Clock", "ceiling", "epoch_ceiling", "epoch_low", "epoch_unit", "sequence_ceiling"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True)
class Clock:
    """One moment of the database.

    Args:
        instant: Aware UTC.
        local: The same as a column without time zone gets it from the database's clock: naive, in the session's zone.
    """

    instant: dt.datetime
    local: dt.datetime


def ceiling(cursor: CursorSpec, column: pa.Field, clock: Clock) -> tuple[Mark, bool]:
    """The ceiling of a column of dates or moments, and whether it is read itself.

    Stamps below it are over: the clock is floored to the column's unit, for a row may still be stamped within the unit that is running.
    Business dates (kind `date`) are read up to today: rows of today come with it, and again by overlap.

    Raises:
        PlanError: The column is text, real numbers or nanoseconds, whose order is not that of marks (microseconds).
    """
    kind = column.type
    if pa.types.is_date(kind):
        return Mark.of(clock.local.date()), cursor.kind == "date"
    if not pa.types.is_timestamp(kind) or kind.unit == "ns":
        raise PlanError(
            f"the cursor column {column.name!r} is of type {kind}, which does not order as moments do:"
            f" give CAST({column.name} AS TIMESTAMP) AS {column.name} in the query",
            code="cursor-invalid",
        )
    moment = clock.instant if kind.tz is not None else clock.local
    step = {"s": 1_000_000, "ms": 1_000, "us": 1}[kind.unit]
    return Mark.of(moment.replace(microsecond=moment.microsecond // step * step)), False


def epoch_unit(value: int) -> tuple[int, str]:
    """Units a second, and their name, of a number that counts time since 1970, by its size: as seconds, 1e11 is the year 5138."""
    for limit, unit, name in ((10**11, 1, "seconds"), (10**14, 1_000, "milliseconds"), (10**17, 1_000_000, "microseconds")):
        if abs(value) < limit:
            return unit, name
    return 1_000_000_000, "nanoseconds"


def epoch_ceiling(greatest: int | None, instant: dt.datetime) -> tuple[Mark, int, str]:
    """The clock as a number since 1970 in the unit of the column's greatest value: (mark, units a second, name of the unit)."""
    unit, name = epoch_unit(greatest or 0)
    return Mark.of((instant - _EPOCH) // dt.timedelta(microseconds=1) * unit // 1_000_000), unit, name


def epoch_low(low: Mark | None, overlap: float, unit: int) -> Mark | None:
    """The low bound, given that the caller took the overlap's seconds off as if they were the column's units."""
    return Mark.of(int(low.value) - int(overlap * (unit - 1))) if low is not None else None


def sequence_ceiling(column: pa.Field, greatest: Any) -> Mark:
    """The greatest value as a mark of the column's type."""
    return Mark.of(str(greatest) if is_text(column.type) else greatest)
