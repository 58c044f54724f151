"""Rows as they leave each step; nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.errors import PlanError

World = Any
STEPS: list[dict[str, Any]] = [
    {"id": "adults", "type": "filter", "condition": "age >= 18"},
    {"id": "short", "type": "map", "mappings": {"id": {"source": "id"}, "who": {"expression": "upper(name)"}, "age": {"source": "age"}}},
    {"id": "halves", "type": "function", "output": {"id": "bigint", "half": "double"}},
]
FUNCTIONS = """
def halves(row: dict) -> dict:
    if row["id"] == 20:
        raise ValueError("not this one")
    return {"id": row["id"], "half": row["age"] / 2}
"""


@pytest.fixture
def world(duck: World) -> World:
    duck.fill(17, 22)
    (duck.folder / "functions.py").write_text(FUNCTIONS)
    duck.write("upsert", STEPS)
    return duck


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def test_each_step_shows_its_rows_in_its_schema(world: World) -> None:
    adults = world.service.preview("adults")
    assert adults.schema.names == ["id", "name", "email", "age", "amount", "updated_at"]
    assert [row["id"] for row in adults.rows] == [18, 19, 20, 21, 22]
    short = world.service.preview("short")
    assert short.rows[0] == {"id": 18, "who": "NAME 18", "age": 18}
    halves = world.service.preview("halves")
    assert [(row["id"], row["half"]) for row in halves.rows] == [(18, 9.0), (19, 9.5), (21, 10.5), (22, 11.0)]
    assert {field.name: str(field.type) for field in halves.schema} == {"id": "int64", "half": "double"}


def test_without_a_step_the_last_one_is_shown_and_without_any_the_source(world: World) -> None:
    assert world.service.preview().step == "halves"
    world.write("upsert", [])
    source = world.service.preview()
    assert (source.step, len(source.rows), source.rows[0]["name"]) == ("", 6, "name 17")


def test_rows_that_fail_on_the_way_are_told_with_their_step_and_origin(world: World) -> None:
    world.crm("UPDATE customers SET age = 'unknown' WHERE id = 22")
    shown = world.service.preview()
    assert [(one["step"], one["code"]) for one in shown.dead] == [("extract", "cast-failed"), ("halves", "function-failed")]
    assert all(json.loads(one["origin"])["source"] == "query" for one in shown.dead)
    assert [row["id"] for row in shown.rows] == [18, 19, 21]
    assert "unknown" not in json.dumps(shown.dead)


def test_rows_that_fail_after_the_step_that_is_shown_are_not_told(world: World) -> None:
    assert world.service.preview("short").dead == ()


def test_the_limit_is_of_rows_sampled(world: World) -> None:
    shown = world.service.preview("adults", limit=3)
    assert (shown.read, [row["id"] for row in shown.rows]) == (3, [18, 19])


def test_a_function_that_makes_several_rows_shows_no_more_than_the_limit(world: World) -> None:
    (world.folder / "functions.py").write_text("def halves(row: dict):\n    return [{'id': row['id'], 'half': h} for h in (1.0, 2.0)]\n")
    assert [row["half"] for row in world.service.preview(limit=3).rows] == [1.0, 2.0, 1.0]


def test_names_are_those_of_the_step_and_nothing_hidden_shows(world: World) -> None:
    for step in ("adults", "short", "halves"):
        shown = world.service.preview(step)
        assert all(list(row) == shown.schema.names for row in shown.rows)
        assert not any(name.startswith("__bp_") for name in shown.schema.names)


def test_nothing_is_written(world: World) -> None:
    before = files(world.folder)
    world.service.preview()
    assert files(world.folder) == before


def test_an_empty_source_shows_its_schema(world: World) -> None:
    world.crm("DELETE FROM customers")
    shown = world.service.preview("short")
    assert (shown.rows, shown.read, set(shown.schema.names)) == ((), 0, {"id", "who", "age"})


def test_no_such_step_names_those_that_are_there(world: World) -> None:
    with pytest.raises(PlanError, match="one of the steps adults, short, halves, got 'adult'") as refused:
        world.service.preview("adult")
    assert refused.value.code == "option-invalid"


def test_it_is_plain_as_json_and_a_table_in_a_notebook(world: World) -> None:
    world.crm("UPDATE customers SET name = '<b>bold</b>' WHERE id = 18")
    shown = world.service.preview("adults")
    assert shown.to_json()["columns"]["age"] == "int64"
    assert (shown.to_json()["step"], shown.to_json()["read"]) == ("adults", 6)
    page = shown._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page
    assert page.count("<tr>") == 1 + 5
    world.crm("UPDATE customers SET age = 'x' WHERE id = 22")
    assert "1 of 6 sampled rows became dead letters" in world.service.preview("adults")._repr_html_()
