from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError, TransientError
from beam_pipelines.io.duckdb.source import DuckDbSource
from beam_pipelines.runs.mark import Mark
from beam_pipelines.spec.source import DatabaseSource

UTC = dt.timezone.utc


class Database:
    """A DuckDB file, written by statements, and sources that read it."""

    def __init__(self, path: Path, reading: Any) -> None:
        self.path = path
        self._reading = reading

    def run(self, *statements: str) -> None:
        with closing(duckdb.connect(str(self.path))) as connection:
            for sql in statements:
                connection.execute(sql)

    def source(self, lock_seconds: float = 30.0, **model: Any) -> DuckDbSource:
        if "query" in model and "?" in model["query"]:
            model["incremental"] = True
        return DuckDbSource(DatabaseSource(connection="db", **model), self._reading.connection(self.path), lock_seconds=lock_seconds)

    def cursor(self, column: str = "updated_at", **cursor: Any) -> DuckDbSource:
        return self.source(table="t", cursor={"column": column, **cursor})


@pytest.fixture
def db(tmp_path: Path, reading: Any) -> Database:
    database = Database(tmp_path / "w.duckdb", reading)
    database.run("SELECT 1")
    return database


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Another process that has the file open to write; gives its id."""
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.communicate("\n")


def test_every_type_is_read_as_what_the_database_means(db: Database, reading: Any) -> None:
    number = uuid.UUID(int=7)
    columns: list[tuple[str, Any]] = [
        ("true", True),
        ("(-5)::TINYINT", -5),
        ("200::UTINYINT", 200),
        ("9223372036854775807::BIGINT", 2**63 - 1),
        ("12345678901234567890123::HUGEINT", Decimal("12345678901234567890123")),
        ("1.250::DECIMAL(20, 3)", Decimal("1.250")),
        ("0.5::FLOAT", 0.5),
        ("0.1::DOUBLE", 0.1),
        ("'Zoë'", "Zoë"),
        ("'\\x00\\xFF'::BLOB", b"\x00\xff"),
        ("DATE '2000-02-29'", dt.date(2000, 2, 29)),
        ("TIME '10:00:05.5'", dt.time(10, 0, 5, 500_000)),
        ("'10:00:00+02'::TIMETZ", "10:00:00+02"),
        ("TIMESTAMP '2026-01-01 10:00:05.5'", dt.datetime(2026, 1, 1, 10, 0, 5, 500_000)),
        ("'2026-01-01'::TIMESTAMP_S", dt.datetime(2026, 1, 1)),
        ("'2026-01-01'::TIMESTAMP_MS", dt.datetime(2026, 1, 1)),
        ("TIMESTAMPTZ '2026-01-01 12:00:00+02'", dt.datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("INTERVAL '1 month 2 days'", pa.MonthDayNano([1, 2, 0])),
        (f"'{number}'::UUID", number),
        ("[1, 2]", [1, 2]),
        ("{'a': 1, 'b': 'x'}", {"a": 1, "b": "x"}),
        ("MAP(['k'], [1])", [("k", 1)]),
        ("'a'::ENUM('a', 'b')", "a"),
        ("'101'::BIT", "101"),
    ]
    listed = ", ".join(f"{sql} AS c{index}" for index, (sql, _) in enumerate(columns))
    nulls = ", ".join(["NULL"] * len(columns))
    db.run(f"CREATE TABLE t AS SELECT {listed}", f"INSERT INTO t VALUES ({nulls})")
    read = reading.poll(db.source(table="t"), "t")
    assert not read.reasons
    assert list(read.rows[0].values()) == [value for _, value in columns]
    assert set(read.rows[1].values()) == {None}


def test_infinite_moments_are_dead_letters(db: Database, reading: Any) -> None:
    db.run(
        "CREATE TABLE t (id INTEGER, a TIMESTAMP, b DATE, c TIMESTAMPTZ)",
        "INSERT INTO t VALUES (1, now(), today(), now()), (2, 'infinity', today(), now()), (3, now(), '-infinity', now()),"
        " (4, now(), today(), 'infinity'), (5, NULL, NULL, NULL)",
    )
    read = reading.poll(db.source(table="t"), "t")
    assert read.column("id") == [1, 5]
    assert len(read.reasons) == 3


def test_keys_and_sizes_come_from_the_catalog(db: Database) -> None:
    db.run(
        "CREATE SCHEMA crm",
        "CREATE TABLE crm.t (a INTEGER, b TEXT, PRIMARY KEY (b, a))",
        "INSERT INTO crm.t SELECT range, 'x' FROM range(1000)",
    )
    described = db.source(table="crm.t").describe("crm.t")
    assert described.primary_key == ("b", "a")
    assert described.rows == 1000
    query = db.source(query="SELECT b AS bb, a FROM crm.t WHERE a > 5").describe("query")
    assert query.primary_key == ("bb", "a")
    assert db.source(query="SELECT a FROM crm.t").describe("query").primary_key == ()


def test_patterns_find_tables_by_schema(db: Database) -> None:
    db.run("CREATE SCHEMA crm", "CREATE TABLE crm.b (x INTEGER)", "CREATE VIEW crm.a AS SELECT 1 AS x", "CREATE TABLE t (x INTEGER)")
    assert db.source(tables=["crm.*"]).tables() == ["crm.a", "crm.b"]
    assert db.source(tables=["t", "crm.b"]).tables() == ["crm.b", "t"]


def test_unknown_tables_and_columns_name_the_nearest(db: Database) -> None:
    db.run("CREATE TABLE customers (id INTEGER, updated_at TIMESTAMP)")
    with pytest.raises(PlanError, match="did you mean 'customers'") as raised:
        db.source(table="custmers").describe("custmers")
    assert raised.value.code == "table-missing"
    with pytest.raises(PlanError, match="did you mean 'customers'"):
        db.source(query="SELECT * FROM custmers").describe("query")
    with pytest.raises(PlanError, match="did you mean 'updated_at'") as raised:
        db.source(table="customers", cursor={"column": "updatedat"}).describe("customers")
    assert raised.value.code == "column-missing"


def test_a_variable_of_the_program_is_no_table(db: Database) -> None:
    customers = pa.table({"id": [1]})
    with pytest.raises(PlanError, match="'customers'"):
        db.source(query="SELECT * FROM customers").describe("query")
    assert customers.num_rows == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(-50, 200) | st.integers(-(2**63), 2**63 - 1), max_size=30), st.integers(1, 7))
def test_ranges_are_together_the_table_and_share_no_row(db: Database, reading: Any, ids: set[int], parts: int) -> None:
    values = ", ".join(f"({number}, 'x')" for number in ids)
    db.run("CREATE OR REPLACE TABLE t (id BIGINT PRIMARY KEY, x TEXT)", f"INSERT INTO t VALUES {values}" if ids else "SELECT 1")
    read = reading.poll(db.source(table="t"), "t", parts=parts)
    assert sorted(read.column("id")) == sorted(ids)
    assert len(read.fixed.ranges) <= parts


def test_rows_have_their_key_or_their_position_as_origin(db: Database, reading: Any) -> None:
    db.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)",
        "CREATE TABLE u (x TEXT)",
        "INSERT INTO t VALUES (7, 'a')",
        "INSERT INTO u VALUES ('a')",
    )
    (batch,) = reading.poll(db.source(table="t"), "t").batches
    assert origin.describe(batch, [0]) == [{"source": "t", "key": {"id": 7}}]
    (batch,) = reading.poll(db.source(table="u"), "u").batches
    assert origin.describe(batch, [0]) == [{"source": "u", "row": 0}]


def test_a_second_read_gives_the_same_rows_in_the_same_order(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t AS SELECT range AS id, hash(range) AS h FROM range(300000)")
    source = db.source(table="t")
    window = reading.window(source, "t")
    first, second = (pa.Table.from_batches(reading.read(source, window).batches) for _ in range(2))
    assert first.equals(second)
    assert all(batch.num_rows <= 65_536 for batch in first.to_batches())


@pytest.mark.parametrize("declared", ["TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP_S", "TIMESTAMP_MS"])
def test_increments_read_each_row_once(db: Database, reading: Any, declared: str) -> None:
    db.run(f"CREATE TABLE t (id INTEGER, updated_at {declared})")
    seen: list[int] = []
    mark = None
    for step in range(4):
        moments = [f"({step * 5 + n}, now()::TIMESTAMP - INTERVAL '{1000 - 100 * step - n} seconds')" for n in range(5)]
        db.run(f"INSERT INTO t SELECT * FROM (VALUES {', '.join(moments)})", "INSERT INTO t VALUES (99, NULL)")
        for source in (db.cursor(),):
            read = reading.poll(source, "t", mark)
            seen += read.column("id")
            mark = read.newest
    assert seen == list(range(20))
    query = db.source(query="SELECT * FROM t WHERE updated_at > ?")
    assert reading.poll(query, "query", mark, inclusive=True).column("id") == [19]


def test_the_ceiling_is_floored_to_the_columns_unit(db: Database) -> None:
    db.run("CREATE TABLE t (s TIMESTAMP_S, ms TIMESTAMP_MS, d DATE)")
    ceilings = {
        name: db.cursor(name, kind="timestamp").fix("t", db.cursor(name, kind="timestamp").cursor, None, False, 1)
        for name in ("s", "ms", "d")
    }
    assert ceilings["s"].ceiling.value.microsecond == 0
    assert ceilings["ms"].ceiling.value.microsecond % 1000 == 0
    assert (ceilings["d"].ceiling.type, ceilings["d"].inclusive) == ("date", False)


def test_rows_stamped_after_the_window_was_fixed_are_left_for_the_next(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER, updated_at TIMESTAMP DEFAULT now())", "INSERT INTO t (id) VALUES (1)")
    source = db.cursor()
    window = reading.window(source, "t")
    db.run("INSERT INTO t (id) VALUES (2)")
    read = reading.read(source, window)
    assert read.column("id") == [1]
    assert reading.poll(source, "t", read.newest).column("id") == [2]


def test_a_sequence_is_read_up_to_its_greatest_value(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER, x TEXT)")
    source = db.cursor("id")
    empty = reading.window(source, "t")
    db.run("INSERT INTO t SELECT range, 'x' FROM range(3)")
    assert reading.read(source, empty).rows == []
    window = reading.window(source, "t")
    db.run("INSERT INTO t VALUES (3, 'x')")
    read = reading.read(source, window)
    assert (read.column("id"), window.ceiling, window.ceiling_inclusive) == ([0, 1, 2], Mark("int", "2"), True)
    assert reading.poll(source, "t", read.newest).column("id") == [3]


def test_dates_are_read_up_to_today(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t AS SELECT n AS id, today() + n AS day FROM (VALUES (-1), (0), (1)) v(n)")
    assert reading.poll(db.cursor("day", overlap="2d"), "t").column("id") == [-1, 0]


@pytest.mark.parametrize("declared", ["VARCHAR", "DOUBLE", "TIMESTAMP_NS"])
def test_columns_that_do_not_order_as_marks_are_refused_as_timestamps(db: Database, declared: str) -> None:
    db.run(f"CREATE TABLE t (updated_at {declared})")
    source = db.cursor(kind="timestamp")
    with pytest.raises(PlanError, match=r"CAST\(updated_at AS TIMESTAMP\)") as raised:
        source.fix("t", source.cursor, None, False, 1)
    assert raised.value.code == "cursor-invalid"


def test_a_file_that_this_process_writes_needs_an_overlap(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER, updated_at TIMESTAMP)", "INSERT INTO t VALUES (1, now()::TIMESTAMP - INTERVAL '1 hour')")
    with closing(duckdb.connect(str(db.path))):
        source = db.cursor()
        with pytest.raises(PlanError, match="overlap") as raised:
            source.fix("t", source.cursor, None, False, 1)
        assert raised.value.code == "guarantee-unreachable"
        assert reading.poll(db.cursor(overlap="5m"), "t").column("id") == [1]
        assert reading.poll(db.source(table="t"), "t").column("id") == [1]


def test_a_file_that_this_process_only_reads_needs_none(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER, updated_at TIMESTAMP)", "INSERT INTO t VALUES (1, now()::TIMESTAMP - INTERVAL '1 hour')")
    with closing(duckdb.connect(str(db.path), read_only=True)):
        source = db.source(lock_seconds=0.1, table="t")
        window = reading.window(source, "t")
        assert reading.read(source, window).column("id") == [1]


def test_the_process_that_holds_the_file_is_named(db: Database) -> None:
    with held(db.path) as pid, pytest.raises(TransientError, match=f"process {pid}") as raised:
        db.source(lock_seconds=0.1, table="t").check()
    assert raised.value.code == "locked"


def test_nothing_is_held_between_calls(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t AS SELECT range AS id FROM range(200000)")
    source = db.source(table="t")
    window = reading.window(source, "t")
    batches = source.read(window.ranges[0], window, None)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    with held(db.path):
        pass
    db.run("DROP TABLE t")


def test_columns_that_are_gone_stop_the_run_and_new_ones_are_not_read(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (a INTEGER, b TEXT)", "INSERT INTO t VALUES (1, 'x')")
    source = db.source(table="t")
    window = reading.window(source, "t")
    db.run("ALTER TABLE t ADD COLUMN c TEXT")
    assert reading.read(source, window).rows == [{"a": 1, "b": "x"}]
    db.run("ALTER TABLE t DROP COLUMN b")
    with pytest.raises(FatalError, match="'b'") as raised:
        reading.read(source, window)
    assert raised.value.code == "schema-changed"
    db.run("DROP TABLE t")
    with pytest.raises(FatalError) as raised:
        reading.read(source, window)
    assert raised.value.code == "schema-changed"


def test_a_query_that_fails_on_a_row_stops_without_quoting_it(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t AS SELECT range AS id, CASE WHEN range = 250000 THEN 'payload-word' ELSE '1' END AS x FROM range(300000)")
    source = db.source(query="SELECT id, CAST(x AS INTEGER) AS x FROM t")
    window = reading.window(source, "query")
    with pytest.raises(FatalError) as raised:
        reading.read(source, window)
    assert raised.value.code == "read-failed"
    assert "payload-word" not in str(raised.value)


def test_files_that_are_no_database_are_named(tmp_path: Path, reading: Any) -> None:
    (tmp_path / "x.duckdb").write_text("nothing of the kind " * 1000)
    model = DatabaseSource(connection="db", table="t")
    for name in ("x.duckdb", "none.duckdb"):
        with pytest.raises(PlanError, match=name.replace(".", r"\.")) as raised:
            DuckDbSource(model, reading.connection(tmp_path / name), lock_seconds=0.1).check()
        assert raised.value.code == "connection-invalid"
    assert not (tmp_path / "none.duckdb").exists()


def test_check_says_what_answered(db: Database) -> None:
    db.run("CREATE TABLE t (x INTEGER)")
    assert db.source(table="t").check() == f"DuckDB {duckdb.__version__}, {db.path}, 1 table"


def test_a_sample_has_origins(db: Database) -> None:
    db.run("CREATE TABLE t AS SELECT range AS id FROM range(10)")
    assert origin.visible(db.source(table="t").sample("t", 3)).to_pylist() == [{"id": 0}, {"id": 1}, {"id": 2}]
