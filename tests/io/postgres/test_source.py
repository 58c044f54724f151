from __future__ import annotations

import datetime as dt
import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.postgres import snapshot
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.mark import Mark

CUSTOMERS = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text, country text, updated_at timestamptz);
INSERT INTO customers SELECT i, 'n' || i, (ARRAY['CH', 'DE'])[1 + i % 2], timestamptz '2026-01-01 00:00:00+00' + i * interval '1 second'
FROM generate_series(1, {rows}) i;
ANALYZE customers
"""


@pytest.fixture
def customers(sql: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Customers 1 to 1,000, customer i stamped at second i of 2026."""
    sql.execute(CUSTOMERS.format(rows=1000).encode())
    return sql


def ids(table: pa.Table) -> list[int]:
    return sorted(table.column("id").to_pylist())


def second(number: int) -> Mark:
    return Mark.of(dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(seconds=number))


# -- what is there --


def test_describe_tells_schema_key_and_size(customers: Any, make_source: Any) -> None:
    described = make_source(table="customers").describe("customers")
    assert described.schema.names == ["id", "name", "country", "updated_at"]
    assert described.schema.types == [pa.int64(), pa.string(), pa.string(), pa.timestamp("us", "UTC")]
    assert described.primary_key == ("id",)
    assert described.rows == 1000
    assert described.bytes > 1000


def test_describe_of_a_query_runs_nothing_and_finds_the_key_under_its_new_name(customers: Any, make_source: Any) -> None:
    source = make_source(query="SELECT id AS customer_id, pg_sleep(3600)::text AS slow FROM customers c WHERE country = 'CH'")
    described = source.describe("query")
    assert described.schema.names == ["customer_id", "slow"]
    assert described.primary_key == ()  # the function might give several rows for one
    assert make_source(query="SELECT id AS customer_id FROM customers c WHERE id > 3").describe("query").primary_key == ("customer_id",)
    assert make_source(query="SELECT name FROM customers").describe("query").primary_key == ()


def test_key_of_a_parent_is_not_taken_for_the_key_of_its_children(sql: Any, make_source: Any) -> None:
    sql.execute("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent)")
    sql.execute("CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    sql.execute("CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10)")
    assert make_source(table="parent").describe("parent").primary_key == ()
    assert make_source(table="parted").describe("parted").primary_key == ("id",)


def test_check_says_what_answered(customers: Any, make_source: Any) -> None:
    said = make_source(table="customers").check()
    assert said.startswith("PostgreSQL 18.")
    assert said.endswith("1 table")


def test_tables_by_pattern(sql: Any, make_source: Any) -> None:
    sql.execute("CREATE SCHEMA crm; CREATE TABLE crm.b (id int); CREATE TABLE crm.a (id int); CREATE VIEW crm.v AS SELECT 1 AS x")
    sql.execute('CREATE TABLE crm._bp_staging (id int); CREATE TABLE plain (id int); CREATE TABLE crm."odd.name" (id int)')
    assert make_source(tables=["crm.*"]).tables() == ['crm."odd.name"', "crm.a", "crm.b", "crm.v"]
    assert make_source(tables=["pl*"]).tables() == ["public.plain"]
    assert make_source(tables=["crm.*"]).describe('crm."odd.name"').schema.names == ["id"]
    with pytest.raises(PlanError, match=r"'crn\.\*', got none"):
        make_source(tables=["crn.*"]).tables()


