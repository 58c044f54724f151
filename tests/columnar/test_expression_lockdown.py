"""Attempts to break out of an expression: to reach files, the network, settings, other tables, the clock, or all of the memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from beam_pipelines.columnar.expression import Expression, Scope
from beam_pipelines.columnar.expression.engine import Engine
from beam_pipelines.errors import PlanError

BATCH = pa.record_batch({"id": [1, 2], "name": ["ann", "bob"], "n": [3, 10_000_000], "list": [["a"], ["b", "c"]]})


@pytest.mark.parametrize(
    "sql",
    [
        "read_csv('/etc/passwd')",
        "read_text('/etc/passwd')",
        "(SELECT content FROM read_text('/etc/passwd'))",
        "(SELECT count(*) FROM '/etc/passwd')",
        "id IN (SELECT 1)",
        "EXISTS (SELECT 1)",
        "id = ANY(SELECT 1)",
        "(FROM duckdb_settings() LIMIT 1)",
        "id; DROP TABLE x",
        "id) FROM __batch; COPY __batch TO '/tmp/out.csv'; SELECT (id",
        "id) FROM __batch; ATTACH '/tmp/x.db'; SELECT (id",
        "id) AS v FROM __batch, duckdb_secrets() --",
        "id) AS v FROM __batch WHERE (1 = 1",
        "id), (name",
        "id) AS v, (name",
        "id) AS v FROM other --",
        "id) FROM (SELECT 1 AS id",
        "COPY (SELECT 1) TO '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "PRAGMA database_list",
        "SET threads = 4",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "getenv('HOME')",
        "current_setting('memory_limit')",
        "current_database()",
        "current_user",
        "version()",
        "getvariable('x')",
        "random()",
        "uuid()",
        "gen_random_uuid()",
        "nextval('s')",
        "txid_current()",
        "error('x')",
        "sleep_ms(10)",
        "write_log('x')",
        "hash(name)",
        "sum(id)",
        "count(*)",
        "count(*) FILTER (WHERE id > 1)",
        "list(id ORDER BY id)",
        "row_number() OVER ()",
        "sum(id) OVER ()",
        "lag(id) OVER (ORDER BY id)",
        "grouping(id)",
        "unnest(list)",
        "generate_subscripts(list, 1)",
        "list_transform(list, x -> x || 'y')",
        "list_transform(list, lambda x: x || 'y')",
        "list_reduce(list, (a, b) -> a || a)",
        "[x || 'y' FOR x IN list]",
        "range(1000000000)",
        "generate_series(1, 1000000000)",
        "list_resize(list, 1000000000)",
        "bar(id, 0, 10, 1000000000)",
        "CAST(list AS VARCHAR[1000000000])",
        "CAST(name AS ENUM('a', 'b'))",
        "CAST(name AS main.secret_type)",
        "CAST(name AS BIGNUM)",
        "system.main.upper(name)",
        "main.upper(name)",
        "name.upper()",
        "*",
        "COLUMNS('.*')",
        "$1",
        "?",
        "#1",
        "DEFAULT",
        "age(TIMESTAMP '2020-01-01')",
        "json_serialize_sql('SELECT 1')",
        "json_execute_serialized_sql('x')",
        "format('{:1000000000}', id)",
        "format('{:{}}', id, 1000000000)",
        "format(name, id)",
        "printf('%1000000000d', id)",
        "printf('%*d', 1000000000, id)",
        "repeat('x', length(repeat('x', 1000000000)))",
        "repeat('x', 1000000000)",
        "repeat('x', 1000 * 1000 * 1000)",
        "repeat(repeat(repeat('x', 1000), 1000), 1000)",
        "length(lpad('x', 1000000000, 'y')) + id",
        "id COLLATE de",
        "id\0",
        "x" * 70_000,
    ],
)
def test_what_is_no_scalar_deterministic_expression_is_refused_before_anything_runs(sql: str) -> None:
    with pytest.raises(PlanError) as raised:
        Expression(sql, BATCH.schema)
    assert raised.value.code in ("expression-invalid", "column-missing")
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    "sql", ["(" * 5000 + "id" + ")" * 5000, "NOT " * 5000 + "true", "id" + " + id" * 5000, "CASE WHEN " * 900 + "true"]
)
def test_deep_nesting_is_a_mistake_not_a_crash(sql: str) -> None:
    with pytest.raises(PlanError):
        Expression(sql, BATCH.schema)


def test_nested_comparisons_of_floats_do_not_double_the_text_without_end() -> None:
    batch = pa.record_batch({"x": [1.0]})
    nested = "x"
    for _ in range(40):
        nested = f"(CASE WHEN ({nested}) > x THEN x ELSE x END)"
    with pytest.raises(PlanError, match="nested too deeply"):
        Expression(f"{nested} > 0", batch.schema)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/other.db'",
        "INSTALL httpfs",
        "LOAD '{folder}/x.duckdb_extension'",
        "SET enable_external_access = true",
        "SET threads = 8",
        "RESET memory_limit",
        "EXPORT DATABASE '{folder}/out'",
        "SELECT * FROM python_variable",
    ],
)
def test_the_engine_itself_is_locked_should_a_statement_ever_reach_it(statement: str, tmp_path: Path) -> None:
    import duckdb

    python_variable = pa.table({"a": [1]})
    assert python_variable.num_rows == 1
    engine = Engine()
    with pytest.raises(duckdb.Error):
        engine._connection.execute(statement.format(folder=tmp_path)).fetchall()
    engine.close()
    assert list(tmp_path.iterdir()) == []


BOMBS = [
    "repeat(name, n)",
    "length(repeat(name, n * 1000))",
    "lpad(name, CAST(n AS INTEGER), 'x')",
    "rpad('', CAST(n AS INTEGER) * 100, 'ab')",
    "repeat(repeat(repeat(name, n), 10), 10)",
    "replace(repeat('a', n), 'a', repeat('b', n))",
    "regexp_replace(repeat('a', n), 'a', repeat('b', n), 'g')",
    "regexp_replace(repeat('a', n), '(.*)', '\\1\\1\\1\\1\\1\\1', 'g')",
    "array_to_string(string_split(repeat('a,', n), ','), 'bbbbbbbb')",
    "concat_ws(repeat('b', n), name, name)",
    "CASE WHEN id > 0 THEN repeat(name, n) ELSE 'x' END",
    "repeat(name, n) = repeat(name, n)",
    "repeat(['x'], n)",
]


@pytest.mark.parametrize("sql", BOMBS)
def test_a_bomb_costs_its_row(sql: str) -> None:
    start = time.process_time()
    expression = Expression(sql, BATCH.schema)
    found = expression.evaluate(BATCH)
    expression.close()
    assert found.bad == [1]
    assert found.array[0].is_valid
    assert "KiB" in found.reasons[0]
    assert time.process_time() - start < 3


def test_bombs_cost_no_memory() -> None:
    # In a process of its own: the peak of this one was set by other tests.
    script = """
