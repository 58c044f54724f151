"""Services from files into files, a format after the other: the rows at the end are those of the beginning."""

from __future__ import annotations

import csv
import gzip
import json
import re
from typing import Any

import fastavro
import pytest

from beam_pipelines.errors import PlanError

Desk = Any
ROWS = [
    (n, f"Name {n}" if n % 7 else ("" if n % 2 else None), f"{n * 1.25:.2f}", f"2026-01-{n % 28 + 1:02}", n % 3 == 0) for n in range(1, 200)
]
COLUMNS = {"id": "bigint", "name": "text", "paid": "decimal(10,2)", "born": "date", "ok": "boolean", "at": "timestamptz"}
LINKS = ["out/a.avro", "out/b.json", "lines", "out/d.csv.gz", "out/e.jsonl.bz2"]


def define(desk: Desk, name: str, source: dict[str, Any], destination: dict[str, Any], *steps: dict[str, Any], **more: Any) -> None:
    pipeline = {"source": {"type": "file", **source}, "transformations": list(steps), "destination": destination}
    desk.define({"name": name, "pipeline": pipeline, **more})


def test_rows_go_through_every_format(desk: Desk) -> None:
    with (desk.folder / "in.csv").open("w", newline="") as file:
        file.write("id,name,paid,born,ok,at\n")
        for number, name, paid, born, ok in ROWS:
            text = "" if name is None else f'"{name}"'
            file.write(f"{number},{text},{paid},{born},{ok},2026-03-01T12:00:00+01:00\n")
    source: dict[str, Any] = {"path": "in.csv", "columns": COLUMNS}
    for place in LINKS:
        destination = {"type": "file", "path": place, "mode": "replace"}
        if place == "lines":
            destination |= {"format": "jsonl", "compression": "zstd"}
        define(desk, place.replace("/", "-").replace(".", "-"), source, destination)
        record = desk.ran()
        assert record["metrics"]["recordsLoaded"] == len(ROWS)
        source = {"path": place} if place.endswith("avro") else {"path": place, "columns": COLUMNS}
        source |= {"format": "jsonl"} if place == "lines" else {}
    assert {path.name.partition(".")[2] for path in (desk.folder / "lines").iterdir()} == {"jsonl.zst"}
    define(desk, "Last", source, {"type": "database", "connection": "target", "table": "people", "mode": "replace"})
    desk.ran()
    query = "SELECT id, name, paid::TEXT, born::TEXT, ok, \"at\" = TIMESTAMPTZ '2026-03-01 11:00:00Z' FROM people ORDER BY id"
    found = desk.duckdb("target.duckdb", query)
    assert found == [(*row, True) for row in ROWS]
    with (desk.folder / "out" / "a.avro").open("rb") as file:
        assert sum(1 for _ in fastavro.reader(file)) == len(ROWS)
    objects = json.loads((desk.folder / "out" / "b.json").read_bytes())
    assert sorted(row["id"] for row in objects) == [row[0] for row in ROWS]
    with gzip.open(desk.folder / "out" / "d.csv.gz", "rt", newline="") as file:
        assert {(row["id"], row["born"]) for row in csv.DictReader(file)} == {(str(row[0]), row[3]) for row in ROWS}
    assert not list(desk.folder.rglob(".bp_staging"))


def test_files_are_added_and_bad_rows_are_dead_letters_whatever_the_format(desk: Desk) -> None:
    (desk.folder / "in.json").write_text(json.dumps([*({"id": n, "age": n} for n in range(1, 40)), 7, {"id": 40, "age": "old"}]))
    define(
        desk,
        "Adds",
        {"path": "in.json", "columns": {"id": "bigint", "age": "bigint"}},
        {"type": "file", "path": "out", "format": "csv"},
        {"id": "old", "type": "filter", "condition": "age > 10"},
        errorBudget={"max": "50%"},
    )
    desk.ran()
    record = desk.ran()
    assert (record["metrics"]["recordsLoaded"], record["metrics"]["recordsDeadLettered"]) == (29, 2)
    files = sorted((desk.folder / "out").iterdir())
    rows = [row for file in files for row in list(csv.reader(file.open(newline="")))[1:]]
    assert len(files) >= 2
    assert all(file.suffix == ".csv" for file in files)
    assert sorted(rows) == sorted([str(n), str(n)] for n in range(11, 40) for _ in range(2))
    told = sorted((letter["origin"]["source"], letter["origin"]["row"], letter["code"]) for letter in desk.letters())
    assert told == sorted([("in.json", 39, "row-invalid"), ("in.json", 40, "cast-failed")] * 2)


def test_rejected_rows_and_violations_are_files_of_text_too(desk: Desk) -> None:
    (desk.folder / "in.csv").write_text("id,zip\n" + "".join(f"{n},{n:03}\n" for n in range(20)))
    validation = {
        "source": {"type": "file", "path": "in.csv"},
        "rules": [{"id": "low", "type": "numeric-range", "field": "id", "max": 14}],
        "destination": {"type": "file", "path": "good.jsonl", "mode": "replace"},
        "rejected": {"type": "file", "path": "bad.csv", "mode": "replace"},
    }
    desk.define({"name": "Checks", "validation": validation, "errorBudget": {"max": "50%"}})
    desk.ran()
    good = [json.loads(line) for line in (desk.folder / "good.jsonl").read_text().splitlines()]
    bad = list(csv.DictReader((desk.folder / "bad.csv").open(newline="")))
    assert sorted(row["id"] for row in good) == list(range(15))
    assert sorted(int(row["id"]) for row in bad) == list(range(15, 20))


@pytest.mark.no_bundle
def test_a_plan_says_what_readers_of_a_folder_may_see(desk: Desk) -> None:
    (desk.folder / "in.csv").write_text("id\n1\n")
    for path, told in (("out", True), ("out/all.csv.gz", False)):
        define(desk, "Told", {"path": "in.csv"}, {"type": "file", "path": path, "format": "csv", "mode": "replace"})
        assert ("a reader may see old and new ones" in str(desk.service.plan())) is told


def test_another_type_is_refused_beside_what_the_service_wrote(desk: Desk) -> None:
    for kind, code in (("bigint", None), ("text", "schema-changed")):
        (desk.folder / "in.csv").write_text("id\n1\n2\n")
        define(desk, "Types", {"path": "in.csv", "columns": {"id": kind}}, {"type": "file", "path": "out", "format": "csv"})
        result = desk.run()
        assert (result.exit_code == 0, result.execution.error_code) == (code is None, code)
    assert len(list((desk.folder / "out").glob("*.csv"))) == 1


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("destination", "says"),
    [
        ({"path": "out.csv", "compression": "snappy", "mode": "replace"}, "CSV knows none, gzip, bz2, zstd"),
        ({"path": "out.csv", "compression": "gzip", "mode": "replace"}, "ends in '.gz'"),
        ({"path": "out.json.gz"}, "rows cannot be added to one JSON file"),
        ({"path": "out", "format": "avro", "compression": "brotli"}, "Avro knows"),
    ],
)
def test_what_does_not_go_is_refused_before_the_run(desk: Desk, destination: dict[str, Any], says: str) -> None:
    (desk.folder / "in.csv").write_text("id\n1\n")
    define(desk, "Refused", {"path": "in.csv"}, {"type": "file", **destination})
    with pytest.raises(PlanError, match=re.escape(says)):
        desk.run()
    assert [path.name for path in desk.folder.glob("out*")] == []
