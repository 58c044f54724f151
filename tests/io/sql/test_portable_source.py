from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError, SpecError, TransientError
from beam_pipelines.io.sql.portable_source import PortableSource, engine_of
from beam_pipelines.runs.mark import Mark
from beam_pipelines.spec.source import DatabaseSource

UTC = dt.timezone.utc


class Database:
    """A database behind SQLAlchemy, written by statements."""

    def __init__(self, url: str, reading: Any) -> None:
        self._connection = reading.connection(url)
        self.engine = engine_of(self._connection)

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for sql in statements:
                connection.execute(sa.text(sql))

    def source(self, **model: Any) -> PortableSource:
        if "query" in model and "?" in model["query"]:
            model["incremental"] = True
        return PortableSource(DatabaseSource(connection="db", **model), self._connection)

    def cursor(self, column: str = "updated_at", **cursor: Any) -> PortableSource:
        return self.source(table="t", cursor={"column": column, "stampedBy": "client", **cursor})


@pytest.fixture
def postgres(postgres_database: str, reading: Any) -> Database:
    return Database(postgres_database.replace("postgresql://", "postgresql+psycopg://"), reading)


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path, reading: Any) -> Database:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres")
    (tmp_path / "x.db").touch()
    return Database(f"sqlite:///{tmp_path}/x.db", reading)


def ago(**delta: float) -> str:
    return (dt.datetime.now(UTC) - dt.timedelta(**delta)).replace(tzinfo=None).isoformat(" ", timespec="microseconds")


def test_tables_are_read_whole_in_ranges_with_their_keys(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(20), price NUMERIC(10, 2), day DATE)")
    db.run(
        *[f"INSERT INTO t VALUES ({n}, 'n{n}', {n}.25, '2026-01-{n:02}')" for n in range(1, 11)],
        "INSERT INTO t VALUES (11, NULL, NULL, NULL)",
    )
    read = reading.poll(db.source(table="t"), "t", parts=3)
    assert not read.reasons
    assert read.rows == [
        *({"id": n, "name": f"n{n}", "price": Decimal(f"{n}.25"), "day": dt.date(2026, 1, n)} for n in range(1, 11)),
        {"id": 11, "name": None, "price": None, "day": None},
    ]
    assert len(read.fixed.ranges) == 3
    assert origin.describe(read.batches[-1], [0])[0]["source"] == "t"
    assert origin.describe(read.batches[0], [0]) == [{"source": "t", "key": {"id": 1}}]


def test_queries_have_the_types_of_their_table_and_of_their_values(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, price NUMERIC(10, 2))", "INSERT INTO t VALUES (1, 2.50)")
    source = db.source(query="SELECT id AS n, price, 'x' AS word, id * 2 AS twice FROM t -- all of it")
    described = source.describe("query")
    assert described.primary_key == ("n",)
    assert described.schema == pa.schema(
        [("n", described.schema.field("n").type), ("price", pa.decimal128(10, 2)), ("word", pa.string()), ("twice", pa.int64())]
    )
    assert reading.poll(source, "query").rows == [{"n": 1, "price": Decimal("2.50"), "word": "x", "twice": 2}]


def test_increments_by_cursor_and_by_the_seeds_form_read_each_row_once(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)", "INSERT INTO t VALUES (99, NULL)")
    seen: dict[str, list[int]] = {"t": [], "query": []}
    marks: dict[str, Mark | None] = {"t": None, "query": None}
    for step in range(3):
        db.run(*[f"INSERT INTO t VALUES ({step * 4 + n}, '{ago(seconds=1000 - 100 * step - n)}')" for n in range(4)])
        for source in (db.cursor(), db.source(query="SELECT * FROM t WHERE updated_at > ? ORDER BY id")):
            (table,) = source.tables()
            read = reading.poll(source, table, marks[table])
            seen[table] += read.column("id")
            marks[table] = read.newest
    assert seen == {"t": list(range(12)), "query": list(range(12))}
    assert reading.poll(db.cursor(), "t", marks["t"], inclusive=True).column("id") == [11]


