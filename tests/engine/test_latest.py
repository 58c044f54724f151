"""Which keys are refused behind steps by groups: those that may be of several rows, of which any would stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.latest import check_latest
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import Policy
from beam_pipelines.runs.window import Window
from beam_pipelines.spec import parse

Step = dict[str, Any]
ORDERED = {"id": "ordered", "type": "sort", "by": ["land"], "orderBy": "spend"}
NUMBERED = {**ORDERED, "as": "place"}
BEST = {"id": "best", "type": "top", "n": 3, "by": ["land"], "orderBy": "spend"}
FIRST = {**BEST, "id": "first", "n": 1}
LATEST = {"id": "latest", "type": "deduplicate", "by": ["Person"], "keep": "last"}
SOME = {"id": "some", "type": "limit", "n": 10}
RENAMED = {"id": "renamed", "type": "map", "unmapped": "keep", "mappings": {"who": {"source": "person"}}}
TOTALS = {"id": "totals", "type": "aggregate", "groupBy": ["person"], "aggregations": {"*": "count"}}


def table(name: str, *steps: Step) -> Step:
    return {"type": "database", "connection": "source", "table": name, "transformations": list(steps)}


def joined(name: str, how: str = "left") -> Step:
    return {"id": name, "type": "join", "how": how, "on": ["land"], "source": table("lands")}


def added(name: str, *steps: Step) -> Step:
    return {"id": name, "type": "union", "source": table("more", *steps)}


def check(steps: list[Step], keys: str, primary: str = "", *, mode: str = "upsert", version: str | None = None, unique: str = "") -> None:
    pipeline = {
        "source": {"type": "database", "connection": "source", "table": "visits"},
        "transformations": steps,
        "destination": {"type": "database", "connection": "target", "table": "out", "mode": mode, "keyFields": keys.split()},
    }
    job = Job.of(parse({"name": "Desk", "pipeline": pipeline}).definition, Path())
    window = Window("desk", "out", "visits", "0" * 12, 0, key_fields=tuple(keys.split()), version_column=version)
    sides = {step["id"]: replace(window, source_key=("id",), unique_on=tuple(unique.split())) for step in steps if "source" in step}
    check_latest(job, replace(window, sides=sides), Policy(mode=mode), primary.split())


@pytest.mark.parametrize("step", [ORDERED, BEST, LATEST, SOME], ids=lambda step: step["type"])
def test_keys_that_nothing_is_known_of_are_refused(step: Step) -> None:
    for mode in ("upsert", "replace"):
        with pytest.raises(PlanError) as raised:
            check([step], "id", mode=mode)
        (problem,) = raised.value.problems
        assert (raised.value.code, problem.path) == ("mode-refused", "pipeline.destination.keyFields")
        assert f"behind {step['id']!r} rows are in no order, and id may be that of several" in problem.message
        assert "deduplicate step by [id], with keep: last, before it, or give versionColumn" in problem.hint
    check([step], "id", mode="insert")
    check([step], "id", version="spend")


@pytest.mark.parametrize(
    ("steps", "keys", "primary"),
    [
        ([ORDERED], "id", "id"),
        ([ORDERED], "id land", "id"),
        ([LATEST], "person", ""),
        ([LATEST, ORDERED, RENAMED], "who", ""),
        ([FIRST], "land", ""),
        ([NUMBERED, RENAMED], "land place", ""),
        ([ORDERED, TOTALS], "person", ""),
        ([TOTALS, BEST], "person", ""),
        # What a union adds is later than all of these.
        ([LATEST, added("all")], "person", ""),
        ([added("all"), LATEST], "person", ""),
        ([added("all", {**LATEST, "id": "inner"})], "person", ""),
        ([added("all", ORDERED)], "id", ""),
        ([added("all")], "id", ""),
        ([joined("lands", "semi"), ORDERED], "id", "id"),
    ],
)
def test_keys_of_one_row_pass(steps: list[Step], keys: str, primary: str) -> None:
    check(steps, keys, primary)


def test_a_join_with_one_match_a_row_leaves_rows_apart() -> None:
    check([joined("lands"), ORDERED], "id", "id", unique="land")
    with pytest.raises(PlanError):
        check([joined("lands"), ORDERED], "id", "id")


@pytest.mark.parametrize(
    ("steps", "keys", "primary", "step"),
    [
        ([ORDERED], "land", "id", "ordered"),
        ([FIRST], "person", "", "first"),
        ([NUMBERED], "place", "", "ordered"),
        ([LATEST, joined("lands"), ORDERED], "person", "id", "ordered"),
        ([added("all"), ORDERED], "id", "id", "ordered"),
        ([added("all", ORDERED)], "land", "", "ordered"),
        ([{"id": "each", "type": "explode", "field": "list"}, ORDERED], "id", "id", "ordered"),
    ],
)
def test_keys_of_several_rows_are_refused_where_their_order_is_lost(steps: list[Step], keys: str, primary: str, step: str) -> None:
    with pytest.raises(PlanError, match=f"behind '{step}' rows are in no order"):
        check(steps, keys, primary)
