from __future__ import annotations

import datetime as dt
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError, TransientError
from beam_pipelines.io.sqlite.source import SqliteSource
from beam_pipelines.runs.mark import Mark
from beam_pipelines.spec.source import DatabaseSource

UTC = dt.timezone.utc


class Database:
    """A SQLite file, written by statements, and sources that read it."""

    def __init__(self, path: Path, reading: Any) -> None:
        self.path = path
        self._reading = reading

    def run(self, sql: str, rows: Sequence[Sequence[Any]] | None = None) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            if rows is None:
                connection.executescript(sql)
            else:
                connection.executemany(sql, rows)

    def source(self, busy_seconds: float = 30.0, **model: Any) -> SqliteSource:
        if "query" in model and "?" in model["query"]:
            model["incremental"] = True
        return SqliteSource(DatabaseSource(connection="db", **model), self._reading.connection(self.path), busy_seconds=busy_seconds)

    def cursor(self, column: str = "updated_at", table: str = "t", **cursor: Any) -> SqliteSource:
        return self.source(table=table, cursor={"column": column, **cursor})


@pytest.fixture
def db(tmp_path: Path, reading: Any) -> Database:
    database = Database(tmp_path / "crm.db", reading)
    database.run("PRAGMA user_version = 1")
    return database


def ago(**delta: float) -> dt.datetime:
    return dt.datetime.now(UTC).replace(tzinfo=None, microsecond=0) - dt.timedelta(**delta)


# What is there.


def test_tables_and_their_types_come_from_the_catalog(db: Database) -> None:
    db.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(20), price DECIMAL(10, 2), ok BOOLEAN, born DATE, at TIMESTAMP,"
        " raw BLOB, ratio REAL)"
    )
    described = db.source(table="t").describe("t")
    assert described.primary_key == ("id",)
    assert {field.name: field.type for field in described.schema} == {
        "id": pa.int64(),
        "name": pa.string(),
        "price": pa.decimal128(10, 2),
        "ok": pa.bool_(),
        "born": pa.date32(),
        "at": pa.timestamp("us"),
        "raw": pa.binary(),
        "ratio": pa.float64(),
    }


def test_columns_of_a_query_have_the_types_of_their_tables(db: Database) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, price DECIMAL(10, 2), at TIMESTAMP); INSERT INTO t VALUES (1, 2.5, '2026-01-01')")
    described = db.source(query="SELECT id AS number, price, at, price * 2 AS twice, upper('x') AS word FROM t").describe("query")
    assert described.schema == pa.schema(
        [
            ("number", pa.int64()),
            ("price", pa.decimal128(10, 2)),
            ("at", pa.timestamp("us")),
            ("twice", pa.float64()),
            ("word", pa.string()),
        ]
    )
    assert described.primary_key == ("number",)


def test_a_join_has_no_primary_key(db: Database) -> None:
    db.run("CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER)")
    assert db.source(query="SELECT a.id FROM a JOIN b ON b.a = a.id").describe("query").primary_key == ()


@pytest.mark.parametrize(
    ("values", "planned"),
    [
        (["'2026-01-01 10:00:00'"], pa.timestamp("us")),
        (["1764000000000"], pa.int64()),
        (["2460000.5"], pa.float64()),
        (["NULL", "'2026-01-01'", "5"], pa.timestamp("us")),
        ([], pa.timestamp("us")),
    ],
)
def test_a_moment_kept_as_numbers_is_planned_as_numbers(db: Database, values: list[str], planned: pa.DataType) -> None:
    db.run("CREATE TABLE t (at DATETIME)" + "".join(f"; INSERT INTO t VALUES ({value})" for value in values))
    assert db.source(table="t").describe("t").schema.field("at").type == planned


def test_a_date_that_holds_times_is_planned_as_timestamp(db: Database) -> None:
    db.run("CREATE TABLE t (a DATE, b DATE); INSERT INTO t VALUES ('2026-01-01', '2026-01-01 10:00:00')")
    assert db.source(table="t").describe("t").schema.types == [pa.date32(), pa.timestamp("us")]


def test_an_unknown_table_names_the_nearest(db: Database) -> None:
    db.run("CREATE TABLE customers (id); CREATE TABLE orders (id)")
    with pytest.raises(PlanError, match="did you mean 'customers'") as raised:
        db.source(table="custmers").describe("custmers")
    assert raised.value.code == "table-missing"


