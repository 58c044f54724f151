from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mssql, mysql, postgresql

from beam_pipelines.columnar import types
from beam_pipelines.errors import PlanError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("text", pa.string()),
        ("STRING", pa.string()),
        ("varchar(20)", pa.string()),
        ("int", pa.int64()),
        ("bigint", pa.int64()),
        ("smallint", pa.int16()),
        ("double precision", pa.float64()),
        ("float", pa.float64()),
        ("decimal(10, 2)", pa.decimal128(10, 2)),
        ("decimal(5)", pa.decimal128(5, 0)),
        ("numeric", pa.decimal128(38, 9)),
        ("timestamp with time zone", pa.timestamp("us", "UTC")),
        ("timestamptz", pa.timestamp("us", "UTC")),
        ("json", pa.json_()),
        ("list<text>", pa.list_(pa.string())),
        ("decimal(5,1)[][]", pa.list_(pa.list_(pa.decimal128(5, 1)))),
        ("struct<a: bigint, b c: text>", None),
        ('struct<a: bigint, "b c": list<date>>', pa.struct([("a", pa.int64()), ("b c", pa.list_(pa.date32()))])),
        ("map<text, struct<x double>>", pa.map_(pa.string(), pa.struct([("x", pa.float64())]))),
    ],
)
def test_a_definition_names_types_as_sql_does(text: str, kind: pa.DataType | None) -> None:
    if kind is None:
        with pytest.raises(PlanError):
            types.parse_name(text)
    else:
        assert types.parse_name(text) == kind


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("bigit", "did you mean 'bigint'"),
        ("strng", "did you mean 'string'"),
        ("frobnicate", "known are text, bigint"),
        ("decimal(50,2)", "1 <= p <= 38"),
        ("decimal(5,9)", "0 <= s <= p"),
        ("int(5)", "int"),
        ("list<", "its end"),
        ("list<int", "expected '>'"),
        ("int int]", "left over|int"),
        ("", "expected the name of a type"),
        ("struct<int>", "struct"),
        ("map<int>", "map"),
        ("a;drop", "';drop' is not understood"),
    ],
)
def test_what_is_no_type_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(PlanError, match=hint) as caught:
        types.parse_name(text)
    assert caught.value.code == "type-unsupported"


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("", pa.string()),
        ("INTEGER", pa.int64()),
        ("UNSIGNED BIG INT", pa.int64()),
        ("VARCHAR(255)", pa.string()),
        ("NATIVE CHARACTER(70)", pa.string()),
        ("CLOB", pa.string()),
        ("STRING", pa.string()),
        ("BLOB", pa.binary()),
        ("DOUBLE PRECISION", pa.float64()),
        ("FLOAT", pa.float64()),
        ("NUMERIC", pa.float64()),
        ("DECIMAL(10,5)", pa.decimal128(10, 5)),
        ("decimal_text(30,4)", pa.decimal128(30, 4)),
        ("BOOLEAN", pa.bool_()),
        ("DATE", pa.date32()),
        ("DATETIME", pa.timestamp("us")),
        ("timestamp with time zone", pa.timestamp("us", "UTC")),
        ("whatever (x y)", pa.string()),
        ("GEOMETRY", pa.string()),
        ("'odd'", pa.string()),
    ],
)
def test_sqlite_declarations_mean_what_people_use_them_for(declared: str, kind: pa.DataType) -> None:
    assert types.from_sqlite(declared) == kind


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("HUGEINT", pa.decimal128(38, 0)),
        ("TIMESTAMP WITH TIME ZONE", pa.timestamp("us", "UTC")),
        ("ENUM('a', 'it''s')", pa.string()),
        ("DECIMAL(18,3)[]", pa.list_(pa.decimal128(18, 3))),
        ("INTEGER[3][]", pa.list_(pa.list_(pa.int32(), 3))),
        (
            'STRUCT("a ""q""" INTEGER, "time" TIME, w TIMESTAMP WITH TIME ZONE)',
            pa.struct([('a "q"', pa.int32()), ("time", pa.time64("us")), ("w", pa.timestamp("us", "UTC"))]),
        ),
        ("MAP(VARCHAR, STRUCT(x DOUBLE)[])", pa.map_(pa.string(), pa.list_(pa.struct([("x", pa.float64())])))),
    ],
)
def test_duckdb_types_are_read_as_the_catalog_prints_them(declared: str, kind: pa.DataType) -> None:
    assert types.from_duckdb(declared) == kind


@pytest.mark.parametrize(
    "declared", ["UNION(num INTEGER, str VARCHAR)", "TIME WITH TIME ZONE", "BIT", "BIGNUM", "GEOMETRY", "VARIANT", "nope("]
)
def test_duckdb_types_without_a_counterpart_are_refused_by_name(declared: str) -> None:
    with pytest.raises(PlanError, match=r"column 'c'.*CAST\(x AS VARCHAR\)") as caught:
        types.from_duckdb(declared, "c")
    assert declared in str(caught.value)
    assert caught.value.code == "type-unsupported"


