from __future__ import annotations

import math
import struct
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar.expression import Engine, Scope, Term, column, comparison, literal
from beam_pipelines.errors import FatalError, PlanError

SCHEMA = pa.schema(
    [
        ("i", pa.int32()),
        ("b", pa.int64()),
        ("y", pa.int8()),
        ("u", pa.uint32()),
        ("x", pa.float64()),
        ("z", pa.float64()),
        ("s", pa.string()),
        ("t", pa.string()),
        ("f", pa.bool_()),
        ("d", pa.dictionary(pa.int32(), pa.string())),
        ("p", pa.decimal128(7, 2)),
        ("q", pa.decimal128(7, 2)),
        ("w", pa.date32()),
        ("v", pa.date32()),
    ]
)


def or_null(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


DOUBLES = st.one_of(
    st.floats(),
    st.integers(-(10**6), 10**6).map(lambda number: number / 1000),  # what people write, and what lies at a half
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 0.5, 1.5, 2.5, -2.5, 0.285, 1e300, 5e-324, 10.0, 1.005]),
)
TEXTS = st.one_of(
    st.text(max_size=8), st.text("ab@. \tAZß", max_size=8), st.sampled_from(["", "a", "@", "a@b", "@@", "b@c@d", "\r\n", "ab"])
)
ROWS = st.fixed_dictionaries(
    {
        "i": or_null(st.integers(-(2**31), 2**31 - 1)),
        "b": or_null(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-20, 20))),
        "y": or_null(st.integers(-128, 127)),
        "u": or_null(st.integers(0, 2**32 - 1)),
        "x": or_null(DOUBLES),
        "z": or_null(DOUBLES),
        "s": or_null(TEXTS),
        "t": or_null(TEXTS),
        "f": or_null(st.booleans()),
        "d": or_null(st.sampled_from(["a", "b@c", "Zürich"])),
        **dict.fromkeys(("p", "q"), or_null(st.integers(-9_999_999, 9_999_999).map(lambda cents: Decimal(cents).scaleb(-2)))),
        **dict.fromkeys(("w", "v"), or_null(st.one_of(st.dates(), st.sampled_from([date(1998, 9, 2), date(2000, 2, 29)])))),
    }
)
NUMBERS = st.sampled_from(["i", "b", "y", "u", "x", "z"])
SIGNS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
CONSTANTS = st.sampled_from(["0", "1", "-1", "10", "127", "300", "4294967295", "0.5", "-0.0", "1.1", "17.35", "1e3", "2.5"])
WORDS = st.sampled_from(["''", "'a'", "'@'", "'ab'", "'ß'", "'b@c'"])
COLUMNS = st.sampled_from(["s", "t", "d"])
SCALARS = st.one_of(
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from("+-*/"), st.one_of(NUMBERS, CONSTANTS)),
    st.builds("{1} {0} {2}".format, st.sampled_from("+-*/"), CONSTANTS, NUMBERS),
    st.builds("round({} * {}, {})".format, st.sampled_from("xz"), CONSTANTS, st.integers(0, 16)),
    st.builds("round({})".format, NUMBERS),
    st.builds("{}({})".format, st.sampled_from(["upper", "lower", "ucase", "lcase"]), COLUMNS),
    st.builds("{} || {}".format, COLUMNS, st.one_of(COLUMNS, WORDS)),
    st.builds("split_part({}, {}, {})".format, COLUMNS, WORDS, st.one_of(st.integers(-1, 4), st.sampled_from([1001, 2147483647]))),
    st.builds("{}({}, {}, {})".format, st.sampled_from(["substr", "substring"]), COLUMNS, st.integers(-2, 4), st.integers(-1, 4)),
    st.builds("substr({}, {})".format, COLUMNS, st.integers(-2, 4)),
    st.builds("left({}, {})".format, COLUMNS, st.integers(-2, 4)),
    st.builds("coalesce({}, {})".format, COLUMNS, st.one_of(COLUMNS, WORDS)),
    st.builds("coalesce(x, {})".format, st.one_of(NUMBERS, CONSTANTS)),
)
AMOUNTS = st.sampled_from(["0", "24", "-24", "0.05", "12.5", ".5", "99999.99", "100000", "0.005", "1e2", "99999.999"])
DAYS = st.sampled_from(["DATE '1998-09-02'", "DATE '2000-02-29'", "DATE '1998-9-2'", "DATE '0001-01-01'", "'1998-09-02'::DATE"])
CONDITIONS = st.recursive(
    st.one_of(
        st.builds("{} {} {}".format, st.sampled_from("pq"), SIGNS, st.one_of(AMOUNTS, st.sampled_from(["p", "q", "i", "x"]))),
        st.builds("{1} {0} {2}".format, SIGNS, AMOUNTS, st.sampled_from("pq")),
        st.builds("{} BETWEEN {} AND {}".format, st.sampled_from("pq"), AMOUNTS, AMOUNTS),
        st.builds("{} {} {}".format, st.sampled_from("wv"), SIGNS, st.one_of(DAYS, st.sampled_from("wv"))),
        st.builds("{} BETWEEN {} AND {}".format, st.sampled_from("wv"), DAYS, DAYS),
        st.builds("{} IS NULL".format, st.sampled_from("pqwv")),
        st.builds("{} {} {}".format, NUMBERS, SIGNS, st.one_of(NUMBERS, CONSTANTS)),
        st.builds("{1} {0} {2}".format, SIGNS, CONSTANTS, NUMBERS),
        st.builds("{} {} {}".format, COLUMNS, SIGNS, st.one_of(COLUMNS, WORDS)),
        st.builds("{} BETWEEN {} AND {}".format, NUMBERS, CONSTANTS, st.one_of(NUMBERS, CONSTANTS)),
        st.builds("{} IN ({}, {})".format, NUMBERS, CONSTANTS, CONSTANTS),
        st.builds("{} NOT IN ({}, {})".format, COLUMNS, WORDS, WORDS),
        st.builds("{} IS NULL".format, st.one_of(NUMBERS, COLUMNS)),
        st.builds("{} IS NOT NULL".format, st.one_of(NUMBERS, COLUMNS, st.just("f"))),
        st.builds("{}({}, {})".format, st.sampled_from(["starts_with", "ends_with", "contains", "prefix", "suffix"]), COLUMNS, WORDS),
        st.builds("({}) {} {}".format, SCALARS, SIGNS, CONSTANTS),
        st.just("f"),
    ),
    lambda parts: st.one_of(
        st.builds("({}) AND ({})".format, parts, parts), st.builds("({}) OR ({})".format, parts, parts), st.builds("NOT ({})".format, parts)
    ),
    max_leaves=4,
)