def test_names_are_quoted(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute(
        'CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."Select" ("Order" int PRIMARY KEY, "a""b" text, "Updated At" timestamptz)'
    )
    sql.execute("""INSERT INTO "My Schema"."Select" VALUES (1, 'x', now())""")
    name = '"My Schema"."Select"'
    got = poll(make_source(table=name, cursor={"column": "Updated At"}), name)()
    assert got.column("Order").to_pylist() == [1]
    assert got.column_names == ["Order", 'a"b', "Updated At"]


# -- windows --


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize(
    "source",
    [
        {"table": "customers", "cursor": {"column": "updated_at"}},
        {"query": "SELECT * FROM customers WHERE updated_at > ?", "incremental": True},
        {"query": "WITH c AS (SELECT * FROM customers) SELECT id, updated_at FROM c ORDER BY 1 -- all", "cursor": {"column": "Updated_At"}},
    ],
)
def test_window_holds_exactly_its_rows(customers: Any, make_source: Any, poll: Any, source: dict[str, Any], small: bool) -> None:
    customers.execute(
        "INSERT INTO customers VALUES (2000, 'never', 'CH', NULL), (2001, 'always', 'CH', '-infinity'), (2002, 'ever', 'CH', 'infinity')"
    )
    run = poll(make_source(**source, options={"small_rows": 10**9 if small else 0}), inclusive=False)
    assert ids(run()) == list(range(1, 1001))
    assert run.low == second(1000)
    assert run.fixed.ranges[0].bounds == ({"small": True} if small else {})
    customers.execute("UPDATE customers SET updated_at = now() WHERE id IN (5, 7)")
    assert ids(run()) == [5, 7]
    assert ids(run()) == []
    run.inclusive = True
    assert ids(run()) == [5, 7]


def test_empty_increment_reads_nothing_and_keeps_the_watermark(customers: Any, make_source: Any, poll: Any) -> None:
    run = poll(make_source(table="customers", cursor={"column": "updated_at"}), low=second(1000))
    assert run().num_rows == 0
    assert run.low == second(1000)


def test_empty_table_has_one_range_and_no_rows(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id serial PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    for cursor in ({"column": "updated_at"}, {"column": "id"}):
        run = poll(make_source(table="customers", cursor=cursor), parts=4)
        assert run().num_rows == 0
        assert len(run.fixed.ranges) == 1
        sql.execute("INSERT INTO customers DEFAULT VALUES")
        assert run().num_rows == 1
        sql.execute("TRUNCATE customers")


def test_cursor_spelt_in_another_case_is_found_but_its_identity_stays(customers: Any, make_source: Any) -> None:
    source = make_source(table="customers", cursor={"column": "UPDATED_AT"})
    before = source.identity("customers")
    source.describe("customers")
    assert (source.cursor.column, source.cursor.kind) == ("updated_at", "timestamp")
    assert source.identity("customers") == before


def test_numeric_cursor_is_compared_as_a_number(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id numeric PRIMARY KEY); INSERT INTO customers SELECT generate_series(1, 10)")
    sql.execute("INSERT INTO customers VALUES ('NaN'), ('Infinity')")
    for small in (0, 10**9):
        run = poll(make_source(table="customers", cursor={"column": "id"}, options={"small_rows": small}))
        assert run().num_rows == 10
        assert run.low.value == Decimal(10)


def test_whole_read_of_an_incremental_query_ignores_its_cursor(customers: Any, make_source: Any) -> None:
    customers.execute("INSERT INTO customers VALUES (2000, 'never', 'CH', NULL)")
    source = make_source(query="SELECT * FROM customers WHERE updated_at > ?", incremental=True)
    fixed = source.fix("query", None, None, False, 1)
    assert fixed.ceiling is None
    assert fixed.ranges[0].rows == 1001 or fixed.ranges[0].rows == 1000


def test_sample_has_the_planned_schema_and_leaves_bad_rows_out(sql: Any, make_source: Any) -> None:
    sql.execute(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, tags text[]); INSERT INTO t VALUES (1, 'infinity', '{a}'), (2, now(), '{b}')"
    )
    source = make_source(table="t")
    sample = source.sample("t", 10)
    assert origin.visible_schema(sample.schema) == source.describe("t").schema
    assert sample.column("id").to_pylist() == [2]
    assert source.sample("t", 0).num_rows == 0


# -- origins --


def test_rows_are_told_apart_by_key_or_by_position(customers: Any, make_source: Any, poll: Any) -> None:
    customers.execute("CREATE TABLE loose AS SELECT * FROM customers WHERE id <= 3")

    def origins(table: str, **model: Any) -> list[dict[str, Any]]:
        source = make_source(table=table, **model)
        run = poll(source, table)
        run()
        window = run.window(source.describe(table).schema)
        return [each for batch in source.read(window.ranges[0], window, source.cursor) for each in origin.describe(batch, [0, 1, 2])]

    assert origins("customers")[0] == {"source": "customers", "key": {"id": 1}}
    assert origins("loose") == [{"source": "loose", "row": 0}, {"source": "loose", "row": 1}, {"source": "loose", "row": 2}]
    assert origins("loose", keyFields=["country", "id"])[0] == {"source": "loose", "key": {"country": "DE", "id": 1}}


# -- ranges and snapshot --


@pytest.fixture
def context() -> Any:
    yield RunContext(run="0123456789ab", started_at="2026-01-01T00:00:00+00:00")
    snapshot.release("0123456789ab")


def test_ranges_read_from_one_snapshot_while_rows_move(customers: Any, make_source: Any, poll: Any, context: Any) -> None:
    source = make_source(table="customers", options={"context": context, "range_rows": 100})
    described = source.describe("customers")
    run = poll(source, parts=4)
    run.fixed = source.fix("customers", None, None, False, 4)
    assert len(run.fixed.ranges) == 4
    window = run.window(described.schema)
    got: list[int] = []
    for part in window.ranges:
        # Between the ranges, every row moves to the end, and half of them go.
        customers.execute("UPDATE customers SET id = id + 100000; DELETE FROM customers WHERE id % 2 = 0")
        got += [value for batch in source.read(part, window, None) for value in batch.column("id").to_pylist()]
    assert sorted(got) == list(range(1, 1001))
    assert sum(part.rows for part in window.ranges) == 1000


def test_released_snapshot_is_an_error_that_says_so(customers: Any, make_source: Any, poll: Any, context: Any) -> None:
    for small in (False, True):
        source = make_source(table="customers", options={"context": context, "range_rows": 100})
        run = poll(source)
        run.fixed = source.fix("customers", None, None, False, 2)
        window = run.window(source.describe("customers").schema)
        assert snapshot.backends()
        snapshot.release(context.run)
        snapshot.release(context.run)
        assert not snapshot.backends()
        part = replace(window.ranges[0], bounds={**window.ranges[0].bounds, "small": small})
        with pytest.raises(FatalError, match="is gone: the process that prepared the run"):
            list(source.read(part, window, None))


def test_one_range_holds_no_snapshot(customers: Any, make_source: Any, context: Any) -> None:
    fixed = make_source(table="customers", options={"context": context}).fix("customers", None, None, False, 4)
    assert (len(fixed.ranges), fixed.snapshot) == (1, None)
    assert not snapshot.backends()
    away = make_source(table="customers", options={"context": replace(context, local=False), "range_rows": 100})
    assert away.fix("customers", None, None, False, 4).snapshot is None


def test_own_snapshot_does_not_hold_the_next_ceiling_down(customers: Any, make_source: Any, context: Any) -> None:
    first = make_source(table="customers", options={"context": context, "range_rows": 100})
    first.fix("customers", None, None, False, 2)
    before = customers.execute("SELECT clock_timestamp()").fetchone()[0]
    second = make_source(table="customers", cursor={"column": "updated_at"}, options={"context": context})
    second.describe("customers")
    assert second.fix("customers", second.cursor, None, False, 1).ceiling.value >= before


# -- changed meanwhile --


def test_dropped_column_is_an_error_and_an_added_one_is_not_read(customers: Any, make_source: Any, poll: Any) -> None:
    source = make_source(table="customers")
    run = poll(source)
    run()
    window = run.window(source.describe("customers").schema)
    customers.execute("ALTER TABLE customers ADD COLUMN extra int")
    batches = list(source.read(window.ranges[0], window, None))
    assert origin.names(batches[0].schema) == ["id", "name", "country", "updated_at"]
    customers.execute("ALTER TABLE customers DROP COLUMN country")
    with pytest.raises(FatalError, match="'country'") as dropped:
        list(source.read(window.ranges[0], window, None))
    assert dropped.value.code == "schema-changed"
    customers.execute("DROP TABLE customers")
    with pytest.raises(FatalError, match="the source changed since the run was prepared") as gone:
        list(source.read(window.ranges[0], window, None))
    assert gone.value.code == "schema-changed"


def test_column_that_changed_its_type_comes_as_it_is_now(customers: Any, make_source: Any, poll: Any) -> None:
    source = make_source(table="customers")
    run = poll(source)
    run()
    window = run.window(source.describe("customers").schema)
    customers.execute("ALTER TABLE customers ALTER COLUMN id TYPE text")
    assert pa.types.is_string(next(iter(source.read(window.ranges[0], window, None))).schema.field("id").type)


# -- memory and threads --


def test_batches_stay_within_the_limits_and_a_huge_row_travels_alone(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE t (id int PRIMARY KEY, body text)")
    sql.execute("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 30000) i")
    sql.execute("INSERT INTO t VALUES (30001, repeat('y', 20000000)), (30002, 'z')")
    for small in (0, 10**9):
        source = make_source(table="t", options={"small_rows": small})
        run = poll(source, "t")
        run()
        window = run.window(source.describe("t").schema)
        sizes = [(batch.num_rows, batch.nbytes) for batch in source.read(window.ranges[0], window, None)]
        assert sum(rows for rows, _ in sizes) == 30002
        assert all(size <= 9 << 20 for rows, size in sizes if rows > 1)


def test_abandoned_read_ends_its_thread_and_its_statement(sql: Any, make_source: Any, poll: Any) -> None:
    endless = "SELECT i AS id, repeat('x', 100) AS body FROM generate_series(1, 10000) i, generate_series(1, 1000000) j"
    source = make_source(query=endless, options={"small_rows": 0})
    described = source.describe("query")
    run = poll(source, "query")
    run.fixed = source.fix("query", None, None, False, 1)
    window = run.window(described.schema)
    batches = source.read(window.ranges[0], window, None)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "beam_pipelines-prefetch"]
    source.close()
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'beam_pipelines' AND state = 'active'"
    deadline = dt.datetime.now() + dt.timedelta(seconds=10)
    while sql.execute(left).fetchone()[0] and dt.datetime.now() < deadline:
        pass
    assert sql.execute(left).fetchone()[0] == 0