def test_rows_stamped_in_the_future_wait_for_their_time(db: Database, reading: Any) -> None:
    db.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)",
        f"INSERT INTO t VALUES (1, '{ago(hours=1)}'), (2, '{ago(hours=-30)}')",
    )
    read = reading.poll(db.cursor(overlap="5m"), "t")
    assert read.column("id") == [1]
    assert "not waited for" in db.cursor().fix("t", db.cursor().cursor, None, False, 1).by


def test_numbers_are_read_up_to_the_greatest(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source = db.cursor("id", kind="sequence", overlap=5)
    assert reading.poll(source, "t").rows == []
    db.run("INSERT INTO t VALUES (1), (2)")
    window = reading.window(source, "t")
    db.run("INSERT INTO t VALUES (3)")
    read = reading.read(source, window)
    assert (read.column("id"), read.newest) == ([1, 2], Mark("int", "2"))
    assert reading.poll(source, "t", read.newest).column("id") == [3]


def test_epoch_numbers_are_compared_in_their_unit(db: Database, reading: Any) -> None:
    now = int(dt.datetime.now(UTC).timestamp())
    db.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at BIGINT)",
        f"INSERT INTO t VALUES (1, {now - 9}000), (2, {now - 5}000), (3, {now + 900}000)",
    )
    source = db.cursor(kind="timestamp", overlap="6s")
    read = reading.poll(source, "t")
    assert read.column("id") == [1, 2]
    assert reading.poll(source, "t", Mark.of(int(read.newest.value) - 6)).column("id") == [1, 2]


def test_patterns_names_and_errors_name_the_nearest(db: Database) -> None:
    db.run("CREATE TABLE customers (id INTEGER)", "CREATE TABLE orders (id INTEGER)", "CREATE VIEW cust_view AS SELECT * FROM customers")
    assert db.source(tables=["cust*"]).tables() == ["cust_view", "customers"]
    with pytest.raises(PlanError, match="did you mean 'customers'") as raised:
        db.source(table="custmers").describe("custmers")
    assert raised.value.code == "table-missing"
    assert "3 tables" in db.source(table="orders").check()


def test_odd_names_are_quoted(db: Database, reading: Any) -> None:
    db.run(
        'CREATE TABLE "My Table" ("select" INTEGER PRIMARY KEY, "a ""b""" TEXT, "per%cent" TEXT, "co:lon" TEXT)',
        "INSERT INTO \"My Table\" VALUES (1, 'x', 'y', 'z')",
    )
    rows = reading.poll(db.source(table="My Table"), "My Table").rows
    assert rows == [{"select": 1, 'a "b"': "x", "per%cent": "y", "co:lon": "z"}]


def test_colons_and_percents_of_a_query_are_its_own(db: Database, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, updated_at TIMESTAMP)", f"INSERT INTO t VALUES (1, 'a:b %', '{ago(hours=1)}')")
    source = db.source(query="SELECT id, x, updated_at FROM t WHERE x LIKE 'a:b %' AND updated_at > ?")
    assert reading.poll(source, "query").column("x") == ["a:b %"]


def test_batches_are_bounded_and_a_read_can_be_given_up(db: Database, reading: Any) -> None:
    numbers = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) SELECT n FROM s"
    db.run("CREATE TABLE t (n INTEGER)", f"INSERT INTO t {numbers}")
    source = db.source(table="t")
    window = reading.window(source, "t")
    batches = reading.read(source, window).batches
    assert sum(batch.num_rows for batch in batches) == 100_000
    assert max(batch.num_rows for batch in batches) <= 65_536
    stream = source.read(window.ranges[0], window, None)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    db.run("DROP TABLE t")


