"""Queries row by row: rows as DuckDB gives them for the same query, refusals by their words and places."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError

Run = Callable[..., Any]

ROWS = pa.record_batch(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "at": pa.array([{"city": "x", "no": 1}, {"city": "y", "no": None}, None, {"city": None, "no": 4}]),
        "text": ["7", None, "9", "-1"],
        "Name": ["a", "b", None, "d"],
        "word": pa.array(["k", "k", None, "m"]).dictionary_encode(),
        "x": pa.array([0.5, math.inf, None, -0.0]),
    }
)


def by_duckdb(query: str, batch: pa.RecordBatch = ROWS) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("input", pa.Table.from_batches([batch]))
        return list(connection.sql(query).to_arrow_table().to_pylist())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM input",
        "FROM input",
        "SELECT id, Name FROM input WHERE id % 2 = 1",
        "SELECT id AS key, upper(text) AS up, id + length(text) AS n FROM input WHERE text IS NOT NULL AND id < 4",
        "SELECT i.id, i.at.city, i.at.no * 2 AS twice FROM input AS i WHERE i.at IS NOT NULL",
        "SELECT input.id FROM INPUT WHERE input.x < 1",
        'SELECT * EXCLUDE ("at", word) FROM input',
        "SELECT * REPLACE (id * 10 AS id), id AS old FROM input",
        "SELECT x + 1 AS y, *, 'const' AS c FROM input WHERE word = 'k' OR word IS NULL",
        "SELECT CASE WHEN id > 2 THEN 'many' ELSE 'few' END AS \"how many\" FROM input -- a remark",
        "SELECT word, CAST(text AS INTEGER) AS n FROM input WHERE TRY_CAST(text AS INTEGER) > 0",
        "SELECT 1 AS one FROM input WHERE NOT (x > 0)",
        "SELECT [id, id + 1] AS pair, {'a': id} AS s FROM input WHERE false OR id = 2",
    ],
)
def test_rows_are_those_that_duckdb_gives(run: Run, query: str) -> None:
    done = run({"type": "sql", "query": query}, ROWS)
    assert done.rows == by_duckdb(query)
    assert done.applied.filtered == ROWS.num_rows - len(done.rows)
    assert done.applied.dead == ()


def test_columns_that_are_named_are_shared_and_keep_what_is_planned_of_them(run: Run) -> None:
    batch = ROWS.set_column(0, pa.field("id", pa.int64(), nullable=False), ROWS.column("id"))
    done = run({"type": "sql", "query": "SELECT id AS key, word, id + 1 AS n FROM input"}, batch)
    assert done.schema.field("key") == pa.field("key", pa.int64(), nullable=False)
    assert done.schema.field("word").type == ROWS.schema.field("word").type
    (out,) = done.applied.batches
    assert out.column("key").buffers()[1].address == batch.column("id").buffers()[1].address


def test_a_row_that_fails_is_dead_as_it_came(run: Run) -> None:
    batch = ROWS.set_column(2, "text", pa.array(["7", "x", "9", "8"])).set_column(3, "Name", pa.array(["1", "1", "y", "-1"]))
    query = "SELECT id, CAST(text AS INTEGER) AS n FROM input WHERE CAST(name AS INTEGER) > 0"
    done = run({"type": "sql", "query": query}, batch)
    assert done.rows == [{"id": 1, "n": 7}]
    assert done.applied.filtered == 1
    assert {row: code for row, (code, _) in done.dead.items()} == {1: "expression-failed", 2: "expression-failed"}
    assert done.dead[1][1].startswith("'n': CAST(text AS INTEGER)")
    assert done.dead[2][1].startswith("CAST(name AS INTEGER)")
    assert all(len(one.batch.schema.names) == len(batch.schema.names) + 2 for one in done.applied.dead)


def test_a_row_that_fails_goes_on_with_null_where_the_step_is_not_required(run: Run) -> None:
    batch = ROWS.set_column(2, "text", pa.array(["7", "x", "9", "8"])).set_column(3, "Name", pa.array(["1", "1", "y", "-1"]))
    query = "SELECT id, CAST(text AS INTEGER) AS n, id + 1 AS next FROM input WHERE CAST(name AS INTEGER) > 0"
    done = run({"type": "sql", "query": query, "required": False}, batch)
    assert done.rows == [{"id": 1, "n": 7, "next": 2}, {"id": 2, "n": None, "next": None}, {"id": 3, "n": None, "next": None}]
    assert (done.applied.filtered, done.applied.nulled, done.applied.dead) == (1, 2, ())


def test_text_that_is_not_utf8_costs_its_row(run: Run) -> None:
    stored = pa.array([b"a", b"\xff", b"b"])
    batch = pa.record_batch({"id": [1, 2, 3], "t": pa.StringArray.from_buffers(3, stored.buffers()[1], stored.buffers()[2])})
    done = run({"type": "sql", "query": "SELECT id, upper(t) AS u FROM input"}, batch)
    assert [row["id"] for row in done.rows] == [1, 3]
    assert list(done.dead) == [1]


def test_now_is_the_start_of_the_run(run: Run) -> None:
    rows = run({"type": "sql", "query": "SELECT now() AS t FROM input"}, ROWS).rows
    assert {row["t"].isoformat() for row in rows} == {"2024-05-01T12:00:00+00:00"}


REFUSED = [
    ("SELECT id, upper(text) FROM input", "expected a name for what is computed", 12),
    ("SELECT id, x AS id FROM input", "two columns would be called 'id'", 12),
    ("SELECT *, id FROM input", "two columns would be called 'id'", 11),
    ("SELECT nam FROM input", "no field 'nam'", 8),
    ("SELECT id, upper(nam) AS u FROM input", "no field 'nam'", 18),
    ("SELECT o.id FROM input", "no field 'o'", 8),
    ("SELECT input.id FROM input AS i", "no field 'input'", 8),
    ("SELECT * EXCLUDE (nam) FROM input", "no field 'nam'", 8),
    ("SELECT * RENAME (id AS k) FROM input", "renamings of columns are not served", 8),
    ("SELECT COLUMNS('i.*') FROM input", "patterns and renamings of columns", 8),
    ("SELECT id FROM input WHERE upper(text)", "expected a condition in WHERE", 28),
    ("SELECT id FROM input JOIN other USING (id)", "a join meets rows of other workers", 22),
    ("SELECT id FROM input, other", "a join meets rows of other workers", ...),
    ("SELECT id FROM other", "expected the table input", 16),
    ("SELECT id FROM main.input", "expected the table input", 16),
    ("SELECT id FROM 'file.parquet'", "expected the table input", 16),
    ("SELECT id FROM read_csv('x')", "a table function is not served", 16),
    ("SELECT id FROM (SELECT id FROM input)", "a subquery in FROM is not served", ...),
    ("SELECT id FROM input TABLESAMPLE 10%", "TABLESAMPLE gives other rows on each retry", 16),
    ("SELECT (SELECT 1) AS z FROM input", "a subquery would be run for one batch", 8),
    ("SELECT row_number() OVER () AS n FROM input", "a window function would see one batch", 8),
    ("SELECT id FROM input QUALIFY row_number() OVER () = 1", "QUALIFY needs a window function", 30),
    ("SELECT id FROM input ORDER BY id", "ORDER BY cannot be carried out", 31),
    ("SELECT id FROM input LIMIT 3", "LIMIT cannot be carried out", 28),
    ("WITH c AS (SELECT 1) SELECT id FROM input", "WITH names a query over all rows", None),
    ("SELECT id FROM input UNION ALL SELECT id FROM input", "UNION, INTERSECT and EXCEPT", None),
    ("SELECT random() AS r FROM input", "the function 'random' is not allowed", 8),
    ("SELECT unnest([1]) AS u FROM input", "got 'unnest'", 8),
    ("SELECT id, id AS Id FROM input", "two columns would be called 'Id'", ...),
    ("SELECT * EXCLUDE (EVERYTHING) FROM input", "no column is left to choose", 8),
    ("SELECT 1 AS one", "expected FROM input, which is missing", None),
    ("VALUES (1)", "VALUES are no rows of the service", None),
    ("SELECT id FRO input", "syntax error", 15),
    ("SELECT id FROM input; SELECT 1", "expected one SELECT, got 2 statements", None),
    ("DROP TABLE input", "expected a SELECT, got another statement", None),
    ("COPY input TO 'x'", "expected a SELECT, got another statement", None),
]


@pytest.mark.parametrize(("query", "message", "place"), REFUSED)
def test_what_cannot_be_answered_row_by_row_is_refused_where_it_stands(run: Run, query: str, message: str, place: Any) -> None:
    query = query.replace("EVERYTHING", ", ".join(f'"{name}"' for name in ROWS.schema.names))
    with pytest.raises(PlanError) as raised:
        run({"type": "sql", "query": query}, ROWS)
    (problem,) = raised.value.problems
    assert problem.path == "pipeline.transformations[0].query"
    assert message in problem.message
    # Two places differ between the two lines of DuckDB.
    found = re.search(r" at character (\d+)$", problem.message)
    assert place is ... or place == (int(found[1]) if found else None)


def test_a_place_in_a_query_of_several_lines_is_told_by_its_line(run: Run) -> None:
    with pytest.raises(PlanError) as raised:
        run({"type": "sql", "query": "SELECT id,\n  upper(nam) AS u\nFROM input\n"}, ROWS)
    assert raised.value.problems[0].message == "no field 'nam', in '  upper(nam) AS u' at character 9 of line 2"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.sampled_from(["1", "x", "-2", ""]), max_size=8), st.integers(0, 8), st.booleans())
def test_any_cut_gives_the_same(cut_anywhere: Run, texts: list[str | None], cut: int, required: bool) -> None:
    batch = pa.record_batch({"id": pa.array(range(len(texts)), pa.int64()), "t": pa.array(texts, pa.string())})
    query = "SELECT *, CAST(t AS INTEGER) + 1 AS n FROM input WHERE id > 0 AND (id = 3 OR CAST(t AS INTEGER) < 9)"
    cut_anywhere({"type": "sql", "query": query, "required": required}, batch, min(cut, len(texts)))
