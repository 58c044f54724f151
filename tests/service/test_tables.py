"""`tables:`: many tables in one run, each with a watermark, a ledger row and a transaction of its own."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.errors import PlanError

Desk = Any

SALES = (
    "CREATE SCHEMA crm",
    "CREATE SCHEMA shop",
    "CREATE TABLE crm.customers (id bigint PRIMARY KEY, name text, updated_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    "CREATE TABLE crm.notes (customer bigint, line int, body text, updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),"
    " PRIMARY KEY (customer, line))",
    "CREATE TABLE crm.countries (code char(2) PRIMARY KEY, label varchar(40), population numeric(12,0),"
    " updated_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    "CREATE TABLE shop.orders (number text PRIMARY KEY, total numeric(10,2), updated_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    "INSERT INTO crm.customers SELECT i, 'customer ' || i FROM generate_series(1, 40) i",
    "INSERT INTO crm.notes SELECT i, j, 'note ' || i || '.' || j FROM generate_series(1, 40) i, generate_series(1, 2) j",
    "INSERT INTO crm.countries VALUES ('CH', 'Switzerland', 8900000), ('FR', 'France', 68000000)",
    "INSERT INTO shop.orders SELECT 'A' || i, i * 1.5 FROM generate_series(1, 10) i",
)
CURSOR = {"column": "updated_at"}


@pytest.fixture
def crm(desk: Desk, postgres_database: str) -> Desk:
    """Four tables of two schemas on PostgreSQL; the target is a DuckDB file."""
    desk.connect(source=postgres_database)
    desk.postgres(postgres_database, *SALES)
    desk.etl({"tables": ["crm.*"], "cursor": CURSOR}, {"table": "raw_{table}", "mode": "upsert"})
    return desk


def ledger(desk: Desk) -> dict[str, list[tuple[Any, ...]]]:
    """Ledger rows by load: (status, generation) in the order of their runs."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for load, status, generation in desk.duckdb(
        "target.duckdb", 'SELECT "load", status, generation FROM _beam_pipelines_loads ORDER BY "load", prepared_at'
    ):
        found.setdefault(load, []).append((status, generation))
    return found


def test_every_table_of_a_schema_is_loaded_under_its_own_name(crm: Desk) -> None:
    record = crm.ran()
    counts = {
        table: crm.duckdb("target.duckdb", f"SELECT count(*) FROM {table}")[0][0]
        for table in ("raw_customers", "raw_notes", "raw_countries")
    }
    assert counts == {"raw_customers": 40, "raw_notes": 80, "raw_countries": 2}
    assert record["metrics"]["recordsLoaded"] == 122
    assert crm.duckdb("target.duckdb", "SELECT label, population FROM raw_countries WHERE code = 'FR'") == [("France", 68000000)]
    assert crm.duckdb("target.duckdb", "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE '%orders%'") == [(0,)]
    # Each has a ledger row, a generation and a watermark of its own.
    assert ledger(crm) == {"raw_countries": [("committed", 0)], "raw_customers": [("committed", 0)], "raw_notes": [("committed", 0)]}
    newest = {
        f"raw_{table}": crm.postgres(crm.connections["source"], f"SELECT max(updated_at) FROM crm.{table}")[0][0]
        for table in ("customers", "notes", "countries")
    }
    with crm.store() as store:
        marks = {mark.table: (mark.value, mark.generation) for mark in store.watermarks("desk")}
    assert set(marks) == set(newest)
    assert {generation for _, generation in marks.values()} == {1}
    for table, moment in newest.items():
        assert moment.strftime("%H:%M:%S.%f") in str(marks[table][0])
    # The record has the phases of each table.
    assert [step["table"] for step in record["steps"] if step["phase"] == "load"] == ["raw_countries", "raw_customers", "raw_notes"]


