"""What a run would do, asked of real catalogs; nothing is read or written."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_pipelines.engine.plan import Plan
from beam_pipelines.errors import PlanError
from beam_pipelines.io import registry
from beam_pipelines.io.duckdb.target import DuckDbTarget

World = Any
TABLE = {"type": "database", "connection": "crm", "table": "customers"}
NEWER = {"column": "updated_at"}


@pytest.fixture
def world(duck: World) -> World:
    duck.fill(1, 10)
    return duck


def plan(world: World, source: dict[str, Any] | None = None, steps: list[dict[str, Any]] | None = None, **destination: Any) -> Plan:
    world.write(destination.pop("mode", "upsert"), steps, **destination)
    if source is not None:
        world.change(("pipeline", "source"), source)
    return world.service.plan()


def refused(world: World, *arguments: Any, **more: Any) -> tuple[str, str, str]:
    """Code, path and message of what a plan refuses."""
    with pytest.raises(PlanError) as error:
        plan(world, *arguments, **more)
    (problem,) = error.value.problems
    assert problem.file == str(world.definition)
    assert problem.line > 0
    return error.value.code, problem.path, problem.message


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_plan_says_what_would_be_read_and_where_it_would_go(world: World) -> None:
    steps = [
        {"id": "adults", "type": "filter", "condition": "age >= 18"},
        {"id": "clean", "type": "map", "mappings": {"id": {"source": "id"}}, "required": False},
    ]
    found = plan(world, steps=steps)
    assert found.service == "customers"
    assert found.graph == (
        "read query from crm (sqlite, new by 'updated_at')",
        "adults: filter",
        "clean: map (not required)",
        "upsert into customers at target (duckdb)",
    )
    (reading,) = found.readings
    assert (reading.table, reading.load, reading.low, reading.exists) == ("query", "customers", None, False)
    assert (found.mode, found.destination, found.schedule, found.next_times) == ("upsert", "customers", None, ())


def test_a_plan_writes_nothing(world: World) -> None:
    before = files(world.folder)
    plan(world)
    assert files(world.folder) == before


def test_after_a_run_it_starts_from_the_watermark_unless_everything_is_asked_for(world: World) -> None:
    world.write()
    result = world.service.run()
    assert result.exit_code == 0
    (reading,) = world.service.plan().readings
    assert reading.exists
    assert reading.low == result.to_json()["watermark"]["text"]
    (full,) = world.service.plan(full_refresh=True).readings
    assert full.low is None


def test_a_schedule_is_told_in_words_with_its_next_five_times(world: World) -> None:
    world.write()
    world.change(("schedule",), {"cron": "0 6 * * *", "timezone": "UTC"})
    found = world.service.plan()
    now = datetime.now(timezone.utc)
    assert found.schedule
    assert len(found.next_times) == 5
    assert all(moment > now and (moment.hour, moment.minute) == (6, 0) for moment in found.next_times)
    assert "a run by hand does not wait for the schedule" in found.notes


def test_as_json_it_is_plain(world: World) -> None:
    world.write()
    world.change(("schedule",), {"cron": "0 6 * * *"})
    told = json.loads(json.dumps(world.service.plan().to_json()))
    assert told["guarantee"]["level"] == "exactly-once"
    assert told["readings"][0]["load"] == "customers"
    assert len(told["nextTimes"]) == 5


# The guarantee.

FUNCTION = {"id": "f", "type": "function"}


@pytest.mark.parametrize(
    ("steps", "functions", "said"),
    [
        ([], "", "an older version never overwrites a newer one"),
        (
            [{"id": "m", "type": "map", "mappings": {"id": {"source": "id"}, "at": {"source": "updated_at"}}}],
            "",
            "an older version never overwrites",
        ),
        ([{"id": "m", "type": "map", "mappings": {"id": {"source": "id"}}}], "", "there is no version column: the last run wins"),
        (
            [{**FUNCTION, "output": {"id": "bigint", "updated_at": "timestamp"}}],
            "def f(row: dict): ...",
            "an older version never overwrites",
        ),
        ([{**FUNCTION, "output": {"id": "bigint"}}], "def f(row: dict): ...", "there is no version column: the last run wins"),
        ([FUNCTION], "def f(row: dict): ...", "if the functions give the cursor's column on"),
    ],
)
def test_it_says_of_versions_what_is_known_before_anything_is_read(
    world: World, steps: list[dict[str, Any]], functions: str, said: str
) -> None:
    (world.folder / "functions.py").write_text(functions)
    assert said in str(plan(world, steps=steps).guarantee)


def test_a_version_column_that_is_given_is_one(world: World) -> None:
    steps = [{"id": "m", "type": "map", "mappings": {"id": {"source": "id"}, "v": {"expression": "id * 2"}}}]
    assert "an older version never overwrites a newer one" in plan(world, steps=steps, versionColumn="v").guarantee.reasons


def test_who_stamps_the_cursor_is_said_once(world: World) -> None:
    assert str(plan(world).guarantee).count("by the database") == 1


def test_an_overlap_is_told_in_its_unit(world: World) -> None:
    client = {**TABLE, "cursor": {"column": "updated_at", "stampedBy": "client", "overlap": "2h"}}
    assert "rows are read again from 2 h below the watermark, and written by key" in plan(world, client).guarantee.reasons
    ids = {**TABLE, "cursor": {"column": "id", "kind": "sequence", "overlap": 50}}
    assert "rows are read again from 50 units below the watermark, and written by key" in plan(world, ids).guarantee.reasons


def test_files_tell_where_their_ledger_is_and_what_a_reader_may_see(world: World) -> None:
    world.write("insert")
    world.change(("pipeline", "destination"), {"type": "file", "path": "out", "format": "parquet"})
    assert "the ledger is in the state store" in str(world.service.plan().guarantee)
    world.change(("pipeline", "source"), TABLE)
    world.change(("pipeline", "destination", "mode"), "replace")
    assert any("a reader may see old and new ones" in note for note in world.service.plan().notes)
    world.change(("pipeline", "destination", "path"), "out.parquet")
    assert not any("a reader may see" in note for note in world.service.plan().notes)
    assert not (world.folder / "out").exists()


def test_what_functions_return_is_said_to_be_sampled_where_it_is(world: World) -> None:
    (world.folder / "functions.py").write_text("def f(row: dict): ...")
    assert any("sampled from at most 1,000 rows" in note for note in plan(world, steps=[FUNCTION]).notes)
    assert not any("sampled" in note for note in plan(world, steps=[{**FUNCTION, "output": {"id": "bigint"}}]).notes)


def test_a_stronger_guarantee_than_the_parts_give_is_refused(world: World) -> None:
    world.write("insert")
    world.change(("pipeline", "source"), TABLE)
    world.change(("delivery",), "exactly-once")
    with pytest.raises(PlanError, match="these parts give at-least-once") as error:
        world.service.plan()
    assert (error.value.code, error.value.problems[0].path) == ("guarantee-unreachable", "delivery")


# What is refused.


def test_whole_table_replace_of_an_increment(world: World) -> None:
    assert refused(world, mode="replace")[:2] == ("mode-refused", "pipeline.destination.mode")


TOTALS = [{"id": "totals", "type": "aggregate", "groupBy": ["age"], "aggregations": {"amount": "sum"}}]


@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_totals_of_what_is_new_in_the_place_of_those_of_all_rows(world: World, mode: str) -> None:
    code, path, message = refused(world, steps=TOTALS, mode=mode, keyFields=["age"])
    assert (code, path) == ("mode-refused", "pipeline.destination.mode")
    assert message == (
        f"the source gives only what is new, so {mode} would put the totals of the new rows by 'totals' in the place of those of all rows:"
        " read without a cursor, or use insert, which keeps one set of totals a run"
    )
    assert plan(world, TABLE, TOTALS, mode=mode, keyFields=["age"]).mode == mode


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"type": "filter", "condition": "nowhere > 1"}, "nowhere"),
    ({"type": "top", "n": 1, "orderBy": "nowhere"}, "nowhere"),
    ({"type": "explode", "field": "nowhere"}, "nowhere"),
    ({"type": "explode", "field": "age"}, "list"),
    ({"type": "sample", "fraction": 0.5, "by": ["nowhere"]}, "nowhere"),
    ({"type": "pivot", "groupBy": ["id"], "column": "age", "values": {"ones": 1}, "value": "nowhere", "function": "sum"}, "nowhere"),
    ({"type": "sql", "query": "SELECT nowhere FROM input"}, "nowhere"),
    ({"type": "sort", "by": ["age"], "orderBy": "id", "as": "__bp_place"}, "__bp_"),
]


@pytest.mark.parametrize(("step", "told"), UNFIT, ids=[f"{step['type']} {told}" for step, told in UNFIT])
def test_a_step_that_does_not_fit_the_columns_that_come_to_it(world: World, step: dict[str, Any], told: str) -> None:
    words = {"id": "words", "type": "map", "unmapped": "keep", "mappings": {"words": {"expression": "string_split(name, ' ')"}}}
    steps = [words, {"id": "unfit", **step}]
    _, path, message = refused(world, TABLE, steps, keyFields=["id"])
    assert path.startswith("pipeline.transformations[1]")
    assert told in message


def test_what_comes_behind_a_function_that_is_sampled_is_not_known_yet(world: World) -> None:
    (world.folder / "functions.py").write_text("def f(row: dict): ...")
    assert plan(world, TABLE, [FUNCTION, {"id": "unfit", **UNFIT[0][0]}], keyFields=["id"]).mode == "upsert"


def test_totals_of_what_is_new_one_set_a_run(world: World) -> None:
    found = plan(world, steps=TOTALS, mode="insert")
    assert "totals sums up what is new in each run: the target gets one set of totals a run" in found.notes
    assert found.graph[1:-1] == ("totals: aggregate",)
    assert not any("totals" in note for note in plan(world, TABLE, TOTALS, mode="insert").notes)


def test_swap_where_the_target_cannot_rename_tables(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(registry._TARGETS, "duckdb")
    monkeypatch.setitem(registry._TARGETS, "duckdb", "tests.engine.test_plan:swapless")
    code, path, message = refused(world, TABLE, mode="replace", strategy="swap")
    assert (code, path) == ("mode-refused", "pipeline.destination.strategy")
    assert "not for duckdb; delete-insert" in message


def swapless(path: Path, **settings: Any) -> DuckDbTarget:
    """A target that cannot swap, as those by SQLAlchemy."""
    target = DuckDbTarget(path, **settings)
    target.traits = replace(target.traits, swaps=False)
    return target


def test_swap_of_a_table_that_others_refer_to(world: World) -> None:
    with duckdb.connect(str(world.folder / "target.duckdb")) as target:
        target.execute("CREATE TABLE customers (id BIGINT PRIMARY KEY); CREATE TABLE orders (id BIGINT REFERENCES customers (id))")
    code, path, message = refused(world, TABLE, mode="replace", strategy="swap")
    assert (code, path) == ("mode-refused", "pipeline.destination.strategy")
    assert "the foreign key of 'orders'" in message


def test_swap_says_what_does_not_follow(world: World) -> None:
    found = plan(world, TABLE, mode="replace", strategy="swap")
    assert any("grants" in reason and "do not follow" in reason for reason in found.guarantee.reasons)
    assert not any("grants" in reason for reason in plan(world, TABLE, mode="replace").guarantee.reasons)


def test_files_that_would_be_merged_by_key(world: World) -> None:
    world.write("upsert")
    world.change(("pipeline", "destination"), {"type": "file", "path": "out", "format": "parquet", "mode": "insert"})
    assert world.service.plan().mode == "insert"


@pytest.mark.parametrize(
    ("cursor", "mode", "why"),
    [
        ({**NEWER, "stampedBy": "client"}, "upsert", "'updated_at' is stamped by its client on sqlite"),
        ({"column": "born"}, "upsert", "dates arrive backdated"),
        ({**NEWER, "kind": "date"}, "upsert", "dates arrive backdated"),
        ({**NEWER, "stampedBy": "client", "overlap": "1h"}, "insert", "mode insert would double them"),
        ({**NEWER, "overlap": "1h"}, "insert", "mode insert would double them"),
        # Without its kind, 50 would be read as milliseconds.
        ({"column": "id", "overlap": 50}, "upsert", "say kind: sequence beside it"),
    ],
)
def test_a_cursor_without_the_overlap_it_needs_or_with_one_that_doubles_rows(
    world: World, cursor: dict[str, Any], mode: str, why: str
) -> None:
    world.crm("ALTER TABLE customers ADD COLUMN born DATE")
    code, path, message = refused(world, {**TABLE, "cursor": cursor}, mode=mode)
    assert (code, path) == ("cursor-invalid", "pipeline.source.cursor.overlap")
    assert why in message


@pytest.mark.parametrize(
    ("pricing", "code", "path"),
    [
        ({"model": "per-hour", "rate": 1}, "not-served", "pricing.model"),
        ({"model": "per-gb", "rate": 1, "tiers": [{"min": 0, "max": 10, "rate": 1}]}, "spec-invalid", "pricing.tiers"),
    ],
)
def test_a_price_that_could_not_be_worked_out_after_the_commit(world: World, pricing: dict[str, Any], code: str, path: str) -> None:
    world.write()
    world.change(("pricing",), pricing)
    with pytest.raises(PlanError) as error:
        world.service.plan()
    assert (error.value.code, error.value.problems[0].path) == (code, path)


def test_a_stream_whose_brokers_are_no_connection(world: World) -> None:
    stream = {"source": {"type": "kafka", "topic": "events"}, "sinks": [{"type": "kafka", "topic": "out"}]}
    world.put({"name": "Stream", "stream": stream})
    with pytest.raises(PlanError, match="no connection 'kafka'") as error:
        world.service.plan()
    assert error.value.code == "connection-missing"


def test_rules_without_a_source(world: World) -> None:
    world.put({"name": "Rules", "validation": {"rules": [{"id": "r", "type": "required-fields", "fields": ["id"]}]}})
    with pytest.raises(PlanError, match="expected a source beside the rules") as error:
        world.service.plan()
    assert (error.value.code, error.value.problems[0].path) == ("spec-incomplete", "validation")


def test_a_definition_without_a_pipeline(world: World) -> None:
    world.put({"name": "Priced", "pricing": {"model": "per-gb", "rate": 1}})
    with pytest.raises(PlanError, match="'Priced' cannot be run: pipeline or stream or batch or validation is missing") as error:
        world.service.plan()
    assert error.value.code == "spec-incomplete"


def test_a_table_or_cursor_that_is_not_there(world: World) -> None:
    for source, code in (
        ({**TABLE, "table": "custmers"}, "table-missing"),
        ({**TABLE, "cursor": {"column": "update_at"}}, "column-missing"),
    ):
        with pytest.raises(PlanError, match="did you mean") as error:
            plan(world, source)
        assert error.value.code == code
    (problem,) = error.value.problems
    assert (problem.path, problem.line) == ("pipeline.source.cursor.column", 1)
    assert "'update_at'" in problem.message