import sys
import pyarrow as pa
from beam_pipelines.columnar.expression import Expression
from beam_pipelines.errors import PlanError

def peak():  # KiB, of this program alone: `ru_maxrss` is handed on from the process that started it
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

batch = pa.record_batch({"id": [1, 2], "name": ["ann", "bob"], "n": [3, 10_000_000], "list": [["a"], ["b", "c"]]})
Expression("upper(name)", batch.schema).evaluate(batch)
before = peak()
for sql in sys.argv[1:]:
    try:
        Expression(sql, batch.schema).evaluate(batch)
    except PlanError:
        pass
print((peak() - before) // 1024)
"""
    constant = ["repeat('x', 1000000000)", "repeat('x', 1000 * 1000 * 1000)", "length(lpad('x', 1000000000, 'y')) + id"]
    done = subprocess.run([sys.executable, "-c", script, *BOMBS, *constant], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150  # MiB; each of them would take a gigabyte


def test_a_row_within_the_limit_is_evaluated_beside_one_above_it() -> None:
    found = Expression("repeat(name, n)", BATCH.schema).evaluate(BATCH)
    assert (found.array.to_pylist(), found.bad) == (["annannann", None], [1])


def test_ordinary_text_functions_are_not_taken_for_bombs() -> None:
    long = "word, " * 20_000  # 120 kB
    batch = pa.record_batch({"t": [long, None, "a, b"], "sep": [";", ";", "; "]})
    for sql, expected in {
        "replace(t, ', ', sep)": [long.replace(", ", ";"), None, "a; b"],
        "regexp_replace(t, '[aeiou]', '', 'g')": [long.replace("o", ""), None, ", b"],
        "upper(t) || lower(t) || t": [long.upper() + long + long, None, "A, Ba, ba, b"],
        "lpad(sep, 5, '0')": ["0000;", "0000;", "000; "],
        "array_to_string(string_split(t, ', '), ';')": [long.replace(", ", ";"), None, "a;b"],
        "format('{:>4}|{}', sep, t)": [f"   ;|{long}", None, "  ; |a, b"],
        "strftime(DATE '2024-05-01', '%d.%m.%Y')": ["01.05.2024"] * 3,
    }.items():
        found = Expression(sql, batch.schema).evaluate(batch)
        assert found.bad == [], sql
        assert found.array.to_pylist() == expected, sql


def test_results_beyond_the_engines_memory_are_computed_in_parts() -> None:
    rows = 20_000
    batch = pa.record_batch({"t": ["x" * 200] * rows})
    scope = Scope(batch.schema, engine=Engine(memory="60MB"))
    term = scope.compile("repeat(t, 15)")
    found = scope.evaluate([term], batch)[0]
    assert found.bad == []
    assert len(found.array) == rows
    assert found.array[rows - 1].as_py() == "x" * 3000


def test_expressions_are_deterministic_across_engines_and_batches() -> None:
    sql = "md5(name) || CAST(id AS VARCHAR) || CAST(now() AS VARCHAR) || round(id * 1.15, 1)"
    one = Expression(sql, BATCH.schema).evaluate(BATCH).array
    two = [Expression(sql, BATCH.schema).evaluate(BATCH.slice(row, 1)).array[0] for row in range(2)]
    assert one.to_pylist() == [value.as_py() for value in two]