def bits(value: Any) -> Any:
    """A value that differs for -0.0 and 0.0, and is equal for every NaN."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    return value


def both(scope: Scope, term: Term, batch: pa.RecordBatch) -> tuple[Any, Any]:
    """What is found with the kernel, and what the engine gives."""
    answers = []
    for one in (term, replace(term, kernel=None)):
        found = scope.evaluate([one], batch)[0]
        assert found.array.type == term.type
        answers.append(([bits(value) for value in found.array.to_pylist()], found.bad, found.reasons))
    return answers[0], answers[1]


@settings(max_examples=400, deadline=None)
@given(expression=st.one_of(CONDITIONS, SCALARS), rows=st.lists(ROWS, min_size=1, max_size=6), offset=st.integers(0, 2))
def test_a_kernel_gives_what_the_engine_gives(expression: str, rows: list[dict[str, Any]], offset: int) -> None:
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    with Scope(SCHEMA) as scope:
        try:
            term = scope.compile(expression)
        except PlanError:
            return  # of two types that cannot be compared
        by_kernel, by_engine = both(scope, term, batch.slice(min(offset, len(rows) - 1)))
    assert by_kernel == by_engine


@pytest.mark.parametrize("expression", ["round(x, 1)", "round(x, 2)", "round(x, 3)", "round(x * 1.1, 2)", "round(x)"])
def test_prices_are_rounded_as_the_engine_rounds_them(expression: str) -> None:
    # 2.675 is a little less than it says, and 0.125 is what it says: only its own digits tell.
    for first in range(0, 20_000, 500):
        batch = pa.RecordBatch.from_pylist([{"x": number / 1000} for number in range(first, first + 500)], SCHEMA)
        with Scope(SCHEMA) as scope:
            by_kernel, by_engine = both(scope, scope.compile(expression), batch)
        assert by_kernel == by_engine


@pytest.mark.parametrize(
    "expression",
    [
        "i >= 18 AND x > 10",
        "x BETWEEN 0 AND z OR NOT f",
        "s IN ('a', 'b') AND s IS NOT NULL",
        "b IN (1, 2)",
        "x <> z",
        "round(x * 1.1, 2)",
        "split_part(s, '@', 2)",
        "substr(s, 1, 7)",
        "left(s, 2) || upper(t)",
        "i + 1",
        "coalesce(d, 'none')",
        "starts_with(lower(s), 'a')",
        "p BETWEEN 0.05 AND 0.07 AND q < 24",
        "p <> q",
        "w >= DATE '1994-01-01' AND w < v",
    ],
)
def test_what_is_simple_is_lowered(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.RecordBatch.from_pylist([{"i": 1, "x": 2.0, "z": 3.0, "s": "a@b", "t": "q", "f": True, "b": 1, "d": "x"}], SCHEMA)
    batch = batch.set_column(10, "p", pa.array([Decimal("0.06")], pa.decimal128(7, 2))).set_column(12, "w", pa.array([date(1994, 5, 1)]))
    with Scope(SCHEMA) as scope:
        term = scope.compile(expression)
        assert term.kernel is not None
        expected = both(scope, term, batch)[1]
        monkeypatch.delattr(Engine, "query")  # nothing is left for the engine
        found = scope.evaluate([term], batch)[0]
    assert ([bits(value) for value in found.array.to_pylist()], found.bad, found.reasons) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "i > 17.5",
        "i / 2",
        "i + b",
        "y + 300",
        "x + 12345678901234567.25",
        "repeat(s, 20000)",
        "regexp_matches(s, 'a')",
        "now() IS NULL",
        "1 = 1",
        "p > 0.005",
        "p < 100000",
        "p + q > 1",
        "p IN (1, 2)",
        "w > TIMESTAMP '2020-01-01 00:00:00'",
    ],
)
def test_what_arrow_does_otherwise_is_left_to_the_engine(expression: str) -> None:
    with Scope(SCHEMA) as scope:
        assert scope.compile(expression).kernel is None


@pytest.mark.parametrize(
    ("expression", "row", "value"),
    [
        ("i + 1", {"i": 2**31 - 1}, None),
        ("upper(s)", {"s": "straße"}, "STRAẞE"),
        ("substr(s, 1, 2)", {"s": "éaé"}, "éa"),
        ("b > x", {"b": 2**53 + 1, "x": 2.0**53}, False),
    ],
)
def test_where_a_kernel_cannot_tell_the_engine_is_asked(expression: str, row: dict[str, Any], value: Any) -> None:
    with Scope(SCHEMA) as scope:
        term = scope.compile(expression)
        assert term.kernel is not None
        found = scope.evaluate([term], pa.RecordBatch.from_pylist([row], SCHEMA))[0]
    assert found.array.to_pylist() == [value]
    assert found.bad == ([0] if value is None else [])


def test_joined_conditions_are_lowered_when_each_part_is() -> None:
    batch = pa.RecordBatch.from_pylist([{"i": i, "x": x} for i in (None, 1, 20) for x in (None, math.nan, 11.0)], SCHEMA)
    with Scope(SCHEMA) as scope:
        parts = [scope.build(comparison("COMPARE_GREATERTHAN", column(name), literal(10))) for name in ("i", "x")]
        for kind in ("AND", "OR", "NOT"):
            term = scope.join(kind, parts)
            assert term.kernel is not None
            by_kernel, by_engine = both(scope, term, batch)
            assert by_kernel == by_engine
        assert scope.join("OR", [*parts, scope.compile("regexp_matches(s, 'a')")]).kernel is None


def test_text_that_is_not_utf_8_costs_its_row_with_a_kernel_too() -> None:
    schema = pa.schema([("s", pa.string())])
    texts = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 1, 2)), pa.py_buffer(b"a\xff")])
    with Scope(schema) as scope:
        found = scope.evaluate([scope.compile("s || '!'")], pa.RecordBatch.from_arrays([texts], schema=schema))[0]
    assert found.array.to_pylist() == ["a!", None]
    assert found.bad == [1]


def test_another_type_than_planned_is_an_error_with_a_kernel_too() -> None:
    with Scope(SCHEMA) as scope, pytest.raises(FatalError, match="as planned"):
        scope.evaluate([scope.compile("i > 1")], pa.record_batch({"i": [1.5]}))
