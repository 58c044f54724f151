"""Somebody changed the target by hand between two runs: a clear choice or a mended table, and nothing lost without a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.local import run_here
from beam_pipelines.errors import PlanError
from beam_pipelines.runs.context import VARIABLE, RunContext
from beam_pipelines.state import Execution

Desk = Any


@dataclass
class Changed:
    """A service that has loaded five rows, and what its target is asked."""

    desk: Desk
    target: Callable[..., list[tuple[Any, ...]]]

    def change(self) -> None:
        """Change two rows of the source, and add one."""
        self.desk.sqlite(
            "source.db",
            "UPDATE c SET name = 'changed', updated_at = datetime('now', '-10 seconds') WHERE id <= 2",
            "INSERT INTO c VALUES (6, 'n6', 6, datetime('now', '-10 seconds'))",
        )


@pytest.fixture(params=["duckdb", "postgresql", "sqlite"])
def loaded(request: pytest.FixtureRequest, desk: Desk) -> Changed:
    desk.sqlite(
        "source.db",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, name TEXT, n INTEGER, updated_at TIMESTAMP)",
        "INSERT INTO c SELECT value, 'n' || value, value, datetime('now', '-1000 seconds') FROM json_each('[1,2,3,4,5]')",
    )
    desk.etl({"query": "SELECT * FROM c WHERE updated_at > ?", "incremental": True}, {"table": "c", "mode": "upsert"})
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_database")
        desk.connect(target=url)
        made = Changed(desk, lambda *sql: desk.postgres(url, *sql))
    elif request.param == "sqlite":
        desk.connect(target="target.db")
        made = Changed(desk, lambda *sql: desk.sqlite("target.db", *sql))
    else:
        made = Changed(desk, lambda *sql: desk.duckdb("target.duckdb", *sql))
    desk.ran()
    return made


AFTER = [(1, "changed"), (2, "changed"), (3, "n3"), (4, "n4"), (5, "n5"), (6, "n6")]


def test_a_column_dropped_from_the_target_comes_back_for_the_rows_that_come(loaded: Changed) -> None:
    loaded.target("ALTER TABLE c DROP COLUMN name")
    loaded.change()
    loaded.desk.ran()
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == [
        (1, "changed"),
        (2, "changed"),
        (3, None),
        (4, None),
        (5, None),
        (6, "n6"),
    ]


def test_a_target_table_that_was_dropped_stops_the_next_run_with_a_choice(loaded: Changed) -> None:
    loaded.target("DROP TABLE c")
    loaded.change()
    stopped = loaded.desk.run()
    assert (stopped.exit_code, stopped.execution.error_code) == (2, "table-missing")
    assert "--full-refresh" in stopped.execution.error
    assert "--keep-watermark" in stopped.execution.error
    assert loaded.desk.ran(full_refresh=True)["metrics"]["recordsLoaded"] == 6
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == AFTER
    loaded.target("DROP TABLE c")
    assert loaded.desk.ran(keep_watermark=True)["metrics"]["recordsLoaded"] == 0


def test_a_row_edited_in_the_target_stays_until_the_source_changes_it(loaded: Changed) -> None:
    loaded.target("UPDATE c SET name = 'by hand'")
    loaded.change()
    loaded.desk.ran()
    assert [name for (name,) in loaded.target("SELECT name FROM c ORDER BY id")] == ["changed", "changed", *["by hand"] * 3, "n6"]


def test_a_key_that_the_target_holds_twice_stops_the_load_until_it_is_mended(loaded: Changed) -> None:
    loaded.target(
        "CREATE TABLE twice AS SELECT * FROM c",
        "DROP TABLE c",
        "ALTER TABLE twice RENAME TO c",
        "INSERT INTO c SELECT * FROM c WHERE id = 2",
    )
    loaded.change()
    stopped = loaded.desk.run()
    assert (stopped.exit_code, stopped.execution.error_code) == (1, "key-missing")
    assert "several rows with the same id" in stopped.execution.error
    assert loaded.target("SELECT count(*) FROM c WHERE name = 'changed'") == [(0,)]
    loaded.target("DELETE FROM c WHERE id = 2")
    loaded.desk.ran()
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == AFTER


@pytest.mark.parametrize("loaded", ["duckdb", "postgresql"], indirect=True)
def test_a_column_whose_type_was_changed_takes_what_casts_and_refuses_the_rest(loaded: Changed) -> None:
    loaded.target("ALTER TABLE c ALTER COLUMN n TYPE text", "ALTER TABLE c ALTER COLUMN name TYPE varchar")
    loaded.change()
    loaded.desk.ran()
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == AFTER
    assert loaded.target("SELECT n FROM c WHERE id = 6") == [("6",)]
    narrower = "ALTER TABLE c ALTER COLUMN n TYPE smallint USING n::smallint"
    loaded.target(narrower if "postgres" in loaded.desk.connections["target"] else narrower.partition(" USING")[0])
    loaded.desk.sqlite("source.db", "UPDATE c SET n = 100000, updated_at = datetime('now', '-3 seconds') WHERE id = 1")
    stopped = loaded.desk.run()
    assert (stopped.exit_code, stopped.execution.error_code) == (1, "target-refused")
    assert loaded.target("SELECT n FROM c WHERE id = 1") == [(1,)]


@pytest.mark.parametrize("loaded", ["duckdb", "postgresql"], indirect=True)
def test_a_ledger_that_was_sent_elsewhere_stops_the_next_run_until_it_is_moved(loaded: Changed) -> None:
    loaded.desk.etl(
        {"query": "SELECT * FROM c WHERE updated_at > ?", "incremental": True}, {"table": "c", "mode": "upsert", "ledgerSchema": "ops"}
    )
    loaded.change()
    with pytest.raises(PlanError, match="the target was restored, or is another one") as stopped:
        loaded.desk.run()
    assert stopped.value.code == "ledger-behind"
    moved = "postgres" in loaded.desk.connections["target"]
    if moved:
        names = ("_beam_pipelines_loads", "_beam_pipelines_heads")
        loaded.target("CREATE SCHEMA ops", *(f"ALTER TABLE {name} SET SCHEMA ops" for name in names))
    assert loaded.desk.ran(full_refresh=not moved)["metrics"]["recordsLoaded"] == (3 if moved else 6)
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == AFTER


@pytest.mark.parametrize("target", ["target.duckdb", "postgresql"])
def test_dead_letters_removed_before_the_launcher_came_for_them_do_not_keep_the_service_from_starting(
    desk: Desk, postgres_database: str, target: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk.connect(target=postgres_database if target == "postgresql" else target)
    desk.sqlite("source.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)", "INSERT INTO t VALUES (1, 1), (2, 'two'), (3, 3)")
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert"}, errorBudget={"max": "100%"})
    # The run of a launcher that began the record and died before it could take the letters.
    began = datetime.now(timezone.utc)
    with desk.store() as store:
        store.begin(Execution("desk", "00000000000a", began, name="Desk", kind="etl"))
        context = RunContext("00000000000a", began.isoformat(), str(desk.folder / "connections.yaml"), str(desk.folder), store.id)
    monkeypatch.setenv(VARIABLE, context.to_text())
    run_here(Job.of(desk.service.definition, desk.folder))
    monkeypatch.delenv(VARIABLE)
    if target == "postgresql":
        tables = desk.postgres(postgres_database, "SELECT tablename FROM pg_tables WHERE starts_with(tablename, '_bp_')")
        desk.postgres(postgres_database, *(f'DROP TABLE "{name}"' for (name,) in tables))
    else:
        staged = list((desk.folder / "target.duckdb.staging").glob("*.arrow"))
        assert len(staged) == 1
        staged[0].unlink()
    result = desk.run()
    assert (result.exit_code, result.settled) == (0, ("00000000000a",))
    with desk.store() as store:
        settled = store.execution("00000000000a")
    assert settled is not None
    assert (settled.status, settled.metrics.records_loaded, settled.metrics.records_dead_lettered) == ("success", 2, 1)
    assert "1 dead letters are lost" in caplog.text
