from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError


def test_tables_and_their_types_come_from_the_catalog(db: Any) -> None:
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


def test_columns_of_a_query_have_the_types_of_their_tables(db: Any) -> None:
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


def test_a_join_has_no_primary_key(db: Any) -> None:
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
def test_a_moment_kept_as_numbers_is_planned_as_numbers(db: Any, values: list[str], planned: pa.DataType) -> None:
    db.run("CREATE TABLE t (at DATETIME)" + "".join(f"; INSERT INTO t VALUES ({value})" for value in values))
    assert db.source(table="t").describe("t").schema.field("at").type == planned


def test_a_date_that_holds_times_is_planned_as_timestamp(db: Any) -> None:
    db.run("CREATE TABLE t (a DATE, b DATE); INSERT INTO t VALUES ('2026-01-01', '2026-01-01 10:00:00')")
    assert db.source(table="t").describe("t").schema.types == [pa.date32(), pa.timestamp("us")]


def test_an_unknown_table_names_the_nearest(db: Any) -> None:
    db.run("CREATE TABLE customers (id); CREATE TABLE orders (id)")
    with pytest.raises(PlanError, match="did you mean 'customers'") as raised:
        db.source(table="custmers").describe("custmers")
    assert raised.value.code == "table-missing"


def test_an_unknown_table_or_column_in_a_query_is_named(db: Any) -> None:
    db.run("CREATE TABLE customers (id)")
    with pytest.raises(PlanError, match="did you mean 'customers'") as raised:
        db.source(query="SELECT * FROM custmers").describe("query")
    assert raised.value.code == "table-missing"
    with pytest.raises(PlanError, match="'nme'") as raised:
        db.source(query="SELECT nme FROM customers").describe("query")
    assert raised.value.code == "column-missing"


def test_patterns_find_tables_and_views_but_not_sqlites_own(db: Any) -> None:
    db.run(
        "CREATE TABLE crm_b (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE crm_a (id);"
        " CREATE VIEW crm_v AS SELECT 1 AS x; CREATE TABLE other (id)"
    )
    assert db.source(tables=["crm_*"]).tables() == ["crm_a", "crm_b", "crm_v"]
    assert "sqlite_sequence" not in db.source(tables=["*"]).tables()
    with pytest.raises(PlanError, match="'sales_"):
        db.source(tables=["sales_*"]).tables()


def test_a_cursor_column_that_is_not_there_names_the_nearest(db: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    source = db.cursor("updatedat")
    with pytest.raises(PlanError, match="did you mean 'updated_at'") as raised:
        source.fix("t", source.cursor, None, False, 1)
    assert raised.value.code == "column-missing"