def test_an_unknown_table_or_column_in_a_query_is_named(db: Database) -> None:
    db.run("CREATE TABLE customers (id)")
    with pytest.raises(PlanError, match="did you mean 'customers'") as raised:
        db.source(query="SELECT * FROM custmers").describe("query")
    assert raised.value.code == "table-missing"
    with pytest.raises(PlanError, match="'nme'") as raised:
        db.source(query="SELECT nme FROM customers").describe("query")
    assert raised.value.code == "column-missing"


def test_patterns_find_tables_and_views_but_not_sqlites_own(db: Database) -> None:
    db.run(
        "CREATE TABLE crm_b (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE crm_a (id);"
        " CREATE VIEW crm_v AS SELECT 1 AS x; CREATE TABLE other (id)"
    )
    assert db.source(tables=["crm_*"]).tables() == ["crm_a", "crm_b", "crm_v"]
    assert "sqlite_sequence" not in db.source(tables=["*"]).tables()
    with pytest.raises(PlanError, match="'sales_"):
        db.source(tables=["sales_*"]).tables()


def test_check_says_what_answered(db: Database) -> None:
    db.run("CREATE TABLE t (id)")
    assert db.source(table="t").check() == f"SQLite {sqlite3.sqlite_version}, {db.path}, 1 table"


# Whole reads.


def test_rows_come_as_they_are_with_their_key_as_origin(db: Database, reading: Any) -> None:
    db.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price DECIMAL(10,2), ok BOOLEAN, born DATE, at TIMESTAMP, raw BLOB, ratio REAL)"
    )
    db.run(
        "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (7, "Zoë", 19.99, 1, "2000-02-29", "2026-01-01 10:00:05.5", b"\x00\xff", 0.1),
            (8, *[None] * 7),
            (9, "", 5, 0, None, "2026-01-01T10:00:05Z", b"", 3),
        ],
    )
    read = reading.poll(db.source(table="t"), "t")
    assert not read.reasons
    assert read.rows == [
        {
            "id": 7,
            "name": "Zoë",
            "price": Decimal("19.99"),
            "ok": True,
            "born": dt.date(2000, 2, 29),
            "at": dt.datetime(2026, 1, 1, 10, 0, 5, 500_000),
            "raw": b"\x00\xff",
            "ratio": 0.1,
        },
        {"id": 8, "name": None, "price": None, "ok": None, "born": None, "at": None, "raw": None, "ratio": None},
        {
            "id": 9,
            "name": "",
            "price": Decimal("5.00"),
            "ok": False,
            "born": None,
            "at": dt.datetime(2026, 1, 1, 10, 0, 5),
            "raw": b"",
            "ratio": 3.0,
        },
    ]
    assert origin.describe(read.batches[0], [0, 2]) == [{"source": "t", "key": {"id": 7}}, {"source": "t", "key": {"id": 9}}]


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        ("INTEGER", [1, None, 2.0], ["abc", 2.5, b"\x01", "12x"]),
        ("REAL", [1.5, 2, None], ["abc", b"1"]),
        ("DECIMAL(6,2)", [1.25, "2.50", 3], ["abc", 1.255, b"1", 123456]),
        ("TEXT", ["a", "", None], [b"\xff\xfe"]),
        ("BOOLEAN", [0, 1, "true", "no"], [2, "abc"]),
        ("TIMESTAMP", ["2026-01-01", "2026-01-01T10:00:00+02:00"], ["abc", 17, 2.5, b"x", "2026-13-01"]),
        ("DATE", ["2026-01-01", None], ["abc", 20260101]),
    ],
)
def test_a_value_of_the_wrong_type_costs_its_own_row_only(
    db: Database, reading: Any, declared: str, good: list[Any], bad: list[Any]
) -> None:
    db.run(f"CREATE TABLE t (id INTEGER PRIMARY KEY, x {declared})")
    db.run("INSERT INTO t (x) VALUES (?)", [(value,) for value in [*good, *bad, *good]])
    read = reading.poll(db.source(table="t"), "t")
    first = len(good) + 1
    assert [row["id"] for row in read.rows] == [*range(1, first), *range(first + len(bad), first + len(bad) + len(good))]
    assert len(read.reasons) == len(bad)
    assert all("'x'" in reason for reason in read.reasons)


