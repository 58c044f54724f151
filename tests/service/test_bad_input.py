"""Bad input gets a clear error, and nothing is lost: what the outside can do wrong, by the whole service or the command line."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from beam_pipelines.errors import PlanError, SpecError

pytestmark = pytest.mark.long

Desk = Any

CUSTOMERS = (
    "CREATE TABLE customers (id bigint PRIMARY KEY, name text, email text, updated_at timestamptz NOT NULL DEFAULT now())",
    "INSERT INTO customers SELECT i, 'name ' || i, 'c' || i || '@example.com', now() - interval '1 hour' FROM generate_series(1, 20) i",
)


def everything_written(desk: Desk) -> str:
    """The text of every file of the folder but the connections: state store, dead letters, staging, ledger."""
    parts = [path.read_bytes() for path in sorted(desk.folder.rglob("*")) if path.is_file() and path.name != "connections.yaml"]
    return b"\n".join(parts).decode(errors="replace")


@pytest.fixture
def crm(desk: Desk, postgres_database: str) -> Desk:
    """Twenty customers on PostgreSQL, into a DuckDB file."""
    desk.connect(source=postgres_database)
    desk.postgres(postgres_database, *CUSTOMERS)
    desk.etl({"table": "customers"}, {"table": "customers", "mode": "upsert"})
    return desk


# Connections.


@pytest.mark.no_bundle
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_does_not_answer_is_named_and_its_password_is_not(crm: Desk, side: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    crm.connect(**{side: f"postgresql://ada:hunter2secret@127.0.0.1:{port}/crm"})
    done = crm.command("--service", "service.json")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "the server does not answer" in done.stderr
    assert "unreachable" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2secret" not in done.stdout + done.stderr + everything_written(crm)


@pytest.mark.no_bundle
@pytest.mark.parametrize("more", [(), ("--output", "json"), ("--log-format", "json"), ("--log-level", "debug")])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_wrong_password_is_said_and_never_shown(crm: Desk, side: str, more: tuple[str, ...]) -> None:
    good = crm.connections["source"]
    wrong = good.replace(good.split(":")[2].split("@")[0], "hunter2%20secret")
    crm.connect(**{side: wrong})
    done = crm.command("--service", "service.json", *more)
    assert done.returncode == 1
    assert "authentication-failed" in done.stdout + done.stderr
    assert "the server refused the user or the password" in done.stdout + done.stderr
    for form in ("hunter2", "hunter2 secret", "hunter2%20secret"):
        assert form not in done.stdout + done.stderr + everything_written(crm)
    if "--output" in more:
        assert json.loads(done.stdout)


def test_a_password_in_a_variable_is_nowhere_although_the_run_fails_late(crm: Desk, postgres_database: str) -> None:
    """The password is right: it goes through proto, workers, state, ledger, logs and dead letters of a run whose rows are refused."""
    password = postgres_database.split(":")[2].split("@")[0]
    crm.connect(
        source=postgres_database.replace(password, "${env:CRM_PASSWORD}"), target=postgres_database.replace(password, "${env:CRM_PASSWORD}")
    )
    crm.postgres(postgres_database, "CREATE TABLE loaded (id bigint PRIMARY KEY, name text CHECK (name <> 'name 7'))")
    crm.etl({"table": "customers"}, {"table": "loaded", "mode": "upsert", "errorHandling": "continue"})
    done = crm.command("--service", "service.json", "--log-level", "debug", environment={"CRM_PASSWORD": password})
    assert done.returncode == 0, done.stderr
    assert len(crm.letters()) == 1
    assert password not in done.stdout + done.stderr + everything_written(crm)
    dump = crm.postgres(postgres_database, "SELECT string_agg(t::text, ' ') FROM _beam_pipelines_loads t")[0][0]
    assert password not in dump


@pytest.mark.no_bundle
def test_a_connection_that_is_not_there_says_where_it_was_looked_for(desk: Desk) -> None:
    (desk.folder / "connections.yaml").write_text('{"sourse": "source.db", "target": "target.duckdb"}')
    desk.etl({"table": "customers"}, {"table": "customers", "mode": "insert"})
    with pytest.raises(SpecError, match="did you mean 'sourse'") as refused:
        desk.run()
    assert "BEAM_PIPELINES_CONNECTION_SOURCE" in str(refused.value)


# Tables and columns.


@pytest.mark.no_bundle
def test_a_table_that_is_not_there_names_the_nearest(crm: Desk) -> None:
    crm.etl({"table": "custmers"}, {"table": "customers", "mode": "upsert"})
    done = crm.command("--service", "service.json")
    assert done.returncode == 2
    assert "custmers" in done.stderr
    assert "did you mean 'public.customers'" in done.stderr or "did you mean 'customers'" in done.stderr
    assert "table-missing" in done.stderr


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("source", "column"),
    [
        ({"query": "SELECT id, nmae FROM customers"}, "nmae"),
        ({"query": "SELECT * FROM customers WHERE udated_at > ?", "incremental": True}, "udated_at"),
        ({"table": "customers", "cursor": {"column": "udated_at"}}, "udated_at"),
    ],
)
def test_a_column_that_is_not_there_is_named(crm: Desk, source: dict[str, Any], column: str) -> None:
    crm.etl(source, {"table": "customers", "mode": "upsert", "keyFields": ["id"]})
    with pytest.raises(PlanError, match=column) as refused:
        crm.run()
    assert refused.value.code == "column-missing"


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("steps", "destination", "text"),
    [
        ([{"id": "f", "type": "filter", "condition": "naem = 'x'"}], {}, "naem"),
        ([{"id": "m", "type": "map", "mappings": {"a": {"source": "emial"}}}], {"mode": "insert"}, "did you mean email"),
        ([], {"keyFields": ["idd"]}, "'idd'"),
        ([], {"versionColumn": "updatedAt"}, "'updatedAt'"),
    ],
)
def test_a_column_that_a_step_or_the_destination_names_wrongly_is_refused_before_anything_is_read(
    crm: Desk, steps: list[dict[str, Any]], destination: dict[str, Any], text: str
) -> None:
    crm.etl({"table": "customers"}, {"table": "customers", "mode": "upsert", **destination}, steps)
    done = crm.command("--service", "service.json")
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.no_bundle
def test_a_definition_with_ten_mistakes_gets_ten_messages_each_with_its_line(desk: Desk) -> None:
    (desk.folder / "service.yaml").write_text(
        """\
