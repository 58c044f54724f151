"""Ranges together are exactly the window: none twice, none missing, whatever the key and whoever writes meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.io.postgres.ranges import Cut, condition, cuts
from beam_pipelines.runs.mark import Mark

ROWS = 2000
KEYS = {
    "bigint": "i * 7919 % 1000003 - 500000",
    "smallint": "(i - 1000)::smallint",
    "numeric(12,3)": "i * 1.001",
    "uuid": "md5(i::text)::uuid",
    "text": "CASE WHEN i % 3 = 0 THEN 'é' ELSE '' END || md5(i::text) || chr(39) || chr(92)",
    "varchar(40)": "'K' || i",
    "date": "date '2000-01-01' + i",
    "timestamp": "timestamp '2026-01-01' + i * interval '1 ms'",
    "timestamptz(3)": "timestamptz '2026-01-01' + i * interval '1 ms'",
}


@pytest.mark.parametrize("analysed", [True, False])
@pytest.mark.parametrize("kind", sorted(KEYS))
def test_ranges_by_key_are_a_partition_of_about_equal_parts(sql: Any, make_source: Any, poll: Any, kind: str, analysed: bool) -> None:
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET datestyle = 'German'")
    sql.execute(f"CREATE TABLE t (k {kind} PRIMARY KEY); INSERT INTO t SELECT {KEYS[kind]} FROM generate_series(1, {ROWS}) i".encode())
    if analysed:
        sql.execute("ANALYZE t")
    source = make_source(table="t", options={"range_rows": 100})
    run = poll(source, "t", parts=4)
    run()
    window = run.window(source.describe("t").schema)
    assert len(window.ranges) == 4
    parts = [[value for batch in source.read(part, window, None) for value in batch.column("k").to_pylist()] for part in window.ranges]
    everything = [value for part in parts for value in part]
    assert len(everything) == len(set(everything)) == ROWS
    assert all(ROWS / 8 < len(part) < ROWS / 2 for part in parts)
    assert [part.index for part in window.ranges] == [0, 1, 2, 3]


def test_rows_added_at_both_ends_are_in_a_range(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 2000); ANALYZE t")
    source = make_source(table="t", options={"range_rows": 100})
    run = poll(source, "t", parts=4)
    run()
    window = run.window(source.describe("t").schema)
    sql.execute("INSERT INTO t VALUES (-2147483648), (2147483647)")
    total = sum(batch.num_rows for part in window.ranges for batch in source.read(part, window, None))
    assert total == 2002


@pytest.mark.parametrize(
    "model", [{"table": "t", "cursor": {"column": "at"}}, {"query": "SELECT k, at FROM t WHERE at > ?", "incremental": True}]
)
def test_large_increment_is_cut_by_its_cursor(sql: Any, make_source: Any, poll: Any, model: dict[str, Any]) -> None:
    sql.execute("CREATE TABLE t (k int PRIMARY KEY, at timestamptz)")
    stamps = "timestamptz '2026-01-01' + i * interval '1 s'"
    sql.execute(f"INSERT INTO t SELECT i, CASE WHEN i % 100 > 0 THEN {stamps} END FROM generate_series(1, 4000) i; ANALYZE t")
    source = make_source(**model, options={"range_rows": 100})
    first = poll(source, source.tables()[0], parts=4)
    first()
    assert {part.bounds["column"] for part in first.fixed.ranges} == {"k"}
    low = sql.execute("SELECT at FROM t WHERE k = 2001").fetchone()[0]
    increment = poll(source, source.tables()[0], parts=4, low=Mark.of(low))
    got = increment().column("k").to_pylist()
    assert {part.bounds["column"] for part in increment.fixed.ranges} == {"at"}
    assert len(increment.fixed.ranges) == 4
    assert sorted(got) == [k for k in range(2002, 4001) if k % 100]
    window = increment.window(source.describe(source.tables()[0]).schema, Mark.of(low))
    sizes = [sum(batch.num_rows for batch in source.read(part, window, source.cursor)) for part in window.ranges]
    assert all(200 < size < 1000 for size in sizes)


def test_table_without_a_usable_key_is_one_range(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE t (a int, b int, PRIMARY KEY (a, b)); INSERT INTO t SELECT i, i FROM generate_series(1, 2000) i; ANALYZE t")
    run = poll(make_source(table="t", options={"range_rows": 100}), "t", parts=4)
    assert run().num_rows == 2000
    assert len(run.fixed.ranges) == 1
    join = "SELECT x.a, y.b FROM t x JOIN t y ON x.a = y.a"
    run = poll(make_source(query=join, options={"range_rows": 100}), "query", parts=4)
    assert run().num_rows == 2000
    assert len(run.fixed.ranges) == 1


def test_partitioned_table_is_cut_by_its_key(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE t (k int PRIMARY KEY) PARTITION BY RANGE (k)")
    sql.execute(
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (500); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (500) TO (5000)"
    )
    sql.execute("INSERT INTO t SELECT generate_series(0, 3999); ANALYZE t")
    run = poll(make_source(table="t", options={"range_rows": 100}), "t", parts=4)
    assert run().num_rows == 4000
    assert len(run.fixed.ranges) == 4


def test_few_rows_are_not_cut(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 2000); ANALYZE t")
    run = poll(make_source(table="t"), "t", parts=8)
    run()
    assert [part.bounds for part in run.fixed.ranges] == [{"small": True}]


def test_cuts_of_repeated_values_have_no_empty_middle() -> None:
    assert cuts("k", "integer", [], 4) == [Cut("k", "integer")]
    assert cuts("k", "integer", ["1", "1", "1", "9"], 4) == [
        Cut("k", "integer", None, "1"),
        Cut("k", "integer", "1", "9"),
        Cut("k", "integer", "9", None),
    ]


def test_bounds_cannot_smuggle_sql() -> None:
    evil = {"column": 'k" OR 1=1 --', "type": "text", "from": "'; DROP TABLE t; --", "below": "\\' OR 1=1"}
    assert condition(evil) == (
        "\"k\"\" OR 1=1 --\" >= CAST('''; DROP TABLE t; --' AS text) AND \"k\"\" OR 1=1 --\" < CAST(E'\\\\'' OR 1=1' AS text)"
    )
    with pytest.raises(ValueError, match="expected a type"):
        condition({"column": "k", "type": "int); DROP TABLE t", "from": "1"})
    assert "numeric); DROP" not in condition({"column": "k", "type": "numeric); DROP TABLE t", "from": "1"})
