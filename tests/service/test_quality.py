"""Rules as a service: the command line, the packaged example, and the same answer as `check` gives without a pipeline."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.cli.quality import main
from beam_pipelines.errors import PlanError
from beam_pipelines.rules import check

Desk = Any
RULES: list[dict[str, Any]] = [
    {"id": "there", "type": "required-fields", "fields": ["email"]},
    {"id": "young", "type": "numeric-range", "field": "age", "max": 90, "severity": "warning"},
    {"id": "once", "type": "unique", "field": "email"},
    {"id": "dated", "type": "expression", "condition": "born < now()"},
]
BORN = pa.array([dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc)] * 200, pa.timestamp("us", "UTC"))
MAILS = [None if i % 20 == 0 else f"p{i - i % 2}@x.org" if i % 10 == 1 else f"p{i}@x.org" for i in range(200)]
# Of every ten the second has the e-mail of the first, but where that has none.
ROWS = pa.table({"id": range(200), "email": MAILS, "age": [i % 100 for i in range(200)], "born": BORN})


@pytest.fixture
def rows(desk: Desk) -> Desk:
    pq.write_table(ROWS, desk.folder / "rows.parquet")
    return desk


def define(desk: Desk, **more: Any) -> None:
    desk.define({"name": "Checker", "validation": {"source": {"type": "file", "path": "rows.parquet"}, "rules": RULES} | more})


def step(record: dict[str, Any]) -> dict[str, Any]:
    (only,) = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"]
    return dict(only)


ABOUT = {"rule", "type", "severity", "action", "fields", "mostly", "maxFailures", "description"}  # what a rule is, not what it came to


def counts(record: dict[str, Any]) -> dict[str, Any]:
    return {rule["rule"]: {name: number for name, number in rule.items() if name not in ABOUT} for rule in step(record)["rules"]}


def test_the_record_says_what_each_rule_is(rows: Desk) -> None:
    told = [
        {"id": "there", "type": "required-fields", "fields": ["email", "age"], "mostly": 0.5, "description": "Who we write to."},
        {"id": "young", "type": "numeric-range", "field": "age", "max": 90, "severity": "warning", "maxFailures": "20%"},
        {"id": "old", "type": "numeric-range", "field": "age", "min": 1, "severity": "info", "action": "flag"},
        {"id": "many", "type": "row-count", "min": 1},
    ]
    define(rows, rules=told, actions={"warning": "reject"})
    found = [{name: value for name, value in rule.items() if name in ABOUT} for rule in step(rows.ran())["rules"]]
    assert found == [
        {
            "rule": "there",
            "type": "required-fields",
            "severity": "error",
            "action": "reject",
            "fields": ["email", "age"],
            "mostly": 0.5,
            "description": "Who we write to.",
        },
        {"rule": "young", "type": "numeric-range", "severity": "warning", "action": "reject", "fields": ["age"], "maxFailures": "20%"},
        {"rule": "old", "type": "numeric-range", "severity": "info", "action": "flag", "fields": ["age"]},
        {"rule": "many", "type": "row-count", "severity": "error"},
    ]


def test_a_service_says_what_check_says(rows: Desk) -> None:
    define(rows, destination={"type": "file", "path": "valid.parquet", "mode": "replace"})
    record = rows.ran()
    found = check(ROWS, RULES)
    told = {rule.rule.id: rule.tally.to_dict() for rule in found.rules}
    assert counts(record) == told
    assert {name: number for name, number in step(record)["quality"].items() if name != "examples"} == {
        "total": ROWS.num_rows,
        "passed": found.passed,
        "failed": found.failed,
        "warnings": found.warnings,
    }
    assert found.rejected.num_rows > 0
    valid = pq.read_table(rows.folder / "valid.parquet")
    assert sorted(valid.to_pylist(), key=lambda row: row["id"]) == found.valid.to_pylist()
    assert sorted(letter["record"]["id"] for letter in rows.letters()) == found.rejected["id"].to_pylist()
    assert record["metrics"]["recordsRejected"] == found.rejected.num_rows


def test_without_a_destination_rows_are_counted_and_not_kept(rows: Desk) -> None:
    define(rows)
    first, second = rows.ran(), rows.ran()
    assert counts(first) == counts(second)
    assert first["metrics"]["recordsLoaded"] == check(ROWS, RULES).valid.num_rows
    left = {path.name for path in rows.folder.iterdir()} - {".beam_pipelines"}
    assert left == {"connections.yaml", "rows.parquet", "service.json"}
    assert len(rows.letters()) == 2 * check(ROWS, RULES).rejected.num_rows


def test_an_incremental_check_looks_at_what_is_new(desk: Desk) -> None:
    desk.people(1, 50)
    source = {"type": "database", "connection": "source", "table": "people", "cursor": {"column": "updated_at"}}
    desk.define(
        {"name": "Checker", "validation": {"source": source, "rules": [{"id": "low", "type": "numeric-range", "field": "age", "max": 45}]}}
    )
    assert counts(desk.ran())["low"] == {"evaluated": 50, "violated": 5, "notEvaluated": 0, "ruleErrors": 0}
    desk.people(51, 60, seconds_ago=100)
    assert counts(desk.ran())["low"] == {"evaluated": 10, "violated": 10, "notEvaluated": 0, "ruleErrors": 0}


def test_a_foreign_key_looks_where_the_rows_come_from(desk: Desk) -> None:
    desk.people(1, 10)
    desk.sqlite("source.db", "CREATE TABLE ages (n INTEGER)", "INSERT INTO ages VALUES (1), (2), (3)")
    rule = {"id": "known", "type": "foreign-key", "field": "age", "reference": {"table": "ages", "field": "n"}}
    desk.define(
        {"name": "Checker", "validation": {"source": {"type": "database", "connection": "source", "table": "people"}, "rules": [rule]}}
    )
    assert counts(desk.ran())["known"]["violated"] == 7


def test_rules_of_a_file_over_a_file(rows: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (rows.folder / "rules.json").write_text(json.dumps(RULES))
    code = main(
        ["--rules", str(rows.folder / "rules.json"), "--input", str(rows.folder / "rows.parquet"), "--output", "json", *rows.options]
    )
    record = json.loads(capsys.readouterr().out)
    assert (code, record["serviceId"], record["kind"]) == (0, "rules", "quality")
    assert counts(record) == {rule.rule.id: rule.tally.to_dict() for rule in check(ROWS, RULES).rules}


@pytest.mark.parametrize(("rows", "amount"), [(10, "0.10"), (10_000, "10.00"), (12_000, "6.00")])
def test_rows_are_priced_by_the_tier_that_all_of_them_fall_into(desk: Desk, rows: int, amount: str) -> None:
    desk.people(1, rows)
    tiers = [{"min": 0, "max": 10_000, "rate": 0.001}, {"min": 10_001, "max": 100_000, "rate": 0.0005}, {"min": 100_001, "rate": 0.0001}]
    pricing = {"model": "per-record", "rate": 0.001, "minimumCharge": 0.1, "volume": tiers}
    rule = {"id": "young", "type": "numeric-range", "field": "age", "max": 2}  # rows that are rejected are looked at as well
    source = {"type": "database", "connection": "source", "table": "people"}
    desk.define({"name": "Record Validator", "validation": {"source": source, "rules": [rule]}, "pricing": pricing})
    assert desk.ran()["charge"]["amount"] == amount


@pytest.mark.no_bundle
def test_a_mistake_in_a_file_of_rules_is_shown_at_its_place(rows: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    file: Path = rows.folder / "rules.yaml"
    file.write_text("- {id: a, type: required-fields, fields: [mail]}\n- {id: b, type: regex, field: email, pattern: '(?=x)'}\n")
    assert main(["--rules", str(file), "--input", str(rows.folder / "rows.parquet"), "--plan"]) == 2
    said = capsys.readouterr().err
    assert "rules.yaml:1:43: validation.rules[0].fields[0]: no field 'mail' (did you mean email?)" in said
    assert "rules.yaml:2:47: validation.rules[1].pattern: expected a pattern that can be run" in said
    file.write_text("rules:\n- {id: a, type: requird-fields, fields: [email]}\n")
    assert main(["--rules", str(file), "--input", str(rows.folder / "rows.parquet"), "--plan"]) == 2
    assert "rules.yaml:2:17" in capsys.readouterr().err


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--service", "etl.json"], "expected a definition with a section `validation`, got one of kind 'etl'"),
        (["--rules", "rules.json"], "expected a source beside the rules"),
        (["--input", "rows.parquet"], "--input goes with --service or --rules"),
        (["--rules", "rules.json", "--service", "service.json"], "not allowed with argument"),
    ],
)
def test_what_is_asked_for_in_vain(
    rows: Desk, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(rows.folder)
    (rows.folder / "rules.json").write_text(json.dumps(RULES))
    rows.etl({"table": "people"}, {"table": "people"})
    (rows.folder / "service.json").rename(rows.folder / "etl.json")
    assert main([*arguments, "--plan"]) == 2
    assert message in capsys.readouterr().err


def test_a_quality_service_is_a_transform_too(rows: Desk) -> None:
    import apache_beam as beam

    from beam_pipelines.etl import Etl
    from beam_pipelines.quality import Quality

    define(rows)
    heard = rows.folder / "heard.json"
    options = beam.options.pipeline_options.PipelineOptions(list(rows.options))
    with beam.Pipeline(runner="FnApiRunner", options=options) as pipeline:
        (
            pipeline
            | Quality(rows.folder / "service.json")
            | beam.Map(lambda record, path=str(heard): Path(path).write_text(json.dumps(record)))
        )
    assert counts(json.loads(heard.read_text())) == {rule.rule.id: rule.tally.to_dict() for rule in check(ROWS, RULES).rules}
    with pytest.raises(PlanError, match="for Etl runs it; this definition is of kind 'quality'"):
        beam.Pipeline(runner="FnApiRunner") | Etl(rows.folder / "service.json")


def test_the_bare_command_checks_the_packaged_example(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from beam_pipelines.examples import quality

    folder = desk.folder / "example"
    quality.place(folder, accounts=2000)
    monkeypatch.chdir(desk.folder)
    assert main(["--example-dir", str(folder), "--output", "json", *desk.options]) == 0
    record = json.loads(capsys.readouterr().out)
    told = {rule: numbers["violated"] for rule, numbers in counts(record).items()}
    accounts = desk.sqlite("example/accounts.db", "SELECT id, email, created_at, age, customer_id FROM accounts ORDER BY id")
    customers = {number for (number,) in desk.sqlite("example/accounts.db", "SELECT id FROM customers")}
    assert told == by_hand(accounts, customers)
    assert min(told.values()) > 0


def by_hand(accounts: list[tuple[Any, ...]], customers: set[int]) -> dict[str, int]:
    mails = [mail for _, mail, _, _, _ in accounts if mail is not None]
    seen: set[str] = set()
    later = sum(mail in seen or bool(seen.add(mail)) for mail in mails)
    return {
        "completeness": sum(mail is None or mail == "" or day is None for _, mail, day, _, _ in accounts),
        "format": sum(not re.search(r"^[^@]+@[^@]+\.[^@]+$", mail) for mail in mails if mail),
        "range": sum(age is not None and not 0 <= age <= 150 for *_, age, _ in accounts),
        "uniqueness": later,
        "referential": sum(customer is not None and customer not in customers for *_, customer in accounts),
    }


def test_several_tables_are_checked_each_by_itself(desk: Desk) -> None:
    desk.people(1, 10)
    desk.sqlite("source.db", "CREATE TABLE others AS SELECT * FROM people WHERE id < 4")
    source = {"type": "database", "connection": "source", "tables": ["people", "others"]}
    rule = {"id": "low", "type": "numeric-range", "field": "age", "max": 2}
    desk.define({"name": "Checker", "validation": {"source": source, "rules": [rule]}})
    record = desk.ran()
    steps = [step for step in record["steps"] if step["phase"] == "transform"]
    assert {step["table"]: step["transformations"][0]["rules"][0]["violated"] for step in steps} == {"people": 8, "others": 1}


def test_a_full_refresh_of_what_keeps_nothing_asks_nobody(desk: Desk) -> None:
    desk.people(1, 10)
    source = {"type": "database", "connection": "source", "table": "people", "cursor": {"column": "updated_at"}}
    rule = {"id": "there", "type": "required-fields", "fields": ["id"]}
    desk.define({"name": "Checker", "validation": {"source": source, "rules": [rule]}})
    assert [desk.ran(full_refresh=again)["metrics"]["recordsExtracted"] for again in (False, False, True)] == [10, 0, 10]
    assert counts(desk.ran())["there"]["evaluated"] == 0  # and is told although no row came


@pytest.mark.no_bundle
def test_a_quality_service_has_tests_too(rows: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    from beam_pipelines.cli.main import main as cli

    reference = {"connection": "source", "table": "mails", "field": "mail"}
    known = {"id": "known", "type": "foreign-key", "field": "email", "reference": reference}
    case = {
        "name": "who goes on",
        "input": [{"id": 1, "email": "a@x"}, {"id": 2, "email": "b@x"}, {"id": 3, "email": "a@x"}],
        "sources": {"rules/known": [{"mail": "a@x"}]},
        "expect": {"rules": {"rows": [{"id": 1}], "dead": [{"row": {"id": 2}}, {"row": {"id": 3}}]}},
    }
    define(rows, rules=[known, {"id": "once", "type": "unique", "field": "email"}])
    rows.define({**json.loads((rows.folder / "service.json").read_text()), "tests": [case]})
    assert cli(["test", str(rows.folder / "service.json")]) == 0, capsys.readouterr()
    assert cli(["validate", str(rows.folder / "service.json")]) == 0
    assert "cannot be run" not in capsys.readouterr().out
