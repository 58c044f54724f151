"""A first file of rules: it loads, every row of the input obeys it, and it overwrites nothing that nobody has said to."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.cli import quality, suggest_rules
from beam_pipelines.cli.main import main
from beam_pipelines.cli.rules_text import rules_text
from beam_pipelines.spec.load import load_rules

SIZE = 400
MOODS = ["glad", "no", 'so "so"', "a: #b", "tab\there", "\x7f\u2028\U0001f600", "- x", "null"]
TABLE = pa.table(
    {
        "id": range(SIZE),
        "email": [None if at % 50 == 7 else f"p{at}@example.org" for at in range(SIZE)],
        "mood": [MOODS[at % len(MOODS)] for at in range(SIZE)],
        "price": [round(Decimal(at % 90) / 7, 4) for at in range(SIZE)],
        "code": [f"AB-{at % 37}" for at in range(SIZE)],
        "uid": [f"{at:08x}-0000-4000-8000-000000000000" for at in range(SIZE)],
        "api_key": ["sk-one" if at % 2 else "sk-two" for at in range(SIZE)],
        "pin": [1000 + at % 30 for at in range(SIZE)],
        "weight": [None if at == 3 else at / 3 for at in range(SIZE)],
        "odd: name": [at % 5 for at in range(SIZE)],
    },
    schema=pa.schema(
        [
            ("id", pa.int64()),
            ("email", pa.string()),
            ("mood", pa.string()),
            ("price", pa.decimal128(12, 4)),
            ("code", pa.string()),
            ("uid", pa.string()),
            ("api_key", pa.string()),
            ("pin", pa.int32()),
            ("weight", pa.float64()),
            ("odd: name", pa.int8()),
        ]
    ),
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def violated(rules: str, source: str, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """How many rows of an input violate each rule of a file, as a run of the quality service says."""
    capsys.readouterr()
    assert quality.main(["--rules", rules, "--input", source, "--output", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (step,) = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"]
    assert step["quality"]["total"] > 0
    return {rule["rule"]: rule["violated"] + rule["ruleErrors"] for rule in step["rules"]}


def by_id(file: str) -> dict[str, Any]:
    section = load_rules(file).definition.validation
    assert section is not None
    return {rule.id: rule for rule in section.rules}


def test_every_row_of_a_file_obeys_the_rules_that_are_suggested_by_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(TABLE, here / "rows.parquet", row_group_size=90)
    assert main(["suggest-rules", "rows.parquet", "--output", "rules.yaml"]) == 0
    assert capsys.readouterr().out == f"12 rules, from all 400 rows of {here / 'rows.parquet'}, written to rules.yaml\n"
    rules = by_id("rules.yaml")
    told = {name: rule.model_dump(mode="json", exclude_defaults=True) for name, rule in rules.items()}
    assert told["required"]["fields"] == ["id", "mood", "price", "code", "uid", "api_key", "pin", "odd: name"]
    assert (told["id-unique"]["field"], told["email-email"]["field"], told["uid-uuid"]["field"]) == ("id", "email", "uid")
    assert sorted(told["mood-in-set"]["values"]) == sorted(MOODS)
    assert (told["price-numeric-range"]["min"], told["price-numeric-range"]["max"]) == (0, 13)
    assert told["code-regex"]["pattern"] == "^[A-Z]+-[0-9]+$"
    assert told["odd-name-numeric-range"]["field"] == "odd: name"
    assert violated("rules.yaml", "rows.parquet", capsys) == dict.fromkeys(rules, 0)


def test_no_value_of_a_column_that_is_named_like_a_secret_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(TABLE, here / "rows.parquet")
    for form in ("text", "json"):
        assert main(["suggest-rules", "rows.parquet", "--output", form]) == 0
        out = capsys.readouterr().out
        assert "sk-" not in out
        assert "1029" not in out


@pytest.mark.parametrize("file", ["rows.csv", "rows.jsonl"])
def test_rows_of_text_that_cannot_be_read_are_counted_and_hinder_nothing(file: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": at, "state": ("new", "paid")[at % 2], "price": at / 4} for at in range(40)]
    if file.endswith("csv"):
        lines = ["id,state,price", *(f"{row['id']},{row['state']},{row['price']}" for row in rows), "ragged,row"]
    else:
        lines = [*map(json.dumps, rows), '{"id": ']
    (here / file).write_text("\n".join(lines) + "\n")
    assert main(["suggest-rules", file, "--output", "rules.yaml"]) == 0
    text = (here / "rules.yaml").read_text()
    assert "# 1 more row cannot be read as the types of their columns: a run keeps them as dead letters.\n" in text
    rules = by_id("rules.yaml")
    assert set(rules) == {"required", "id-unique", "state-in-set", "price-numeric-range"}
    assert violated("rules.yaml", file, capsys) == dict.fromkeys(rules, 0)


@pytest.mark.parametrize("system", ["sqlite", "postgresql"])
def test_every_row_of_a_table_obeys_the_rules_that_are_suggested_by_it(
    system: str, here: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    create = "CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT NOT NULL, total NUMERIC(12, 2), ref TEXT, placed TIMESTAMP)"
    rows = [(at, ("new", "paid", "sent")[at % 3], f"{at % 50}.25", f"R{at}/{at % 7}", "2026-01-02 03:04:05") for at in range(1, 301)]
    if system == "sqlite":
        with sqlite3.connect(here / "shop.db") as database:
            database.execute(create)
            database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", rows)
        database.close()
        url = "sqlite:///shop.db"
    else:
        url = request.getfixturevalue("postgres_database")
        with psycopg.connect(url) as connection:
            connection.execute(create.encode())
            connection.cursor().executemany("INSERT INTO orders VALUES (%s, %s, %s, %s, %s)", rows)
    (here / "connections.yaml").write_text(f"shop: {url}\n")
    assert main(["suggest-rules", "shop:orders", "--output", "rules.yaml"]) == 0
    rules = by_id("rules.yaml")
    assert {"required", "id-unique", "state-in-set", "total-numeric-range", "ref-unique", "ref-regex"} == set(rules)
    assert (rules["total-numeric-range"].min, rules["total-numeric-range"].max) == (0, 50)
    assert violated("rules.yaml", "shop:orders", capsys) == dict.fromkeys(rules, 0)


def test_a_key_of_very_many_values_is_told_exactly(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = 270_000  # above what a profile counts exactly
    twice = [*range(size - 1), 5]
    pq.write_table(pa.table({"key": range(size), "nearly": twice}), here / "rows.parquet")
    assert main(["suggest-rules", "rows.parquet", "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    unique = [rule for rule in told["rules"] if rule["type"] == "unique"]
    assert [(rule["field"], rule.get("severity")) for rule in unique] == [("key", None)]
    assert unique[0]["reason"] == "270,000 values, none of them twice"
    assert [column["name"] for column in told["profile"]] == ["key", "nearly"]


def test_what_is_not_known_is_not_suggested_and_said(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_pipelines.engine import profiled
    from beam_pipelines.rules.profiling.once import Once

    monkeypatch.setattr(profiled, "Once", lambda schema: Once(schema, most=1_000))
    pq.write_table(pa.table({"key": range(270_000)}), here / "rows.parquet")
    assert main(["suggest-rules", "rows.parquet"]) == 0
    out = capsys.readouterr().out
    assert "# Whether a value of 'key' occurs twice is not known: there are too many to tell.\n" in out
    assert "unique" not in out


def test_of_the_first_rows_alone_it_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(TABLE, here / "rows.parquet", row_group_size=30)
    assert main(["suggest-rules", "rows.parquet", "--rows", "45"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# Suggested by `beam-pipelines suggest-rules` from the first 45 rows of rows.parquet.\n")
    (here / "rules.yaml").write_text(out)
    assert by_id("rules.yaml")["weight-numeric-range"].max == 15  # of 44 / 3


def test_more_rows_than_any_number_of_a_machine_are_all_of_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(TABLE, here / "rows.parquet")
    assert main(["suggest-rules", "rows.parquet", "--rows", "9" * 5000]) == 0
    assert f"from all {SIZE} rows" in capsys.readouterr().out


def test_nothing_is_overwritten_but_where_that_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(TABLE, here / "rows.parquet")
    (here / "rules.yaml").write_text("mine")
    assert main(["suggest-rules", "rows.parquet", "--output", "rules.yaml"]) == 2
    assert "expected no file at 'rules.yaml', and there is one: name another, or say --overwrite" in capsys.readouterr().err
    assert (here / "rules.yaml").read_text() == "mine"
    assert main(["suggest-rules", "rows.parquet", "--output", "rules.yaml", "--overwrite"]) == 0
    assert "required" in by_id("rules.yaml")
    assert sorted(path.name for path in here.iterdir()) == ["rows.parquet", "rules.yaml"]


def test_a_file_that_comes_while_rows_are_read_stays(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(TABLE, here / "rows.parquet")
    looked = suggest_rules._looked

    def meanwhile(*given: Any) -> Any:
        found = looked(*given)
        (here / "rules.yaml").write_text("somebody's")
        return found

    monkeypatch.setattr(suggest_rules, "_looked", meanwhile)
    assert main(["suggest-rules", "rows.parquet", "--output", "rules.yaml"]) == 2
    assert (here / "rules.yaml").read_text() == "somebody's"
    assert sorted(path.name for path in here.iterdir()) == ["rows.parquet", "rules.yaml"]


def test_where_no_rule_follows_there_is_no_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(TABLE.slice(0, 0), here / "rows.parquet")
    assert main(["suggest-rules", "rows.parquet", "--output", "rules.yaml"]) == 1
    assert "got 0: no column always has a value [empty-source" in capsys.readouterr().err
    assert not (here / "rules.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone.parquet"], 2, "gone.parquet"),
        (["shop:orders"], 2, "no connection 'shop'"),
        (["rows.parquet", "--rows", "0"], 2, "expected a number from 1, got '0'"),
        (["rows.parquet", "--output", "no/such/rules.yaml"], 2, "expected to write 'no/such/rules.yaml', got: no such file or directory"),
    ],
)
def test_what_cannot_be_done(here: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(TABLE.slice(0, 30), here / "rows.parquet")
    assert main(["suggest-rules", *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_file_can_be_read_by_others_as_any_other(here: Path) -> None:
    pq.write_table(TABLE.slice(0, 30), here / "rows.parquet")
    assert main(["suggest-rules", "rows.parquet", "--output", "rules.yaml"]) == 0
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((here / "rules.yaml").stat().st_mode) == 0o666 & ~mask


def test_every_character_comes_back_from_a_file_as_it_was(here: Path) -> None:
    values = [chr(at) for at in (*range(1, 0x110), 0x2028, 0x2029, 0xFEFF, 0xE000, 0xFFFD, 0x1F600, 0x10FFFF)] + [
        "Yes",
        "1",
        "~",
        "",
        "- a",
    ]
    rule = {"id": "in", "type": "in-set", "field": "x\ny", "values": values}
    (here / "rules.yaml").write_text(rules_text(["from somewhere"], [(rule, "because\nso")]))
    (read,) = by_id("rules.yaml").values()
    assert (list(read.values), read.field) == (values, "x\ny")
    ends = [(-1e308, 1.5e-7), (2**63, 2**64), (1e16, 1e22), (-0.5, 0)]
    ranges = [
        ({"id": f"r{at}", "type": "numeric-range", "field": "x", "min": low, "max": high}, "so") for at, (low, high) in enumerate(ends)
    ]
    (here / "rules.yaml").write_text(rules_text([], ranges))
    assert [(rule.min, rule.max) for rule in by_id("rules.yaml").values()] == ends