def test_the_wrong_value_itself_reaches_the_cast(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), ('abc', x'ff'), (2.5, 'z')")
    (batch,) = reading.poll(db.source(table="t"), "t").batches
    assert batch.column("a").to_pylist() == ["1", "abc", "2.5"]
    assert batch.column("b").to_pylist() == [b"x", b"\xff", b"z"]


def test_text_that_is_not_utf8_late_in_a_table_costs_its_own_row_only(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    db.run("INSERT INTO t (x) VALUES (?)", [(f"row {n}",) for n in range(10_000)])
    db.run("UPDATE t SET x = CAST(x'C3' AS TEXT) WHERE id = 9000")
    read = reading.poll(db.source(table="t"), "t")
    assert read.column("id") == [n for n in range(1, 10_001) if n != 9000]
    assert len(read.reasons) == 1


def test_a_table_without_key_is_known_by_position_and_range(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (x TEXT)")
    db.run("INSERT INTO t VALUES (?)", [(f"{n}",) for n in range(10)])
    read = reading.poll(db.source(table="t"), "t", parts=2)
    assert [origin.describe(batch, [1]) for batch in read.batches] == [[{"source": "t[0]", "row": 1}], [{"source": "t[1]", "row": 1}]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(-50, 200) | st.integers(-(2**63), 2**63 - 1), max_size=30), st.integers(1, 7))
def test_ranges_are_together_the_table_and_share_no_row(db: Database, reading: Any, ids: set[int], parts: int) -> None:
    db.run("DROP TABLE IF EXISTS t; CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
    db.run("INSERT INTO t VALUES (?, 'x')", [(number,) for number in ids])
    read = reading.poll(db.source(table="t"), "t", parts=parts)
    assert read.column("id") == sorted(ids)
    assert len(read.fixed.ranges) <= parts


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE t (x INTEGER)",
        "CREATE TABLE t (x INTEGER PRIMARY KEY)",
        "CREATE TABLE t (x TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE t (rowid TEXT, x INTEGER)",
        "CREATE TABLE base (x INTEGER); CREATE VIEW t AS SELECT x FROM base",
        'CREATE TABLE "t" (x INTEGER, "odd "" name" TEXT, "select" TEXT)',
    ],
)
def test_every_kind_of_table_is_read_once_in_ranges(db: Database, reading: Any, ddl: str) -> None:
    db.run(ddl)
    db.run(f"INSERT INTO {'base' if 'base' in ddl else 't'} (x) VALUES (?)", [(n,) for n in range(1, 21)])
    read = reading.poll(db.source(table="t"), "t", parts=4)
    assert sorted(map(int, read.column("x"))) == list(range(1, 21))


