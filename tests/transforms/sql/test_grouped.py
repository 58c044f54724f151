"""Queries that sum up: rows as DuckDB gives them for the same query, for any cut; refusals by their words and places."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import PlanError
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step.sql import SqlStep
from beam_pipelines.transforms.registry import build
from beam_pipelines.transforms.sql import GroupedSql
from beam_pipelines.transforms.step import Applied, check_law
from tests.transforms.conftest import NOW

ROWS = pa.record_batch(
    {
        "id": pa.array([1, 2, 3, 4, 5], pa.int64()),
        "c": ["x", "y", "x", None, "y"],
        "v": pa.array([1, 2, None, 4, 5], pa.int64()),
        "d": [0.5, 1.5, 2.5, None, 4.0],
        "t": ["1", "2", "z", "4", "5"],
        "s": [{"k": 1}, {"k": 2}, {"k": 1}, None, {"k": 2}],
    }
)


def opened(query: str, schema: pa.Schema = ROWS.schema, **more: Any) -> GroupedSql:
    step = build(SqlStep.model_validate({"id": "q", "type": "sql", "query": query, **more}), Functions(), "pipeline.transformations[0]")
    assert isinstance(step, GroupedSql)
    step.open(schema, step.plan(schema, None), NOW)
    return step


def answered(query: str, batches: list[pa.RecordBatch]) -> tuple[list[tuple[Any, ...]], Applied]:
    """As the engine does it: states of each batch, combined, and what becomes of them."""
    step = opened(query, batches[0].schema)
    prepared = [step.screened(origin.attach(batch, "rows", key=["id"])) for batch in batches]
    states = [step.states(rows, at << 40) for at, rows in enumerate(out for one in prepared for out in one.batches)]
    done = step.results(states or [step.nothing()], "load")
    planned = step.plan(batches[0].schema, None)
    for out in done.batches:
        assert origin.visible_schema(out.schema).types == planned.types
        assert origin.visible_schema(out.schema).names == planned.names
    total = Applied(
        done.batches,
        filtered=sum(one.filtered for one in prepared) + done.filtered,
        made=done.made,
        absorbed=done.absorbed,
        dead=(*(died for one in prepared for died in one.dead), *done.dead),
    )
    check_law("q", sum(batch.num_rows for batch in batches), total)
    step.close()
    return sorted((tuple(row.values()) for out in done.batches for row in origin.visible(out).to_pylist()), key=repr), total


def by_duckdb(query: str, batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.register("input", pa.Table.from_batches([batch]))
        return sorted(connection.sql(query).fetchall(), key=repr)


QUERIES = [
    "SELECT c, count(*) AS n, sum(v) AS s FROM input GROUP BY c",
    "SELECT c AS land, sum(v) / count(*) AS r, avg(d) * 2 AS a FROM input WHERE id < 5 GROUP BY c HAVING count(*) > 1",
    "SELECT upper(c) AS u, max(v + 1) AS m, count(v) AS n, count(DISTINCT v) AS dv FROM input GROUP BY upper(c)",
    "SELECT id % 2 AS p, sum(v) AS s FROM input GROUP BY p",
    "SELECT id % 2 AS p, sum(v) AS s FROM input GROUP BY 1 HAVING p = 1",
    "SELECT c, id % 2 AS p, min(d) AS m FROM input GROUP BY ALL",
    "SELECT count(*) AS n, sum(v) AS s, count(v) AS k, any_value(c) AS a FROM input WHERE c = 'x'",
    "SELECT count(*) AS n, sum(v) AS s, count(v) AS k, count(*) FILTER (WHERE v > 1) AS f, coalesce(max(v), -1) AS m FROM input"
    " WHERE id > 9",
    "SELECT count(*) AS n FROM input",
    "SELECT sum(v) + max(id) AS z FROM input HAVING count(*) > 100",
    "SELECT DISTINCT c FROM input",
    "SELECT DISTINCT c, id % 2 AS p FROM input WHERE c IS NOT NULL",
    "SELECT c FROM input GROUP BY c, v",
    "SELECT sum(v) AS s FROM input GROUP BY c",
    "SELECT c, sum(v) FILTER (WHERE d > 1) AS s, count(v) FILTER (WHERE d > 1) AS n, count(DISTINCT v) FILTER (WHERE d > 1) AS u"
    " FROM input GROUP BY c",
    "SELECT i.s.k AS kk, stddev(i.v) AS sd, stddev_pop(i.v) AS sp, median(i.v) AS m, quantile_cont(i.v, 0.25) AS q"
    " FROM input i GROUP BY i.s.k",
    "SELECT C, Count(*) AS n FROM input GROUP BY c HAVING n > 1",
    "SELECT c, count(*) AS c2, CASE WHEN sum(v) > 3 THEN 'big' ELSE c END AS w FROM input GROUP BY c",
    'SELECT c AS "a.b[0]", mean(d) AS "sum(v)", sum(v) AS s, sum( v ) AS s2 FROM input GROUP BY c HAVING max(d) > 2 AND c IS NOT NULL',
    "SELECT 1 AS one, count(*) AS n FROM input GROUP BY one",
    "SELECT c, count(*) AS c2 FROM input GROUP BY c HAVING NOT (sum(d) > 3)",
]


@pytest.mark.parametrize("query", QUERIES)
def test_groups_are_those_that_duckdb_gives(query: str) -> None:
    expected = by_duckdb(query, ROWS)
    assert answered(query, [ROWS])[0] == expected
    assert answered(query, [ROWS.slice(0, 2), ROWS.slice(2)])[0] == expected
    assert answered(query, [ROWS.slice(0, 0)])[0] == by_duckdb(query, ROWS.slice(0, 0))


VALUES = st.lists(st.tuples(st.none() | st.sampled_from("ab"), st.none() | st.integers(-3, 3)), max_size=10)


@settings(max_examples=25, deadline=None)
@given(VALUES, st.integers(0, 10))
def test_any_rows_in_any_cut_are_grouped_as_duckdb_does(values: list[tuple[str | None, int | None]], cut: int) -> None:
    batch = pa.record_batch(
        {
            "id": pa.array(range(len(values)), pa.int64()),
            "c": pa.array([c for c, _ in values], pa.string()),
            "v": pa.array([v for _, v in values], pa.int64()),
        }
    )
    chosen = "c, v > 0 AS up, count(v) AS n, sum(v * 2) AS s, max(v) - min(v) AS w"
    query = f"SELECT {chosen} FROM input WHERE v <> 3 GROUP BY c, up HAVING n > 0"
    cut = min(cut, len(values))
    assert answered(query, [batch.slice(0, cut), batch.slice(cut)])[0] == by_duckdb(query, batch)


def test_rows_and_groups_that_fail_are_dead_and_the_others_are_summed_up() -> None:
    rows, done = answered("SELECT c, sum(CAST(t AS INTEGER)) AS s FROM input GROUP BY c", [ROWS])
    assert rows == [("x", 1), ("y", 7), (None, 4)]
    (died,) = done.dead
    assert origin.describe(died.batch, died.rows) == [{"source": "rows", "key": {"id": 3}}]
    assert "CAST(t AS INT" in died.messages[0]
    rows, done = answered("SELECT c, CAST(max(t) AS INTEGER) AS s FROM input GROUP BY c", [ROWS])
    assert rows == [("y", 5), (None, 4)]
    (died,) = done.dead
    assert origin.describe(died.batch, died.rows) == [{"source": "q", "key": {"c": "x"}}]
    assert (done.filtered, done.absorbed) == (0, 2)


def test_what_is_left_out_by_where_and_by_having_is_filtered() -> None:
    rows, done = answered("SELECT c, count(*) AS n FROM input WHERE id > 1 GROUP BY c HAVING count(*) > 1", [ROWS])
    assert rows == [("y", 2)]
    assert (done.filtered, done.absorbed) == (1 + 2, 1)


REFUSED = [
    ("SELECT c, v FROM input GROUP BY c", "the field 'v' is neither grouped by nor in an aggregate", 11),
    ("SELECT c, upper(t) AS u, count(*) AS n FROM input GROUP BY c", "the field 't' is neither", 17),
    ("SELECT c, count(*) AS n FROM input GROUP BY c HAVING v > 1", "the field 'v' is neither", 54),
    ("SELECT c, first(v) AS f FROM input GROUP BY c", "expected one of the aggregates", 11),
    ("SELECT c, sum(DISTINCT v) AS f FROM input GROUP BY c", "DISTINCT is served in count(DISTINCT field)", 11),
    ("SELECT c, any_value(v ORDER BY d) AS f FROM input GROUP BY c", "ORDER BY in any_value is not served", 11),
    ("SELECT c, sum(sum(v)) AS f FROM input GROUP BY c", "an aggregate of an aggregate", 11),
    ("SELECT c, quantile_cont(v, d) AS f FROM input GROUP BY c", "expected a share from 0 to 1", 11),
    ("SELECT *, count(*) AS n FROM input GROUP BY ALL", "'*' names no fields to group by", 8),
    ("SELECT DISTINCT * FROM input", "'*' names no fields to group by", 17),
    ("SELECT DISTINCT ON (c) c FROM input", "DISTINCT ON cannot be carried out", 21),
    ("SELECT DISTINCT c, count(*) AS n FROM input GROUP BY c", "DISTINCT beside GROUP BY", None),
    ("SELECT c, count(*) AS n FROM input GROUP BY ROLLUP (c)", "ROLLUP, CUBE and GROUPING SETS", 53),
    ("SELECT c, count(*) AS n FROM input GROUP BY GROUPING SETS ((c), ())", "ROLLUP, CUBE and GROUPING SETS", 61),
    ("SELECT c, count(*) AS n FROM input GROUP BY c ORDER BY n", "ORDER BY cannot be carried out", 56),
    ("SELECT c, count(*) FROM input GROUP BY c", "expected a name for what is computed", 11),
    ("SELECT c, count(*) AS n FROM input GROUP BY 3", "a place from 1 to 2 in the select list", 45),
    ("SELECT c, count(*) AS n FROM input GROUP BY 2", "an aggregate cannot be grouped by", 11),
    ("SELECT upper(c) AS c, count(*) AS n FROM input GROUP BY c", "'c' is a field, and the name of what is computed", 57),
    ("SELECT c, count(*) AS n FROM input GROUP BY c HAVING sum(v)", "expected a condition in HAVING", 54),
    ("SELECT count(*) AS n FROM input WHERE sum(v) > 1", "the function 'sum' is an aggregate", 39),
    ("SELECT sum(v) OVER () AS n, count(*) AS m FROM input", "a window function would see one batch", 8),
    ("SELECT sum(nam) AS n FROM input", "no field 'nam'", 12),
]


@pytest.mark.parametrize(("query", "message", "place"), REFUSED)
def test_what_cannot_be_distributed_is_refused_where_it_stands(query: str, message: str, place: int | None) -> None:
    with pytest.raises(PlanError) as raised:
        opened(query)
    (problem,) = raised.value.problems
    assert problem.path == "pipeline.transformations[0].query"
    assert message in problem.message
    assert problem.message.endswith(f"at character {place}") if place else "at character" not in problem.message


def test_what_does_not_fit_an_aggregate_is_told_of_the_query() -> None:
    with pytest.raises(PlanError) as raised:
        opened("SELECT c, sum(t) AS f FROM input GROUP BY c")
    assert raised.value.code == "type-unsupported"
    (problem,) = raised.value.problems
    assert problem.path == "pipeline.transformations[0].query"
    assert problem.message.startswith("sum of 'sum(t)'")


def test_a_query_that_sums_up_is_required() -> None:
    with pytest.raises(PlanError) as raised:
        opened("SELECT count(*) AS n FROM input", required=False)
    assert raised.value.problems[0].path == "pipeline.transformations[0].required"