name: Ten
schedul:
  cron: "0 * * * *"
pipeline:
  source:
    type: databse
    query: SELECT 1
  transformations:
    - id: a
      type: functoin
    - id: b
      type: filter
    - id: c
      type: map
      mappings: {}
      unmaped: keep
  destination:
    type: database
    conection: target
    table: t
    mode: upsrt
errorBudget:
  max: 120%
pricing:
  model: per-gb
  rate: cheap
"""
    )
    done = desk.command("--service", "service.yaml")
    assert done.returncode == 2
    lines = {
        2: "schedul",
        6: "databse",
        10: "functoin",
        11: "condition",
        15: "mappings",
        16: "unmaped",
        19: "conection",
        21: "upsrt",
        23: "max",
        26: "rate",
    }
    for line, word in lines.items():
        assert f"service.yaml:{line}:" in done.stderr, (line, done.stderr)
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (desk.folder / ".beam_pipelines").exists()


# Rows.


def test_a_wrong_type_in_one_row_costs_that_row(desk: Desk) -> None:
    desk.sqlite(
        "source.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, at TIMESTAMP, price DECIMAL(8,2), ok BOOLEAN)",
        "INSERT INTO t VALUES (1, 1, '2026-01-01 00:00:00', 1.5, 1), (2, 'two', '2026-01-01', 2, 0), (3, 3, 'yesterday', 3, 1),"
        " (4, 4, '2026-01-04', 'dear', 1), (5, 5, '2026-01-05', 5, 'perhaps'), (6, 6.5, NULL, 6, NULL), (7, NULL, NULL, NULL, NULL)",
    )
    desk.etl({"table": "t"}, {"table": "t", "mode": "insert"})
    record = desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT id FROM t ORDER BY id") == [(1,), (7,)]
    assert [(letter["origin"]["key"]["id"], letter["code"]) for letter in desk.letters()] == [(n, "cast-failed") for n in (2, 3, 4, 5, 6)]
    assert record["metrics"]["recordsDeadLettered"] == 5
    columns = [next(name for name in ("'n'", "'at'", "'price'", "'ok'") if name in letter["error"]) for letter in desk.letters()]
    assert columns == ["'n'", "'at'", "'price'", "'ok'", "'n'"]


def test_duplicate_keys_keep_the_newest_and_null_keys_are_dead_letters_on_every_target(desk: Desk, postgres_database: str) -> None:
    desk.sqlite(
        "source.db",
        "CREATE TABLE log (id INTEGER, name TEXT, updated_at TIMESTAMP)",
        "INSERT INTO log VALUES (1, 'b', '2026-01-02'), (1, 'a', '2026-01-01'), (1, 'c', '2026-01-03'), (2, 'x', '2026-01-01'),"
        " (NULL, 'nobody', '2026-01-01'), (2, 'y', '2026-01-01')",
    )
    targets: list[tuple[str, Callable[[str], list[tuple[Any, ...]]]]] = [
        ("target.duckdb", lambda query: desk.duckdb("target.duckdb", query)),
        ("target.db", lambda query: desk.sqlite("target.db", query)),
        (postgres_database, lambda query: desk.postgres(postgres_database, query)),
    ]
    for number, (target, rows) in enumerate(targets):
        desk.connect(target=target)
        source = {"query": "SELECT * FROM log WHERE updated_at > ?", "incremental": True}
        desk.etl(source, {"table": "log", "mode": "upsert", "keyFields": ["id"]}, id=f"log-{number}")
        record = desk.ran()
        assert rows("SELECT id, name FROM log ORDER BY id") == [(1, "c"), (2, "y")], "of two of one age, the one read last"
        assert (record["metrics"]["recordsLoaded"], record["metrics"]["recordsDeadLettered"]) == (5, 1)
    assert [letter["code"] for letter in desk.letters()] == ["key-null"] * 3


ODD = """
INSERT INTO odd (id, moment, day, number, price, real, word) VALUES
  (1, now(), '2026-01-01', 1, 1, 1, 'plain'), (2, 'infinity', NULL, 1, 1, 1, ''), (3, '-infinity', NULL, 1, 1, 1, 'x'),
  (4, now(), 'infinity', 1, 1, 1, 'x'), (5, now(), NULL, 'NaN', 1, 1, 'x'), (6, now(), NULL, 'Infinity', 1, 1, 'x'),
  (7, now(), NULL, 1, 'NaN', 1, 'x'), (8, now(), NULL, 1, 1, 'NaN', ''), (9, now(), NULL, 1, 1, '-Infinity', ' '),
  (10, now(), NULL, 1e60, 1, 1, 'x'), (11, '4000-01-01 BC', NULL, 1, 1, 1, 'x'), (12, '12026-01-01', NULL, 1, 1, 1, 'x'),
  (13, now(), '0001-01-01', -0.0, -99999999.99, 5e-324, 'ünïcödé 😀 \u200b'), (14, NULL, NULL, NULL, NULL, NULL, NULL)