def test_a_table_or_column_that_is_gone_stops_the_run(postgres: Database, reading: Any) -> None:
    for source in (postgres.source(table="t"), postgres.source(query="SELECT * FROM t")):
        (table,) = source.tables()
        postgres.run("DROP TABLE IF EXISTS t", "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
        window = reading.window(source, table)
        postgres.run("ALTER TABLE t DROP COLUMN x")
        with pytest.raises(FatalError, match="'x'") as raised:
            reading.read(source, window)
        assert raised.value.code == "schema-changed"
        postgres.run("DROP TABLE t")
        with pytest.raises(FatalError) as raised:
            reading.read(source, window)
        assert raised.value.code == "schema-changed"


def test_values_of_python_types_arrive_as_they_are(postgres: Database, reading: Any) -> None:
    postgres.run(
        "CREATE TABLE t (b BOOLEAN, at TIMESTAMP, tz TIMESTAMPTZ, d DATE, tm TIME, n NUMERIC(6, 3), u UUID, j JSONB, raw BYTEA, r REAL,"
        " big BIGINT)",
        "INSERT INTO t VALUES (true, '2026-01-01 10:00:05.5', '2026-01-01 12:00+02', '2000-02-29', '10:00', 1.250,"
        " '00000000-0000-0000-0000-000000000007', '{\"a\": [1, null]}', '\\x00ff', 0.5, 9223372036854775807)",
        "INSERT INTO t DEFAULT VALUES",
    )
    read = reading.poll(postgres.source(table="t"), "t")
    assert not read.reasons
    first = dict(read.rows[0])
    assert first.pop("j").replace(" ", "") == '{"a":[1,null]}'
    assert first == {
        "b": True,
        "at": dt.datetime(2026, 1, 1, 10, 0, 5, 500_000),
        "tz": dt.datetime(2026, 1, 1, 10, tzinfo=UTC),
        "d": dt.date(2000, 2, 29),
        "tm": dt.time(10),
        "n": Decimal("1.250"),
        "u": uuid.UUID(int=7),
        "raw": b"\x00\xff",
        "r": 0.5,
        "big": 2**63 - 1,
    }
    assert set(read.rows[1].values()) == {None}


def test_a_wrong_password_is_told_and_not_shown(postgres_server: Any, reading: Any) -> None:
    url = postgres_server.url(password="hush-hush-42").replace("postgresql://", "postgresql+psycopg://")
    source = PortableSource(DatabaseSource(connection="db", table="t"), reading.connection(url))
    with pytest.raises(FatalError) as raised:
        source.check()
    assert raised.value.code == "authentication-failed"
    assert "hush-hush-42" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_server_that_is_away_is_transient(reading: Any) -> None:
    source = PortableSource(DatabaseSource(connection="db", table="t"), reading.connection("postgresql+psycopg://u:hush@127.0.0.1:1/d"))
    with pytest.raises(TransientError) as raised:
        source.check()
    assert raised.value.code == "unreachable"
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("nosuch://h/d", PlanError, "no SQLAlchemy dialect 'nosuch'"),
        ("mysql+mysqldb://u:hush@h/d", SpecError, "pip install MySQLdb"),
        ("mysql+pymysql://u:hush@h:port/d", SpecError, "not a URL of SQLAlchemy"),
    ],
)
def test_dialects_and_drivers_that_are_missing_are_named(reading: Any, url: str, error: type[SpecError], says: str) -> None:
    with pytest.raises(error, match=says) as raised:
        engine_of(reading.connection(url))
    assert "hush" not in str(raised.value)


def test_names_are_as_the_database_stores_them(reading: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Oracle and others keep plain names in capitals; SQLAlchemy shows them in small letters."""
    from sqlalchemy.dialects import oracle

    source = PortableSource(
        DatabaseSource(connection="db", table="customers", cursor={"column": "updated_at"}),
        reading.connection(f"sqlite:///{tmp_path}/x.db"),
    )
    denormalize: Callable[[str], str] = oracle.dialect().denormalize_name
    monkeypatch.setattr(source._engine.dialect, "requires_name_normalize", True)
    monkeypatch.setattr(source._engine.dialect, "denormalize_name", denormalize, raising=False)
    assert source._stored_table("crm.customers") == '"CRM"."CUSTOMERS"'
    assert source._stored("Mixed") == "Mixed"