def test_a_query_on_a_key_is_read_in_ranges_too(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
    db.run("INSERT INTO t VALUES (?, ?)", [(n, n % 3) for n in range(30)])
    read = reading.poll(db.source(query="SELECT id AS n FROM t WHERE x = 1 ORDER BY x"), "query", parts=3)
    assert len(read.fixed.ranges) == 3
    assert read.column("n") == list(range(1, 30, 3))


def test_a_second_read_of_a_range_gives_the_same(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (a TEXT, b INTEGER)")
    db.run("INSERT INTO t VALUES (?, ?)", [(f"{n * 7919 % 1000}", n) for n in range(5000)])
    source = db.source(table="t")
    window = reading.window(source, "t", parts=2)
    assert reading.read(source, window).rows == reading.read(source, window).rows


def test_batches_stay_within_the_size_policy(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    db.run("INSERT INTO t (x) VALUES (?)", [("w" * 100_000,) for _ in range(300)])
    db.run("INSERT INTO t (x) VALUES (?)", [("narrow",) for _ in range(100_000)])
    batches = reading.poll(db.source(table="t"), "t").batches
    assert sum(batch.num_rows for batch in batches) == 100_300
    assert 50_000 < max(batch.num_rows for batch in batches) <= 65_536
    assert max(batch.nbytes for batch in batches) <= 9 << 20


def test_a_sample_has_origins_and_the_planned_columns(db: Database) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t (x) VALUES ('a'), ('b'), ('c')")
    batch = db.source(table="t").sample("t", 2)
    assert origin.visible(batch).to_pylist() == [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}]
    db.run("DELETE FROM t")
    assert origin.names(db.source(table="t").sample("t", 2).schema) == ["id", "x"]


# Increments.


def test_the_seeds_form_and_cursor_read_the_same_increments(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    start = ago(seconds=100)
    db.run("INSERT INTO t VALUES (?, ?)", [(n, (start + dt.timedelta(seconds=n)).isoformat(" ")) for n in range(10)])
    for source in (db.source(query="select * from t where updated_at > ?"), db.cursor()):
        (table,) = source.tables()
        first = reading.poll(source, table)
        assert first.column("id") == list(range(10))
        assert first.newest == Mark.of(start + dt.timedelta(seconds=9))
        assert reading.poll(source, table, first.newest).rows == []
        assert reading.poll(source, table, first.newest, inclusive=True).column("id") == [9]
    db.run("INSERT INTO t VALUES (?, ?)", [(10, ago(seconds=10).isoformat(" ")), (11, None)])
    db.run("UPDATE t SET updated_at = ? WHERE id = 3", [(ago(seconds=5).isoformat(" "),)])
    assert reading.poll(db.cursor(), "t", first.newest).column("id") == [3, 10]


def test_the_ceiling_is_floored_to_the_precision_of_the_stamps(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE s (updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, x); INSERT INTO s (x) VALUES (1)")
    db.run("CREATE TABLE m (updated_at TIMESTAMP DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')), x); INSERT INTO m (x) VALUES (1)")
    db.run("CREATE TABLE d (updated_at TIMESTAMP DEFAULT CURRENT_DATE, x); INSERT INTO d (x) VALUES (1)")
    seconds, days = (db.cursor(table=table).fix(table, db.cursor(table=table).cursor, None, False, 1).ceiling for table in "sd")
    assert seconds.value.microsecond == 0
    assert days.value.time() == dt.time(0)
    millis = [db.cursor(table="m").fix("m", db.cursor(table="m").cursor, None, False, 1).ceiling.value.microsecond for _ in range(5)]
    assert any(millis)
    assert all(micro % 1000 == 0 for micro in millis)
    # Rows of the second that has not ended are left for the next run.
    assert reading.poll(db.cursor(table="d"), "d").rows == []


STAMPS = [
    ("seconds", lambda moment: moment.replace(microsecond=0).isoformat(" ")),
    ("T and Z", lambda moment: moment.replace(microsecond=0).isoformat("T") + "Z"),
    ("isoformat", lambda moment: moment.isoformat(" ")),
    ("milliseconds", lambda moment: moment.isoformat(" ", timespec="milliseconds")),
    ("microseconds, offset", lambda moment: moment.isoformat("T", timespec="microseconds") + "+00:00"),
    ("nanoseconds", lambda moment: moment.isoformat(" ", timespec="microseconds") + "000"),
]


@pytest.mark.parametrize("declared", ["TIMESTAMP", "TEXT"])
@pytest.mark.parametrize(("name", "write"), STAMPS, ids=[name for name, _ in STAMPS])
def test_each_form_of_stamps_is_read_once_over_many_increments(db: Database, reading: Any, declared: str, name: str, write: Any) -> None:
    db.run(f"CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at {declared}); CREATE INDEX i ON t (updated_at)")
    start = ago(days=3)
    seen: list[int] = []
    mark = None
    for step in range(6):
        moments = [start + dt.timedelta(seconds=1000 * step + n, milliseconds=(n % 4) * 250) for n in range(8)]
        db.run("INSERT INTO t VALUES (?, ?)", [(step * 8 + n, write(moment)) for n, moment in enumerate(moments)])
        read = reading.poll(db.cursor(), "t", mark)
        seen += read.column("id")
        mark = read.newest
    assert sorted(seen) == list(range(48))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 3), st.sampled_from(range(6))), min_size=1, max_size=30),
    st.integers(0, 400_000),
)
def test_mixed_forms_are_compared_as_the_moments_they_mean(db: Database, reading: Any, rows: list[tuple[int, int, int]], low: int) -> None:
    start = ago(days=30)
    offset = dt.timezone(dt.timedelta(hours=9))
    writers = [*[write for _, write in STAMPS[:5]], lambda moment: moment.replace(tzinfo=UTC).astimezone(offset).isoformat()]
    moments = [start + dt.timedelta(seconds=seconds, milliseconds=quarter * 250 if form >= 2 else 0) for seconds, quarter, form in rows]
    db.run("DROP TABLE IF EXISTS t; CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at DATETIME)")
    db.run(
        "INSERT INTO t VALUES (?, ?)",
        [(n, writers[form](moment)) for n, (moment, (_, _, form)) in enumerate(zip(moments, rows, strict=True))],
    )
    bound = start + dt.timedelta(seconds=low)
    for inclusive in (False, True):
        read = reading.poll(db.cursor(), "t", Mark.of(bound), inclusive)
        expected = [n for n, moment in enumerate(moments) if moment > bound or (inclusive and moment == bound)]
        assert sorted(read.column("id")) == expected
    assert sorted(reading.poll(db.cursor(), "t").column("id")) == list(range(len(rows)))


