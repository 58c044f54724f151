"""Runs of the whole service on every target; what must be true is counted in the CRM and the target by their own clients."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.errors import PlanError

World = Any


def test_the_first_run_copies_everything_and_the_next_reads_nothing(world: World) -> None:
    world.fill(1, 500)
    first = world.service.run()
    assert first.exit_code == 0, first.error
    assert world.source_rows() == world.rows()
    metrics = first.to_json()["metrics"]
    assert tuple(metrics[k] for k in ("recordsExtracted", "recordsTransformed", "recordsLoaded", "recordsDeadLettered")) == (
        500,
        500,
        500,
        0,
    )
    second = world.service.run()
    assert second.exit_code == 0
    assert second.to_json()["metrics"]["recordsExtracted"] == 0
    assert first.to_json()["watermark"] == second.to_json()["watermark"]
    assert world.leftovers() == []


def test_an_increment_takes_what_changed_and_nothing_else(world: World) -> None:
    world.fill(1, 300)
    world.service.run()
    world.crm("UPDATE customers SET name = 'changed', updated_at = datetime('now', '-60 seconds') WHERE id % 100 = 7")
    world.fill(301, 310, seconds_ago=200)
    result = world.service.run()
    assert result.to_json()["metrics"]["recordsExtracted"] == 13
    assert world.source_rows() == world.rows()
    assert world.target("SELECT count(*) FROM customers WHERE name = 'changed'")[0][0] == 3


def test_mode_insert_adds_each_row_once_over_several_runs(world: World) -> None:
    world.write("insert")
    world.fill(1, 100)
    world.service.run()
    world.fill(101, 150, seconds_ago=300)
    world.service.run()
    world.service.run()
    assert world.source_rows() == world.rows()


def test_a_row_of_a_wrong_type_becomes_one_dead_letter_with_its_origin(world: World) -> None:
    world.fill(1, 50)
    world.crm("UPDATE customers SET age = 'unknown' WHERE id = 17")
    result = world.service.run()
    assert result.exit_code == 0
    assert world.source_rows() == world.rows()
    (letter,) = world.letters()
    assert letter["origin"] == {"source": "query", "key": {"id": 17}}
    assert (letter["code"], letter["step"], letter["table"]) == ("cast-failed", "extract", "customers")
    assert letter["record"]["age"] == "unknown"
    assert "age" in letter["error"]
    assert "unknown" not in letter["error"]


def test_duplicate_keys_keep_the_newest_version_and_count_the_rest(world: World) -> None:
    world.crm("CREATE TABLE log (id INTEGER, name TEXT, updated_at TIMESTAMP)")
    for stamp, name in ((30, "middle"), (90, "oldest"), (10, "newest")):
        world.crm("INSERT INTO log VALUES (1, ?, datetime('now', '-' || ? || ' seconds'))", (name, stamp))
    world.write("upsert", keyFields=["id"])
    world.change(("pipeline", "source", "query"), "SELECT * FROM log WHERE updated_at > ?")
    result = world.service.run()
    assert world.target("SELECT id, name FROM customers") == [(1, "newest")]
    assert result.to_json()["metrics"]["recordsLoaded"] == 3


def test_a_null_key_is_a_dead_letter(world: World) -> None:
    world.crm("CREATE TABLE log (id INTEGER, name TEXT, updated_at TIMESTAMP)")
    world.crm("INSERT INTO log VALUES (1, 'a', datetime('now', '-9 seconds')), (NULL, 'b', datetime('now', '-9 seconds'))")
    world.write("upsert", keyFields=["id"])
    world.change(("pipeline", "source", "query"), "SELECT * FROM log WHERE updated_at > ?")
    result = world.service.run()
    assert result.exit_code == 0, result.error
    assert world.target("SELECT id, name FROM customers") == [(1, "a")]
    assert [letter["code"] for letter in world.letters()] == ["key-null"]


def test_an_older_version_never_overwrites_a_newer_one(world: World) -> None:
    world.fill(1, 10)
    world.service.run()
    later = "TIMESTAMPTZ '2999-01-01 00:00:00Z'" if world.system == "postgresql" else "'2999-01-01 00:00:00'"
    world.target(f"UPDATE customers SET name = 'from the future', updated_at = {later} WHERE id = 3")
    world.crm("UPDATE customers SET name = 'late', updated_at = datetime('now', '-5 seconds')")
    world.service.run()
    assert world.target("SELECT id, name FROM customers WHERE name <> 'late'") == [(3, "from the future")]


def test_whole_table_replace_leaves_exactly_the_source(world: World) -> None:
    world.fill(1, 40)
    world.write("replace")
    world.change(("pipeline", "source"), {"type": "database", "connection": "crm", "table": "customers"})
    world.service.run()
    world.crm("DELETE FROM customers WHERE id > 25")
    assert world.service.run().exit_code == 0
    assert world.source_rows() == world.rows()


def test_an_empty_source_does_not_empty_the_table_unless_asked(world: World) -> None:
    world.fill(1, 5)
    world.write("replace")
    world.change(("pipeline", "source"), {"type": "database", "connection": "crm", "table": "customers"})
    world.service.run()
    world.crm("DELETE FROM customers")
    refused = world.service.run()
    assert (refused.exit_code, refused.to_json()["errorCode"]) == (1, "empty-source")
    assert len(world.rows()) == 5
    world.change(("pipeline", "destination", "allowEmpty"), True)
    assert world.service.run().exit_code == 0
    assert world.rows() == []


def test_replace_with_keys_replaces_whole_rows(world: World) -> None:
    world.fill(1, 10)
    world.service.run()
    world.target("ALTER TABLE customers ADD COLUMN note TEXT")
    world.target("UPDATE customers SET note = 'by hand'")
    world.write("replace", keyFields=["id"])
    world.crm("UPDATE customers SET updated_at = datetime('now', '-5 seconds') WHERE id <= 4")
    assert world.service.run().exit_code == 0
    assert world.target("SELECT count(*) FROM customers WHERE note = 'by hand'") == [(6,)]
    assert world.source_rows() == world.rows()


def test_a_full_refresh_reads_everything_again(world: World) -> None:
    world.fill(1, 20)
    world.service.run()
    result = world.service.run(full_refresh=True)
    assert result.to_json()["metrics"]["recordsExtracted"] == 20
    assert world.source_rows() == world.rows()


def test_a_full_refresh_of_an_insert_service_needs_a_yes_and_replaces_the_table(world: World) -> None:
    world.write("insert")
    world.fill(1, 20)
    world.service.run()
    with pytest.raises(PlanError, match="--yes"):
        world.service.run(full_refresh=True)
    assert world.service.run(full_refresh=True, yes=True).exit_code == 0
    assert world.source_rows() == world.rows()


def test_a_changed_query_stops_until_the_user_chooses(world: World) -> None:
    world.fill(1, 20)
    world.service.run()
    world.change(("pipeline", "source", "query"), "SELECT * FROM customers WHERE updated_at > ? AND id > 0")
    stopped = world.service.run()
    assert (stopped.exit_code, stopped.to_json()["errorCode"]) == (2, "fingerprint-changed")
    assert world.service.run(keep_watermark=True).exit_code == 0
    assert world.service.run().exit_code == 0


def test_a_new_column_of_the_source_is_added_to_the_target(world: World) -> None:
    world.fill(1, 5)
    world.service.run()
    world.crm("ALTER TABLE customers ADD COLUMN city TEXT")
    world.crm("UPDATE customers SET city = 'Bern', updated_at = datetime('now', '-5 seconds') WHERE id = 2")
    assert world.service.run().exit_code == 0
    assert world.target("SELECT id, city FROM customers WHERE city IS NOT NULL") == [(2, "Bern")]


def test_a_frozen_schema_refuses_a_new_column_before_anything_is_read(world: World) -> None:
    world.write(schema="freeze")
    world.fill(1, 5)
    world.service.run()
    world.crm("ALTER TABLE customers ADD COLUMN city TEXT")
    refused = world.service.run()
    assert (refused.exit_code, refused.to_json()["errorCode"]) == (2, "schema-frozen")


def test_a_column_dropped_from_the_source_is_null_in_new_rows(world: World) -> None:
    world.fill(1, 5)
    world.service.run()
    world.crm("ALTER TABLE customers DROP COLUMN email")
    world.crm("INSERT INTO customers (id, name, age, amount, updated_at) VALUES (6, 'six', 6, 6, datetime('now', '-5 seconds'))")
    assert world.service.run().exit_code == 0
    assert world.target("SELECT id, email FROM customers WHERE email IS NULL") == [(6, None)]


def test_dead_letters_and_counts_are_right_whatever_is_executed_twice(world: World) -> None:
    world.fill(1, 200)
    world.crm("UPDATE customers SET age = 'unknown' WHERE id = 17")
    world.write("insert")
    result = world.service.run()
    assert result.exit_code == 0, result.error
    assert world.source_rows() == world.rows()
    assert tuple(result.to_json()["metrics"][k] for k in ("recordsExtracted", "recordsLoaded", "recordsDeadLettered")) == (200, 199, 1)
    assert len(world.letters()) == 1
    assert world.leftovers() == []


@pytest.mark.parametrize("system", ["duckdb", "postgresql", "sqlite"])
def test_two_worker_processes_give_the_same(worlds: Any, system: str) -> None:
    world = worlds(system)
    world.fill(1, 200)
    result = world.service.run(options=["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    assert result.exit_code == 0, result.error
    assert world.source_rows() == world.rows()


def test_a_run_above_its_error_budget_loads_nothing_and_keeps_its_dead_letters(world: World) -> None:
    world.fill(1, 20)
    world.crm("UPDATE customers SET age = 'x' WHERE id <= 3")
    world.change(("errorBudget",), {"max": 2})
    failed = world.service.run()
    assert (failed.exit_code, failed.to_json()["errorCode"]) == (1, "budget-exceeded")
    assert len(world.letters()) == 3
    assert failed.to_json()["charge"] is None
    world.change(("errorBudget",), {"max": 2, "onExceed": "warn"})
    warned = world.service.run()
    assert (warned.exit_code, warned.execution.status) == (3, "success")
    assert world.source_rows() == world.rows()


def test_a_refused_row_stops_the_load_or_becomes_a_dead_letter(world: World) -> None:
    world.target(
        "CREATE TABLE customers (id BIGINT PRIMARY KEY, name TEXT, email TEXT, age BIGINT CHECK (age < 80),"
        " amount DOUBLE PRECISION, updated_at TIMESTAMP)"
    )
    world.fill(1, 200)
    bad = world.crm("SELECT count(*) FROM customers WHERE age >= 80")[0][0]
    stopped = world.service.run()
    assert (stopped.exit_code, stopped.to_json()["errorCode"]) == (1, "target-refused")
    assert world.rows() == []
    world.change(("pipeline", "destination", "errorHandling"), "continue")
    world.change(("errorBudget",), {"max": "50%"})
    result = world.service.run()
    assert result.exit_code == 0, result.error
    assert [row for row in world.source_rows() if row[3] < 80] == world.rows()
    assert bad == len(world.letters()) == result.to_json()["metrics"]["recordsDeadLettered"]
    assert {"target-refused"} == {letter["code"] for letter in world.letters()}


def test_the_charge_is_computed_once_a_successful_run_and_an_empty_one_pays_the_minimum(world: World) -> None:
    world.fill(1, 50)
    world.service.run(customer="acme")
    world.service.run(customer="acme")
    with world.store() as store:
        charges = store.charges("customers")
    assert [f"{charge.amount:.2f}" for charge in charges] == ["0.10", "0.10"]


def test_a_target_restored_to_an_older_state_stops_with_a_choice(duck: World) -> None:
    import shutil

    duck.fill(1, 10)
    duck.service.run()
    shutil.copy(duck.folder / "target.duckdb", duck.folder / "backup")
    duck.fill(11, 20, seconds_ago=300)
    duck.service.run()
    shutil.copy(duck.folder / "backup", duck.folder / "target.duckdb")
    with pytest.raises(PlanError, match="restored") as stopped:
        duck.service.run()
    assert stopped.value.code == "ledger-behind"
    assert duck.service.run(keep_watermark=True).exit_code == 0
    assert duck.source_rows() == duck.rows()
    assert duck.service.run().exit_code == 0


def test_an_empty_source_behind_a_sampled_function_is_an_empty_run_without_a_table(duck: World) -> None:
    (duck.folder / "functions.py").write_text("def double(row: dict):\n    return {**row, 'twice': row['age'] * 2}\n")
    duck.write(steps=[{"id": "double", "type": "function"}])
    empty = duck.service.run()
    assert (empty.exit_code, empty.to_json()["metrics"]["recordsExtracted"]) == (0, 0)
    assert duck.target("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'customers'") == [(0,)]
    duck.fill(1, 10)
    assert duck.service.run().exit_code == 0
    assert duck.target("SELECT sum(twice) FROM customers") == [(sum(2 * i for i in range(1, 11)),)]


def test_a_replace_whose_every_row_died_leaves_the_table_as_it_was(world: World) -> None:
    world.fill(1, 20)
    world.write("replace")
    world.change(("pipeline", "source"), {"type": "database", "connection": "crm", "table": "customers"})
    world.service.run()
    before = world.rows()
    world.crm("UPDATE customers SET age = 'unknown'")
    refused = world.service.run()
    assert (refused.exit_code, refused.to_json()["errorCode"]) == (1, "empty-source")
    assert "none of the 20 rows read arrived" in str(refused.to_json()["error"])
    assert world.rows() == before


def test_a_trigger_that_drops_rows_without_a_word_stops_the_load(worlds: Any) -> None:
    world = worlds("sqlite")
    world.write("insert")
    world.target("CREATE TABLE customers (id INTEGER, name TEXT, email TEXT, age INTEGER, amount REAL, updated_at TIMESTAMP)")
    world.target("CREATE TRIGGER drops BEFORE INSERT ON customers WHEN NEW.id % 2 = 0 BEGIN SELECT RAISE(IGNORE); END")
    world.fill(1, 20)
    failed = world.service.run()
    assert (failed.exit_code, failed.to_json()["errorCode"]) == (1, "unbalanced")
    assert world.rows() == []
    world.target("DROP TRIGGER drops")
    assert world.service.run().exit_code == 0
    assert world.source_rows() == world.rows()


def test_a_column_of_less_precision_is_counted_right(worlds: Any) -> None:
    world = worlds("postgresql")
    world.target(
        "CREATE TABLE customers (id BIGINT PRIMARY KEY, name TEXT, email TEXT, age BIGINT, amount NUMERIC(10, 1), updated_at TIMESTAMP(0))"
    )
    world.write("upsert")
    world.change(("pipeline", "source"), {"type": "database", "connection": "crm", "table": "customers"})
    world.fill(1, 20)
    assert world.service.run().exit_code == 0
    world.crm("UPDATE customers SET name = 'changed' WHERE id <= 10")
    again = world.service.run()
    assert again.exit_code == 0, again.error
    assert world.target("SELECT count(*) FROM customers WHERE name = 'changed'") == [(10,)]


def test_rows_the_target_refuses_beyond_the_budget_are_kept_as_dead_letters(world: World) -> None:
    world.target("CREATE TABLE customers (id BIGINT, name TEXT, email TEXT, age BIGINT CHECK (age < 5), amount DOUBLE PRECISION)")
    world.write("insert", errorHandling="continue")
    world.change(("errorBudget",), {"max": 3})
    world.fill(1, 20)
    failed = world.service.run()
    assert (failed.exit_code, failed.to_json()["errorCode"]) == (1, "budget-exceeded")
    refused = world.crm("SELECT count(*) FROM customers WHERE age >= 5")[0][0]
    assert len(world.letters()) == refused == failed.to_json()["metrics"]["recordsDeadLettered"]
    assert world.rows() == []
