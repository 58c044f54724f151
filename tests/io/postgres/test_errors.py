from __future__ import annotations

import socket
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from beam_pipelines.errors import BeamPipelinesError, FatalError, PlanError, TransientError
from beam_pipelines.io.postgres.session import Server, translate

HUGE = "SELECT i AS id, repeat('x', 100) AS body FROM generate_series(1, 10000) i, generate_series(1, 1000000) j"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_unreachable_server_is_transient(make_source: Any) -> None:
    with pytest.raises(TransientError, match="does not answer") as away:
        make_source(table="t", url=f"postgresql://me:s3cret-word@127.0.0.1:{closed_port()}/crm").check()
    assert away.value.code == "unreachable"
    assert "s3cret-word" not in str(away.value)


@pytest.mark.parametrize("password", ["wrong-s3cret", "p@ss/w?rd#1:%"])
def test_wrong_password_is_never_echoed(postgres_database: str, make_source: Any, password: str) -> None:
    host = postgres_database.partition("@")[2]
    source = make_source(table="t", url=f"postgresql://postgres:{quote(password, safe='')}@{host}")
    with pytest.raises(FatalError, match="refused the user or the password") as refused:
        source.check()
    assert refused.value.code == "authentication-failed"
    shown = f"{refused.value!r} {refused.value} {refused.value.__cause__!r} {source!r} {source.server!r}"
    assert password not in shown
    assert quote(password, safe="") not in shown


def test_missing_database_is_named(postgres_database: str, make_source: Any) -> None:
    with pytest.raises(PlanError, match="no such database") as missing:
        make_source(table="t", url=postgres_database.rpartition("/")[0] + "/nope").check()
    assert missing.value.code == "connection-invalid"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_spelling_of_the_url_connects(postgres_database: str, make_source: Any, scheme: str) -> None:
    assert make_source(table="t", url=f"{scheme}://{postgres_database.partition('://')[2]}").check().startswith("PostgreSQL")


def test_missing_table_names_the_nearest(sql: Any, make_source: Any) -> None:
    sql.execute("CREATE SCHEMA crm; CREATE TABLE crm.customers (id int)")
    with pytest.raises(PlanError, match=r"'crm\.costumers' .* \(did you mean 'crm\.customers'\?\)") as missing:
        make_source(table="crm.costumers").describe("crm.costumers")
    assert missing.value.code == "table-missing"
    with pytest.raises(PlanError, match=r"'costumers' .* \(did you mean 'crm\.customers'\?\)"):
        make_source(query="SELECT * FROM costumers").describe("query")
    with pytest.raises(PlanError, match=r"expected a table 'nowhere\.t'"):
        make_source(table="nowhere.t").describe("nowhere.t")


def test_missing_column_names_the_nearest(sql: Any, make_source: Any) -> None:
    sql.execute("CREATE TABLE t (id int, updated_at timestamptz)")
    source = make_source(table="t", cursor={"column": "update_at"})
    with pytest.raises(PlanError, match=r"column 'update_at' in 't', got none \(did you mean 'updated_at'\?\)") as missing:
        source.describe("t")
    assert missing.value.code == "column-missing"
    with pytest.raises(PlanError, match=r'no such column.*column "nope" does not exist') as wrong:
        make_source(query="SELECT nope FROM t").describe("query")
    assert wrong.value.code == "column-missing"


def test_output_that_names_a_column_twice_is_refused(sql: Any, make_source: Any) -> None:
    sql.execute("CREATE TABLE a (id int, at timestamptz); CREATE TABLE b (id int, at timestamptz)")
    with pytest.raises(PlanError, match="'at', 'id' more than once"):
        make_source(query="SELECT * FROM a JOIN b ON a.id = b.id").describe("query")
    with pytest.raises(PlanError, match="without a name"):
        make_source(query="SELECT 1 + 1").describe("query")


def test_reserved_column_name_is_refused(sql: Any, make_source: Any) -> None:
    sql.execute("CREATE TABLE t (__bp_key int)")
    with pytest.raises(PlanError, match="__bp_"):
        make_source(table="t").describe("t")


def test_missing_privilege_says_what_to_grant(sql: Any, postgres_database: str, make_source: Any) -> None:
    name = f"few_{sql.info.dbname}"
    sql.execute(f"CREATE TABLE t (id int); CREATE ROLE {name} LOGIN PASSWORD 'few'")
    try:
        source = make_source(table="t", url=f"postgresql://{name}:few@{postgres_database.partition('@')[2]}")
        with pytest.raises(FatalError, match=r"permission denied for table t.*GRANT SELECT") as refused:
            source.describe("t")
        assert refused.value.code == "authentication-failed"
        source.close()
    finally:
        sql.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("small", [0, 10**9])
def test_statement_timeout_says_what_to_raise(sql: Any, make_source: Any, poll: Any, small: int) -> None:
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET statement_timeout = '500ms'")
    run = poll(make_source(query="SELECT 1 AS id, pg_sleep(60)::text AS slow", options={"small_rows": small}), "query")
    with pytest.raises(FatalError, match="raise statement_timeout") as cancelled:
        run()
    assert "reading range 0 of 'query'" in str(cancelled.value)


@pytest.mark.parametrize("small", [0, 10**13])
def test_connection_lost_in_the_middle_of_a_read_is_transient_and_names_the_range(
    sql: Any, make_source: Any, poll: Any, small: int
) -> None:
    source = make_source(query=HUGE, options={"small_rows": small})
    described = source.describe("query")
    run = poll(source, "query")
    run.fixed = source.fix("query", None, None, False, 1)
    batches = source.read(run.fixed.ranges[0], run.window(described.schema), None)
    next(batches)
    ours = "application_name = 'beam_pipelines' AND datname = current_database()"
    killed = sql.execute(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {ours}").fetchone()
    assert killed[0] >= 1
    with pytest.raises(TransientError, match="reading range 0 of 'query'") as lost:
        list(batches)
    assert lost.value.code == "unreachable"
    assert source.check().startswith("PostgreSQL")  # it connects anew


@pytest.mark.parametrize("small", [0, 10**9])
def test_error_about_a_value_does_not_quote_it(sql: Any, make_source: Any, poll: Any, small: int) -> None:
    sql.execute("CREATE TABLE t (body text); INSERT INTO t VALUES ('private-word')")
    run = poll(make_source(query="SELECT body::int AS body FROM t", options={"small_rows": small}), "query")
    with pytest.raises(FatalError, match="SQLSTATE 22P02") as failed:
        run()
    assert "private-word" not in str(failed.value)


def test_errors_that_are_not_a_drivers_are_left_alone() -> None:
    server = Server("postgresql://h/d", "postgresql://h/d", lambda text: text)
    assert translate(ValueError("x"), "reading", server) is None
    with pytest.raises(ZeroDivisionError), server.doing("reading"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ("40001", TransientError, "conflict"),
        ("55P03", TransientError, "locked"),
        ("53300", TransientError, "unreachable"),
        ("57P01", TransientError, "unreachable"),
        ("08006", TransientError, "unreachable"),
        ("42601", PlanError, "spec-invalid"),
        ("53100", FatalError, "read-failed"),
    ],
)
def test_states_are_classed_by_what_the_reader_can_do(state: str, kind: type[BeamPipelinesError], code: str) -> None:
    known = translate(psycopg.errors.lookup(state)("some words"), "reading", Server("postgresql://h/d", "shown", str))
    assert isinstance(known, kind)
    assert known.code == code
    assert "reading at shown" in str(known)