def test_an_increment_reads_each_table_from_its_own_watermark(crm: Desk) -> None:
    crm.ran()
    crm.postgres(
        crm.connections["source"],
        "INSERT INTO crm.countries VALUES ('IT', 'Italy', 59000000)",
        "UPDATE crm.notes SET body = 'changed', updated_at = clock_timestamp() WHERE customer = 7",
        "INSERT INTO crm.notes VALUES (41, 1, 'new')",
    )
    record = crm.ran()
    assert record["metrics"]["recordsExtracted"] == 4
    by_table = {step["table"]: step["loaded"] for step in record["steps"] if step["phase"] == "load"}
    assert by_table == {"raw_countries": 1, "raw_customers": 0, "raw_notes": 3}
    assert crm.duckdb("target.duckdb", "SELECT count(*) FILTER (body = 'changed'), count(*) FROM raw_notes") == [(2, 81)]
    assert crm.ran()["metrics"]["recordsExtracted"] == 0


def test_one_table_that_fails_does_not_hold_up_the_others(crm: Desk) -> None:
    crm.ran()
    crm.duckdb("target.duckdb", "ALTER TABLE raw_notes ALTER COLUMN body SET NOT NULL")
    url = crm.connections["source"]
    crm.postgres(
        url,
        "INSERT INTO crm.customers VALUES (41, 'forty-one')",
        "INSERT INTO crm.notes VALUES (41, 1, NULL), (41, 2, 'good')",
        "INSERT INTO crm.countries VALUES ('IT', 'Italy', 59000000)",
    )
    with crm.store() as store:
        before = {mark.table: mark.value for mark in store.watermarks("desk")}
    failed = crm.run()
    assert (failed.exit_code, failed.execution.status, failed.execution.error_code) == (1, "failed", "target-refused")
    assert "raw_notes" in failed.execution.error
    assert crm.duckdb("target.duckdb", "SELECT count(*) FROM raw_customers") == [(41,)]
    assert crm.duckdb("target.duckdb", "SELECT count(*) FROM raw_notes") == [(80,)]
    assert crm.duckdb("target.duckdb", "SELECT count(*) FROM raw_countries") == [(3,)]
    assert failed.to_json()["charge"] is None, "a run that failed is not charged"
    with crm.store() as store:
        after = {mark.table: mark.value for mark in store.watermarks("desk")}
    assert {table for table in after if after[table] != before[table]} == {"raw_customers", "raw_countries"}
    # Mended, the next run loads what is left, once.
    crm.postgres(url, "UPDATE crm.notes SET body = 'mended', updated_at = clock_timestamp() WHERE body IS NULL")
    record = crm.ran()
    assert record["metrics"]["recordsExtracted"] == 2
    assert crm.duckdb("target.duckdb", "SELECT count(*) FROM raw_notes") == [(82,)]
    assert ledger(crm)["raw_notes"] == [("committed", 0), ("failed", 1), ("committed", 1)]
    assert ledger(crm)["raw_customers"] == [("committed", 0), ("committed", 1), ("committed", 2)]


def test_a_table_that_is_created_later_is_loaded_from_its_beginning(crm: Desk) -> None:
    crm.ran()
    crm.postgres(
        crm.connections["source"],
        "CREATE TABLE crm.tags (id int PRIMARY KEY, tag text, updated_at timestamptz DEFAULT clock_timestamp())",
        "INSERT INTO crm.tags SELECT i, 'tag ' || i FROM generate_series(1, 5) i",
        "DROP TABLE crm.countries",
    )
    record = crm.ran()
    assert record["metrics"]["recordsExtracted"] == 5
    assert crm.duckdb("target.duckdb", "SELECT count(*) FROM raw_tags") == [(5,)]
    assert crm.duckdb("target.duckdb", "SELECT count(*) FROM raw_countries") == [(2,)], "what a dropped table gave stays"


