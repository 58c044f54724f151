"""Rows of two sources under the same columns, and the types that hold the values of both."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import cast, origin
from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.union import UnionStep
from beam_pipelines.transforms.step import check_law
from beam_pipelines.transforms.union import Union
from beam_pipelines.transforms.wider import wider

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.timezone.utc)
SOURCE = {"type": "file", "path": "x.parquet"}
UTC = dt.timezone.utc


def step(other: pa.Schema, **more: Any) -> Union:
    made = Union(UnionStep.model_validate({"id": "u", "source": SOURCE, **more}), "steps[0]")
    made.against(other)
    return made


def together(ours: pa.RecordBatch, theirs: pa.RecordBatch, **more: Any) -> tuple[pa.Schema, list[dict[str, Any]]]:
    made = step(theirs.schema, **more)
    planned = made.plan(ours.schema, None)
    made.open(ours.schema, planned, NOW)
    first = made.apply(origin.attach(ours, "ours", first_row=0))
    second = made.added(origin.attach(theirs, "theirs", first_row=0))
    check_law("u", ours.num_rows, first)
    check_law("u", 0, second)
    rows = []
    for applied in (first, second):
        for batch in applied.batches:
            batch.validate(full=True)
            assert origin.visible_schema(batch.schema) == planned
            rows += origin.visible(batch).to_pylist()
    return planned, rows


def test_columns_are_the_same_by_their_names_and_come_in_the_order_of_the_first() -> None:
    ours = pa.record_batch({"id": [1], "Name": ["a"]})
    theirs = pa.record_batch({"name": ["b"], "id": [2]})
    planned, rows = together(ours, theirs)
    assert planned.names == ["id", "Name"]
    assert rows == [{"id": 1, "Name": "a"}, {"id": 2, "Name": "b"}]


def test_missing_columns_are_null_where_that_is_wanted() -> None:
    ours = pa.RecordBatch.from_arrays(
        [pa.array([1]), pa.array(["a"])], schema=pa.schema([pa.field("id", pa.int64()), pa.field("n", pa.string(), False)])
    )
    theirs = pa.RecordBatch.from_arrays(
        [pa.array([2]), pa.array([0.5])], schema=pa.schema([pa.field("id", pa.int64(), False), pa.field("x", pa.float64(), False)])
    )
    planned, rows = together(ours, theirs, missing="null")
    assert planned == pa.schema({"id": pa.int64(), "n": pa.string(), "x": pa.float64()})
    assert rows == [{"id": 1, "n": "a", "x": None}, {"id": 2, "n": None, "x": 0.5}]


def test_what_only_one_side_has_is_refused_and_both_sides_are_told() -> None:
    with pytest.raises(PlanError) as raised:
        step(pa.schema({"id": pa.int64(), "x": pa.int64(), "y": pa.int64()})).plan(pa.schema({"id": pa.int64(), "n": pa.int64()}), None)
    assert raised.value.code == "column-missing"
    assert [(problem.path, problem.message) for problem in raised.value.problems] == [
        ("steps[0].missing", "expected the same columns in both sources; the other source lacks the column 'n'"),
        ("steps[0].missing", "expected the same columns in both sources; this one lacks the columns 'x', 'y'"),
    ]


def test_types_without_a_common_one_are_refused_by_their_column() -> None:
    with pytest.raises(PlanError) as raised:
        step(pa.schema({"n": pa.int64()})).plan(pa.schema({"n": pa.string()}), None)
    (problem,) = raised.value.problems
    assert (problem.path, raised.value.code) == ("steps[0].source", "type-unsupported")
    assert problem.message == "'n' is string here and int64 in the other source, for which there is no common type"


@pytest.mark.parametrize(("ours", "theirs"), [(["a"], ["a", "A"]), (["a", "A"], ["aa", "a", "A", "á"]), (["x", "X"], ["x"])])
def test_columns_that_differ_in_case_alone(ours: list[str], theirs: list[str]) -> None:
    made = step(pa.schema([(name, pa.int64()) for name in theirs]), missing="null")
    schema = pa.schema([(name, pa.int64()) for name in ours])
    if len(ours) == 1:
        with pytest.raises(PlanError, match="cannot be carried out") as raised:
            made.plan(schema, None)
        assert "there are 'a', 'A'" in raised.value.problems[0].message
    else:
        assert made.plan(schema, None).names == [*ours, *(name for name in theirs if name not in ours)]


def test_a_number_that_no_double_holds_costs_its_row_alone() -> None:
    ours = pa.record_batch({"x": [1, 2**53 + 1, None]})
    theirs = pa.record_batch({"x": [0.5]})
    made = step(theirs.schema)
    planned = made.plan(ours.schema, None)
    made.open(ours.schema, planned, NOW)
    applied = made.apply(ours)
    check_law("u", 3, applied)
    (died,) = applied.dead
    assert (died.rows, died.codes) == ([1], ["cast-failed"])
    assert applied.batches[0].column("x").to_pylist() == [1.0, None]


WIDE_STRUCT = pa.struct({"a": pa.int16(), "b": pa.string()})
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=UTC)
DAY, MOMENT = dt.date(2024, 5, 1), dt.datetime(2024, 5, 1, 12)
STRUCT = pa.struct({"a": pa.int8(), "b": pa.string()})
WIDER: list[tuple[pa.DataType, Any, pa.DataType, Any, pa.DataType | None]] = [
    (pa.int8(), -128, pa.int64(), 2**63 - 1, pa.int64()),
    (pa.uint8(), 255, pa.uint32(), 2**32 - 1, pa.uint32()),
    (pa.uint8(), 255, pa.int8(), -128, pa.int16()),
    (pa.uint32(), 2**32 - 1, pa.int16(), -1, pa.int64()),
    (pa.uint64(), 2**64 - 1, pa.int8(), -1, pa.decimal128(20, 0)),
    (pa.float32(), 0.5, pa.float64(), 1e300, pa.float64()),
    (pa.int32(), -(2**31), pa.float32(), 0.5, pa.float64()),
    (pa.int64(), 2**63 - 1, pa.decimal128(5, 2), Decimal("999.99"), pa.decimal128(21, 2)),
    (pa.uint64(), 2**64 - 1, pa.decimal128(5, 2), Decimal("999.99"), pa.decimal128(22, 2)),
    (pa.decimal128(10, 0), Decimal(10**9), pa.decimal128(6, 4), Decimal("0.0001"), pa.decimal128(14, 4)),
    (pa.decimal128(38, 0), Decimal(10**37), pa.decimal128(6, 4), Decimal("0.0001"), None),
    (pa.decimal128(5, 2), Decimal("1.23"), pa.float64(), 0.5, None),
    (pa.string(), "a", pa.large_string(), "b", pa.large_string()),
    (pa.string_view(), "a", pa.string(), "b", pa.string()),
    (pa.dictionary(pa.int32(), pa.string()), "a", pa.string(), "b", pa.string()),
    (pa.binary(), b"a", pa.binary(2), b"bc", pa.large_binary()),
    (pa.null(), None, pa.int64(), 1, pa.int64()),
    (pa.date64(), DAY, pa.date32(), DAY, pa.date32()),
    (pa.date32(), DAY, pa.timestamp("us"), MOMENT, None),
    (pa.timestamp("s"), MOMENT, pa.timestamp("us"), MOMENT, pa.timestamp("us")),
    (pa.timestamp("us", "UTC"), NOON, pa.timestamp("ms", "Europe/Berlin"), NOON, pa.timestamp("us", "UTC")),
    (pa.timestamp("us", "UTC"), MOMENT, pa.timestamp("us"), MOMENT, None),
    (pa.time32("s"), dt.time(1), pa.time64("us"), dt.time(2), pa.time64("us")),
    (pa.duration("s"), dt.timedelta(1), pa.duration("ms"), dt.timedelta(2), pa.duration("ms")),
    (pa.list_(pa.int8()), [1], pa.large_list(pa.int64()), [2], pa.large_list(pa.int64())),
    (pa.list_(pa.field("element", pa.int8())), [1], pa.list_(pa.int16()), [2], pa.list_(pa.int16())),
    (STRUCT, {"a": 1, "b": "x"}, WIDE_STRUCT, {"a": 500, "b": "y"}, WIDE_STRUCT),
    (STRUCT, {"a": 1, "b": "x"}, pa.struct({"b": pa.string()}), {"b": "y"}, None),
    (pa.bool_(), True, pa.int8(), 1, None),
    (pa.string(), "1", pa.int64(), 1, None),
    (pa.uuid(), b"a" * 16, pa.uuid(), b"b" * 16, pa.uuid()),
]  # fmt: skip


@pytest.mark.parametrize(("one", "value", "other", "again", "expected"), WIDER, ids=lambda part: str(part)[:20])
def test_a_wider_type_holds_the_values_of_both(
    one: pa.DataType, value: Any, other: pa.DataType, again: Any, expected: pa.DataType | None
) -> None:
    for first, second in ((one, other), (other, one)):
        found = wider(first, second)
        assert (found is None) == (expected is None)
    assert wider(one, other) == expected
    if expected is None:
        return
    for kind, held in ((one, value), (other, again)):
        given = pa.RecordBatch.from_arrays([pa.array([held, None], kind)], names=["x"])
        conformed = cast.conform(given, pa.schema({"x": expected}))
        assert conformed.bad == []
        assert conformed.batch.column(0).to_pylist() == pa.array([held, None], kind).to_pylist()
