"""Somebody changed the target by hand between two runs: a clear choice or a mended table, and nothing lost without a word."""

from __future__ import annotations

import builtins
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.local import run_here
from beam_pipelines.errors import PlanError
from beam_pipelines.runs.context import VARIABLE, RunContext
from beam_pipelines.state import Execution

pytestmark = pytest.mark.long

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


TARGETS = {"duckdb": "target.duckdb", "sqlite": "target.db"}


@pytest.fixture(scope="module")
def first_loads(tmp_path_factory: pytest.TempPathFactory, postgres_server: Any) -> Iterator[Callable[[Desk, str], Desk]]:
    """The same desk after its first load into a kind of target: made once, with every bundle once and twice, and copied by each test."""
    made: dict[tuple[str, tuple[str, ...]], Desk] = {}

    def make(desk: Desk, system: str) -> Desk:
        key = system, desk.options
        if key not in made:
            first = replace(desk, folder=tmp_path_factory.mktemp("first"), connections={})
            if system == "postgresql":
                database = f"first_{uuid.uuid4().hex[:12]}"
                desk.postgres(postgres_server.url(), f"CREATE DATABASE {database}")
            first.connect(source="source.db", target=TARGETS.get(system) or postgres_server.url(database))
            first.sqlite(
                "source.db",
                "CREATE TABLE c (id INTEGER PRIMARY KEY, name TEXT, n INTEGER, updated_at TIMESTAMP)",
                "INSERT INTO c SELECT value, 'n' || value, value, datetime('now', '-1000 seconds') FROM json_each('[1,2,3,4,5]')",
            )
            first.etl({"query": "SELECT * FROM c WHERE updated_at > ?", "incremental": True}, {"table": "c", "mode": "upsert"})
            first.ran()
            made[key] = first
        return made[key]

    yield make
    for (system, _), first in made.items():
        if system == "postgresql":
            first.postgres(postgres_server.url(), f"DROP DATABASE {first.connections['target'].rpartition('/')[2]} WITH (FORCE)")


@pytest.fixture(params=["duckdb", "postgresql", "sqlite"])
def loaded(request: pytest.FixtureRequest, desk: Desk, first_loads: Callable[[Desk, str], Desk], postgres_server: Any) -> Iterator[Changed]:
    system, first = request.param, first_loads(desk, request.param)
    shutil.copytree(first.folder, desk.folder, dirs_exist_ok=True)
    if system != "postgresql":
        file = TARGETS[system]
        desk.connect(target=file)
        yield Changed(desk, lambda *sql: getattr(desk, system)(file, *sql))
        return
    admin, database = postgres_server.url(), f"t_{uuid.uuid4().hex[:12]}"
    like = first.connections["target"].rpartition("/")[2]
    desk.postgres(admin, f"CREATE DATABASE {database} TEMPLATE {like} STRATEGY file_copy")
    url = postgres_server.url(database)
    desk.connect(target=url)
    yield Changed(desk, lambda *sql: desk.postgres(url, *sql))
    desk.postgres(admin, f"DROP DATABASE {database} WITH (FORCE)")


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


def test_a_target_table_that_is_dropped_while_a_run_reads_stops_that_run(loaded: Changed, monkeypatch: pytest.MonkeyPatch) -> None:
    # A new table would hold what the run read and nothing else, and every later run would add to that.
    dropped: list[Any] = []
    monkeypatch.setattr(builtins, "drop_once", lambda: dropped or dropped.append(loaded.target("DROP TABLE c")), raising=False)
    loaded.desk.functions("import builtins\n\n\ndef same(row: dict):\n    builtins.drop_once()\n    return row\n")
    loaded.desk.etl(
        {"query": "SELECT * FROM c WHERE updated_at > ?", "incremental": True},
        {"table": "c", "mode": "upsert", "keyFields": ["id"]},
        [{"id": "same", "type": "function", "output": {"id": "bigint", "name": "text", "n": "bigint", "updated_at": "timestamp"}}],
    )
    loaded.change()
    stopped = loaded.desk.run()
    assert dropped
    assert (stopped.exit_code, stopped.execution.error_code) == (1, "table-missing")
    assert "--full-refresh" in stopped.execution.error
    assert loaded.desk.ran(full_refresh=True)["metrics"]["recordsLoaded"] == 6
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == AFTER


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


