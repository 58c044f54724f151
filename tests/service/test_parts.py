"""Services that read a file in parts: every row once, and each told by the number that it has in the file."""

from __future__ import annotations

import json
from typing import Any

import fastavro
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engine import prepare
from beam_pipelines.io.files import stretch

Desk = Any
PARTS = 7


@pytest.fixture
def parted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Files of some hundred bytes are read in parts, as those of some hundred megabytes are; gives how many each run asked for."""
    asked: list[int] = []

    def parts(_: Any) -> int:
        asked.append(PARTS)
        return PARTS

    monkeypatch.setattr(prepare, "_parts", parts)
    monkeypatch.setattr(stretch, "LEAST", 40)
    return asked


def define(desk: Desk, source: dict[str, Any], **section: Any) -> None:
    rules = [{"id": "young", "type": "numeric-range", "field": "age", "max": 50}]
    steps = [{"id": "rules", "type": "validate", "rules": rules, "rejected": {"type": "file", "path": "rejected", "format": "parquet"}}]
    steps[0] |= {"violations": {"type": "file", "path": "violations", "format": "parquet"}}
    pipeline = {"source": source, "transformations": steps, "destination": {"type": "file", "path": "out", "format": "parquet"}}
    desk.define({"name": "Parts", "pipeline": pipeline | section, "errorBudget": {"max": "90%"}})


def outputs(desk: Desk, name: str) -> list[dict[str, Any]]:
    return [row for file in sorted((desk.folder / name).glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_lines_are_those_of_the_file_whatever_part_a_row_is_in(desk: Desk, parted: list[int]) -> None:
    lines = ["id,age"]
    for n in range(1, 61):
        lines += ["" if n % 9 == 0 else f"{n},{n}" if n % 7 else f"{n},old" if n % 2 else f"{n}"]
    (desk.folder / "a.csv").write_text("\n".join(lines))
    (desk.folder / "b.csv").write_text("id,age\n100,100\n")
    define(desk, {"type": "file", "path": "*.csv", "quotedNewlines": False, "columns": {"age": "bigint"}})
    record = desk.ran()
    assert parted
    good = [n for n in range(1, 61) if n % 9 and n % 7]
    assert sorted(row["id"] for row in outputs(desk, "out")) == [n for n in good if n <= 50]
    old = [("a.csv", n + 1, n) for n in good if n > 50] + [("b.csv", 2, 100)]
    for rows, column in ((outputs(desk, "rejected"), "_origin"), (outputs(desk, "violations"), "origin")):
        places = [json.loads(row[column]) for row in rows]
        assert sorted((place["source"], place["line"]) for place in places) == [place[:2] for place in old]
        assert all(set(place) == {"source", "line"} for place in places)
    told = sorted((one["origin"]["source"], one["origin"]["line"], one["code"]) for one in desk.letters())
    bad = [("a.csv", n + 1, "cast-failed" if n % 2 else "row-invalid") for n in range(1, 61) if n % 9 and not n % 7]
    assert told == sorted(bad + [(source, line, "rule-violated") for source, line, _ in old])
    metrics = record["metrics"]
    assert metrics["recordsExtracted"] == len(good) + len(bad) + 1
    assert metrics["bytesProcessed"] == sum((desk.folder / name).stat().st_size for name in ("a.csv", "b.csv"))
    (rules,) = record["steps"][1]["transformations"]
    examples = [(one["origin"]["source"], one["origin"]["line"], one["recordIndex"]) for one in rules["quality"]["examples"]]
    assert examples == [(source, line, None) for source, line, _ in old][: len(examples)]


def test_rows_of_avro_are_numbered_in_the_file(desk: Desk, parted: list[int]) -> None:
    schema = {"type": "record", "name": "Row", "fields": [{"name": name, "type": "long"} for name in ("id", "age")]}
    with (desk.folder / "a.avro").open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [{"id": n, "age": n} for n in range(100)], sync_interval=10)
    define(desk, {"type": "file", "path": "a.avro"})
    record = desk.ran()
    assert parted
    assert [row["id"] for row in outputs(desk, "out")] == list(range(51))
    violations = sorted(outputs(desk, "violations"), key=lambda row: row["recordIndex"])
    assert [(row["recordIndex"], json.loads(row["origin"])["row"]) for row in violations] == [(n, n) for n in range(51, 100)]
    (rules,) = record["steps"][1]["transformations"]
    assert [one["recordIndex"] for one in rules["quality"]["examples"]][:3] == [51, 52, 53]


@pytest.mark.long
def test_a_function_of_batches_tells_no_range_of_numbers_that_nobody_knows_yet(desk: Desk, parted: list[int]) -> None:
    schema = {"type": "record", "name": "Row", "fields": [{"name": "age", "type": "long"}]}
    with (desk.folder / "a.avro").open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [{"age": n} for n in range(100)], sync_interval=10)
    desk.functions("import pyarrow as pa\ndef most(batch: pa.RecordBatch) -> pa.RecordBatch:\n    return batch.slice(1)\n")
    define(desk, {"type": "file", "path": "a.avro"})
    definition = json.loads((desk.folder / "service.json").read_text())
    definition["pipeline"]["transformations"].insert(0, {"id": "most", "type": "function", "output": {"age": "bigint"}})
    desk.define(definition)
    desk.ran()
    assert parted
    sources = {json.loads(row["_origin"])["source"] for row in outputs(desk, "rejected")}
    assert sources
    assert all(source == "a.avro" or source.startswith("a.avro (among rows 0 to ") for source in sources)


@pytest.mark.long
def test_the_right_side_of_a_join_is_numbered_as_it_is_read(desk: Desk, parted: list[int]) -> None:
    (desk.folder / "a.csv").write_text("id,age\n" + "".join(f"{n},{n}\n" for n in range(40)))
    (desk.folder / "b.csv").write_text("id,name\n" + "".join(f"{n},x{n}\n" if n != 30 else "30\n" for n in range(40)))
    csv = {"type": "file", "quotedNewlines": False}
    define(desk, {**csv, "path": "a.csv"})
    definition = json.loads((desk.folder / "service.json").read_text())
    join = {"id": "names", "type": "join", "source": {**csv, "path": "b.csv"}, "on": ["id"]}
    definition["pipeline"]["transformations"] = [join]
    desk.define(definition)
    desk.ran()
    assert parted
    assert sorted(row["name"] for row in outputs(desk, "out")) == sorted(f"x{n}" for n in range(40) if n != 30)
    assert [letter["origin"] for letter in desk.letters()] == [{"source": "b.csv", "line": 32}]


def test_quality_reads_in_parts_too(desk: Desk, parted: list[int]) -> None:
    (desk.folder / "a.jsonl").write_text("".join(json.dumps({"id": n % 59, "age": n}) + "\n" for n in range(60)))
    rules = [{"id": "young", "type": "numeric-range", "field": "age", "max": 57}, {"id": "once", "type": "unique", "field": "id"}]
    desk.define({"name": "Check", "validation": {"source": {"type": "file", "path": "a.jsonl"}, "rules": rules}})
    record = desk.ran()
    assert parted
    assert sorted((one["origin"]["line"], one["error"].partition(":")[0]) for one in desk.letters()) == [(59, "young"), (60, "young")]
    (step,) = record["steps"][1]["transformations"]
    assert {(one["rule"], one["origin"]["line"]) for one in step["quality"]["examples"]} == {("young", 59), ("young", 60), ("once", 60)}


@pytest.mark.long
def test_two_workers_share_a_file(desk: Desk) -> None:
    # By its beginning this would have two million rows, and so many are read in parts.
    ids = ["7"] * 40_000 + [f"{n:0200}" for n in range(25_000)]
    (desk.folder / "a.csv").write_text("id\n" + "\n".join(ids))
    batch = {
        "source": {"type": "file", "path": "a.csv", "quotedNewlines": False, "columns": {"id": "text"}},
        "destination": {"type": "file", "path": "out", "format": "csv", "shardSize": "1MiB"},
    }
    desk.define({"name": "Two", "batch": batch})
    record = desk.ran(options=["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    assert record["metrics"]["recordsLoaded"] == len(ids)
    files = sorted((desk.folder / "out").glob("*.csv"))
    assert sorted(line for file in files for line in file.read_text().split("\n")[1:-1]) == sorted(ids)
    assert sum(not 0.7 < file.stat().st_size / (1 << 20) < 1.3 for file in files) <= 1
    (plan,) = desk.sqlite(".beam_pipelines/state.db", "SELECT plan FROM _beam_pipelines_loads")
    assert len(json.loads(plan[0])["ranges"]) > 1
