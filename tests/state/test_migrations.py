from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import inspect, text

from beam_pipelines.errors import SpecError
from beam_pipelines.state import StateStore
from beam_pipelines.state.database import Database
from beam_pipelines.state.migrations import STEPS
from beam_pipelines.state.tables import metadata


def test_a_new_store_has_the_tables_that_queries_expect(store: StateStore) -> None:
    database = store._database
    found = inspect(database.engine)
    assert {table.name for table in metadata.tables.values()} == set(found.get_table_names(schema=database.schema))
    for table in metadata.tables.values():
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name, schema=database.schema)}
        assert columns.keys() == {column.name for column in table.columns}
        assert {name for name, nullable in columns.items() if not nullable} >= {
            column.name for column in table.columns if not column.nullable and not column.primary_key
        }
        assert found.get_pk_constraint(table.name, schema=database.schema)["constrained_columns"] == [
            column.name for column in table.primary_key.columns
        ]


def test_opening_again_changes_nothing_and_the_store_keeps_its_id(store_url: str, open_store: Callable[..., StateStore]) -> None:
    first = open_store(store_url)
    second = open_store(store_url)
    assert first.id == second.id
    with second._database.read() as connection:
        versions = connection.execute(text(second._database.ddl("SELECT version FROM {s}schema_version"))).scalars().all()
    assert versions == list(range(1, len(STEPS) + 1))


def test_two_stores_have_different_ids(open_store: Callable[..., StateStore], tmp_path: Any) -> None:
    assert open_store(f"{tmp_path}/a.db").id != open_store(f"{tmp_path}/b.db").id


def test_a_store_that_is_newer_than_the_code_is_refused(store_url: str, open_store: Callable[..., StateStore]) -> None:
    database = open_store(store_url)._database
    with database.write() as connection:
        newer = "INSERT INTO {s}schema_version (version, store, applied_at) VALUES (99, 'x', '2030-01-01T00:00:00.000000+00:00')"
        connection.execute(text(database.ddl(newer)))
    with pytest.raises(SpecError, match=r"has schema version 99, this version of beam-pipelines knows .*upgrade beam-pipelines") as caught:
        open_store(store_url)
    assert caught.value.exit_code == 2


def test_tables_of_somebody_else_are_refused_and_left_alone(store_url: str, open_store: Callable[..., StateStore]) -> None:
    database = Database(store_url)
    with database.write() as connection:
        if database.schema:
            connection.execute(text("CREATE SCHEMA beam_pipelines"))
        connection.execute(text(database.ddl("CREATE TABLE {s}events (mine TEXT)")))
    with pytest.raises(SpecError, match=r"tables that are not ours \(events\)"):
        open_store(store_url)
    assert inspect(database.engine).get_table_names(schema=database.schema) == ["events"]
    database.close()


def test_a_step_that_fails_leaves_nothing_behind(store_url: str, open_store: Callable[..., StateStore], monkeypatch: Any) -> None:
    broken = (*STEPS, ("CREATE TABLE {s}half (a TEXT)", "CREATE TABLE {s}half (a TEXT)"))
    monkeypatch.setattr("beam_pipelines.state.migrations.STEPS", broken)
    with pytest.raises(Exception, match="half"):
        open_store(store_url)
    monkeypatch.undo()
    database = open_store(store_url)._database
    assert "half" not in inspect(database.engine).get_table_names(schema=database.schema)


def test_processes_that_open_a_new_store_at_once_make_it_once(store_url: str, child: Callable[..., Any]) -> None:
    children = [child("open", store_url) for _ in range(4)]
    assert [one.hear() for one in children] == ["ready"] * 4
    for one in children:
        one.say("go")
    assert len({one.end().strip() for one in children}) == 1


def test_on_postgresql_the_tables_stay_out_of_the_users_schema(postgres_database: str, open_store: Callable[..., StateStore]) -> None:
    database = open_store(postgres_database)._database
    assert inspect(database.engine).get_table_names(schema="public") == []


def test_a_store_of_every_older_version_is_brought_up_to_date_with_what_is_in_it(
    store_url: str, open_store: Callable[..., StateStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_pipelines.state.migrations.STEPS", STEPS[:1])
    database = open_store(store_url)._database
    with database.write() as connection:
        alert = "INSERT INTO {s}alerts VALUES ('e1', 'customers', 'r1', 'high', 'many', 101, '2026-03-01T09:00:00.000000+00:00')"
        connection.execute(text(database.ddl(alert)))
        columns = "run, service, name, kind, status, started_at, records_extracted, records_transformed, records_loaded, bytes_processed,"
        columns += " errors, records_filtered, records_rejected, records_dead_lettered, event_sequence"
        values = "'r1', 'customers', 'Customers', 'etl', 'success', '2026-03-01T09:00:00.000000+00:00', 9, 8, 7, 6, 5, 4, 3, 2, 1"
        connection.execute(text(database.ddl(f"INSERT INTO {{s}}executions ({columns}) VALUES ({values})")))
    monkeypatch.undo()
    store = open_store(store_url)
    assert [(one.run, one.failures, one.incident) for one in store.alerts()] == [("r1", 101, None)]
    (run,) = store.executions()
    assert (run.metrics.records_loaded, run.metrics.records_dead_lettered, run.metrics.records_inserted) == (7, 2, 0)
