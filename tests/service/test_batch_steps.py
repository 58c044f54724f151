"""Steps of batches: each row stays in the output of its own file, whatever the step asks of the rows of others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pytest

pytestmark = pytest.mark.long

Desk = Any
Rows = list[tuple[Any, ...]]


def define(desk: Desk, *steps: dict[str, Any], pattern: str = "in/*.csv", **processing: Any) -> None:
    batch = {
        "source": {"type": "file", "path": pattern},
        "processing": {"transformations": list(steps), **processing},
        "destination": {"type": "file", "path": "out", "format": "parquet"},
    }
    desk.define({"name": "Steps", "batch": batch})


def put(desk: Desk, name: str, text: str) -> None:
    path: Path = desk.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def outputs(desk: Desk, columns: str = "*") -> dict[str, Rows]:
    """Rows by output, as DuckDB reads them, in order."""
    paths = sorted((desk.folder / "out").rglob("*.parquet"))
    with duckdb.connect() as reader:
        return {path.name: reader.execute(f"SELECT {columns} FROM '{path}'").fetchall() for path in paths}


def people(desk: Desk) -> None:
    put(desk, "in/a.csv", "id,name\n5,a\n2,b\n5,c\n")
    put(desk, "in/b.csv", "id,name\n5,d\n1,e\n3,f\n")
    put(desk, "side.csv", "id,extra\n1,E\n3,G\n5,H\n9,I\n")


LOOKUP = {"id": "look", "type": "join", "source": {"type": "file", "path": "side.csv"}, "on": ["id"]}


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        ({**LOOKUP, "how": "inner"}, {"a": [(5, "a", "H"), (5, "c", "H")], "b": [(5, "d", "H"), (1, "e", "E"), (3, "f", "G")]}),
        (
            {**LOOKUP, "how": "left"},
            {"a": [(5, "a", "H"), (2, "b", None), (5, "c", "H")], "b": [(5, "d", "H"), (1, "e", "E"), (3, "f", "G")]},
        ),
        ({**LOOKUP, "how": "semi"}, {"a": [(5, "a"), (5, "c")], "b": [(5, "d"), (1, "e"), (3, "f")]}),
        ({**LOOKUP, "how": "anti"}, {"a": [(2, "b")], "b": []}),
        (
            {"id": "rich", "type": "enrich", "source": {"type": "file", "path": "side.csv"}, "on": ["id"], "fields": ["extra"]},
            {"a": [(5, "a", "H"), (2, "b", None), (5, "c", "H")], "b": [(5, "d", "H"), (1, "e", "E"), (3, "f", "G")]},
        ),
        ({"id": "once", "type": "deduplicate", "by": ["id"]}, {"a": [(5, "a"), (2, "b")], "b": [(1, "e"), (3, "f")]}),
        ({"id": "none", "type": "filter", "condition": "id > 100"}, {"a": [], "b": []}),
        (
            {"id": "numbered", "type": "sort", "by": ["id"], "orderBy": "name", "output": "n"},
            {"a": [(5, "a", 1), (2, "b", 1), (5, "c", 2)], "b": [(5, "d", 3), (1, "e", 1), (3, "f", 1)]},
        ),
    ],
    ids=["inner", "left", "semi", "anti", "enrich", "deduplicate", "filter", "sort"],
)
def test_a_step_keeps_each_row_in_the_output_of_its_file(desk: Desk, step: dict[str, Any], wanted: dict[str, Rows]) -> None:
    people(desk)
    define(desk, step)
    record = desk.ran()
    assert {name: sorted(rows, key=str) for name, rows in outputs(desk).items()} == {
        f"{name}.parquet": sorted(rows, key=str) for name, rows in wanted.items()
    }
    assert {file["file"]: file["recordsWritten"] for file in record["files"]} == {
        f"in/{name}.csv": len(rows) for name, rows in wanted.items()
    }


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    "step",
    [
        {**LOOKUP, "how": "right"},
        {**LOOKUP, "how": "full"},
        {"id": "u", "type": "union", "source": {"type": "file", "path": "side.csv"}},
        {"id": "g", "type": "aggregate", "groupBy": ["id"], "aggregations": {"name": "count"}},
    ],
    ids=["right", "full", "union", "aggregate"],
)
def test_a_step_that_gives_rows_of_no_file_is_refused_with_the_reason(desk: Desk, step: dict[str, Any]) -> None:
    from beam_pipelines.errors import PlanError

    people(desk)
    define(desk, step)
    with pytest.raises(PlanError, match=r"batch\.processing\.transformations\[0\].*of no file.*pipeline") as refused:
        desk.run()
    assert refused.value.code == "mode-refused"
    assert not (desk.folder / "out").exists()


ROWS = 70_000  # more than a batch that goes on before a file is read to its end
UNIQUE = {"id": "v", "type": "validate", "rules": [{"id": "one", "type": "unique", "field": "id"}]}


@pytest.mark.long
@pytest.mark.parametrize(
    "step",
    [
        {"id": "d", "type": "deduplicate", "by": ["id"]},
        UNIQUE,
        {"id": "t", "type": "top", "n": ROWS, "orderBy": "id"},
        {"id": "l", "type": "limit", "n": ROWS},
    ],
    ids=["deduplicate", "unique", "top", "limit"],
)
def test_rows_of_a_file_that_is_cut_off_do_not_take_the_place_of_those_of_others(desk: Desk, step: dict[str, Any]) -> None:
    made = io.BytesIO()
    schema = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "long"}]}
    fastavro.writer(made, schema, [{"id": i} for i in range(ROWS)], sync_interval=16_000)
    (desk.folder / "in").mkdir()
    (desk.folder / "in" / "a.avro").write_bytes(made.getvalue()[:-10])  # blocks of its rows come before that is found
    (desk.folder / "in" / "b.avro").write_bytes(made.getvalue())
    define(desk, step, pattern="in/*.avro")
    record = desk.ran()
    assert {name: sorted(found) for name, found in outputs(desk, "id").items()} == {"b.parquet": [(i,) for i in range(ROWS)]}
    assert [(one["file"], one["recordsWritten"], "error" in one) for one in record["files"]] == [
        ("in/a.avro", 0, True),
        ("in/b.avro", ROWS, False),
    ]


def test_what_is_refused_of_each_file_adds_up_to_what_the_run_refused(desk: Desk) -> None:
    rules = {"id": "check", "type": "validate", "rules": [{"id": "low", "type": "numeric-range", "field": "id", "max": 5}]}
    number = {"id": "to-number", "type": "map", "mappings": {"id": {"expression": "CAST(id AS BIGINT)"}, "name": {"source": "name"}}}
    define(desk, number, rules, {"id": "f", "type": "filter", "condition": "name <> 'z'"})
    put(desk, "in/a.csv", "id,name\n1,a\n9,b\nx,c\n")  # one violates, one is no number
    put(desk, "in/b.csv", "id,name\n1,z\n2,z\n")  # all are filtered
    put(desk, "in/c.csv", "id,name\n7,z\n8,y\n3,b\n1,a,b\n")  # two violate, one is no row
    record = desk.ran()
    files = {file["file"]: (file["records"], file["recordsWritten"], file["rejected"]) for file in record["files"]}
    assert files == {"in/a.csv": (3, 1, 2), "in/b.csv": (2, 0, 0), "in/c.csv": (4, 1, 3)}
    told = record["metrics"]
    assert sum(rejected for _, _, rejected in files.values()) == told["recordsRejected"] + told["recordsDeadLettered"] == 5
    assert outputs(desk) == {"a.parquet": [(1, "a")], "b.parquet": [], "c.parquet": [(3, "b")]}
    assert len(desk.letters()) == 5