"""


@pytest.mark.parametrize("target", ["duckdb", "postgresql", "sqlite"])
def test_what_a_target_cannot_hold_is_a_dead_letter_and_what_it_can_arrives_as_it_was(
    desk: Desk, postgres_database: str, target: str
) -> None:
    desk.connect(
        source=postgres_database, target={"duckdb": "target.duckdb", "postgresql": postgres_database, "sqlite": "target.db"}[target]
    )
    desk.postgres(
        postgres_database,
        "CREATE TABLE odd (id int PRIMARY KEY, moment timestamptz, day date, number numeric, price numeric(10,2), real float8, word text)",
        ODD,
    )
    desk.etl({"table": "odd"}, {"table": "kept", "mode": "upsert"}, errorBudget={"max": "100%"})
    desk.ran()
    dead = {letter["origin"]["key"]["id"]: letter for letter in desk.letters()}
    refused = {8} if target == "sqlite" else set()  # it has no NaN, and would keep null in its place
    assert set(dead) == {2, 3, 4, 5, 6, 7, 10, 11, 12} | refused
    assert {row for row, letter in dead.items() if letter["code"] == "target-refused"} == refused
    assert {letter["code"] for row, letter in dead.items() if row not in refused} == {"cast-failed"}
    assert "'moment'" in dead[2]["error"]
    assert "infinity" in dead[2]["error"]
    assert "no number of so many digits" in dead[10]["error"]
    query = "SELECT id, real, word FROM kept ORDER BY id"
    rows = (
        desk.duckdb("target.duckdb", query)
        if target == "duckdb"
        else desk.postgres(postgres_database, query)
        if target == "postgresql"
        else desk.sqlite("target.db", query)
    )
    expected = [(1, 1.0, "plain"), (8, "nan", ""), (9, float("-inf"), " "), (13, 5e-324, "ünïcödé 😀 \u200b"), (14, None, None)]
    arrived = [one for one in expected if one[0] not in refused]
    assert [(i, "nan" if x is not None and x != x else x, word) for i, x, word in rows] == arrived


def test_a_nul_character_costs_its_row_on_postgresql_and_nothing_elsewhere(desk: Desk, postgres_database: str) -> None:
    desk.sqlite(
        "source.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)",
        "INSERT INTO t VALUES (1, 'good'), (2, 'a' || char(0) || 'b'), (3, '')",
    )
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert"})
    desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT * FROM t ORDER BY id") == [(1, "good"), (2, "a\0b"), (3, "")]
    desk.connect(target=postgres_database)
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert"}, id="to-postgres")
    desk.ran()
    assert desk.postgres(postgres_database, "SELECT * FROM t ORDER BY id") == [(1, "good"), (3, "")]
    (letter,) = desk.letters()
    assert letter["origin"] == {"source": "t", "key": {"id": 2}}
    assert "NUL character" in letter["error"]
    assert letter["record"] == {"id": 2, "s": "a\0b"}


@pytest.mark.parametrize("target", ["duckdb", "postgresql"])
def test_a_value_too_large_for_the_targets_column_is_refused_or_set_aside(desk: Desk, postgres_database: str, target: str) -> None:
    desk.sqlite(
        "source.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, x DECIMAL(20,4))",
        "INSERT INTO t VALUES (1, 1, 1.5), (2, 40000, 2.5), (3, 3, 123456789.25), (4, -32768, -1)",
    )
    rows = (
        (lambda *sql: desk.postgres(postgres_database, *sql))
        if target == "postgresql"
        else (lambda *sql: desk.duckdb("target.duckdb", *sql))
    )
    if target == "postgresql":
        desk.connect(target=postgres_database)
    rows("CREATE TABLE t (id bigint PRIMARY KEY, n smallint, x numeric(8,2))")
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert"})
    stopped = desk.run()
    assert (stopped.exit_code, stopped.execution.error_code) == (1, "target-refused")
    assert rows("SELECT count(*) FROM t") == [(0,)]
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert", "errorHandling": "continue"}, errorBudget={"max": "100%"})
    record = desk.ran()
    assert rows("SELECT id, n FROM t ORDER BY id") == [(1, 1), (4, -32768)]
    assert [(letter["record"]["id"], letter["code"]) for letter in desk.letters()] == [(2, "target-refused"), (3, "target-refused")]
    assert record["metrics"]["recordsDeadLettered"] == 2


# Names.

NAMES = [
    "select",
    "with space",
    "dot.ted",
    'quo"te',
    "per%cent",
    "que?stion",
    "col:on",
    "new\nline",
    "Ünï",
    "😀",
    "UPPER",
    "it's",
    "{brace}",
    "back`tick",
    "[bracket]",
    "$1",
    "semi;colon",
    "--dash",
    "/*c*/",
    "back\\slash",
    "x" * 63,
]


@pytest.mark.parametrize("target", ["duckdb", "postgresql", "sqlite"])
def test_odd_names_of_tables_and_columns_arrive_as_they_are(desk: Desk, postgres_database: str, target: str) -> None:
    columns = [name.replace('"', '""') for name in NAMES]
    desk.sqlite(
        "source.db",
        'CREATE TABLE "odd table" (id INTEGER PRIMARY KEY, ' + ", ".join(f'"{name}" TEXT' for name in columns) + ")",
        'INSERT INTO "odd table" VALUES (1, ' + ", ".join(f"'v{number}'" for number in range(len(NAMES))) + ")",
    )
    desk.connect(target={"duckdb": "target.duckdb", "postgresql": postgres_database, "sqlite": "target.db"}[target])
    desk.etl({"table": '"odd table"'}, {"table": "Odd Täble", "mode": "upsert"})
    desk.ran()
    desk.sqlite("source.db", 'UPDATE "odd table" SET "with space" = \'changed\'')
    desk.ran()
    query = "SELECT " + ", ".join(f'"{name}"' for name in columns) + ' FROM "Odd Täble"'
    rows = (
        desk.duckdb("target.duckdb", query)
        if target == "duckdb"
        else desk.sqlite("target.db", query)
        if target == "sqlite"
        else desk.postgres(postgres_database, query)
    )
    assert rows == [("v0", "changed", *(f"v{number}" for number in range(2, len(NAMES))))]


@pytest.mark.parametrize(("table", "column"), [("t", "c" * 64), ("t" * 64, "c"), ("t", "ü" * 32)])
def test_a_name_that_postgresql_would_cut_is_refused_before_anything_is_written(
    desk: Desk, postgres_database: str, table: str, column: str
) -> None:
    desk.sqlite("source.db", f'CREATE TABLE t (id INTEGER PRIMARY KEY, "{column}" TEXT)', "INSERT INTO t VALUES (1, 'a')")
    desk.connect(target=postgres_database)
    desk.etl({"table": "t"}, {"table": table, "mode": "upsert"})
    refused = desk.run()
    assert (refused.exit_code, refused.execution.error_code) == (2, "spec-invalid")
    assert "cuts names at 63 bytes" in refused.execution.error
    assert desk.postgres(
        postgres_database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '\\_b%'"
    ) == [(0,)]


@pytest.mark.parametrize("column", ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"])
def test_a_column_named_like_one_that_every_table_of_postgresql_has_is_refused_before_anything_is_read(
    desk: Desk, postgres_database: str, column: str
) -> None:
    desk.sqlite("source.db", f'CREATE TABLE t (id INTEGER PRIMARY KEY, "{column}" TEXT)', "INSERT INTO t VALUES (1, 'a')")
    desk.connect(target=postgres_database)
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert"})
    refused = desk.run()
    assert (refused.exit_code, refused.execution.error_code) == (2, "spec-invalid")
    assert (
        refused.execution.error == f"column {column!r}: every table of PostgreSQL has a system column of this name; rename it in a map step"
    )
    assert desk.postgres(postgres_database, "SELECT to_regclass('t')") == [(None,)]
    renamed = {"id": "m", "type": "map", "mappings": {"id": {"source": "id"}, column.upper(): {"source": column}}}
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert"}, [renamed])
    desk.ran()
    assert desk.postgres(postgres_database, f'SELECT id, "{column.upper()}" FROM t') == [(1, "a")]


# Sources of other shapes.


def test_a_query_that_fails_at_its_ten_thousandth_row_loads_nothing_and_says_why(desk: Desk, postgres_database: str) -> None:
    desk.connect(source=postgres_database)
    desk.postgres(
        postgres_database,
        "CREATE TABLE t AS SELECT i AS id, now() - interval '1 hour' AS updated_at FROM generate_series(1, 20000) i",
    )
    source = {"query": "SELECT id, 100 / (id - 10000) AS share, updated_at FROM t WHERE updated_at > ?", "incremental": True}
    desk.etl(source, {"table": "t", "mode": "insert"})
    failed = desk.run()
    assert (failed.exit_code, failed.execution.error_code) == (1, "read-failed")
    assert "a division by zero" in failed.execution.error
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'") == [(0,)]
    assert list(desk.folder.glob("*.staging/*")) == []
    desk.postgres(postgres_database, "DELETE FROM t WHERE id = 10000")
    assert desk.ran()["metrics"]["recordsLoaded"] == 19_999


def test_a_value_in_a_failing_query_is_not_repeated(desk: Desk, postgres_database: str) -> None:
    desk.connect(source=postgres_database)
    desk.etl({"query": "SELECT ('secret' || i)::int AS n FROM generate_series(1, 5) i"}, {"table": "t", "mode": "insert"})
    failed = desk.run()
    assert failed.exit_code == 1
    assert "secret1" not in everything_written(desk) + str(failed.error)


def test_views_are_read_like_tables(desk: Desk, postgres_database: str) -> None:
    desk.connect(source=postgres_database)
    desk.postgres(
        postgres_database,
        "CREATE TABLE t AS SELECT i AS id, i * 2 AS double FROM generate_series(1, 100) i",
        "CREATE VIEW evens AS SELECT id, double FROM t WHERE id % 2 = 0",
        "CREATE MATERIALIZED VIEW firsts AS SELECT id FROM t WHERE id <= 3",
    )
    desk.etl({"table": "evens", "keyFields": ["id"]}, {"table": "evens", "mode": "upsert"})
    desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT count(*), sum(double) FROM evens") == [(50, 5100)]
    desk.etl({"table": "firsts"}, {"table": "firsts", "mode": "replace"}, id="firsts")
    desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM firsts") == [(3,)]


def test_tables_without_rows_or_columns_are_empty_runs(desk: Desk, postgres_database: str) -> None:
    desk.connect(source=postgres_database)
    desk.postgres(
        postgres_database, "CREATE TABLE nothing ()", "INSERT INTO nothing DEFAULT VALUES", "CREATE TABLE nobody (id int, name text)"
    )
    desk.functions("def guess(row):\n    return {'n': len(row)}\n")
    sampled = [{"id": "guess", "type": "function"}]
    for number, (table, steps) in enumerate((("nobody", []), ("nobody", sampled), ("nothing", []))):
        desk.etl({"table": table}, {"table": "t", "mode": "insert"}, steps, id=f"empty-{number}")
        assert desk.ran()["metrics"]["recordsLoaded"] == 0
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'") == [(0,)]


# Source and target in one place.


def test_source_and_target_in_one_postgresql_database_do_not_wait_for_each_other(desk: Desk, postgres_database: str) -> None:
    desk.connect(source=postgres_database, target=postgres_database)
    desk.postgres(postgres_database, *CUSTOMERS)
    desk.etl({"table": "customers", "cursor": {"column": "updated_at"}}, {"table": "copies", "mode": "insert"})
    assert desk.ran()["metrics"]["recordsLoaded"] == 20
    desk.postgres(postgres_database, "INSERT INTO customers SELECT i, 'late', 'x' FROM generate_series(21, 25) i")
    assert desk.ran()["metrics"]["recordsLoaded"] == 5
    assert desk.ran()["metrics"]["recordsLoaded"] == 0
    assert desk.postgres(postgres_database, "SELECT count(*), count(DISTINCT id) FROM copies") == [(25, 25)]


def test_a_table_upserted_onto_itself_stays_what_it_was(desk: Desk, postgres_database: str) -> None:
    desk.connect(source=postgres_database, target=postgres_database)
    desk.postgres(postgres_database, *CUSTOMERS)
    before = desk.postgres(postgres_database, "SELECT * FROM customers ORDER BY id")
    desk.etl({"table": "customers", "cursor": {"column": "updated_at"}}, {"table": "customers", "mode": "upsert"})
    desk.ran()
    assert desk.postgres(postgres_database, "SELECT * FROM customers ORDER BY id") == before


@pytest.mark.parametrize("file", ["one.db", "one.duckdb"])
def test_source_and_target_in_one_file(desk: Desk, file: str) -> None:
    desk.connect(source=file, target=file)
    ask = desk.sqlite if file.endswith(".db") else desk.duckdb
    past = "datetime('now', '-100 seconds')" if file.endswith(".db") else "localtimestamp - INTERVAL 100 SECOND"
    ask(
        file,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, updated_at TIMESTAMP)",
        f"INSERT INTO t VALUES (1, 'a', {past}), (2, 'b', {past})",
    )
    desk.etl({"table": "t", "cursor": {"column": "updated_at"}}, {"table": "c", "mode": "upsert"})
    assert desk.ran()["metrics"]["recordsLoaded"] == 2
    newer = past.replace("100", "10")
    ask(file, f"UPDATE t SET x = 'changed', updated_at = {newer} WHERE id = 2")
    assert desk.ran()["metrics"]["recordsLoaded"] == 1
    assert ask(file, "SELECT id, x FROM c ORDER BY id") == [(1, "a"), (2, "changed")]


def test_not_a_number_into_sqlite_costs_its_row(desk: Desk) -> None:
    desk.connect(source="source.duckdb", target="target.db")
    desk.duckdb("source.duckdb", "CREATE TABLE t (id INTEGER PRIMARY KEY, x DOUBLE)", "INSERT INTO t VALUES (1, 1), (2, 'nan'), (3, NULL)")
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert"}, errorBudget={"max": "100%"})
    record = desk.ran()
    assert (record["metrics"]["recordsLoaded"], record["metrics"]["recordsDeadLettered"]) == (2, 1)
    (letter,) = desk.letters()
    assert (letter["code"], letter["origin"]) == ("target-refused", {"source": "t", "key": {"id": 2}})
    assert "SQLite has no NaN" in letter["error"]
    assert desk.sqlite("target.db", "SELECT * FROM t ORDER BY id") == [(1, 1.0), (3, None)]