def test_rows_deleted_from_the_target_come_back_only_when_the_source_changes_them(loaded: Changed) -> None:
    loaded.target("DELETE FROM c WHERE id IN (2, 3)")
    loaded.change()
    loaded.desk.ran()
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == [row for row in AFTER if row[0] != 3]


def remade(loaded: Changed, columns: str) -> None:
    """The target's table as somebody else made it, with the rows it had."""
    loaded.target(
        "ALTER TABLE c RENAME TO old",
        f"CREATE TABLE c ({columns}, n BIGINT, updated_at TIMESTAMP)",
        "INSERT INTO c SELECT * FROM old",
        "DROP TABLE old",
    )


def test_a_primary_key_that_was_removed_leaves_the_rows_their_key(loaded: Changed) -> None:
    remade(loaded, "id BIGINT, name VARCHAR(40)")
    loaded.change()
    loaded.desk.ran()
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == AFTER


def test_another_primary_key_stops_the_next_run_with_a_choice(loaded: Changed) -> None:
    remade(loaded, "id BIGINT, name VARCHAR(40) PRIMARY KEY")
    loaded.change()
    stopped = loaded.desk.run()
    assert (stopped.exit_code, stopped.execution.error_code) == (2, "key-missing")
    assert "named by id so far, and would be by name now" in stopped.execution.error
    loaded.desk.ran(keep_watermark=True)
    assert loaded.desk.ran()["metrics"]["recordsLoaded"] == 0
    # Both 1 and 2 are called `changed` now, and the newer of equals is the later one.
    assert loaded.target("SELECT name, id FROM c ORDER BY name, id")[0] == ("changed", 2)


def test_a_key_column_that_was_dropped_stops_the_next_run(loaded: Changed) -> None:
    loaded.target("ALTER TABLE c RENAME TO old", "CREATE TABLE c AS SELECT name, n, updated_at FROM old", "DROP TABLE old")
    loaded.change()
    stopped = loaded.desk.run()
    assert (stopped.exit_code, stopped.execution.error_code) == (2, "key-missing")
    assert "'c' has no column 'id'" in stopped.execution.error
    assert loaded.target("SELECT count(*) FROM c") == [(5,)]


@pytest.mark.parametrize("which", ["_beam_pipelines_heads", "_beam_pipelines_loads"])
def test_a_ledger_table_that_was_dropped(loaded: Changed, which: str) -> None:
    loaded.target(f"DROP TABLE {which}")
    loaded.change()
    if which == "_beam_pipelines_heads":
        with pytest.raises(PlanError, match="knows commit 1 of 'c', the target's ledger only 0"):
            loaded.desk.run()
    # The other holds nothing that a later run needs.
    loaded.desk.ran(full_refresh=which == "_beam_pipelines_heads")
    assert loaded.target("SELECT id, name FROM c ORDER BY id") == AFTER


# Parquet: a folder is the table, and its files are the rows.


@pytest.fixture
def filed(desk: Desk) -> Desk:
    """A service that has written five rows into a folder, and has three more to write."""
    desk.sqlite(
        "source.db",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, name TEXT, updated_at TIMESTAMP)",
        "INSERT INTO c SELECT value, 'n' || value, datetime('now', '-1000 seconds') FROM json_each('[1,2,3,4,5]')",
    )
    desk.etl({"query": "SELECT * FROM c WHERE updated_at > ?", "incremental": True}, {})
    definition = json.loads((desk.folder / "service.json").read_text())
    definition["pipeline"]["destination"] = {"type": "file", "path": "out/c", "format": "parquet"}
    desk.define(definition)
    desk.ran()
    desk.sqlite("source.db", "UPDATE c SET name = 'changed', updated_at = datetime('now', '-10 seconds') WHERE id <= 3")
    return desk


