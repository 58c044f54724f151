"""Explode and sample in real runs: rows against DuckDB's `unnest`, counts against the rows, anywhere in a chain and beside a join.

The source is 60 orders in a file of three row groups: id 1..60, customer id % 7, and id % 4 lines `{sku, n}`, in every fifth null.
"""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from beam_pipelines.errors import PlanError

Desk = Any
LINES = """
SELECT i AS id, i % 7 AS customer,
    CASE WHEN i % 5 = 0 THEN NULL ELSE [{'sku': 's' || k, 'n': i + k} for k in range(i % 4)] END AS lines
FROM range(1, 61) AS r(i)
"""
EXPLODE = {"id": "lines", "type": "explode", "field": "lines", "as": "line", "position": "place"}
SHAPE = {
    "id": "shape",
    "type": "map",
    "mappings": {"id": {"source": "id"}, "place": {"source": "place"}, "sku": {"source": "line.sku"}, "n": {"source": "line.n"}},
}
ORDERS = {"type": "file", "path": "orders.parquet"}
TOTALS = {"id": "totals", "type": "aggregate", "groupBy": ["customer"], "aggregations": {"*": "count", "n": "sum"}}
UNNESTED = "SELECT id, customer, unnest(lines) AS line, generate_subscripts(lines, 1) - 1 AS place FROM orders"


@pytest.fixture
def orders(desk: Desk) -> Desk:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({LINES}) TO '{desk.folder / 'orders.parquet'}' (FORMAT parquet, ROW_GROUP_SIZE 20)")
    desk.sqlite(
        "source.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, customer INTEGER)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400) INSERT INTO people SELECT i, i % 40 FROM n",
    )
    return desk


