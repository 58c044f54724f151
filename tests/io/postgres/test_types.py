"""Each type of PostgreSQL, by both ways of reading, against values written out by hand."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.io.postgres.columns import ODD, honest

UTC = dt.timezone.utc
UUID = "0191d5a4-5c1e-7c3b-8f0e-0123456789ab"

# type, literal, planned type, value after the cast
SCALARS: list[tuple[str, str, pa.DataType, Any]] = [
    ("boolean", "true", pa.bool_(), True),
    ("smallint", "-32768", pa.int16(), -32768),
    ("integer", "2147483647", pa.int32(), 2147483647),
    ("bigint", "-9223372036854775808", pa.int64(), -(2**63)),
    ("oid", "4294967295", pa.int64(), 4294967295),
    ("real", "1.5", pa.float32(), 1.5),
    ("double precision", "0.1", pa.float64(), 0.1),
    ("double precision", "'-Infinity'", pa.float64(), float("-inf")),
    ("numeric(10,2)", "12345678.90", pa.decimal128(10, 2), Decimal("12345678.90")),
    ("numeric(38,10)", "0.0000000001", pa.decimal128(38, 10), Decimal("0.0000000001")),
    ("numeric", "123.456", pa.decimal128(38, 9), Decimal("123.456000000")),
    ("money", "'-1234.50'", pa.decimal128(19, 2), Decimal("-1234.50")),
    ("text", "'Ünï'", pa.string(), "Ünï"),
    ("text", "''", pa.string(), ""),
    ("varchar(5)", "'ab'", pa.string(), "ab"),
    ("char(4)", "'ab'", pa.string(), "ab  "),
    ('"char"', "'z'", pa.string(), "z"),
    ("name", "'n'", pa.string(), "n"),
    ("bytea", r"'\x00ff'", pa.binary(), b"\x00\xff"),
    ("date", "'0001-01-01'", pa.date32(), dt.date(1, 1, 1)),
    ("date", "'9999-12-31'", pa.date32(), dt.date(9999, 12, 31)),
    ("time", "'23:59:59.999999'", pa.time64("us"), dt.time(23, 59, 59, 999999)),
    ("timetz", "'10:00:00+02'", pa.string(), "10:00:00+02"),
    ("timestamp", "'1969-12-31 23:59:59.999999'", pa.timestamp("us"), dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("timestamp(0)", "'2026-01-01 00:00:00.4'", pa.timestamp("us"), dt.datetime(2026, 1, 1)),
    ("timestamptz", "'2026-06-01 12:00:00+02'", pa.timestamp("us", "UTC"), dt.datetime(2026, 6, 1, 10, tzinfo=UTC)),
    ("interval", "'-1 mon 2 days -00:00:01.5'", pa.month_day_nano_interval(), pa.MonthDayNano([-1, 2, -1_500_000_000])),
    ("uuid", f"'{UUID}'", pa.uuid(), uuid.UUID(UUID)),
    ("json", """'{"a": [1,  2]}'""", pa.json_(), '{"a": [1,  2]}'),
    ("jsonb", """'{"b": null, "a": 1}'""", pa.json_(), '{"a": 1, "b": null}'),
    ("inet", "'10.0.0.1/8'", pa.string(), "10.0.0.1/8"),
    ("macaddr", "'08:00:2b:01:02:03'", pa.string(), "08:00:2b:01:02:03"),
    ("mood", "'sad'", pa.string(), "sad"),
    ("positive", "7", pa.int32(), 7),
    ("daterange", "'[2026-01-01,2026-02-01)'", pa.string(), "[2026-01-01,2026-02-01)"),
    ("pair", "ROW(1, 'a b')", pa.string(), '(1,"a b")'),
    ("point", "'(1,2)'", pa.string(), "(1,2)"),
    ("bit(3)", "B'101'", pa.string(), "101"),
    ("tsvector", "'a b'", pa.string(), "'a' 'b'"),
]
ARRAYS: list[tuple[str, str, pa.DataType, Any]] = [
    ("integer[]", "'{1,NULL,3}'", pa.list_(pa.int32()), [1, None, 3]),
    ("text[]", """'{a,"b,c",""}'""", pa.list_(pa.string()), ["a", "b,c", ""]),
    ("text[]", "'{}'", pa.list_(pa.string()), []),
    ("numeric(6,2)[]", "'{1.5,2}'", pa.list_(pa.decimal128(6, 2)), [Decimal("1.50"), Decimal("2.00")]),
    ("mood[]", "'{sad,ok}'", pa.list_(pa.string()), ["sad", "ok"]),
    ("timestamptz[]", "'{2026-01-01 00:00:00+00}'", pa.list_(pa.timestamp("us", "UTC")), [dt.datetime(2026, 1, 1, tzinfo=UTC)]),
    ("uuid[]", f"'{{{UUID}}}'", pa.list_(pa.uuid()), [uuid.UUID(UUID)]),
]


@pytest.fixture
def types(sql: Any) -> Any:
    sql.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b text)"
    )
    # What text looks like must not depend on these.
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET datestyle = 'German'")
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET intervalstyle = 'sql_standard'")
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET timezone = 'Asia/Tokyo'")
    return sql


def make_table(sql: Any, cases: list[tuple[str, str, pa.DataType, Any]]) -> None:
    columns = ", ".join(f"c{index} {case[0]}" for index, case in enumerate(cases))
    values = ", ".join(case[1] for case in cases)
    nulls = ", ".join("NULL" for _ in cases)
    sql.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns}); INSERT INTO t VALUES (1, {values}), (2, {nulls})".encode())


def check(table: pa.Table, cases: list[tuple[str, str, pa.DataType, Any]]) -> None:
    first = table.sort_by("id").slice(0, 1)
    for index, (declared, _, planned, value) in enumerate(cases):
        column = first.column(f"c{index}")
        assert (declared, column.type) == (declared, planned)
        assert (declared, column[0].as_py()) == (declared, value)
    assert all(table.sort_by("id").column(f"c{index}")[1].as_py() is None for index in range(len(cases)))


@pytest.mark.parametrize("small", [True, False])
def test_scalar_types(types: Any, make_source: Any, poll: Any, small: bool) -> None:
    make_table(types, SCALARS)
    run = poll(make_source(table="t", options={"small_rows": 10**9 if small else 0}), "t")
    check(run(), SCALARS)
    assert run.bad == []
    assert run.fixed.ranges[0].bounds == ({"small": True} if small else {})


def test_array_types(types: Any, make_source: Any, poll: Any) -> None:
    make_table(types, ARRAYS)
    run = poll(make_source(table="t"), "t")
    check(run(), ARRAYS)
    assert run.fixed.ranges[0].bounds == {}  # psycopg would give lists of Python's objects


BAD = [
    ("timestamptz", "'infinity'"),
    ("timestamptz", "'-infinity'"),
    ("timestamp", "'infinity'"),
    ("timestamp", "'0001-01-01 00:00:00 BC'"),
    ("timestamp", "'10000-01-01'"),
    ("timestamp", "'294276-12-31 23:59:59'"),
    ("date", "'infinity'"),
    ("date", "'-infinity'"),
    ("date", "'4713-01-01 BC'"),
    ("date", "'5874897-12-31'"),
    ("time", "'24:00:00'"),
    ("interval", "'3000000 hours'"),
    ("interval", "'infinity'"),
    ("interval", "'-infinity'"),
    ("numeric", "'NaN'"),
    ("numeric", "'Infinity'"),
    ("numeric", "1e-30"),
    ("numeric", "1e40"),
]


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize(("declared", "literal"), BAD)
def test_value_that_arrow_cannot_hold_costs_its_row_only(
    sql: Any, make_source: Any, poll: Any, declared: str, literal: str, small: bool
) -> None:
    good = "1.5" if declared == "numeric" else "'1 day'" if declared == "interval" else "'12:00'" if declared == "time" else "'2026-01-01'"
    sql.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, c {declared}); INSERT INTO t VALUES (1, {good}), (2, {literal}), (3, NULL), (4, {good})"
    )
    run = poll(make_source(table="t", options={"small_rows": 10**9 if small else 0}), "t")
    got = run()
    assert got.column("id").to_pylist() == [1, 3, 4]
    assert [value is None for value in got.column("c").to_pylist()] == [False, True, False]
    assert len(run.bad) == 1
    assert "column 'c'" in run.bad[0]
    if declared == "numeric":
        assert "keeps 29 digits before the point and 9 behind it: for others CAST it in the query" in str(run.bad)


@pytest.mark.parametrize("small", [True, False])
def test_a_numeric_that_is_cast_as_the_reason_says_is_kept(sql: Any, make_source: Any, poll: Any, small: bool) -> None:
    sql.execute("CREATE TABLE t (id int PRIMARY KEY, c numeric); INSERT INTO t VALUES (1, 1.6666666666666667), (2, 1e40)")
    query = "SELECT id, CAST(CASE WHEN id = 1 THEN c END AS numeric(38, 20)) AS c, CAST(c AS text) AS t FROM t"
    run = poll(make_source(query=query, options={"small_rows": 10**9 if small else 0}), "query")
    got = run().sort_by("id")
    assert run.bad == []
    assert got.column("c").to_pylist() == [Decimal("1.66666666666666670000"), None]
    assert got.column("t").to_pylist() == ["1.6666666666666667", "1" + "0" * 40]


def test_array_of_two_dimensions_is_not_flattened(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE t (id int PRIMARY KEY, a int[], b text[])")
    sql.execute("INSERT INTO t VALUES (1, '{1,2}', '{x}'), (2, '{{1,2},{3,4}}', '{x}'), (3, '{5}', '{{a},{b}}'), (4, NULL, '{}')")
    run = poll(make_source(table="t"), "t")
    got = run()
    assert got.to_pylist() == [{"id": 1, "a": [1, 2], "b": ["x"]}, {"id": 4, "a": None, "b": []}]
    assert sorted(reason.split(":")[0] for reason in run.bad) == ["column 'a'", "column 'b'"]


def test_honest_keeps_rows_and_order_around_odd_ones() -> None:
    batch = pa.record_batch(
        {"id": list(range(6)), "a": [[i] for i in range(6)], ODD: pa.array([None, "1", "1", None, None, "1"], pa.string())}
    )
    parts = list(honest(batch))
    assert [part.column("id").to_pylist() for part in parts] == [[0], [1], [2], [3, 4], [5]]
    assert [pa.types.is_string(part.schema.field("a").type) for part in parts] == [False, True, True, False, True]
    assert all(ODD not in part.schema.names for part in parts)


def test_honest_leaves_good_columns_untouched() -> None:
    batch = pa.record_batch({"at": pa.array([0, None], pa.timestamp("us", "UTC")), "d": pa.array([1, 2], pa.date32())})
    (part,) = honest(batch)
    assert part.column("at").buffers()[1].address == batch.column("at").buffers()[1].address
    assert part.equals(batch)