def read(desk: Desk) -> list[tuple[Any, ...]]:
    rows = pq.read_table(desk.folder / "out" / "c", columns=["id", "name"]).to_pylist()
    return sorted((row["id"], row["name"]) for row in rows)


FIRST = [(number, f"n{number}") for number in range(1, 6)]
SECOND = [(number, "changed") for number in range(1, 4)]


def test_a_folder_that_was_removed_stops_the_next_run_with_a_choice(filed: Desk) -> None:
    shutil.rmtree(filed.folder / "out")
    stopped = filed.run()
    assert (stopped.exit_code, stopped.execution.error_code) == (2, "table-missing")
    assert "'out/c' is gone" in stopped.execution.error
    assert not (filed.folder / "out").exists()
    assert filed.ran(full_refresh=True, yes=True)["metrics"]["recordsLoaded"] == 5
    assert read(filed) == sorted([*SECOND, *FIRST[3:]])
    shutil.rmtree(filed.folder / "out")
    assert filed.ran(keep_watermark=True)["metrics"]["recordsLoaded"] == 0


def test_files_that_were_taken_away_are_as_rows_that_were_deleted(filed: Desk) -> None:
    for file in (filed.folder / "out" / "c").glob("*.parquet"):
        file.unlink()
    assert filed.ran()["metrics"]["recordsLoaded"] == 3
    assert read(filed) == SECOND


def test_a_folder_of_which_nothing_arrived_yet_is_there_all_the_same(filed: Desk) -> None:
    """A run of which every row was filtered moves the watermark: the next one must not take that for a folder that was removed."""
    definition = json.loads((filed.folder / "service.json").read_text())
    definition["id"] = "other"
    definition["pipeline"]["destination"]["path"] = "out/other"
    definition["pipeline"]["transformations"] = [{"id": "none", "type": "filter", "condition": "id > 100"}]
    filed.define(definition)
    assert filed.ran()["metrics"]["recordsExtracted"] == 5
    assert list((filed.folder / "out" / "other").iterdir()) == []
    filed.sqlite("source.db", "INSERT INTO c VALUES (101, 'new', datetime('now', '-5 seconds'))")
    assert filed.ran()["metrics"]["recordsLoaded"] == 1


def test_a_file_put_there_by_hand_is_let_alone_whatever_it_is(filed: Desk) -> None:
    folder = filed.folder / "out" / "c"
    pq.write_table(pa.table({"id": ["a"], "more": [1.5]}), folder / "by hand.parquet")
    (folder / "broken.parquet").write_bytes(b"PAR1")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert filed.ran()["metrics"]["recordsLoaded"] == 3
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert len(list(folder.iterdir())) == len(before) + 1


def test_the_type_of_a_column_must_stay_among_the_files(filed: Desk) -> None:
    definition = json.loads((filed.folder / "service.json").read_text())
    definition["pipeline"]["transformations"] = [
        {"id": "text", "type": "map", "unmapped": "keep", "mappings": {"id": {"source": "id", "converter": "string"}}}
    ]
    filed.define(definition)
    stopped = filed.run()
    assert (stopped.exit_code, stopped.execution.error_code) == (2, "schema-changed")
    assert read(filed) == FIRST


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


