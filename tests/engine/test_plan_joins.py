"""What a plan says of joins, and what it refuses before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.errors import PlanError

World = Any
TABLE = {"type": "database", "connection": "crm", "table": "customers"}
NAMES = {"id": "names", "type": "map", "mappings": {"code": {"source": "code"}, "country": {"source": "label"}}}
ALIKE = {"id": "alike", "type": "deduplicate", "by": ["label"]}
AGES = {"type": "database", "connection": "crm", "table": "ages"}


@pytest.fixture
def world(duck: World) -> World:
    duck.fill(1, 10)
    duck.crm("CREATE TABLE ages (code INTEGER PRIMARY KEY, label TEXT, name TEXT)")
    duck.crm("INSERT INTO ages VALUES (1, 'one', 'n'), (2, 'two', 'm')")
    duck.write("upsert", [])
    return duck


def join(how: str = "inner", source: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "age", "type": "join", "how": how, "on": {"age": "code"}, "source": {**AGES, **(source or {})}, "suffix": "_r", **more}


def plan(world: World, *steps: dict[str, Any], source: dict[str, Any] | None = None, **destination: Any) -> Any:
    world.write(destination.pop("mode", "upsert"), list(steps), **{"keyFields": ["id"], **destination})
    if source is not None:
        world.change(("pipeline", "source"), source)
    return world.service.plan()


def refused(world: World, *steps: dict[str, Any], **more: Any) -> tuple[str, str, str]:
    """Code, path and message of what a plan refuses, and a run as well."""
    with pytest.raises(PlanError) as error:
        plan(world, *steps, **more)
    (problem,) = error.value.problems
    assert problem.line > 0
    with pytest.raises(PlanError):
        world.service.run()
    assert not (world.folder / "target.duckdb").exists() or world.target("SELECT table_name FROM duckdb_tables()") == []
    return error.value.code, problem.path, problem.message


def test_the_graph_names_each_right_side_and_its_steps(world: World) -> None:
    again = {**join("left"), "id": "again", "source": {**AGES, "transformations": [NAMES]}}
    graph = plan(world, join(), again, source=TABLE, mode="insert").graph
    assert graph[1:3] == (
        "age: inner join with ages from crm (sqlite)",
        "again: left join with ages from crm (sqlite), after names (map)",
    )


def test_a_join_by_time_says_so_and_needs_no_keys(world: World) -> None:
    by_time = {**join("left"), "asOf": {"left": "age", "right": "code", "direction": "forward"}}
    del by_time["on"]
    told = plan(world, by_time, source=TABLE, keyFields=[])
    assert told.graph[1] == "age: left join as of age (forward) with ages from crm (sqlite)"
    assert refused(world, {**by_time, "on": {"age": "nowhere"}})[:2] == (
        "column-missing",
        "pipeline.transformations[0].on",
    )


def test_it_says_that_a_changed_right_row_does_not_bring_back_the_rows_joined_with_it(world: World) -> None:
    (note,) = [note for note in plan(world, join("left")).notes if "right side" in note]
    assert "'age'" in note
    assert "--full-refresh" in note
    assert not [note for note in plan(world, join("left"), source=TABLE).notes if "right side" in note]


@pytest.mark.parametrize("how", ["right", "full"])
def test_rows_of_the_right_side_alone_beside_an_increment(world: World, how: str) -> None:
    code, path, message = refused(world, join(how))
    assert (code, path) == ("cursor-invalid", "pipeline.transformations[0].how")
    assert "use inner or left" in message
    assert plan(world, join(how), source=TABLE).graph[1].startswith(f"age: {how} join")


@pytest.mark.parametrize(
    ("step", "code", "path", "message"),
    [
        (join(on={"agee": "code"}), "column-missing", ".on", "the left side: no field 'agee'"),
        (join(on={"age": "codes"}), "column-missing", ".on", "the right side: no field 'codes'"),
        (join(on={"name": "code"}), "type-unsupported", ".on", "'name' is string and 'code' is int64, which are never equal"),
        ({**join(), "suffix": None}, "expression-invalid", "", "both sides have a column 'name'"),
        (join(source={"cursor": {"column": "code", "kind": "sequence"}}), "cursor-invalid", ".source", "is read whole"),
        (join(source={"table": "nowhere"}), "table-missing", ".source", "nowhere"),
        (join(source={"connection": "missing"}), "connection-missing", ".source", "missing"),
        (
            join(source={"table": None, "tables": ["ages", "customers"]}),
            "spec-invalid",
            ".source",
            "expected one table as the right side of a join, got 2",
        ),
        ({**join(), "source": {"type": "kafka", "topic": "t"}, "within": "1m"}, "not-served", ".source", "not served yet"),
        ({**join(), "source": {"type": "api", "endpoint": "https://x.test/"}}, "not-served", ".source", "not served yet"),
        (
            join(source={"transformations": [{"id": "f", "type": "filter", "condition": "cod = 1"}]}),
            "column-missing",
            ".source.transformations[0].condition",
            "cod",
        ),
    ],
)
def test_a_right_side_that_does_not_fit(world: World, step: dict[str, Any], code: str, path: str, message: str) -> None:
    if step["source"].get("table", "") is None:
        del step["source"]["table"]
    found = refused(world, step)
    assert found[:2] == (code, f"pipeline.transformations[0]{path}")
    assert message in found[2]


@pytest.mark.parametrize("where", ["behind", "in the source"])
def test_a_function_whose_output_would_be_sampled(world: World, where: str) -> None:
    (world.folder / "functions.py").write_text("def f(row: dict): ...")
    function: dict[str, Any] = {"id": "f", "type": "function"}
    declared = {**function, "output": {"code": "bigint"}}
    steps = [join(), function] if where == "behind" else [join(source={"transformations": [function]})]
    code, path, message = refused(world, *steps)
    assert (code, "declare it" in message, where in message) == ("type-unsupported", True, True)
    assert path == f"pipeline.transformations[{'1]' if where == 'behind' else '0].source.transformations[0]'}"
    steps = [join(), declared] if where == "behind" else [join(source={"transformations": [declared]})]
    assert plan(world, *steps, mode="insert")


def test_a_function_before_a_join_may_be_sampled_and_the_guarantee_is_still_known(world: World) -> None:
    (world.folder / "functions.py").write_text("def f(row):\n    return row\n")
    planned = plan(world, {"id": "f", "type": "function"}, join("left"))
    assert planned.graph[2].startswith("age: left join")
    declared = {"id": "f", "type": "function", "output": {"id": "bigint", "updated_at": "timestamp"}}
    assert (
        plan(world, join("left"), declared).guarantee.level == plan(world, declared, {**join("left"), "on": {"id": "code"}}).guarantee.level
    )


@pytest.mark.parametrize(
    ("step", "fits"),
    [
        (join("left"), True),  # the right side's primary key is met by at most one row
        (join("semi", on={"name": "label"}), True),
        (join("left", on={"name": "label"}), False),
        (join("inner", {"transformations": [NAMES]}), True),
        (
            join(
                "left",
                {"transformations": [{"id": "t", "type": "aggregate", "groupBy": ["label"], "aggregations": {"code": "max"}}]},
                on={"name": "label"},
            ),
            True,
        ),
        # One row of those that are alike is met by at most one row, and its primary key still is.
        (join("left", {"transformations": [ALIKE]}, on={"name": "label"}), True),
        (join("left", {"transformations": [ALIKE]}), True),
        (join("full"), False),
    ],
)
def test_the_sources_key_names_rows_of_a_join_only_where_each_comes_out_once(world: World, step: dict[str, Any], fits: bool) -> None:
    world.crm("ALTER TABLE customers RENAME TO old")
    world.crm("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, age INTEGER)")
    world.crm("INSERT INTO customers VALUES (1, 'one', 1), (2, 'two', 2)")
    world.write("upsert", [step])
    world.change(("pipeline", "source"), TABLE)
    result = world.service.run()
    assert result.execution.error_code == (None if fits else "key-missing")
    if fits:
        assert {id_ for (id_,) in world.target("SELECT id FROM customers")} <= {1, 2}
