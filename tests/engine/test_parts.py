from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar.origin import part_of
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.parts import tables_of
from beam_pipelines.runs.window import Window
from beam_pipelines.spec import parse

Step = dict[str, Any]
ORDERED = {"id": "ordered", "type": "sort", "by": ["land"], "orderBy": "id"}


def source(table: str, *steps: Step) -> Step:
    return {"type": "database", "connection": "crm", "table": table, "transformations": list(steps)}


def union(name: str, *steps: Step) -> Step:
    return {"id": name, "type": "union", "source": source(name, *steps)}


def join(name: str, how: str) -> Step:
    return {"id": name, "type": "join", "how": how, "on": ["id"], "source": source(name)}


def window(table: str, steps: list[Step]) -> Window:
    sides = {step["id"]: window(step["id"], step["source"]["transformations"]) for step in steps if "source" in step}
    return replace(Window("desk", "out", table, "0" * 12, 0), sides=sides)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([], ["a"]),
        ([union("b", union("c")), union("d")], ["a", "b", "c", "d"]),
        ([union("b"), ORDERED, union("c")], ["a b", "b", "c"]),
        ([union("b", union("c"), {**ORDERED, "id": "inner"}), union("d")], ["a", "b c", "c", "d"]),
        ([join("b", "left"), ORDERED, join("c", "inner")], ["a"]),
        ([join("b", "full"), join("c", "left")], ["a b"]),
        ([union("b"), {"id": "n", "type": "sql", "query": "SELECT count(*) AS n FROM input"}], ["a b", "b"]),
    ],
)
def test_rows_are_of_their_source_and_behind_a_shuffle_of_any_that_was_there(steps: list[Step], told: list[str]) -> None:
    pipeline = {
        "source": {"type": "database", "connection": "crm", "table": "a"},
        "transformations": steps,
        "destination": {"type": "database", "connection": "target", "table": "out", "keyFields": ["id"]},
    }
    job = Job.of(parse({"name": "Desk", "pipeline": pipeline}).definition, Path())
    assert [" ".join(tables) for tables in tables_of(job, window("a", steps))] == told


def test_only_rows_of_known_parts_have_a_label() -> None:
    rows = pa.record_batch({"id": [1]})
    assert (part_of(rows), part_of(rows.replace_schema_metadata({b"bp:part": b"0"}))) == (None, 0)