def test_a_connection_that_was_edited_after_a_run_died_does_not_make_it_lost(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.sqlite("source.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    desk.etl({"table": "t"}, {"table": "t", "mode": "upsert"})
    run = "00000000000a"

    def died(ask: Any, context: RunContext, *_: Any) -> None:
        monkeypatch.setenv(VARIABLE, context.to_text())
        run_here(ask.job, ask.options)
        monkeypatch.delenv(VARIABLE)
        raise SystemExit  # after the commit, before the record

    with monkeypatch.context() as patched:
        patched.setattr("beam_pipelines.engine.launch.run_pipeline", died)
        patched.setattr("beam_pipelines.engine.launch.new_run", lambda: run)
        with pytest.raises(SystemExit):
            desk.run()
    with desk.store() as store:
        assert [(one.run, one.place) for one in store.unfinished("desk")] == [(run, f"duckdb:///{desk.folder / 'target.duckdb'}")]
    desk.connect(target="another.duckdb")
    with pytest.raises(PlanError, match="nobody there knows whether it committed"):
        desk.run()
    desk.connect(target="target.duckdb")
    assert desk.run().settled == (run,)
    with desk.store() as store:
        settled = store.execution(run)
    assert settled is not None
    assert (settled.status, settled.metrics.records_loaded) == ("success", 2)


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
    run_here(Job.of(desk.service.definition, desk.folder), PipelineOptions(list(desk.options)))
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


GENERATED = {
    "sqlite": "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age INTEGER GENERATED ALWAYS AS (id * 2) {kind})",
    "duckdb": "CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR, age BIGINT GENERATED ALWAYS AS (id * 2))",
    "postgresql": "CREATE TABLE people (id bigint PRIMARY KEY, name text, age bigint GENERATED ALWAYS AS (id * 2) STORED)",
}


@pytest.mark.parametrize(("system", "kind"), [("sqlite", "STORED"), ("sqlite", "VIRTUAL"), ("duckdb", ""), ("postgresql", "")])
@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_a_column_that_the_target_computes_is_refused_before_anything_is_read_and_may_be_left_out(
    desk: Desk, request: pytest.FixtureRequest, system: str, kind: str, mode: str
) -> None:
    desk.sqlite(
        "source.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age INTEGER)",
        "INSERT INTO people VALUES (1, 'Ann', 30), (2, 'Bob', 40)",
    )
    create = GENERATED[system].replace("{kind}", kind)
    if system == "sqlite":
        desk.connect(target="target.db")
        desk.sqlite("target.db", create)
    elif system == "duckdb":
        desk.duckdb("target.duckdb", create)
    else:
        url = request.getfixturevalue("postgres_database")
        desk.postgres(url, create)
        desk.connect(target=url)
    destination = {"table": "people", "mode": mode}
    desk.etl({"table": "people"}, destination)
    failed = desk.run()
    assert (failed.exit_code, failed.execution.error_code) == (2, "mode-refused")
    assert "'people' computes 'age' itself, and takes no value for it: leave it out in a map step" in str(failed.error)
    assert failed.execution.metrics.records_extracted == 0
    steps = [{"id": "known", "type": "map", "mappings": {"id": {"source": "id"}, "name": {"source": "name"}}}]
    desk.etl({"table": "people"}, destination, steps)
    desk.ran()
    query = "SELECT id, name, age FROM people ORDER BY id"
    if system == "sqlite":
        rows = desk.sqlite("target.db", query)
    elif system == "duckdb":
        rows = desk.duckdb("target.duckdb", query)
    else:
        rows = desk.postgres(desk.connections["target"], query)
    assert rows == [(1, "Ann", 2), (2, "Bob", 4)]


def test_an_identity_column_that_takes_no_values_is_refused_too(desk: Desk, postgres_database: str) -> None:
    desk.sqlite("source.db", "CREATE TABLE people (id INTEGER PRIMARY KEY)", "INSERT INTO people VALUES (1)")
    desk.connect(target=postgres_database)
    desk.postgres(postgres_database, "CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
    desk.etl({"table": "people"}, {"table": "people", "mode": "insert"})
    assert "'people' computes 'id' itself" in str(desk.run().error)
    desk.postgres(postgres_database, "ALTER TABLE people ALTER id SET GENERATED BY DEFAULT")
    assert desk.ran()["metrics"]["recordsLoaded"] == 1
