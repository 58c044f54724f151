"""CSV and JSON Lines files as sources of services: rows, dead letters with file and line, counts that add up."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_pipelines.cli.quality import main

Desk = Any
HEAD = "id,zip,age,born\n"
RULES = [
    {"id": "young", "type": "numeric-range", "field": "age", "max": 50},
    {"id": "once", "type": "unique", "field": "zip"},
]


def people(first: int, last: int) -> str:
    return "".join(f"{n},{n:05},{n % 90},2000-01-{n % 28 + 1:02}\n" for n in range(first, last))


def load(desk: Desk, path: str, **more: Any) -> None:
    budget = {"errorBudget": {"max": "50%"}} if "budget" not in more else {}
    source = {"type": "file", "path": path, **more}
    desk.define(
        {
            "name": "Files",
            "pipeline": {
                "source": source,
                "transformations": [{"id": "old", "type": "filter", "condition": "age >= 1"}],
                "destination": {"type": "database", "connection": "target", "table": "people", "mode": "replace"},
            },
            **budget,
        }
    )


def test_files_are_loaded_and_bad_lines_are_dead_letters_with_file_and_line(desk: Desk) -> None:
    (desk.folder / "in").mkdir()
    (desk.folder / "in" / "a.csv").write_text(
        HEAD + people(1, 51) + 'x,y\n51,00051,old,2000-01-01\n52,"00052,1,2000-01-01\n' + people(53, 60)
    )
    (desk.folder / "in" / "b.csv").write_bytes(HEAD.encode() + people(60, 80).encode() + b"80,\xff,1,2000-01-01\n81,00081,0,\n")
    load(desk, "in/*.csv", sampleRows=20)
    record = desk.ran()
    rows = desk.duckdb("target.duckdb", "SELECT id, zip, age, typeof(zip), typeof(age), typeof(born) FROM people ORDER BY id")
    ids = [*range(1, 51), *range(53, 80)]
    assert [row[:3] for row in rows] == [(n, f"{n:05}", n % 90) for n in ids]
    assert rows[0][3:] == ("VARCHAR", "BIGINT", "DATE")
    told = sorted((letter["origin"]["source"], letter["origin"]["line"], letter["code"]) for letter in desk.letters())
    assert told == [
        ("in/a.csv", 52, "row-invalid"),
        ("in/a.csv", 53, "cast-failed"),
        ("in/a.csv", 54, "row-invalid"),
        ("in/b.csv", 22, "row-invalid"),
    ]
    letters = {letter["origin"]["line"]: letter["record"] for letter in desk.letters()}
    assert letters[52] == {"$raw": "x,y"}
    assert letters[53] == {"id": "51", "zip": "00051", "age": "old", "born": "2000-01-01"}
    metrics = record["metrics"]
    assert (metrics["recordsExtracted"], metrics["recordsLoaded"]) == (82, 77)
    assert metrics["recordsDeadLettered"] == 4
    assert metrics["bytesProcessed"] == sum(file.stat().st_size for file in (desk.folder / "in").iterdir())


def test_json_lines_are_loaded(desk: Desk) -> None:
    lines = [json.dumps({"id": n, "age": n, "tags": ["a", str(n)], "home": {"city": f"c{n}"}}) for n in range(1, 40)]
    (desk.folder / "a.jsonl.gz").write_bytes(gzip.compress("\n".join([*lines[:20], "[1]", '{"id":', *lines[20:]]).encode()))
    load(desk, "a.jsonl.gz")
    record = desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT count(*), sum(id), max(home.city), sum(len(tags)) FROM people") == [(39, 780, "c9", 78)]
    assert sorted((letter["origin"]["line"], letter["record"]["$raw"]) for letter in desk.letters()) == [(21, "[1]"), (22, '{"id":')]
    assert record["metrics"]["recordsExtracted"] == 41


def test_rules_over_a_csv_file_name_its_lines(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (desk.folder / "rows.csv").write_text(HEAD + people(1, 90) + "90,00001,5,2000-01-01\nodd\n")
    (desk.folder / "rules.json").write_text(json.dumps(RULES))
    arguments = ["--rules", str(desk.folder / "rules.json"), "--input", str(desk.folder / "rows.csv"), "--output", "json"]
    assert main([*arguments, "--state", str(desk.folder / "state.db"), *desk.options]) == 0
    record = json.loads(capsys.readouterr().out)
    (step,) = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"]
    assert step["quality"]["failed"] == 40  # 39 above 50, and the zip that comes again
    files = sorted((desk.folder / "dead-letters").rglob("*.jsonl"))
    letters = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert sorted(letter["origin"]["line"] for letter in letters if letter["code"] == "rule-violated") == [*range(52, 91), 91]
    assert [(letter["origin"], letter["record"]) for letter in letters if letter["code"] == "row-invalid"] == [
        ({"source": "rows.csv", "line": 92}, {"$raw": "odd"})
    ]


def test_a_bucket_of_json_lines_is_validated_into_parquet(desk: Desk) -> None:
    (desk.folder / "drop").mkdir()
    desk.connect(drop={"path": "drop"})
    for n in range(3):
        (desk.folder / "drop" / f"part-{n}.ndjson").write_text("".join(f'{{"zip":"{i}","age":{i}}}\n' for i in range(n * 10, n * 10 + 10)))
    source = {"type": "file", "bucket": "drop", "prefix": "part-", "pattern": "*.ndjson"}
    desk.define(
        {
            "name": "Checker",
            "validation": {"source": source, "rules": RULES, "destination": {"type": "file", "path": "valid.parquet", "mode": "replace"}},
        }
    )
    desk.ran()
    assert sorted(pq.read_table(desk.folder / "valid.parquet")["age"].to_pylist()) == list(range(30))


def test_a_csv_file_is_the_right_side_of_a_join(desk: Desk) -> None:
    (desk.folder / "a.csv").write_text("id,age,land\n1,2,de\n2,3,fr\n")
    (desk.folder / "lands.tsv").write_text("land\tname\nde\tGermany\nfr\tFrance\nodd\n")
    load(desk, "a.csv")
    definition = json.loads((desk.folder / "service.json").read_text())
    join = {"id": "named", "type": "join", "source": {"type": "file", "path": "lands.tsv"}, "on": ["land"]}
    definition["pipeline"]["transformations"] = [join]
    desk.define(definition)
    desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT id, name FROM people ORDER BY id") == [(1, "Germany"), (2, "France")]
    assert [(letter["step"], letter["origin"]) for letter in desk.letters()] == [("named", {"source": "lands.tsv", "line": 4})]


def test_too_many_bad_lines_fail_the_run(desk: Desk) -> None:
    (desk.folder / "a.csv").write_text("id,age\n" + "1,2\n" * 800 + "x\n" * 300)
    load(desk, "a.csv", budget="default")
    definition = json.loads((desk.folder / "service.json").read_text())
    definition["pipeline"]["source"].pop("budget")
    desk.define(definition)
    result = desk.run()
    assert (result.exit_code, result.execution.error_code) == (1, "budget-exceeded")
    assert len(desk.letters()) == 300


def test_a_file_that_is_cut_off_fails_the_run_with_its_name(desk: Desk) -> None:
    data = gzip.compress(("id,age\n" + "".join(f"{n},{n * 7919 % 1000}\n" for n in range(200_000))).encode())
    (desk.folder / "a.csv.gz").write_bytes(data[:-100])
    load(desk, "a.csv.gz")
    result = desk.run()
    assert (result.exit_code, result.execution.error_code) == (1, "read-failed")
    assert "a.csv.gz' cannot be read, it may be damaged or cut off" in result.execution.error
    assert not Path(desk.folder / "target.duckdb").exists() or desk.duckdb(
        "target.duckdb", "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'people'"
    ) == [(0,)]
