"""A table made from `ddl`, edge values written as `writable` says, read back and compared: in real databases."""

from __future__ import annotations

import datetime as dt
import json
import math
import sqlite3
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa

from beam_pipelines.columnar import types
from beam_pipelines.columnar.cast import conform, convert_column
from beam_pipelines.columnar.plain import plain
from beam_pipelines.io.postgres import stage
from beam_pipelines.io.postgres.columns import honest
from beam_pipelines.io.postgres.session import Server

UTC = dt.timezone.utc
TEXTS = ["", "a", "größe €😀", 'quote " and \\ and \n', "NULL", None]
EDGES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "bool": (pa.bool_(), [True, False, None]),
    "int8": (pa.int8(), [-128, 127, None]),
    "int16": (pa.int16(), [-(2**15), 2**15 - 1, None]),
    "int32": (pa.int32(), [-(2**31), 2**31 - 1, None]),
    "int64": (pa.int64(), [-(2**63), 2**63 - 1, 0, None]),
    "uint8": (pa.uint8(), [0, 255, None]),
    "uint16": (pa.uint16(), [0, 2**16 - 1, None]),
    "uint32": (pa.uint32(), [0, 2**32 - 1, None]),
    "uint64": (pa.uint64(), [0, 2**63, 2**64 - 1, None]),
    "float32": (pa.float32(), [0.5, -1.5, 3.4028234663852886e38, 1.401298464324817e-45, math.inf, None]),
    "float64": (pa.float64(), [0.1, -1.7976931348623157e308, 5e-324, math.inf, -math.inf, None]),
    "decimal": (pa.decimal128(10, 2), [Decimal("99999999.99"), Decimal("-0.01"), Decimal("1.10"), None]),
    "decimal38": (pa.decimal128(38, 10), [Decimal("9" * 28 + "." + "9" * 10), Decimal("-0.0000000001"), None]),
    "text": (pa.string(), TEXTS),
    "large text": (pa.large_string(), TEXTS),
    "text view": (pa.string_view(), TEXTS),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), TEXTS),
    "binary": (pa.binary(), [b"", b"\x00\xff", None]),
    "fixed binary": (pa.binary(3), [b"\x00\xff\x01", None]),
    "date": (pa.date32(), [dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(9999, 12, 31), None]),
    "date64": (pa.date64(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    "time": (pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999_999), None]),
    "time of seconds": (pa.time32("s"), [dt.time(0), dt.time(23, 59, 59), None]),
    "timestamp": (
        pa.timestamp("us"),
        [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999), dt.datetime(1969, 12, 31, 23, 59, 59, 1), None],
    ),
    "timestamp of seconds": (pa.timestamp("s"), [dt.datetime(1, 1, 1), dt.datetime(2024, 2, 29, 1, 2, 3), None]),
    "timestamp with zone": (
        pa.timestamp("us", "UTC"),
        [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(2024, 3, 31, 1, 30, tzinfo=UTC), None],
    ),
    "timestamp of another zone": (
        pa.timestamp("ms", "Europe/Berlin"),
        [dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), None],
    ),
    "duration": (pa.duration("us"), [dt.timedelta(0), dt.timedelta(days=40, microseconds=1), -dt.timedelta(microseconds=1), None]),
    "interval": (pa.month_day_nano_interval(), [(14, -3, 1_500_000_000), (0, 0, 0), None]),
    "uuid": (pa.uuid(), [uuid.UUID(int=0).bytes, uuid.UUID(int=2**128 - 1).bytes, None]),
    "json": (pa.json_(), ['{"a": [1, null, "ü"]}', "1", '"x"', None]),
    "list": (pa.list_(pa.int32()), [[1, None, -3], [], None]),
    "list of text": (pa.list_(pa.string()), [['a "quoted", one', "", None, "NULL"], [], None]),
    "list of decimals": (pa.list_(pa.decimal128(10, 2)), [[Decimal("1.50"), None], None]),
    "list of lists": (pa.list_(pa.list_(pa.int64())), [[[1], [], None], None]),
    "fixed-size list": (pa.list_(pa.int64(), 2), [[1, None], None]),
    "struct": (
        pa.struct([("a b", pa.int64()), ("t", pa.list_(pa.string()))]),
        [{"a b": 1, "t": ["x", None]}, {"a b": None, "t": None}, None],
    ),
    "map": (pa.map_(pa.string(), pa.int64()), [[("k", 1), ("l", None)], [], None]),
    "nothing": (pa.null(), [None, None]),
}


def _array(name: str) -> pa.Array:
    kind, values = EDGES[name]
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    return pa.array(values, kind)


def _written(name: str, system: str) -> pa.Array:
    """The values as they go to the database."""
    made, wrong = convert_column(_array(name), types.writable(EDGES[name][0], system))
    assert wrong is None
    return made


def _meaning(array: pa.Array) -> list[Any]:
    """Values to compare: JSON by what it means, since jsonb writes it anew."""
    kind = array.type
    shown = plain(array)
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json":
        return [None if text is None else json.loads(text) for text in shown]
    return shown


