"""Dates and timestamps within bounds."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import Result, check
from beam_pipelines.spec import DateRange

UTC = dt.timezone.utc
NOW = dt.datetime(2024, 6, 15, 12, 0, tzinfo=UTC)


def checked(values: pa.Array, now: dt.datetime | None = NOW, **bounds: Any) -> Result:
    return check(pa.table({"x": values}), [{"id": "r", "type": "date-range", "field": "x", **bounds}], now=now)


def violating(values: pa.Array, **bounds: Any) -> list[int]:
    return checked(values, **bounds).violations["recordIndex"].to_pylist()


MOMENTS = [
    dt.datetime(2023, 12, 31, 23, 59, 59),
    dt.datetime(2024, 1, 1),
    None,
    dt.datetime(2024, 12, 31, 23, 59, 59),
    dt.datetime(2025, 1, 1),
]


@pytest.mark.parametrize(
    "values",
    [
        *(pa.array(MOMENTS, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        pa.array(MOMENTS, pa.timestamp("us", "America/New_York")),  # instants: the zone is how they are shown
        pa.array([None if at is None else at.isoformat() for at in MOMENTS]),
        pa.array([None if at is None else f"{at.isoformat(' ')}Z" for at in MOMENTS], pa.large_string()),
        pa.array([None if at is None else at.date() for at in MOMENTS], pa.date32()),
        pa.array([None if at is None else at.date() for at in MOMENTS], pa.date64()),
        pa.array(MOMENTS, pa.timestamp("us")).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_a_bound_that_is_a_date_is_its_whole_day_in_utc(values):
    found = checked(values, min="2024-01-01", max="2024-12-31")
    assert found.violations["recordIndex"].to_pylist() == [0, 4]
    assert set(found.violations["message"].to_pylist()) == {"expected a date or timestamp from 2024-01-01 to 2024-12-31"}
    assert found.rules[0].tally.unevaluated == 1


def test_a_bound_that_is_a_timestamp_is_an_instant():
    instants = pa.array([10**9 - 1, 10**9, 10**9 + 1, 2 * 10**9, 2 * 10**9 + 1], pa.timestamp("ns"))
    assert violating(instants, min="1970-01-01T00:00:01Z", max="1970-01-01T00:00:02") == [0, 4]
    assert violating(instants, min="1970-01-01T01:00:01+01:00") == [0]
    assert violating(instants, max="1970-01-01 00:00:01.000000001") == [3, 4]
    # A date is its first instant.
    days = pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2)])
    assert violating(days, min="2024-01-01T00:00:01") == [0]
    assert violating(days, max="2024-01-01T00:00:00") == [1]
    # Bounds between two values of a coarse type are not rounded to one of them.
    seconds = pa.array([-1, 0, 1], pa.timestamp("s"))
    assert violating(seconds, min="1970-01-01T00:00:00.5") == [0, 1]
    assert violating(seconds, max="1970-01-01T00:00:00.5") == [2]
    assert violating(seconds, max="1969-12-31T23:59:59.5") == [1, 2]


def test_text_that_is_no_date_violates_and_says_so():
    texts = pa.array(["2024-02-29", "2023-02-29", "", " 2024-03-01 ", "01.02.2024", "2024-03-01T10:00:00+02:00", None, "2024", "soon"])
    found = checked(texts, min="2024-01-01")
    assert found.violations["recordIndex"].to_pylist() == [1, 2, 4, 7, 8]
    message = "expected a date or timestamp that is not before 2024-01-01, got something that is neither a date nor a timestamp"
    assert set(found.violations["message"].to_pylist()) == {message}


def test_text_that_is_no_utf_8_costs_its_row_alone():
    raw = pa.py_buffer(b"\xff\xfe\xfd2024-05-05")
    texts = pa.StringArray.from_buffers(2, pa.array([0, 3, 13], pa.int32()).buffers()[1], raw)
    assert violating(texts, min="2024-01-01") == [0]


def test_bounds_that_a_type_cannot_reach_hold_of_all_values_or_of_none():
    values = pa.array([0, 2**63 - 1, None], pa.timestamp("ns"))  # the type ends in 2262
    assert violating(values, max="3000-01-01") == []
    assert violating(values, min="0001-01-01") == []
    assert violating(values, min="3000-01-01") == [0, 1]
    assert violating(values, max="0001-01-01") == [0, 1]


def test_nothing_is_after_the_start_of_the_run():
    moments = pa.array([NOW, NOW + dt.timedelta(microseconds=1), NOW - dt.timedelta(days=9), None], pa.timestamp("us", "UTC"))
    found = checked(moments, notInFuture=True)
    assert found.violations["recordIndex"].to_pylist() == [1]
    assert found.violations["message"].to_pylist() == ["expected a date or timestamp that is not in the future"]
    assert violating(pa.array([NOW.date(), NOW.date() + dt.timedelta(days=1)]), notInFuture=True) == [1]
    assert violating(pa.array(["2024-06-15T11:59:59", "2024-06-15T12:00:01"]), notInFuture=True) == [1]
    # A start without a zone is UTC.
    assert checked(moments, now=NOW.replace(tzinfo=None), notInFuture=True).rejected.num_rows == 1
    # The nearer of two bounds counts.
    assert violating(moments, notInFuture=True, max="2024-06-10") == [0, 1]
    assert violating(moments, notInFuture=True, max="2030-01-01", min="2024-06-10") == [1, 2]


def test_without_a_start_of_the_run_it_is_now():
    values = pa.array([dt.datetime.now(UTC) - dt.timedelta(minutes=5), dt.datetime.now(UTC) + dt.timedelta(days=1)])
    assert checked(values, now=None, notInFuture=True).violations["recordIndex"].to_pylist() == [1]


def test_fields_that_are_no_moments_are_refused():
    with pytest.raises(PlanError) as refused:
        checked(pa.array([20240101]), min="2024-01-01")
    (problem,) = refused.value.problems
    assert problem.path == "rules[0].field"
    assert problem.message == "expected a field of dates, timestamps or text, got 'x' of type int64"


MOMENT = "expected a date or a timestamp such as 2024-12-31 or 2024-12-31T23:59:59Z, got"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "expected 'min', 'max' or 'notInFuture: true', got none of them"),
        ({"notInFuture": False}, "expected 'min', 'max' or 'notInFuture: true', got none of them"),
        ({"min": "2024-02-30"}, f"{MOMENT} '2024-02-30'"),
        ({"max": "31.12.2024"}, f"{MOMENT} '31.12.2024'"),
        ({"min": 2024}, f"{MOMENT} 2024"),
        ({"min": "2024-01-02", "max": "2024-01-01"}, "expected a moment that is not before 'min' (2024-01-02), got '2024-01-01'"),
    ],
)
def test_bounds_that_make_no_sense_are_told(keys, expected):
    with pytest.raises(ValidationError) as refused:
        DateRange.model_validate({"id": "r", "field": "x", **keys})
    assert [error["msg"] for error in refused.value.errors()] == [expected]


def test_bounds_may_be_python_s_own():
    rule = DateRange.model_validate({"id": "r", "field": "x", "min": dt.date(2024, 1, 1), "max": dt.datetime(2024, 1, 1, 10, tzinfo=UTC)})
    assert (rule.min, rule.max) == ("2024-01-01", "2024-01-01T10:00:00+00:00")
    assert check(pa.table({"x": pa.array(["2024-01-01T10:00:00Z", "2024-01-01T10:00:01Z"])}), [rule]).rejected.num_rows == 1
