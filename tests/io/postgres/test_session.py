"""Connections of one run: opened once, left to the next part as if they were new, and closed with the run."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from beam_pipelines.io import spares
from beam_pipelines.io.postgres.session import Server


@pytest.fixture
def server(postgres_database: str) -> Server:
    return Server(postgres_database, "here", str)


def backends(sql: psycopg.Connection[Any]) -> list[int]:
    found = sql.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'beam_pipelines' AND datname = current_database()")
    return [pid for (pid,) in found.fetchall()]


def test_a_connection_is_left_to_the_next_part_of_a_run_and_closed_with_it(server: Server, sql: psycopg.Connection[Any]) -> None:
    with spares.kept():
        first = server.connect()
        server.done(first)
        second = server.connect(autocommit=False)
        assert second.info.backend_pid == first.info.backend_pid
        other = server.connect()
        assert other.info.backend_pid != second.info.backend_pid, "two at once are two"
        second.rollback()
        server.done(second)
        server.done(other)
        assert len(backends(sql)) == 2
    assert second.closed
    assert other.closed


def test_without_a_run_a_connection_is_closed(server: Server) -> None:
    connection = server.connect()
    server.done(connection)
    assert connection.closed


def test_nothing_of_its_last_use_stays_with_a_connection(server: Server) -> None:
    with spares.kept():
        first = server.connect(autocommit=False)
        first.execute("SET lock_timeout = 1234")
        first.execute("SET TIME ZONE 'Asia/Tokyo'")
        first.execute("CREATE TEMP TABLE left_over (i int)")
        first.commit()
        zone = server.connect().execute("SHOW TimeZone").fetchone()
        server.done(first)
        again = server.connect()
        assert again.info.backend_pid == first.info.backend_pid
        assert again.autocommit
        assert again.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert again.execute("SHOW TimeZone").fetchone() == zone
        assert again.execute("SHOW extra_float_digits").fetchone() == ("1",)
        assert again.execute("SELECT to_regclass('left_over')").fetchone() == (None,)


def test_statements_that_the_driver_prepared_are_there_still(server: Server) -> None:
    with spares.kept():
        for _ in range(3):
            connection = server.connect()
            for number in range(10):
                assert connection.execute("SELECT %s::int", [number]).fetchone() == (number,)
            server.done(connection)


def test_a_transaction_that_was_left_open_is_never_handed_on(server: Server, sql: psycopg.Connection[Any]) -> None:
    sql.execute("CREATE TABLE t (i int)")
    with spares.kept():
        broken = server.connect(autocommit=False)
        broken.execute("INSERT INTO t VALUES (1)")
        process = broken.info.backend_pid
        server.done(broken)
        assert broken.closed
        assert server.connect().info.backend_pid != process
    assert sql.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_spare_connection_that_the_server_closed_is_replaced(server: Server, sql: psycopg.Connection[Any]) -> None:
    with spares.kept():
        first = server.connect()
        server.done(first)
        sql.execute("SELECT pg_terminate_backend(%s, 5000)", [first.info.backend_pid])
        assert server.connect().execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_was_idle_for_long_is_not_trusted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with spares.kept():
        first = server.connect()
        server.done(first)
        monkeypatch.setattr(spares, "IDLE_SECONDS", 0.0)
        second = server.connect()
        assert first.closed
        assert not second.closed


def test_no_lock_of_its_last_use_stays_with_a_connection(server: Server, sql: psycopg.Connection[Any]) -> None:
    with spares.kept():
        first = server.connect()
        first.execute("SELECT pg_advisory_lock(4711)")
        server.done(first)
        assert not first.closed
        assert sql.execute("SELECT pg_try_advisory_lock(4711)").fetchone() == (True,)


def test_a_target_that_lost_its_idle_connection_goes_on_with_another(postgres_database: str, sql: psycopg.Connection[Any]) -> None:
    """The launcher holds one while the pipeline runs, perhaps for hours: servers, poolers and firewalls end such connections."""
    from beam_pipelines.io.connections import Connections
    from beam_pipelines.io.postgres.target import PostgresTarget

    target = PostgresTarget(Connections(environ={"BEAM_PIPELINES_CONNECTION_T": postgres_database}).get("t"))
    assert target.describe("missing") is None
    ended = sql.execute("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'beam_pipelines'")
    assert ended.fetchone() == (1,)
    sql.execute("CREATE TABLE t (id int PRIMARY KEY)")
    described = target.describe("t")
    assert described is not None
    assert described.primary_key == ("id",)
    target.close()
