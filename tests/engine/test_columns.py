"""Of files only the columns are read that the steps use; what comes out is as if all had been."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engine.columns import narrowing, read_by
from beam_pipelines.etl.service import Service
from beam_pipelines.testing.api import Reply, serving

ROWS = 50
KEEP = {"id": "keep", "type": "map", "unmapped": "keep", "mappings": {"big": {"expression": "a > 10"}}}
DROP = {"id": "drop", "type": "map", "mappings": {"a": {"source": "a"}, "twice": {"expression": "b * 2"}}}
ODD = {"id": "odd", "type": "filter", "condition": "c % 2 = 1"}
SUMS = {"id": "sums", "type": "aggregate", "groupBy": ["d"], "aggregations": {"a": "sum"}}
ALIKE = {"id": "alike", "type": "deduplicate", "by": ["d"], "orderBy": "-c"}
WHOLE = {"id": "alike", "type": "deduplicate"}
PLACE = {"id": "place", "type": "sort", "by": ["d"], "orderBy": "c", "as": "place"}
LATER = {"id": "later", "type": "filter", "condition": "twice > 20"}
CODE = {"id": "code", "type": "function", "output": {"a": "bigint", "c": "bigint"}}
SAMPLE = {"id": "some", "type": "sample", "fraction": 1}
SQL = {"id": "sql", "type": "sql", "query": "SELECT a, b * 2 AS twice FROM input WHERE a > 5"}
TOTALS = "SELECT d, sum(a) AS s FROM input WHERE a > 3 GROUP BY d"
LISTED = {"id": "listed", "type": "map", "unmapped": "keep", "mappings": {"l": {"expression": "[a, c]"}}}
EXPLODE = {"id": "each", "type": "explode", "field": "l", "as": "x"}
JOIN = {"id": "names", "type": "join", "on": {"d": "k"}, "source": {"type": "file", "path": "right.parquet"}}
LOOK = {"id": "look", "type": "enrich", "on": {"d": "k"}, "fields": ["name"], "source": {"type": "file", "path": "right.parquet"}}


def service(folder: Path, steps: list[dict[str, Any]]) -> Service:
    pq.write_table(
        pa.table({name: [(row * (at + 1)) % 37 for row in range(ROWS)] for at, name in enumerate("abcde")}), folder / "in.parquet"
    )
    pq.write_table(
        pa.table({"k": list(range(37)), "name": [f"n{number}" for number in range(37)], "e2": [1] * 37}), folder / "right.parquet"
    )
    (folder / "connections.yaml").write_text("{}")
    (folder / "functions.py").write_text("def code(row):\n    return {'a': row['a'], 'c': row['c']}\n")
    definition = {
        "name": "Columns",
        "pipeline": {
            "source": {"type": "file", "path": "in.parquet"},
            "transformations": steps,
            "destination": {"type": "file", "path": "out.parquet", "mode": "replace"},
        },
    }
    (folder / "service.json").write_text(json.dumps(definition))
    return Service.load(folder / "service.json")


@pytest.mark.parametrize(
    ("steps", "read", "query"),
    [
        ([], "abcde", "SELECT * FROM t"),
        ([ODD], "abcde", "SELECT * FROM t WHERE c % 2 = 1"),
        ([KEEP], "abcde", "SELECT *, a > 10 AS big FROM t"),
        ([DROP], "ab", "SELECT a, b * 2 AS twice FROM t"),
        ([ODD, KEEP, DROP, LATER], "abc", "SELECT a, b * 2 AS twice FROM t WHERE c % 2 = 1 AND b * 2 > 20"),
        ([SUMS], "ad", "SELECT d, sum(a)::BIGINT AS sum_a FROM t GROUP BY d"),
        ([CODE, DROP | {"mappings": {"a": {"source": "a"}}}], "abcde", "SELECT a FROM t"),
        ([DROP | {"mappings": {"a": {"source": "a"}, "c": {"source": "c"}}}, CODE], "ac", "SELECT a, c FROM t"),
        ([LISTED, EXPLODE, SUMS | {"aggregations": {"x": "sum"}}], "acd", "SELECT d, sum(a + c)::BIGINT AS sum_x FROM t GROUP BY d"),
        ([ODD, SQL], "abc", "SELECT a, b * 2 AS twice FROM t WHERE c % 2 = 1 AND a > 5"),
        ([KEEP, SQL | {"query": TOTALS}], "ad", "SELECT d, sum(a)::BIGINT AS s FROM t WHERE a > 3 GROUP BY d"),
        ([SQL | {"query": "SELECT *, a + b AS s FROM input"}, DROP], "abcde", "SELECT a, b * 2 AS twice FROM t"),
        ([SAMPLE | {"by": ["c"]}, DROP], "abc", "SELECT a, b * 2 AS twice FROM t"),
        # Which rows are kept would hang on the columns that are read, for the key is one of them.
        ([SAMPLE, DROP], "abcde", "SELECT a, b * 2 AS twice FROM t"),
        ([LOOK, SUMS | {"groupBy": ["name"]}], "ad", "SELECT name, sum(a)::BIGINT AS sum_a FROM t JOIN r ON d = k GROUP BY name"),
        ([JOIN, SUMS | {"groupBy": ["name"]}], "ad", "SELECT name, sum(a)::BIGINT AS sum_a FROM t JOIN r ON d = k GROUP BY name"),
        (
            [ALIKE, PLACE, {"id": "t", "type": "top", "n": 9, "orderBy": "e"}, SUMS | {"groupBy": ["place"]}],
            "acde",
            "WITH u AS (SELECT * FROM t QUALIFY row_number() OVER (PARTITION BY d ORDER BY c DESC) = 1),"
            " w AS (SELECT * FROM u ORDER BY e LIMIT 9) SELECT 1 AS place, sum(a)::BIGINT AS sum_a FROM w",
        ),
        ([WHOLE, SUMS], "abcde", "SELECT d, sum(a)::BIGINT AS sum_a FROM (SELECT DISTINCT * FROM t) GROUP BY d"),
    ],
)
def test_a_file_is_read_by_the_columns_that_are_used(tmp_path: Path, steps: list[dict[str, Any]], read: str, query: str) -> None:
    made = service(tmp_path, steps)
    asked: list[list[str]] = []
    original = pq.ParquetFile.iter_batches

    def spied(file: Any, *given: Any, **more: Any) -> Any:
        asked.append(list(more["columns"]))
        return original(file, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetFile, "iter_batches", spied)
        results = [made.run(), made.run()]

    assert [result.exit_code for result in results] == [0, 0], [result.error for result in results]
    of_the_source = [columns for columns in asked if "k" not in columns]
    assert of_the_source == [list(read)] * 2
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW t AS SELECT * FROM '{tmp_path}/in.parquet'")
        connection.execute(f"CREATE VIEW r AS SELECT * FROM '{tmp_path}/right.parquet'")
        expected = connection.execute(f"SELECT * FROM ({query}) ORDER BY ALL").fetchall()
        found = connection.execute(f"SELECT * FROM '{tmp_path}/out.parquet' ORDER BY ALL").fetchall()
    assert found == expected


def test_of_a_file_that_is_looked_up_at_an_api_the_fields_are_read_that_it_is_asked_with(tmp_path: Path) -> None:
    with serving(lambda asked: Reply(body={"n": int(asked.target[1:]) % 2})) as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEAM_PIPELINES_CONNECTION_API", api.url)
        ask = {"id": "ask", "type": "enrich", "connection": "api", "request": {"path": "/{d}"}, "output": {"n": "bigint"}}
        made = service(tmp_path, [ODD, ask, SUMS | {"groupBy": ["n"]}])
        (tmp_path / "connections.yaml").unlink()
        # The window that Prepare makes says what is read.
        steps = made._job.steps()
        schema = pq.read_schema(tmp_path / "in.parquet")
        for step in steps:
            planned = step.plan(schema, None)
            step.open(schema, planned, datetime(2026, 1, 1, tzinfo=timezone.utc))
            schema = planned
        assert read_by(narrowing(steps)) == {"a", "c", "d"}
        assert made.run().exit_code == 0
    with duckdb.connect() as connection:
        query = f"SELECT d % 2 AS n, sum(a)::BIGINT AS sum_a FROM '{tmp_path}/in.parquet' WHERE c % 2 = 1 GROUP BY n ORDER BY ALL"
        assert connection.execute(f"SELECT * FROM '{tmp_path}/out.parquet' ORDER BY ALL").fetchall() == connection.execute(query).fetchall()


def test_a_dead_letter_shows_the_columns_that_were_read(tmp_path: Path) -> None:
    bad = DROP | {"mappings": {"a": {"source": "a"}, "twice": {"expression": "CAST(CASE WHEN b = 2 THEN 'x' ELSE '1' END AS INTEGER)"}}}
    result = service(tmp_path, [ODD, bad]).run()

    letters = [json.loads(line) for file in tmp_path.rglob("dead-letters/*/*.jsonl") for line in file.read_text().splitlines()]
    assert result.exit_code == 0, result.error
    assert [letter["record"] for letter in letters] == [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "c": 3}]
    assert [letter["origin"]["row"] for letter in letters] == [1, 38]