@pytest.mark.no_bundle
def test_tables_of_two_schemas_with_one_name_collide_before_anything_is_read(crm: Desk) -> None:
    crm.postgres(crm.connections["source"], "CREATE TABLE shop.notes (id int PRIMARY KEY, updated_at timestamptz)")
    crm.etl({"tables": ["crm.*", "shop.*"], "cursor": CURSOR}, {"table": "{table}", "mode": "upsert"})
    with pytest.raises(PlanError, match=r"'crm.notes' and 'shop.notes' would both be loaded into 'notes'"):
        crm.run()


@pytest.mark.no_bundle
def test_several_tables_need_a_place_for_the_name_in_the_target(crm: Desk) -> None:
    crm.etl({"tables": ["crm.*"], "cursor": CURSOR}, {"table": "all", "mode": "upsert"})
    with pytest.raises(PlanError, match=r"would both be loaded into .all.; write it with \{table\} in it"):
        crm.run()


@pytest.mark.no_bundle
def test_a_cursor_that_one_of_the_tables_lacks_is_refused_with_the_name_of_the_table(crm: Desk) -> None:
    crm.postgres(crm.connections["source"], "CREATE TABLE crm.fixed (id int PRIMARY KEY)")
    with pytest.raises(PlanError, match=r"'updated_at'.*crm\.fixed"):
        crm.run()


def test_tables_of_a_sqlite_file_by_a_star(desk: Desk) -> None:
    desk.sqlite(
        "source.db",
        "CREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT)",
        "CREATE TABLE b (id INTEGER PRIMARY KEY, y REAL)",
        "INSERT INTO a VALUES (1, 'one'), (2, 'two')",
        "INSERT INTO b VALUES (1, 1.5)",
    )
    desk.etl({"tables": ["*"]}, {"table": "{table}", "mode": "replace"})
    record = desk.ran()
    assert record["metrics"]["recordsLoaded"] == 3
    assert desk.duckdb("target.duckdb", "SELECT * FROM a ORDER BY id") == [(1, "one"), (2, "two")]
    assert desk.duckdb("target.duckdb", "SELECT * FROM b") == [(1, 1.5)]
    desk.sqlite("source.db", "DELETE FROM b")
    failed = desk.run()
    assert (failed.exit_code, failed.execution.error_code) == (1, "empty-source")
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM b") == [(1,)]


@pytest.mark.no_bundle
def test_a_pattern_of_nothing_names_what_is_there(desk: Desk) -> None:
    desk.sqlite("source.db", "CREATE TABLE customers (id INTEGER PRIMARY KEY)")
    desk.etl({"tables": ["custmer*"]}, {"table": "{table}", "mode": "replace"})
    with pytest.raises(PlanError, match=r"matches 'custmer\*', got none .*'customers'"):
        desk.run()


def test_each_table_has_the_guarantee_of_its_own_cursor(crm: Desk) -> None:
    """Two kinds of stamp: one with a zone, one without, which rests on more."""
    crm.postgres(crm.connections["source"], "ALTER TABLE crm.notes ALTER updated_at TYPE timestamp USING updated_at AT TIME ZONE 'UTC'")
    plan = crm.service.plan()
    zoned, zoneless = plan.promises
    assert (zoned.loads, zoneless.loads) == (("raw_countries", "raw_customers"), ("raw_notes",))
    assert {one.guarantee.level for one in plan.promises} == {"exactly-once"}
    assert not any("time zone" in reason for reason in zoned.guarantee.reasons)
    assert any("time zone" in reason for reason in zoneless.guarantee.reasons)
    assert [one["tables"] for one in plan.to_json()["guarantees"]] == [["raw_countries", "raw_customers"], ["raw_notes"]]
    record = crm.ran()
    assert record["guarantee"] == f"{zoned}\n{zoneless}"
    assert record["guarantee"].startswith("exactly-once for raw_countries, raw_customers: ")


@pytest.mark.no_bundle
def test_tables_with_the_same_guarantee_are_told_in_one_line(crm: Desk) -> None:
    (promise,) = crm.service.plan().promises
    assert promise.level == "exactly-once for raw_countries, raw_customers, raw_notes"
