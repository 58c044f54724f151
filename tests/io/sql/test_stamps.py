from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import CursorSpec
from beam_pipelines.io.sql.stamps import Clock, ceiling, epoch_ceiling, epoch_low, epoch_unit
from beam_pipelines.runs.mark import Mark

INSTANT = dt.datetime(2026, 1, 31, 23, 0, 5, 123_456, tzinfo=dt.timezone.utc)
CLOCK = Clock(INSTANT, dt.datetime(2026, 2, 1, 1, 0, 5, 123_456))


@pytest.mark.parametrize(
    ("kind", "column", "mark", "inclusive"),
    [
        ("timestamp", pa.timestamp("us"), Mark("timestamp", "2026-02-01T01:00:05.123456"), False),
        ("timestamp", pa.timestamp("ms"), Mark("timestamp", "2026-02-01T01:00:05.123000"), False),
        ("timestamp", pa.timestamp("s"), Mark("timestamp", "2026-02-01T01:00:05.000000"), False),
        ("timestamp", pa.timestamp("us", "Europe/Berlin"), Mark("timestamptz", "2026-01-31T23:00:05.123456+00:00"), False),
        ("timestamp", pa.date32(), Mark("date", "2026-02-01"), False),
        ("date", pa.date32(), Mark("date", "2026-02-01"), True),
    ],
)
def test_the_clock_is_cut_to_what_the_column_holds(kind: str, column: pa.DataType, mark: Mark, inclusive: bool) -> None:
    assert ceiling(CursorSpec("at", kind), pa.field("at", column), CLOCK) == (mark, inclusive)


@pytest.mark.parametrize("column", [pa.string(), pa.float64(), pa.timestamp("ns")])
def test_columns_in_another_order_than_marks_are_refused(column: pa.DataType) -> None:
    with pytest.raises(PlanError, match="CAST"):
        ceiling(CursorSpec("at"), pa.field("at", column), CLOCK)


@pytest.mark.parametrize(
    ("value", "unit"),
    [(1_764_000_000, 1), (1_764_000_000_123, 1_000), (1_764_000_000_123_456, 10**6), (1_764_000_000_123_456_789, 10**9), (0, 1)],
)
def test_units_of_epoch_numbers_follow_from_their_size(value: int, unit: int) -> None:
    assert epoch_unit(value)[0] == unit


def test_epoch_ceilings_are_whole_units_of_the_clock() -> None:
    seconds = int(INSTANT.timestamp())
    assert epoch_ceiling(seconds, INSTANT) == (Mark("int", str(seconds)), 1, "seconds")
    assert epoch_ceiling(seconds * 1000, INSTANT)[0] == Mark("int", f"{seconds}123")
    assert epoch_ceiling(None, INSTANT)[0] == Mark("int", str(seconds))


def test_the_overlap_of_epoch_numbers_is_seconds_in_the_end() -> None:
    # The caller took 60 off; 60 s are 60,000 ms.
    assert epoch_low(Mark("int", str(1_000_000 - 60)), 60, 1000) == Mark("int", str(1_000_000 - 60_000))
    assert epoch_low(None, 60, 1000) is None
