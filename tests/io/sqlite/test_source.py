from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError


def test_rows_come_as_they_are_with_their_key_as_origin(db: Any, reading: Any) -> None:
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
def test_a_value_of_the_wrong_type_costs_its_own_row_only(db: Any, reading: Any, declared: str, good: list[Any], bad: list[Any]) -> None:
    db.run(f"CREATE TABLE t (id INTEGER PRIMARY KEY, x {declared})")
    db.run("INSERT INTO t (x) VALUES (?)", [(value,) for value in [*good, *bad, *good]])
    read = reading.poll(db.source(table="t"), "t")
    first = len(good) + 1
    assert [row["id"] for row in read.rows] == [*range(1, first), *range(first + len(bad), first + len(bad) + len(good))]
    assert len(read.reasons) == len(bad)
    assert all("'x'" in reason for reason in read.reasons)


def test_the_wrong_value_itself_reaches_the_cast(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), ('abc', x'ff'), (2.5, 'z')")
    (batch,) = reading.poll(db.source(table="t"), "t").batches
    assert batch.column("a").to_pylist() == ["1", "abc", "2.5"]
    assert batch.column("b").to_pylist() == [b"x", b"\xff", b"z"]


def test_text_that_is_not_utf8_late_in_a_table_costs_its_own_row_only(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    db.run("INSERT INTO t (x) VALUES (?)", [(f"row {n}",) for n in range(10_000)])
    db.run("UPDATE t SET x = CAST(x'C3' AS TEXT) WHERE id = 9000")
    read = reading.poll(db.source(table="t"), "t")
    assert read.column("id") == [n for n in range(1, 10_001) if n != 9000]
    assert len(read.reasons) == 1


def test_a_table_without_key_is_known_by_position_and_range(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (x TEXT)")
    db.run("INSERT INTO t VALUES (?)", [(f"{n}",) for n in range(10)])
    read = reading.poll(db.source(table="t"), "t", parts=2)
    assert [origin.describe(batch, [1]) for batch in read.batches] == [[{"source": "t[0]", "row": 1}], [{"source": "t[1]", "row": 1}]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(-50, 200) | st.integers(-(2**63), 2**63 - 1), max_size=30), st.integers(1, 7))
def test_ranges_are_together_the_table_and_share_no_row(db: Any, reading: Any, ids: set[int], parts: int) -> None:
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
def test_every_kind_of_table_is_read_once_in_ranges(db: Any, reading: Any, ddl: str) -> None:
    db.run(ddl)
    db.run(f"INSERT INTO {'base' if 'base' in ddl else 't'} (x) VALUES (?)", [(n,) for n in range(1, 21)])
    read = reading.poll(db.source(table="t"), "t", parts=4)
    assert sorted(map(int, read.column("x"))) == list(range(1, 21))


def test_a_query_on_a_key_is_read_in_ranges_too(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
    db.run("INSERT INTO t VALUES (?, ?)", [(n, n % 3) for n in range(30)])
    read = reading.poll(db.source(query="SELECT id AS n FROM t WHERE x = 1 ORDER BY x"), "query", parts=3)
    assert len(read.fixed.ranges) == 3
    assert read.column("n") == list(range(1, 30, 3))


def test_a_second_read_of_a_range_gives_the_same(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (a TEXT, b INTEGER)")
    db.run("INSERT INTO t VALUES (?, ?)", [(f"{n * 7919 % 1000}", n) for n in range(5000)])
    source = db.source(table="t")
    window = reading.window(source, "t", parts=2)
    assert reading.read(source, window).rows == reading.read(source, window).rows


def test_batches_stay_within_the_size_policy(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    db.run("INSERT INTO t (x) VALUES (?)", [("w" * 100_000,) for _ in range(300)])
    db.run("INSERT INTO t (x) VALUES (?)", [("narrow",) for _ in range(100_000)])
    batches = reading.poll(db.source(table="t"), "t").batches
    assert sum(batch.num_rows for batch in batches) == 100_300
    assert 50_000 < max(batch.num_rows for batch in batches) <= 65_536
    assert max(batch.nbytes for batch in batches) <= 9 << 20


def test_a_sample_has_origins_and_the_planned_columns(db: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t (x) VALUES ('a'), ('b'), ('c')")
    batch = db.source(table="t").sample("t", 2)
    assert origin.visible(batch).to_pylist() == [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}]
    db.run("DELETE FROM t")
    assert origin.names(db.source(table="t").sample("t", 2).schema) == ["id", "x"]


def test_a_column_that_is_gone_stops_the_run(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT); INSERT INTO t VALUES (1, 'a', 'b')")
    for source in (db.source(table="t"), db.source(query="SELECT * FROM t")):
        (table,) = source.tables()
        db.run("DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT); INSERT INTO t VALUES (1, 'a', 'b')")
        window = reading.window(source, table)
        db.run("ALTER TABLE t RENAME COLUMN y TO z")
        with pytest.raises(FatalError, match="'y'") as raised:
            reading.read(source, window)
        assert raised.value.code == "schema-changed"


def test_a_column_that_is_new_is_not_read(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    source = db.source(table="t")
    window = reading.window(source, "t")
    db.run("ALTER TABLE t ADD COLUMN x TEXT DEFAULT 'new'")
    assert reading.read(source, window).rows == [{"id": 1}]


def test_a_table_that_is_gone_stops_the_run(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source = db.source(table="t")
    window = reading.window(source, "t")
    db.run("DROP TABLE t")
    with pytest.raises(FatalError) as raised:
        reading.read(source, window)
    assert raised.value.code == "schema-changed"


def test_a_read_given_up_early_leaves_no_lock(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    db.run("INSERT INTO t (x) VALUES (?)", [("x" * 100,) for _ in range(200_000)])
    source = db.source(table="t")
    window = reading.window(source, "t")
    batches = source.read(window.ranges[0], window, None)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    with closing(sqlite3.connect(db.path, timeout=0.1)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
