from __future__ import annotations

import datetime as dt
import sqlite3
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.sql import query as query_module
from beam_pipelines.io.sql.literal import fold, literal, quote, quote_table, split_table
from beam_pipelines.io.sql.query import normalise, parse_query
from beam_pipelines.io.sql.relation import Relation, decide_kind, match_column
from beam_pipelines.runs.mark import Mark
from beam_pipelines.spec.source import DatabaseSource

SEED = "SELECT * FROM customers WHERE updated_at > ?"


def relation(dialect: str = "duckdb", **source: Any) -> Relation:
    return Relation.of(DatabaseSource.model_validate({"type": "database", "connection": "c", **source}), dialect)


def stamp(minute: int) -> Mark:
    return Mark.of(dt.datetime(2026, 1, 1, 10, minute))


@pytest.fixture
def crm() -> duckdb.DuckDBPyConnection:
    """Seven customers, stamped at 10:00 to 10:05 and never."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE customers (id INTEGER, country VARCHAR, updated_at TIMESTAMP)")
    connection.execute(
        "INSERT INTO customers SELECT i, if(i % 2 = 0, 'CH', 'DE'), TIMESTAMP '2026-01-01 10:00:00' + INTERVAL 1 MINUTE * i"
        " FROM range(6) t(i)"
    )
    connection.execute("INSERT INTO customers VALUES (6, 'CH', NULL)")
    connection.execute("CREATE TABLE orders (id INTEGER, customer INTEGER, total INTEGER, updated_at TIMESTAMP)")
    connection.execute("INSERT INTO orders SELECT i, i % 6, i * 10, TIMESTAMP '2025-06-01 00:00:00' FROM range(12) t(i)")
    return connection


def ids(connection: duckdb.DuckDBPyConnection, relation: Relation, **window: Any) -> list[int]:
    sql, params = relation.select("customers", ["id"], **window)
    return sorted(row[0] for row in connection.execute(sql, params).fetchall())


# -- the seed's form --


def test_seed_query_names_its_cursor() -> None:
    found = relation("postgresql", query=SEED, incremental=True).cursor
    assert found is not None
    assert (found.column, found.kind, found.stamped_by, found.overlap) == ("updated_at", "", "database", 0.0)


def test_first_run_reads_every_row_that_has_a_stamp(crm: duckdb.DuckDBPyConnection) -> None:
    assert ids(crm, relation(query=SEED, incremental=True)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("low_inclusive", "ceiling_inclusive", "expected"),
    [(False, False, [2, 3]), (True, False, [1, 2, 3]), (False, True, [2, 3, 4]), (True, True, [1, 2, 3, 4])],
)
@pytest.mark.parametrize("source", [{"query": SEED, "incremental": True}, {"table": "customers", "cursor": {"column": "updated_at"}}])
@pytest.mark.parametrize("paramstyle", ["literal", "qmark", "numeric"])
def test_window_bounds(
    crm: duckdb.DuckDBPyConnection,
    source: dict[str, Any],
    paramstyle: str,
    low_inclusive: bool,
    ceiling_inclusive: bool,
    expected: list[int],
) -> None:
    window = {"low": stamp(1), "low_inclusive": low_inclusive, "ceiling": stamp(4), "ceiling_inclusive": ceiling_inclusive}
    assert ids(crm, relation(**source), **window, paramstyle=paramstyle) == expected


@pytest.mark.parametrize(
    ("query", "cursor", "expected"),
    [
        ("SELECT * FROM customers WHERE updated_at > ? AND country = 'CH'", "updated_at", [2]),
        ("SELECT * FROM customers c WHERE country = 'CH' AND (c.updated_at >= ?) ORDER BY id DESC", "updated_at", [2]),
        ("SELECT * FROM customers WHERE ? < updated_at -- what is new", "updated_at", [2, 3]),
        ("SELECT id, updated_at AS changed FROM customers WHERE updated_at > ?;", "changed", [2, 3]),
        ("SELECT id, changed FROM (SELECT id, updated_at AS changed FROM customers WHERE updated_at > ?) t WHERE id <> 2", "changed", [3]),
        ("WITH new AS (SELECT * FROM customers WHERE updated_at > ?) SELECT n.* FROM new n", "updated_at", [2, 3]),
        (
            "WITH totals AS (SELECT customer, sum(total) AS total FROM orders GROUP BY customer) SELECT c.*, t.total FROM customers c"
            " JOIN totals t ON t.customer = c.id WHERE t.total > 80 AND c.updated_at > ?",
            "updated_at",
            [2, 3],
        ),
        (
            "SELECT * FROM (SELECT id, updated_at FROM customers WHERE id < 3 UNION SELECT id, updated_at FROM customers WHERE id > 2) t"
            " WHERE t.updated_at > ?",
            "updated_at",
            [2, 3],
        ),
        ("SELECT id, max(updated_at) AS updated_at FROM customers WHERE updated_at > ? GROUP BY id", "updated_at", [2, 3]),
        ("SELECT id, '?' AS mark, updated_at FROM customers WHERE updated_at > ? AND country <> ' > ?'", "updated_at", [2, 3]),
    ],
)
def test_query_keeps_its_meaning_inside_a_window(crm: duckdb.DuckDBPyConnection, query: str, cursor: str, expected: list[int]) -> None:
    found = relation(query=query, incremental=True)
    assert found.cursor is not None
    assert found.cursor.column == cursor
    assert ids(crm, found, low=stamp(1), ceiling=stamp(4)) == expected


def test_query_with_a_cursor_of_the_definition_is_bounded_from_outside(crm: duckdb.DuckDBPyConnection) -> None:
    union = "SELECT id, updated_at FROM customers WHERE id < 3 UNION ALL SELECT id, updated_at FROM customers WHERE id >= 3 -- all"
    assert ids(crm, relation(query=union, cursor={"column": "updated_at"}), low=stamp(1), ceiling=stamp(4)) == [2, 3]


def test_column_of_another_table_of_the_same_name_is_not_taken_for_the_cursor() -> None:
    with pytest.raises(PlanError, match=r"compares c\.updated_at with '\?' but does not give it"):
        relation(query="SELECT o.* FROM orders o JOIN customers c ON c.id = o.customer WHERE c.updated_at > ?", incremental=True)
    with pytest.raises(PlanError, match="does not give it"):
        relation(
            query="SELECT n.id, o.updated_at FROM (SELECT * FROM customers WHERE updated_at > ?) n JOIN orders o ON o.customer = n.id",
            incremental=True,
        )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT id FROM customers WHERE updated_at > ?", "add it to the SELECT list"),
        ("SELECT id FROM customers c WHERE c.updated_at > ?", "add it to the SELECT list"),
        ("SELECT * FROM customers WHERE updated_at > ? LIMIT 10", "must not have LIMIT"),
        ("SELECT * FROM (SELECT * FROM customers WHERE updated_at > ?) t OFFSET 10", "must not have LIMIT"),
        ("SELECT * FROM customers WHERE updated_at > ? OR country = 'CH'", "part of OR"),
        ("SELECT * FROM customers WHERE NOT updated_at > ?", "part of NOT"),
        ("SELECT * FROM customers WHERE updated_at < ?", r"got 'updated_at < \?'"),
        ("SELECT * FROM customers WHERE date_trunc('day', updated_at) > ?", "plain column"),
        ("SELECT * FROM customers WHERE updated_at BETWEEN ? AND ?", r"expected one '\?', got 2"),
        ("SELECT * FROM customers WHERE updated_at > ?::timestamp", "understood is"),
        ("SELECT * FROM customers WHERE updated_at > CAST(? AS timestamp)", "understood is"),
        ("SELECT * FROM customers WHERE updated_at > :since AND country = '?'", "only placeholder"),
        ("SELECT * FROM customers WHERE updated_at > ? UNION ALL SELECT * FROM customers", "one part of a UNION"),
        ("SELECT * FROM customers WHERE id IN (SELECT customer FROM orders WHERE updated_at > ?)", "does not give it|not the output"),
        ("SELECT * FROM orders WHERE EXISTS (SELECT * FROM customers WHERE updated_at > ?)", "not the output"),
        ("WITH n AS (SELECT * FROM customers WHERE updated_at > ?) SELECT a.* FROM n a JOIN n b ON a.id = b.id", "used 2 times"),
        ("SELECT FROM customers WHERE updated_at > ?", "expected columns between SELECT and FROM, got none"),
        ("DELETE FROM customers WHERE updated_at > ?", "begins with SELECT or WITH, got 'DELETE'"),
        ("SELECT * FROM customers WHERE updated_at > ?; DROP TABLE customers", "2 statements"),
        ("SELECT * FROM customers WHERE updated_at > ? FOR UPDATE", "only reads"),
        ("WITH d AS (DELETE FROM customers RETURNING *) SELECT * FROM d WHERE updated_at > ?", "only reads, got DELETE"),
        ("SELECT * INTO copy FROM customers WHERE updated_at > ?", "only reads, got INTO"),
        ("SELECT * FROM customers WHERE updated_at > ? AND", "cannot be read as postgresql"),
    ],
)
def test_query_that_would_lose_rows_or_write_is_refused(query: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        relation("postgresql", query=query, incremental=True)


def test_limit_beside_a_cursor_is_refused_but_fine_in_a_whole_read(crm: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT * FROM customers ORDER BY id DESC LIMIT 2"
    with pytest.raises(PlanError, match="must not have LIMIT"):
        relation(query=query, cursor={"column": "updated_at"})
    assert ids(crm, relation(query=query)) == [5, 6]


def test_top_level_order_is_dropped_unless_it_decides_which_rows_come() -> None:
    assert "ORDER" not in relation(query="SELECT a, b FROM t ORDER BY b").select("t")[0]
    assert "ORDER" not in relation(query="SELECT a, lower(b) AS b FROM t ORDER BY b DESC").select("t")[0]
    assert "ORDER" in relation(query="SELECT a, row_number() OVER (ORDER BY b) AS n FROM t ORDER BY b DESC").select("t")[0]
    assert "ORDER" in relation("postgresql", query="SELECT DISTINCT ON (a) * FROM t ORDER BY a, b DESC").select("t")[0]


def test_question_mark_needs_an_incremental_source() -> None:
    with pytest.raises(PlanError, match="add incremental: true"):
        relation("postgresql", query=SEED)


def test_json_operator_is_not_taken_for_the_placeholder() -> None:
    sql, _ = relation("postgresql", query="SELECT * FROM t WHERE tags ? 'new' AND at > ?", incremental=True).select("", low=Mark.of(5))
    assert "tags ? 'new' AND (at IS NOT NULL AND at > 5)" in sql


def test_cursor_beside_the_question_mark_must_be_the_same_column() -> None:
    stated = {"column": "Updated_At", "overlap": "5m", "stampedBy": "client"}
    found = relation("postgresql", query=SEED, incremental=True, cursor=stated).cursor
    assert found is not None
    assert (found.column, found.stamped_by, found.overlap) == ("updated_at", "client", 300.0)
    with pytest.raises(PlanError, match="name the same column"):
        relation("postgresql", query=SEED, incremental=True, cursor={"column": "id"})


@pytest.mark.parametrize("dialect", ["postgresql", "duckdb", "sqlite"])
@pytest.mark.parametrize(
    "query",
    [
        SEED,
        "select id, Updated_At from crm.Customers where Updated_At >= ? order by id;",
        'SELECT "Id", "when" FROM "Crm"."Odd Name" WHERE "when" > ?',
        "SELECT * FROM a",
        "SELECT a, b, c FROM s.t ORDER BY a, b",
    ],
)
def test_quick_reading_of_a_query_equals_the_parsers(dialect: str, query: str) -> None:
    quick = query_module._parse_simple(query, dialect, True)
    assert quick is not None
    parsed = query_module._parse_any(query, dialect, True)
    assert quick.render("#").strip() == parsed.render("#").strip()
    assert (quick.column_sql, quick.cursor, quick.base, quick.outputs) == (parsed.column_sql, parsed.cursor, parsed.base, parsed.outputs)


@pytest.mark.parametrize(
    "query", ["SELECT DISTINCT a FROM t", "SELECT a FROM t, u", "SELECT a FROM t -- x", "SELECT a FROM t LIMIT 3", "SELECT a b FROM t"]
)
def test_quick_reading_leaves_the_rest_to_the_parser(query: str) -> None:
    assert query_module._parse_simple(query, "postgresql", False) is None


def test_base_table_is_known_only_when_each_row_comes_once_at_most() -> None:
    def base(query: str) -> str | None:
        return parse_query(query, "postgresql", False).base

    assert base("SELECT c.*, upper(name) AS n FROM Crm.Customers c WHERE id > 3") == '"crm"."customers"'
    assert relation("postgresql", query="SELECT id AS key, name FROM customers c WHERE true").output_name("id") == "key"
    for query in (
        "SELECT * FROM a JOIN b USING (id)",
        "SELECT * FROM a, b",
        "SELECT DISTINCT id FROM a",
        "SELECT id FROM a GROUP BY id",
        "SELECT id, generate_series(1, 3) FROM a",
        "SELECT id, unnest(tags) FROM a",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT * FROM (SELECT * FROM a) t",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SELECT * FROM a TABLESAMPLE SYSTEM (10)",
        "SELECT * FROM a UNION ALL SELECT * FROM a",
    ):
        assert base(query) is None, query


# -- tables --


def test_table_is_quoted_with_its_schema() -> None:
    sql, params = relation("postgresql", table='crm."Odd.Name"').select('crm."Odd.Name"', ["Id", 'a"b'], order=["Id"], limit=5)
    assert (sql, params) == ('SELECT "Id", "a""b" FROM "crm"."Odd.Name" ORDER BY "Id" LIMIT 5', [])


def test_further_condition_and_window_both_hold() -> None:
    found = relation(table="t", cursor={"column": "n", "kind": "sequence"})
    sql, params = found.select(
        "t", low=Mark.of(3), ceiling=Mark.of(9), ceiling_inclusive=True, where="a = 1 OR b = 2", paramstyle="numeric"
    )
    assert sql == 'SELECT * FROM "t" WHERE ("n" IS NOT NULL AND "n" > $1 AND "n" <= $2) AND (a = 1 OR b = 2)'
    assert params == [3, 9]


def test_percent_and_colon_survive_placeholder_styles() -> None:
    found = relation("mysql", query="SELECT * FROM t WHERE a LIKE '5%:x' AND b > ?", incremental=True)
    assert "LIKE '5%%:x' AND (b IS NOT NULL AND b > %s)" in found.select("", low=Mark.of(1), paramstyle="format")[0]
    assert r"LIKE '5%\:x' AND (b IS NOT NULL AND b > :p1)" in found.select("", low=Mark.of(1), paramstyle="named")[0]


def test_patterns_choose_tables_and_never_ours() -> None:
    found = relation("postgresql", tables=["crm.*", "billing.invoices"])
    names = ["crm.b", "crm.a", "crm._bp_1234", "crm._beam_pipelines_loads", "billing.invoices", "billing.other", "public.crm"]
    assert found.matches(names) == ["billing.invoices", "crm.a", "crm.b"]
    with pytest.raises(PlanError, match=r"'billing\.invoices', got none \(did you mean 'billing\.invoice'"):
        found.matches(["crm.a", "billing.invoice"])


def test_missing_column_names_the_nearest() -> None:
    assert match_column("Updated_AT", ["id", "updated_at"], "customers") == "updated_at"
    with pytest.raises(PlanError, match=r"'update_at' in customers, got none \(did you mean 'updated_at'\?\)"):
        match_column("update_at", ["id", "updated_at"], "customers")


def test_stamps_are_the_databases_on_three_systems_and_the_clients_elsewhere() -> None:
    by = {}
    for dialect in ("postgresql", "sqlite", "duckdb", "mysql"):
        cursor = relation(dialect, table="t", cursor={"column": "at"}).cursor
        assert cursor is not None
        by[dialect] = cursor.stamped_by
    assert by == {"postgresql": "database", "sqlite": "database", "duckdb": "database", "mysql": "client"}


def test_kind_follows_the_column_unless_stated() -> None:
    def kind(column: pa.DataType, **stated: str) -> str:
        cursor = relation("postgresql", table="t", cursor={"column": "c", **stated}).cursor
        assert cursor is not None
        return decide_kind(cursor, column).kind

    assert [kind(pa.timestamp("us", "UTC")), kind(pa.date32()), kind(pa.int64())] == ["timestamp", "date", "sequence"]
    assert kind(pa.int64(), kind="timestamp") == "timestamp"
    with pytest.raises(PlanError, match="expected kind timestamp or date, got sequence"):
        kind(pa.timestamp("us"), kind="sequence")
    with pytest.raises(PlanError, match="expected a timestamp, date or number as cursor column 'c', got bool"):
        kind(pa.bool_())


# -- identity --


def test_identity_ignores_formatting_and_comments_but_not_meaning() -> None:
    def identity(query: str) -> str:
        return relation("postgresql", query=query, incremental=True).identity()

    same = identity("select *\n  from Customers -- who is new\n where updated_at > ? ;")
    assert same == identity(SEED)
    assert identity("SELECT * FROM customers WHERE updated_at > ? AND country = 'CH'") != identity(
        "SELECT * FROM customers WHERE updated_at > ? AND country = 'ch'"
    )
    assert relation(table="a", cursor={"column": "x"}).identity("a") != relation(table="a", cursor={"column": "y"}).identity("a")
    assert relation(table="a").identity("a") != relation(table="b").identity("b")


def test_normalise_keeps_quoted_text() -> None:
    assert normalise("SELECT 'It''s  A' , \"Col  A\", $$ X  y $$, E'a\\'  B' FROM T /* c */") == (
        "select 'It''s  A' , \"Col  A\" , $$ X  y $$ , E'a\\'  B' from t"
    )


# -- literals --


def test_literal_of_each_type_is_typed() -> None:
    utc = dt.timezone.utc
    assert literal(Mark.of(dt.datetime(2026, 1, 2, 3, 4, 5, 6)), "postgresql") == "TIMESTAMP '2026-01-02 03:04:05.000006'"
    assert literal(Mark.of(dt.datetime(2026, 1, 2, tzinfo=utc)), "postgresql") == "TIMESTAMPTZ '2026-01-02 00:00:00.000000+00:00'"
    assert literal(Mark.of(dt.datetime(2026, 1, 2)), "mssql") == "CAST('2026-01-02 00:00:00.000000' AS datetime2)"
    assert literal(Mark.of(dt.datetime(2026, 1, 2)), "sqlite") == "'2026-01-02 00:00:00.000000'"
    assert literal(Mark.of(dt.date(2026, 1, 2)), "duckdb") == "DATE '2026-01-02'"
    assert literal(Mark.of(-7), "postgresql") == "-7"
    assert literal(Mark.of(Decimal("1E+3")), "postgresql") == "1000"
    assert literal(Mark.of(0.1), "postgresql") == "CAST('0.1' AS double precision)"


@given(text=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_text_literal_is_read_back_as_it_was(text: str) -> None:
    assert sqlite3.connect(":memory:").execute(f"SELECT {literal(Mark('text', text), 'sqlite')}").fetchone()[0] == text
    assert duckdb.sql(f"SELECT {literal(Mark('text', text), 'duckdb')}").fetchall()[0][0] == text


@pytest.mark.parametrize("text", ["1; DROP TABLE t", "1 OR 1=1", "' OR ''='", "2026-01-01' OR 'x", "NaN", "inf", ""])
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "date", "int", "decimal", "float", "bytes"])
def test_tampered_mark_never_reaches_a_statement(kind: str, text: str) -> None:
    with pytest.raises(FatalError):
        literal(Mark(kind, text), "postgresql")


def test_text_literal_with_backslash_means_the_same_whatever_the_servers_setting() -> None:
    assert literal(Mark("text", "a\\'; --"), "postgresql") == "E'a\\\\''; --'"
    assert literal(Mark("text", "a\\'; --"), "mysql") == "'a\\\\''; --'"
    with pytest.raises(FatalError):
        literal(Mark("text", "a\0b"), "postgresql")


def test_identifiers_are_quoted_by_dialect() -> None:
    assert [quote('a"b', "postgresql"), quote("a`b", "mysql"), quote("a]b", "mssql")] == ['"a""b"', "`a``b`", "[a]]b]"]
    assert [fold("Ab", "postgresql"), fold("Ab", "oracle"), fold("Ab", "sqlite")] == ["ab", "AB", "Ab"]
    assert quote_table("s.t; DROP TABLE x", "postgresql") == '"s"."t; DROP TABLE x"'
    assert split_table('a . "b""c"') == ("a", 'b"c')
    for bad in ("", ".", "a.", "a..b", 'a"b', "a.b.c.d", "a\0"):
        with pytest.raises(PlanError):
            split_table(bad)


def test_how_far_a_ceiling_may_lag_is_said_where_something_can_hold_it_back() -> None:
    def lag(dialect: str = "postgresql", **cursor: Any) -> float | None:
        found = relation(dialect, table="t", cursor={"column": "at", **cursor}).cursor
        assert found is not None
        return decide_kind(found, pa.timestamp("us", "UTC")).max_lag

    assert lag() is None
    assert lag(maxCeilingLag="5m") == 300.0
    assert lag(maxCeilingLag=0) == 0.0
    for stated, said in (
        ({"dialect": "sqlite"}, "not those of sqlite"),
        ({"dialect": "mysql"}, "not those of mysql"),
        ({"stampedBy": "client", "overlap": "1h"}, "not those of a cursor that clients stamp"),
        ({"kind": "date", "overlap": "1d"}, "'at' is a date"),
    ):
        with pytest.raises(PlanError, match=said) as refused:
            lag(maxCeilingLag="5m", **stated)
        assert refused.value.code == "cursor-invalid"
    numbers = relation("postgresql", table="t", cursor={"column": "id", "maxCeilingLag": "5m"}).cursor
    assert numbers is not None
    with pytest.raises(PlanError, match="'id' is a sequence"):
        decide_kind(numbers, pa.int64())