def test_texts_that_are_no_moment_are_dead_letters_once(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    db.run(
        "INSERT INTO t VALUES (?, ?)",
        [(1, ago(hours=2).isoformat(" ")), (2, "soon"), (3, 17), (4, "0000"), (5, ago(hours=1).isoformat("T"))],
    )
    first = reading.poll(db.cursor(), "t")
    assert first.column("id") == [1, 5]
    assert len(first.reasons) == 3
    second = reading.poll(db.cursor(), "t", first.newest, inclusive=True)
    assert (second.column("id"), second.reasons) == ([5], [])


def test_a_text_column_of_mixed_forms_is_refused_as_cursor(db: Database) -> None:
    db.run("CREATE TABLE t (updated_at TEXT)")
    db.run("INSERT INTO t VALUES (?)", [("2026-01-01 10:00:00",), ("2026-01-01T10:00:00Z",)])
    source = db.cursor()
    with pytest.raises(PlanError, match="declare the column as TIMESTAMP") as raised:
        source.fix("t", source.cursor, None, False, 1)
    assert raised.value.code == "cursor-invalid"


@pytest.mark.parametrize(("unit", "name"), [(1, "seconds"), (1000, "milliseconds"), (1_000_000, "microseconds")])
def test_epoch_numbers_are_moments_in_their_own_unit(db: Database, reading: Any, unit: int, name: str) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at DATETIME)")
    now = int(ago(seconds=0).replace(tzinfo=UTC).timestamp())
    db.run("INSERT INTO t VALUES (?, ?)", [(1, (now - 100) * unit), (2, (now - 50) * unit), (3, (now + 1000) * unit)])
    first = reading.poll(db.cursor(), "t")
    assert first.column("id") == [1, 2]  # 3 has not happened yet
    assert name in db.cursor().fix("t", db.cursor().cursor, None, False, 1).by
    assert reading.poll(db.cursor(), "t", first.newest).rows == []
    # The caller takes an overlap off as plain numbers; it is meant in seconds.
    overlapped = db.cursor(overlap="60s", stampedBy="client")
    assert reading.poll(overlapped, "t", Mark.of(int(first.newest.value) - 60)).column("id") == [1, 2]


def test_overlap_of_text_stamps_is_taken_off_by_the_source(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TEXT)")
    db.run("INSERT INTO t VALUES (?, ?)", [(n, ago(seconds=1000 - 100 * n).isoformat("T")) for n in range(5)])
    newest = reading.poll(db.cursor(), "t").newest
    assert reading.poll(db.cursor(overlap="250s", stampedBy="client"), "t", newest).column("id") == [2, 3, 4]


@pytest.mark.parametrize("varied", [False, True])
def test_a_watermark_may_be_the_text_that_is_stored(db: Database, reading: Any, varied: bool) -> None:
    """The newest value before it is cast; then nobody but the source can take the overlap off."""
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    start = ago(hours=1)
    stamps = [(start + dt.timedelta(seconds=100 * n)).isoformat(" ") for n in range(5)]
    db.run("INSERT INTO t VALUES (?, ?)", [(n, stamp + (".5" if varied and n % 2 else "")) for n, stamp in enumerate(stamps)])
    newest = Mark("text", stamps[4])
    assert reading.poll(db.cursor(), "t", newest, inclusive=True).column("id") == [4]
    assert reading.poll(db.cursor(), "t", newest).column("id") == []
    assert reading.poll(db.cursor(overlap="250s", stampedBy="client"), "t", newest).column("id") == [2, 3, 4]