def _compare(name: str, system: str, back: pa.Array, described: pa.DataType) -> None:
    """What came back is of the described type, and as good as what was written, down to the original type."""
    written = _written(name, system)
    found, wrong = convert_column(back, described)
    assert wrong is None
    again, wrong = convert_column(found, written.type)
    assert wrong is None
    assert _meaning(again) == _meaning(written)
    original = _array(name)
    if described == original.type or not pa.types.is_nested(original.type):
        if system == "sqlite" and name in ("duration", "interval"):
            return  # a number, and text
        whole, wrong = convert_column(found, original.type)
        assert wrong is None
        assert _meaning(whole) == _meaning(original)


@pytest.fixture
def postgres(postgres_database: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(postgres_database, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("name", EDGES)
def test_duckdb_gives_back_what_was_written(name: str) -> None:
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE t (x {types.ddl(EDGES[name][0], 'duckdb')})")
    written = pa.table({"x": _written(name, "duckdb")})
    connection.register("written", written)
    connection.execute("INSERT INTO t SELECT x FROM written")

    declared = connection.execute("SELECT data_type FROM duckdb_columns() WHERE table_name = 't'").fetchall()[0][0]
    described = types.from_duckdb(declared)
    back = connection.sql("SELECT x FROM t").to_arrow_table().column(0).combine_chunks()

    assert types.writable(described, "duckdb") == types.writable(EDGES[name][0], "duckdb")
    _compare(name, "duckdb", back, described)


@pytest.mark.parametrize("name", EDGES)
def test_postgresql_gives_back_what_adbc_wrote(name: str, postgres: Any, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import adbc_driver_postgresql.dbapi

    monkeypatch.setattr(stage, "SMALL_ROWS", 0)  # by ADBC, not row by row
    written = pa.record_batch({"x": _written(name, "postgresql")})
    stager = stage.PostgresStager(Server(postgres_database, "here", str), "staged", '"staged"', written.schema, 0)
    stager.write(written)
    assert stager.finish().rows == written.num_rows
    ddl = types.ddl(EDGES[name][0], "postgresql")
    postgres.execute(f"CREATE TABLE t (x {ddl}); INSERT INTO t SELECT CAST(x AS {ddl}) FROM staged")
    catalog = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum = 1"
    declared = postgres.execute(catalog).fetchone()[0]
    with adbc_driver_postgresql.dbapi.connect(postgres_database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT x FROM t")
        [read] = honest(cursor.fetch_arrow_table().combine_chunks().to_batches()[0])
    back = read.column(0)

    described = types.from_postgres(declared)
    assert types.writable(described, "postgresql") == types.writable(EDGES[name][0], "postgresql")
    _compare(name, "postgresql", back, described)


@pytest.mark.parametrize("name", EDGES)
def test_sqlite_gives_back_what_was_written(name: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t (x {types.ddl(EDGES[name][0], 'sqlite')})")
    written = _written(name, "sqlite")
    connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in _bound(written)])

    declared = connection.execute("SELECT type FROM pragma_table_info('t')").fetchone()[0]
    described = types.from_sqlite(declared)
    back = pa.array([value for (value,) in connection.execute("SELECT x FROM t")])

    assert types.writable(described, "sqlite") == types.writable(EDGES[name][0], "sqlite")
    _compare(name, "sqlite", back, described)


def _bound(array: pa.Array) -> list[Any]:
    """As the sqlite3 module takes values: numbers, text and bytes."""
    kind = array.type
    plain_kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_binary)
    return array.to_pylist() if any(test(kind) for test in plain_kinds) else convert_column(array, pa.string())[0].to_pylist()


@pytest.mark.parametrize("name", EDGES)
def test_a_sqlalchemy_database_gives_back_what_was_written(name: str, postgres_database: str) -> None:
    kind = EDGES[name][0]
    # As a database that has no table of its own here: SQLAlchemy's types do all the work.
    system = "anything"
    engine = sa.create_engine(postgres_database.replace("postgresql://", "postgresql+psycopg://"))
    table = sa.Table("t", sa.MetaData(), sa.Column("x", types.to_sqlalchemy(types.writable(kind, system))))
    written = _written(name, system)
    with engine.begin() as connection:
        connection.execute(sa.text("SET TIME ZONE 'UTC'"))
        table.create(connection)
        connection.execute(table.insert(), [{"x": value} for value in written.to_pylist()])
        back = [value for (value,) in connection.execute(sa.select(table))]
        reflected = sa.Table("t", sa.MetaData(), autoload_with=connection).c.x.type
    engine.dispose()

    described = types.from_sqlalchemy(reflected)
    assert types.writable(described, system) == written.type
    assert _meaning(pa.array(back, written.type)) == _meaning(written)


@pytest.mark.parametrize("system", ["duckdb", "postgresql", "sqlite", "mysql", "mssql", "oracle"])
def test_writing_is_settled_after_one_step(system: str) -> None:
    for kind, _ in EDGES.values():
        once = types.writable(kind, system)

        assert types.writable(once, system) == once
        assert types.ddl(kind, system) == types.ddl(once, system)


def test_nan_is_kept_by_all_but_sqlite(postgres: Any) -> None:
    kind = pa.float64()
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE t (x {types.ddl(kind, 'duckdb')})")
    connection.execute("INSERT INTO t VALUES (?)", [math.nan])
    postgres.execute(f"CREATE TABLE t (x {types.ddl(kind, 'postgresql')})")
    postgres.execute("INSERT INTO t VALUES (%s)", [math.nan])
    lite = sqlite3.connect(":memory:")
    lite.execute(f"CREATE TABLE t (x {types.ddl(kind, 'sqlite')})")
    lite.execute("INSERT INTO t VALUES (?)", [math.nan])

    assert math.isnan(connection.execute("SELECT x FROM t").fetchone()[0])
    assert math.isnan(postgres.execute("SELECT x FROM t").fetchone()[0])
    assert lite.execute("SELECT x FROM t").fetchone() == (None,)


POSTGRES_ONLY = [
    ("mood", "'happy'", pa.string(), "happy"),
    ("inet", "'10.0.0.1/8'", pa.string(), "10.0.0.1/8"),
    ("cidr", "'10.0.0.0/8'", pa.string(), "10.0.0.0/8"),
    ("timetz", "'10:00+02'", pa.string(), "10:00:00+02"),
    ("int4range", "'[1,5)'", pa.string(), "[1,5)"),
    ("pair", "ROW(1,'x')", pa.string(), "(1,x)"),
    ("bit(3)", "'101'", pa.string(), "101"),
    ("money", "12.34", pa.decimal128(19, 2), Decimal("12.34")),
    ("oid", "4294967295", pa.int64(), 4_294_967_295),
    ('"char"', "'c'", pa.string(), "c"),
    ("varchar(5)", "'abc'", pa.string(), "abc"),
    ("char(5)", "'abc'", pa.string(), "abc  "),
    ("name", "'abc'", pa.string(), "abc"),
    ("numeric", "1.5", pa.decimal128(38, 9), Decimal("1.5")),
    ("numeric(50,3)", "1.5", pa.decimal256(50, 3), Decimal("1.5")),
    ("timestamp(0)", "'2024-01-01 10:00:00.4'", pa.timestamp("us"), dt.datetime(2024, 1, 1, 10)),
    ("interval hour", "'3 hours'", pa.month_day_nano_interval(), (0, 0, 3 * 3600 * 10**9)),
    ("mood[]", "'{happy,sad}'", pa.list_(pa.string()), ["happy", "sad"]),
    ("inet[]", "'{10.0.0.0/8}'", pa.list_(pa.string()), ["10.0.0.0/8"]),
    ("numeric(5,1)[]", "'{1.5,NULL}'", pa.list_(pa.decimal128(5, 1)), [Decimal("1.5"), None]),
    ("uuid[]", "'{00000000-0000-0000-0000-000000000001}'", pa.list_(pa.uuid()), [uuid.UUID(int=1)]),
    ("positive", "5", pa.string(), "5"),
]


@pytest.mark.parametrize(("declared", "literal", "kind", "value"), POSTGRES_ONLY, ids=[row[0] for row in POSTGRES_ONLY])
def test_what_only_postgresql_has_is_read_as_something_that_keeps_it(
    declared: str, literal: str, kind: pa.DataType, value: Any, postgres: Any, postgres_database: str
) -> None:
    import adbc_driver_postgresql.dbapi

    postgres.execute("CREATE TYPE mood AS ENUM ('happy', 'sad'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN positive AS int")
    postgres.execute(f"CREATE TABLE t (x {declared}); INSERT INTO t VALUES ({literal})")
    name = postgres.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum = 1"
    ).fetchone()[0]
    known = ("numeric", "interval", "character", "timestamp", "name", '"char"')
    cast = {"money": "numeric(19,2)", "oid": "int8"}.get(name) or (
        None if name.startswith(known) else "text[]" if name.endswith("[]") else "text"
    )
    with adbc_driver_postgresql.dbapi.connect(postgres_database) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT x{f'::{cast}' if cast else ''} AS x FROM t")
        batch = cursor.fetch_arrow_table().combine_chunks().to_batches()[0]

    assert types.from_postgres(name) == kind
    done = conform(batch, pa.schema([("x", kind)]))
    assert (done.bad, done.batch.column(0).to_pylist()) == ([], [value])


def test_jsonb_can_be_compared_in_a_merge(postgres: Any) -> None:
    postgres.execute(f"CREATE TABLE t (x {types.ddl(pa.struct([('a', pa.int64())]), 'postgresql')}); INSERT INTO t VALUES ('{{}}')")

    assert postgres.execute("SELECT x IS DISTINCT FROM '{ }' FROM t").fetchone() == (False,)