@pytest.mark.parametrize(
    ("kind", "arrow"),
    [
        (sa.SmallInteger(), pa.int16()),
        (sa.Integer(), pa.int32()),
        (sa.BigInteger(), pa.int64()),
        (mysql.TINYINT(), pa.int8()),
        (mysql.INTEGER(unsigned=True), pa.uint32()),
        (mysql.BIGINT(unsigned=True), pa.uint64()),
        (mysql.YEAR(), None),
        (sa.Float(), pa.float64()),
        (sa.REAL(), pa.float32()),
        (sa.Double(), pa.float64()),
        (sa.Numeric(10, 2), pa.decimal128(10, 2)),
        (sa.Numeric(), pa.decimal128(38, 9)),
        (sa.Boolean(), pa.bool_()),
        (sa.String(5), pa.string()),
        (sa.Text(), pa.string()),
        (sa.Enum("a", "b"), pa.string()),
        (sa.LargeBinary(), pa.binary()),
        (mssql.VARBINARY(5), pa.binary()),
        (sa.Date(), pa.date32()),
        (sa.Time(), pa.time64("us")),
        (sa.DateTime(), pa.timestamp("us")),
        (sa.DateTime(timezone=True), pa.timestamp("us", "UTC")),
        (mysql.DATETIME(fsp=6), pa.timestamp("us")),
        (mssql.DATETIMEOFFSET(), pa.timestamp("us", "UTC")),
        (sa.Uuid(), pa.uuid()),
        (mssql.UNIQUEIDENTIFIER(), pa.uuid()),
        (sa.JSON(), pa.json_()),
        (postgresql.JSONB(), pa.json_()),
        (postgresql.ARRAY(sa.Integer), pa.list_(pa.int32())),
        (sa.Interval(), pa.month_day_nano_interval()),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_sqlalchemy_types_are_read_as_reflected(kind: sa.types.TypeEngine[object], arrow: pa.DataType | None) -> None:
    assert types.from_sqlalchemy(kind) == (pa.int16() if arrow is None else arrow)


def test_a_type_that_sqlalchemy_does_not_know_is_refused() -> None:
    with pytest.raises(PlanError, match=r"column 'g'.*NullType.*CAST"):
        types.from_sqlalchemy(sa.types.NullType(), "g")


@pytest.mark.parametrize(
    ("kind", "system"),
    [
        (pa.decimal256(50, 2), "duckdb"),
        (pa.decimal256(50, 2), "mysql"),
        (pa.dense_union([pa.field("a", pa.int8())]), "postgresql"),
        (pa.struct([]), "duckdb"),
        (pa.list_(pa.decimal256(50, 2)), "duckdb"),
        (pa.opaque(pa.binary(), "inet", "PostgreSQL"), "sqlite"),
    ],
    ids=str,
)
def test_what_a_database_cannot_keep_is_refused_by_column_and_type(kind: pa.DataType, system: str) -> None:
    with pytest.raises(PlanError, match="column 'c'") as caught:
        types.writable(kind, system, "c")
    assert caught.value.code == "type-unsupported"
    assert caught.value.details["system"] == system


def test_a_dialect_that_is_not_installed_is_named() -> None:
    with pytest.raises(PlanError, match="no dialect 'cobol'"):
        types.ddl(pa.int64(), "cobol")


def test_long_text_and_fractions_of_seconds_survive_mysql() -> None:
    assert types.ddl(pa.string(), "mysql") == "LONGTEXT"
    assert types.ddl(pa.binary(), "mysql") == "LONGBLOB"
    assert types.ddl(pa.timestamp("us"), "mysql") == "DATETIME(6)"


@pytest.mark.parametrize(
    ("name", "typmod", "kind"),
    [
        ("numeric", ((10 << 16) | 2) + 4, pa.decimal128(10, 2)),
        ("numeric", ((5 << 16) | (-2 & 0x7FF)) + 4, pa.decimal128(5, -2)),
        ("numeric", -1, pa.decimal128(38, 9)),
        ("numeric(2,5)", -1, pa.decimal128(5, 5)),
        ("numeric(1000,2)", -1, pa.string()),
        ("_numeric", ((5 << 16) | 1) + 4, pa.list_(pa.decimal128(5, 1))),
        ("timestamp(3) with time zone", -1, pa.timestamp("us", "UTC")),
        ("timestamp with time zone[]", -1, pa.list_(pa.timestamp("us", "UTC"))),
        ("pg_catalog.int4", -1, pa.int32()),
        ("interval day to second(3)", -1, pa.month_day_nano_interval()),
        ("jsonb", -1, pa.json_()),
        ("public.mood", -1, pa.string()),
        ('"My (odd) Type"', -1, pa.string()),
    ],
)
def test_postgresql_types_are_read_by_their_catalog_names(name: str, typmod: int, kind: pa.DataType) -> None:
    assert types.from_postgres(name, typmod) == kind


READERS: list[Callable[[str], pa.DataType]] = [types.parse_name, types.from_duckdb, types.from_sqlite, types.from_postgres]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            [
                "decimal",
                "STRUCT",
                "map",
                "list",
                "INTEGER",
                "(",
                ")",
                "<",
                ">",
                "[",
                "]",
                ",",
                ":",
                '"',
                "'",
                " ",
                "5",
                "-1",
                "99999999999",
                "a b",
            ]
        )
    ).map("".join)
)
def test_any_text_is_a_type_or_refused(text: str) -> None:
    for reader in READERS:
        try:
            assert isinstance(reader(text), pa.DataType)
        except PlanError:
            continue


def test_a_type_of_absurd_depth_is_refused() -> None:
    for text in ("list<" * 5_000 + "int" + ">" * 5_000, "int[99999999999]", "int" + "[]" * 5_000):
        with pytest.raises(PlanError):
            types.parse_name(text)
    assert types.parse_name("list<" * 20 + "int" + ">" * 20)