def test_a_file_that_may_not_be_written_promises_less(db: Database, reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    db.run("INSERT INTO t VALUES (?, ?)", [(1, ago(seconds=9).isoformat(" "))])
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    writer = sqlite3.connect(db.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    source = db.cursor()
    assert not source.traits.safe_ceiling
    assert any("read-only" in assumption for assumption in source.traits.assumptions)
    assert "not waited for" in source.fix("t", source.cursor, None, False, 1).by
    assert reading.poll(source, "t").column("id") == [1]
    writer.close()


def test_a_sequence_is_read_up_to_its_greatest_value(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x)")
    source = db.cursor("id", kind="sequence")
    empty = reading.poll(source, "t")
    assert (empty.rows, empty.fixed.ceiling) == ([], None)
    window = reading.window(source, "t")
    db.run("INSERT INTO t (x) VALUES ('a'), ('b'), ('c')")
    assert reading.read(source, window).rows == []  # of a table that was empty when the run was prepared
    window = reading.window(source, "t")
    db.run("INSERT INTO t (x) VALUES ('d')")
    read = reading.read(source, window)
    assert read.column("id") == [1, 2, 3]
    assert read.fixed.ceiling == read.newest == Mark("int", "3")
    assert reading.poll(source, "t", read.newest).column("id") == [4]


def test_dates_are_read_up_to_today(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, day DATE)")
    today = dt.datetime.now(UTC).date()
    db.run("INSERT INTO t VALUES (?, ?)", [(n, (today + dt.timedelta(days=n)).isoformat()) for n in (-3, -1, 0, 5)])
    read = reading.poll(db.cursor("day", overlap="2d"), "t")
    assert read.column("id") == [-3, -1, 0]
    assert read.fixed.ceiling == Mark("date", today.isoformat())


def test_rows_after_the_window_was_fixed_are_left_for_the_next(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")
    db.run("INSERT INTO t VALUES (1, ?)", [(ago(seconds=5).isoformat(" "),)])
    source = db.cursor()
    window = reading.window(source, "t")
    db.run("INSERT INTO t (id) VALUES (2)")
    assert reading.read(source, window).column("id") == [1]


def test_a_window_travels_as_text(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    db.run("INSERT INTO t VALUES (?, ?)", [(n, ago(seconds=100 - n).isoformat(" ")) for n in range(10)])
    source = db.cursor()
    window = reading.window(source, "t", Mark.of(ago(seconds=95)))
    assert reading.read(source, type(window).from_text(window.to_text())).rows == reading.read(source, window).rows


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_writer_with_an_open_transaction_is_waited_for(db: Database, reading: Any, journal: str) -> None:
    db.run(f"PRAGMA journal_mode={journal}; CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")
    writer = sqlite3.connect(db.path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t (id) VALUES (1)")
    source = db.cursor()
    fixed: list[Any] = []
    done = threading.Event()

    def fix() -> None:
        fixed.append(source.fix("t", source.cursor, None, False, 1))
        done.set()

    thread = threading.Thread(target=fix)
    thread.start()
    assert not done.wait(1.2)
    writer.execute("COMMIT")
    writer.close()
    thread.join(20)
    (stamp,) = reading.poll(db.source(table="t"), "t").column("updated_at")
    # The writer's second has passed while it was waited for, so its row is in this window.
    assert stamp < fixed[0].ceiling.value


WRITER = """
import random, sqlite3, sys, time
path, base, until = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
connection = sqlite3.connect(path, isolation_level=None, timeout=60)
print("ready", flush=True)
sys.stdin.readline()
number = base
end = time.monotonic() + until
while time.monotonic() < end:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t (id, x) VALUES (?, ?)", (number, base))
    time.sleep(random.random() * 0.05)
    connection.execute("COMMIT")
    number += 1
print(number - base, flush=True)
"""


@pytest.fixture
def writers(db: Database) -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []

    def start(count: int, seconds: float) -> list[subprocess.Popen[str]]:
        for number in range(count):
            command = [sys.executable, "-c", WRITER, str(db.path), str(number * 1_000_000), str(seconds)]
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for process in started:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            process.stdin.write("go\n")
            process.stdin.flush()
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("stamp", ["CURRENT_TIMESTAMP", "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"], ids=["seconds", "milliseconds"])
@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_no_row_of_eight_writers_is_lost_or_doubled(db: Database, reading: Any, writers: Any, stamp: str, journal: str) -> None:
    """Mode insert (`>`), twenty polls or more, over four turns of the second, while eight processes hold transactions of 0 to 50 ms."""
    db.run(f"PRAGMA journal_mode={journal}; CREATE TABLE t (id INTEGER PRIMARY KEY, x, updated_at TIMESTAMP DEFAULT {stamp})")
    processes = writers(8, 4.0)
    source = db.cursor()
    seen: list[int] = []
    mark = None
    polls = 0
    while polls < 20 or any(process.poll() is None for process in processes):
        read = reading.poll(source, "t", mark)
        seen += read.column("id")
        mark = read.newest or mark
        polls += 1
    written = 0
    for process in processes:
        written += int(process.communicate(timeout=60)[0].strip())
    last = ago(seconds=0)
    while ago(seconds=0) <= last:  # the second of the last row must have ended
        pass
    seen += reading.poll(source, "t", mark).column("id")
    assert len(seen) == len(set(seen)) == written > 20


# Failures.


def test_a_column_that_is_gone_stops_the_run(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT); INSERT INTO t VALUES (1, 'a', 'b')")
    for source in (db.source(table="t"), db.source(query="SELECT * FROM t")):
        (table,) = source.tables()
        db.run("DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT); INSERT INTO t VALUES (1, 'a', 'b')")
        window = reading.window(source, table)
        db.run("ALTER TABLE t RENAME COLUMN y TO z")
        with pytest.raises(FatalError, match="'y'") as raised:
            reading.read(source, window)
        assert raised.value.code == "schema-changed"


def test_a_column_that_is_new_is_not_read(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    source = db.source(table="t")
    window = reading.window(source, "t")
    db.run("ALTER TABLE t ADD COLUMN x TEXT DEFAULT 'new'")
    assert reading.read(source, window).rows == [{"id": 1}]


def test_a_table_that_is_gone_stops_the_run(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source = db.source(table="t")
    window = reading.window(source, "t")
    db.run("DROP TABLE t")
    with pytest.raises(FatalError) as raised:
        reading.read(source, window)
    assert raised.value.code == "schema-changed"


def test_a_cursor_column_that_is_not_there_names_the_nearest(db: Database) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    source = db.cursor("updatedat")
    with pytest.raises(PlanError, match="did you mean 'updated_at'") as raised:
        source.fix("t", source.cursor, None, False, 1)
    assert raised.value.code == "column-missing"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, reading: Any) -> None:
    source = SqliteSource(DatabaseSource(connection="db", table="t"), reading.connection(tmp_path / "no.db"))
    with pytest.raises(PlanError, match=r"no\.db") as raised:
        source.describe("t")
    assert raised.value.code == "connection-invalid"
    assert not (tmp_path / "no.db").exists()


def test_a_file_that_is_no_database_is_named(tmp_path: Path, reading: Any) -> None:
    (tmp_path / "text.db").write_text("this is no database, but it is long enough to look at " * 40)
    source = SqliteSource(DatabaseSource(connection="db", table="t"), reading.connection(tmp_path / "text.db"))
    with pytest.raises(PlanError, match="not a SQLite database"):
        source.check()


def test_a_damaged_file_stops_the_run(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    db.run("INSERT INTO t (x) VALUES (?)", [("x" * 500,) for _ in range(2000)])
    source = db.source(table="t")
    window = reading.window(source, "t")
    with db.path.open("r+b") as file:
        file.seek(os.path.getsize(db.path) // 2)
        file.write(os.urandom(64 * 1024))
    with pytest.raises(FatalError, match=r"crm\.db") as raised:
        reading.read(source, window)
    assert raised.value.code == "read-failed"


def test_a_lock_that_is_not_released_is_transient_and_named(db: Database) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    writer = sqlite3.connect(db.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    source = db.source(busy_seconds=0.05, table="t", cursor={"column": "updated_at"})
    with pytest.raises(TransientError, match=r"crm\.db.*0\.05 s") as raised:
        source.fix("t", source.cursor, None, False, 1)
    assert raised.value.code == "locked"
    writer.close()


def test_a_read_given_up_early_leaves_no_lock(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    db.run("INSERT INTO t (x) VALUES (?)", [("x" * 100,) for _ in range(200_000)])
    source = db.source(table="t")
    window = reading.window(source, "t")
    batches = source.read(window.ranges[0], window, None)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    with closing(sqlite3.connect(db.path, timeout=0.1)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