def of_orders(desk: Desk, destination: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    target = {"type": "database", "connection": "target", **destination}
    desk.define({"name": "Desk", "pipeline": {"source": ORDERS, "transformations": steps, "destination": target}})


def expected(desk: Desk, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW orders AS FROM '{desk.folder / 'orders.parquet'}'")
        return connection.execute(f"SELECT * FROM ({query}) ORDER BY ALL").fetchall()


def found(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.duckdb("target.duckdb", "SELECT * FROM made ORDER BY ALL")


def counts(record: dict[str, Any], name: str) -> dict[str, int]:
    (phase,) = [phase for phase in record["steps"] if phase["phase"] == "transform"]
    (step,) = [one for one in phase["transformations"] if one["id"] == name]
    return {key: step[f"records{key}"] for key in ("In", "Out", "Filtered", "Made")}


def test_each_element_of_a_file_arrives_as_a_row(orders: Desk) -> None:
    of_orders(orders, {"table": "made", "mode": "insert"}, [EXPLODE, SHAPE])
    record = orders.ran()
    rows = expected(orders, f"SELECT id, place, line.sku, line.n FROM ({UNNESTED})")
    assert found(orders) == rows
    # Of 60 orders 12 have null and 15 have an empty list, 3 of them (20, 40, 60) both ways said.
    assert counts(record, "lines") == {"In": 60, "Out": len(rows), "Filtered": 24, "Made": len(rows) - 36}


def test_elements_are_grouped_and_rows_without_one_are_kept_where_wanted(orders: Desk) -> None:
    line = {"id": "n", "type": "map", "mappings": {"customer": {"source": "customer"}, "n": {"source": "line.n"}}}
    of_orders(orders, {"table": "made", "mode": "upsert"}, [EXPLODE | {"outer": True}, line, TOTALS])
    record = orders.ran()
    lines = f"SELECT customer, line.n AS n FROM ({UNNESTED}) UNION ALL SELECT customer, NULL FROM orders WHERE coalesce(len(lines), 0) = 0"
    assert found(orders) == expected(orders, f"SELECT customer, count(*), sum(n)::BIGINT FROM ({lines}) GROUP BY ALL")
    assert counts(record, "lines")["Filtered"] == 0


def test_the_source_of_a_join_may_be_exploded_and_sampled(orders: Desk) -> None:
    sample = {"id": "some", "type": "sample", "fraction": 0.5, "by": ["customer"]}
    drop = {"id": "one", "type": "map", "mappings": {"customer": {"source": "customer"}, "sku": {"source": "line.sku"}}}
    join = {"id": "met", "type": "join", "on": ["customer"], "source": {**ORDERS, "transformations": [sample, EXPLODE, drop]}}
    orders.etl({"table": "people"}, {"table": "made", "mode": "insert"}, [join])
    orders.ran()
    rows = found(orders)
    met = {customer for _, customer, _ in rows}
    assert 0 < len(met) < 7
    some = ", ".join(map(str, met))
    people = "SELECT i AS id, i % 40 AS customer FROM range(1, 401) AS r(i)"
    lines = f"SELECT customer, line FROM ({UNNESTED}) WHERE customer IN ({some})"
    query = f"SELECT id, customer, line.sku FROM ({people}) JOIN ({lines}) USING (customer)"
    assert rows == expected(orders, query)


def test_a_sample_is_the_same_in_each_run_and_other_columns_do_not_matter(orders: Desk) -> None:
    sample = {"id": "some", "type": "sample", "fraction": 0.25, "seed": 7}
    orders.etl({"table": "people"}, {"table": "made", "mode": "replace"}, [sample])
    record = orders.ran()
    first = found(orders)
    assert counts(record, "some") == {"In": 400, "Out": len(first), "Filtered": 400 - len(first), "Made": 0}
    assert 50 < len(first) < 150
    orders.sqlite("source.db", "ALTER TABLE people ADD COLUMN more TEXT", "UPDATE people SET customer = 0")
    orders.ran()
    assert [row[0] for row in found(orders)] == [row[0] for row in first]


@pytest.mark.no_bundle
def test_what_a_function_returns_is_sampled_from_rows_that_a_sample_would_drop(orders: Desk) -> None:
    orders.functions("def twice(row):\n    return {'id': row['id'], 'twice': 2 * row['customer']}\n")
    sample = {"id": "few", "type": "sample", "fraction": 0.000001}
    orders.etl({"table": "people"}, {"table": "made"}, [sample, {"id": "twice", "type": "function"}])
    shown = orders.service.preview()
    assert (shown.schema.names, shown.rows) == (["id", "twice"], ())


def test_a_key_of_the_source_names_no_element(desk: Desk) -> None:
    with duckdb.connect(str(desk.folder / "lists.duckdb")) as connection:
        connection.execute("CREATE TABLE lists (id INTEGER PRIMARY KEY, n INTEGER[])")
        connection.execute("INSERT INTO lists VALUES (1, [1, 2])")
    desk.connect(lists="duckdb:///lists.duckdb")
    explode = {"id": "each", "type": "explode", "field": "n"}
    desk.etl({"connection": "lists", "table": "lists"}, {"table": "made", "mode": "upsert"}, [explode])
    result = desk.run()
    assert isinstance(result.error, PlanError)
    assert result.error.code == "key-missing"
    assert desk.service.preview().rows == ({"id": 1, "n": 1}, {"id": 1, "n": 2})


@pytest.mark.no_bundle
@pytest.mark.parametrize(("into", "noted"), [("upsert", True), ("replace", True), ("insert", False), ("replace whole", False)])
def test_that_elements_of_a_list_which_gets_shorter_stay_is_said_by_the_plan(orders: Desk, into: str, noted: bool) -> None:
    mode, _, whole = into.partition(" ")
    of_orders(orders, {"table": "made", "mode": mode, **({} if whole else {"keyFields": ["id", "place"]})}, [EXPLODE, SHAPE])
    told = [note for note in orders.service.plan().notes if note.startswith("lines: when a list gets shorter")]
    assert (len(told), all(f"for {mode} by key deletes no row" in note for note in told)) == (noted, True)
