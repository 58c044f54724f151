"""Values as people write them, into columns; and back by `plain`."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar.plain import plain
from beam_pipelines.columnar.types import parse_name
from beam_pipelines.columnar.written import inferred, written

UTC = dt.timezone.utc


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("bigint", [1, 2.0, None], [1, 2, None]),
        ("double", [1, 2.5, "NaN"], [1.0, 2.5, "NaN"]),
        ("decimal(10, 2)", [1.1, "2.50", 3], [Decimal("1.10"), Decimal("2.50"), Decimal("3.00")]),
        ("date", ["2026-02-28"], [dt.date(2026, 2, 28)]),
        ("timestamp", ["2026-02-28T10:00:00"], [dt.datetime(2026, 2, 28, 10)]),
        ("timestamp", ["2026-02-28 10:00:00.5"], [dt.datetime(2026, 2, 28, 10, 0, 0, 500_000)]),
        ("timestamptz", ["2026-02-28T10:00:00+02:00"], [dt.datetime(2026, 2, 28, 8, tzinfo=UTC)]),
        ("binary", ["aGk="], [b"hi"]),
        ("uuid", ["00000000-0000-0000-0000-000000000007"], [uuid.UUID(int=7)]),
        ("list<bigint>", [[1, None], [], None], [[1, None], [], None]),
        ("struct<a: bigint, b: date>", [{"a": 1, "b": "2026-01-01"}, None], [{"a": 1, "b": dt.date(2026, 1, 1)}, None]),
        ("struct<a: bigint, b: date>", [{}], [{"a": None, "b": None}]),
    ],
)  # fmt: skip
def test_values_get_the_column_s_type(kind: str, values: list[Any], expected: list[Any]) -> None:
    array, wrong = written(values, parse_name(kind))
    assert array.type == parse_name(kind)
    assert wrong == []
    assert ["NaN" if value != value else value for value in array.to_pylist()] == expected


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", ["1", 1.5, True, 2**63, [1]]),
        ("double", ["1.5", True]),
        ("text", [5, True, ["a"]]),
        ("bool", [1, "true"]),
        ("decimal(4, 1)", [1.25, "x", 1000, True]),
        ("date", [20260101, "01.02.2026", "2026-02-30"]),
        ("timestamptz", ["yesterday"]),
        ("binary", ["no base64!"]),
        ("json", ["{"]),
        ("list<bigint>", [["a"], 1, {"a": 1}]),
        ("struct<a: bigint>", [{"b": 1}, {"a": "x"}, [1]]),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_the_others_stay(kind: str, values: list[Any]) -> None:
    array, wrong = written([None, *values, None], parse_name(kind))
    assert wrong == list(range(1, len(values) + 1))
    assert array.null_count == len(values) + 2
    assert array.type == parse_name(kind)


ARRAYS = [
    pa.array([True, None, False]),
    pa.array([1, None, -5], pa.int32()),
    pa.array([1.5, float("nan"), float("inf"), -0.0, None]),
    pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
    pa.array(["a", "", None, "ü\n"]),
    pa.array([b"\x00\xff", None]),
    pa.array([dt.date(2026, 1, 1), None]),
    pa.array([dt.datetime(2026, 1, 1, 1, 2, 3, 4), None], pa.timestamp("us")),
    pa.array([dt.datetime(2026, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "Europe/Berlin")),
    pa.array([dt.time(1, 2, 3), None], pa.time64("us")),
    pa.array([uuid.UUID(int=3).bytes, None], pa.uuid()),
    pa.array([[{"a": 1, "b": ["x"]}, None], None, []]),
    pa.array([[("a", 1), ("b", None)], None, []], pa.map_(pa.string(), pa.int64())),
    pa.array(["a", "b", "a"]).dictionary_encode(),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.type))
def test_what_plain_gives_is_read_back_as_it_was(array: pa.Array) -> None:
    told = plain(array)
    again, wrong = written(told, array.type)
    assert (again.type, wrong, plain(again)) == (array.type, [], told)


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(-9, 9), st.just("x")), max_size=3) | st.none(), max_size=8))
def test_a_list_with_one_bad_item_is_bad_as_a_whole_and_no_other_is(values: list[list[Any] | None]) -> None:
    array, wrong = written(values, pa.list_(pa.int64()))
    assert wrong == [position for position, value in enumerate(values) if value and "x" in value]
    assert array.to_pylist() == [None if value and "x" in value else value for value in values]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, None], "bool"),
        ([1, 2], "bigint"),
        ([1, 2.5], "double"),
        (["2026-01-01"], "text"),
        ([[1], [], None], "list<bigint>"),
        ([{"a": 1}, {"b": "x"}], "struct<a: bigint, b: text>"),
        ([1, "x"], None),
        ([True, 1], None),
        ([None], None),
        ([], None),
        ([{"a": None}], None),
    ],
)
def test_types_follow_from_values(values: list[Any], kind: str | None) -> None:
    assert inferred(values) == (None if kind is None else parse_name(kind))
