"""Rules in real runs: rows that go on and rows that are rejected against plain Python, for references near and far and for more workers.

The source is 300 people: e-mail `p<i>@x.org`, of every 30th that of the one before; no e-mail for every 25th, one without an @ for every
40th; age i, `country` A to D by i % 4, null for every 10th. Countries are A, B and C, so that D refers to nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.cli.main import main
from beam_pipelines.engine import beside, shuffle, suspects
from beam_pipelines.engine import validate as module
from beam_pipelines.errors import PlanError
from beam_pipelines.rules.key import unique

pytestmark = pytest.mark.long

Desk = Any
TWO = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
COUNT = 300


def email(i: int) -> str | None:
    if i % 25 == 0:
        return None
    if i % 40 == 0:
        return f"p{i}.x.org"
    return f"p{i - 1 if i % 30 == 0 else i}@x.org"


PEOPLE = [(i, email(i), i, None if i % 10 == 0 else "DABC"[i % 4]) for i in range(1, COUNT + 1)]
REQUIRED = {"id": "there", "type": "required-fields", "fields": ["email"]}
FORMAT = {"id": "format", "type": "regex", "field": "email", "pattern": "@"}
RANGE = {"id": "range", "type": "numeric-range", "field": "age", "max": 290, "severity": "warning"}
UNIQUE = {"id": "once", "type": "unique", "field": "email"}
COUNTRIES = {"connection": "source", "table": "countries", "field": "code"}
REFERENCE = {"id": "known", "type": "foreign-key", "field": "country", "reference": COUNTRIES}
RULES = [REQUIRED, FORMAT, RANGE, UNIQUE, REFERENCE]


def violated(keep: str = "first") -> dict[int, list[str]]:
    """Ids of the rules that reject or flag each person, by hand."""
    mails = Counter(mail for _, mail, _, _ in PEOPLE)
    found: dict[int, list[str]] = {}
    for i, mail, age, country in PEOPLE:
        twice = mail is not None and mails[mail] > 1
        later = i % 30 == 0
        names = [
            ("there", mail is None),
            ("format", mail is not None and "@" not in mail),
            ("range", age > 290),
            ("once", twice and (keep == "none" or later == (keep == "first"))),
            ("known", country == "D"),
        ]
        found[i] = [name for name, holds in names if holds]
    return found


@pytest.fixture
def people(desk: Desk) -> Desk:
    desk.sqlite("source.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, age INTEGER, country TEXT)")
    countries = "INSERT INTO countries VALUES ('A', 'a'), ('B', 'b'), ('C', 'c'), (NULL, 'd')"
    desk.sqlite("source.db", "CREATE TABLE countries (code TEXT, name TEXT)", countries)
    with sqlite3.connect(desk.folder / "source.db") as connection:
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", PEOPLE)
    connection.close()
    return desk


@pytest.fixture(params=["near", "far"])
def distance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "far":
        monkeypatch.setattr(module, "NEAR", -1)
    return str(request.param)


def define(desk: Desk, *rules: dict[str, Any], before: tuple[dict[str, Any], ...] = (), **more: Any) -> None:
    step = {"id": "check", "type": "validate", "rules": list(rules), **more}
    desk.etl({"table": "people"}, {"table": "people", "mode": "replace"}, [*before, step])


def loaded(desk: Desk, columns: str = "id") -> list[Any]:
    return [row if len(row) > 1 else row[0] for row in desk.duckdb("target.duckdb", f"SELECT {columns} FROM people ORDER BY id")]


def rejected(desk: Desk) -> dict[int, list[str]]:
    """Ids of the rules that each rejected person is said to violate."""
    return {letter["record"]["id"]: [part.partition(":")[0] for part in letter["error"].split("; ")] for letter in desk.letters()}


def check(record: dict[str, Any]) -> dict[str, Any]:
    (step,) = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"][-1:]
    return dict(step)


def test_every_row_goes_on_or_is_rejected_with_all_that_it_violates(people: Desk, distance: str) -> None:
    define(people, *RULES)
    record = people.ran()
    wanted = violated()
    bad = {i: rules for i, rules in wanted.items() if set(rules) - {"range"}}
    assert rejected(people) == bad
    assert loaded(people, "id, _dq") == [(i, wanted[i] or None) for i, *_ in PEOPLE if i not in bad]
    assert {letter["code"] for letter in people.letters()} == {"rule-violated"}
    metrics = record["metrics"]
    assert (metrics["recordsLoaded"], metrics["recordsRejected"], metrics["recordsDeadLettered"]) == (COUNT - len(bad), len(bad), 0)
    warned = sum("range" in rules for rules in wanted.values())
    quality = {name: number for name, number in check(record)["quality"].items() if name != "examples"}
    assert quality == {"total": COUNT, "passed": COUNT - len(bad), "failed": len(bad), "warnings": warned}
    violations = Counter(rule for rules in wanted.values() for rule in rules)
    counts = {rule["rule"]: (rule["violated"], rule["notEvaluated"]) for rule in check(record)["rules"]}
    without_mail, without_country = sum(mail is None for _, mail, _, _ in PEOPLE), sum(country is None for *_, country in PEOPLE)
    assert counts == {
        "there": (violations["there"], 0),
        "format": (violations["format"], without_mail),
        "range": (violations["range"], 0),
        "once": (violations["once"], without_mail),
        "known": (violations["known"], without_country),
    }


@pytest.mark.parametrize("keep", ["first", "last", "none"])
def test_which_row_of_a_value_goes_on_is_told_by_the_order_of_the_source(people: Desk, keep: str) -> None:
    define(people, {**UNIQUE, "keep": keep})
    record = people.ran()
    bad = sorted(i for i, rules in violated(keep).items() if "once" in rules)
    assert sorted(rejected(people)) == bad
    pairs = sum(1 for mail, number in Counter(mail for _, mail, _, _ in PEOPLE).items() if mail and number == 2)
    assert check(record)["rules"][0]["duplicates"] == {"laterRows": pairs, "keys": pairs, "members": 2 * pairs}


@pytest.mark.parametrize("shards", [1, 2])
def test_any_number_of_shards_says_the_same(people: Desk, shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEAR", -1)
    monkeypatch.setattr(shuffle, "SHARDS", shards)
    define(people, *RULES)
    people.ran()
    assert rejected(people) == {i: rules for i, rules in violated().items() if set(rules) - {"range"}}


def few_hashes(columns: list[pa.Array]) -> Any:
    return np.arange(len(columns[0]), dtype=np.uint64) % 2


@pytest.mark.parametrize("keep", ["first", "last", "none"])
def test_keys_that_share_a_hash_are_not_taken_for_one(people: Desk, keep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "quick_hashes", few_hashes)
    monkeypatch.setattr(unique, "quick_hashes", few_hashes)
    monkeypatch.setattr(shuffle, "SHARDS", 1)  # else keys that are alike would be in unlike shards
    define(people, {**UNIQUE, "keep": keep})
    people.ran()
    assert sorted(rejected(people)) == [i for i, rules in violated(keep).items() if "once" in rules]


@pytest.mark.parametrize("room", [0, 20_000])
def test_batches_that_find_no_room_in_the_process_say_the_same(people: Desk, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "ROOM", room)
    define(people, *RULES)
    people.ran()
    assert rejected(people) == {i: rules for i, rules in violated().items() if set(rules) - {"range"}}


def test_in_one_process_no_bytes_are_made_of_rows_that_wait(people: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "ipc", None)  # what packs and unpacks
    define(people, *RULES)
    people.ran()
    assert rejected(people) == {i: rules for i, rules in violated().items() if set(rules) - {"range"}}


def test_rules_of_several_fields_and_of_a_reference_in_a_file(people: Desk) -> None:
    pq.write_table(pa.table({"land": ["A", "B", None], "years": [1, 2, 3]}), people.folder / "known.parquet")
    reference = {"source": {"type": "file", "path": "known.parquet"}, "fields": ["land", "years"]}
    known = {"id": "known", "type": "foreign-key", "fields": ["country", "age"], "reference": reference}
    define(people, known, {"id": "pair", "type": "unique", "fields": ["country", "email"], "action": "flag"})
    people.ran()
    # (A, 1) and (B, 2) are the pairs of persons 1 and 2.
    assert sorted(rejected(people)) == [i for i, _, _, country in PEOPLE if country is not None and i > 2]
    assert loaded(people, "id, _dq") == [(i, None) for i, _, _, country in PEOPLE if country is None or i <= 2]


def test_nothing_read_is_nothing_rejected(people: Desk) -> None:
    people.sqlite("source.db", "DELETE FROM people")
    people.etl({"table": "people"}, {"table": "people", "mode": "insert"}, [{"id": "check", "type": "validate", "rules": RULES}])
    record = people.ran()
    assert (record["metrics"]["recordsExtracted"], record["metrics"]["recordsRejected"]) == (0, 0)


@pytest.mark.no_bundle
def test_a_test_of_a_definition_writes_down_what_a_foreign_key_refers_to(people: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    case = {
        "name": "who goes on",
        "input": [{"id": 1, "email": "a@x", "age": 3, "country": "A"}, {"id": 2, "email": "a@x", "age": 4, "country": "X"}],
        "sources": {"check/known": [{"code": "A"}]},
        "expect": {"check": {"rows": [{"id": 1}], "dead": [{"code": "rule-violated", "row": {"id": 2}}]}},
    }
    define(people, UNIQUE, REFERENCE)
    written = json.loads((people.folder / "service.json").read_text())
    people.define({**written, "tests": [case]})
    assert main(["test", str(people.folder / "service.json")]) == 0, capsys.readouterr()


@pytest.mark.long
def test_workers_in_processes_of_their_own_say_the_same(people: Desk) -> None:
    define(people, *RULES)
    people.ran(options=list(TWO))
    assert rejected(people) == {i: rules for i, rules in violated().items() if set(rules) - {"range"}}


def test_rules_hold_of_rows_that_a_join_has_multiplied(people: Desk) -> None:
    # Both rows of A come from one place in the source, so which of them is the first is told by what is in them.
    people.sqlite("source.db", "INSERT INTO countries VALUES ('A', 'z')")
    source = {"type": "database", "connection": "source", "table": "countries"}
    join = {"id": "named", "type": "join", "source": source, "on": {"country": "code"}}
    define(people, {"id": "once", "type": "unique", "field": "id"}, before=(join,))
    people.ran()
    kept = loaded(people, "id, name")
    assert [i for i, _ in kept] == [i for i, _, _, country in PEOPLE if country in ("A", "B", "C")]
    assert sorted(rejected(people)) == [i for i, _, _, country in PEOPLE if country == "A"]
    first = sorted(kept)
    people.ran()
    assert sorted(loaded(people, "id, name")) == first


def test_action_and_severity_are_independent(people: Desk) -> None:
    define(people, {**REQUIRED, "action": "log"}, {**RANGE, "action": "reject"}, {**FORMAT, "severity": "info"})
    record = people.ran()
    assert sorted(rejected(people)) == list(range(291, 301))
    assert loaded(people) == list(range(1, 291))
    assert [rule["violated"] for rule in check(record)["rules"]] == [COUNT // 25, 10, sum("format" in r for r in violated().values())]
    assert "_dq" not in [
        row[0] for row in people.duckdb("target.duckdb", "SELECT column_name FROM duckdb_columns() WHERE table_name = 'people'")
    ]


@pytest.mark.parametrize(("severity", "code"), [("error", 1), ("warning", 3), ("info", 0)])
def test_a_threshold_that_is_passed_means_what_the_severity_says(people: Desk, severity: str, code: int) -> None:
    define(people, {**REQUIRED, "maxFailures": 11, "severity": severity, "action": "log"})
    result = people.run()
    assert result.exit_code == code
    if severity == "error":
        assert result.execution.error_code == "rule-broken"
        assert "12 of 300 rows violate the rule 'there', which allows 11" in str(result.execution.error)
        assert people.duckdb("target.duckdb", "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'people'") == [(0,)]
    else:
        assert len(loaded(people)) == COUNT


WHOLE: list[dict[str, Any]] = [
    {"id": "rows", "type": "row-count", "min": 300, "max": 300},
    {"id": "nulls", "type": "null-ratio", "field": "email", "max": 0.04},
    {"id": "mails", "type": "distinct-count", "field": "email", "min": 1},
    {"id": "mean", "type": "statistic", "field": "age", "statistic": "mean", "min": 150, "max": 151},
    {"id": "median", "type": "statistic", "field": "age", "statistic": "median", "min": 150, "max": 151},
]


@pytest.mark.parametrize("rules", [[], [UNIQUE]], ids=["alone", "beside keys"])
def test_rules_of_the_data_set_are_judged_by_what_every_bundle_measured(people: Desk, rules: list[dict[str, Any]]) -> None:
    define(people, *rules, *WHOLE)
    told = {rule["rule"]: rule for rule in check(people.ran())["rules"]}
    assert {name: (told[name]["measured"], told[name]["holds"]) for name in ("rows", "nulls", "mean", "median")} == {
        "rows": (300, True),
        "nulls": (12 / 300, True),
        "mean": (150.5, True),
        "median": (150.5, True),
    }
    assert told["mails"]["measured"] == len({mail for _, mail, _, _ in PEOPLE if mail})


@pytest.mark.parametrize(("severity", "code"), [("error", 1), ("warning", 3), ("info", 0)])
@pytest.mark.parametrize("emptied", [False, True])
def test_a_rule_of_the_data_set_that_does_not_hold(people: Desk, severity: str, code: int, emptied: bool) -> None:
    if emptied:
        people.sqlite("source.db", "DELETE FROM people")
    step = {"id": "check", "type": "validate", "rules": [{"id": "rows", "type": "row-count", "min": 301, "severity": severity}]}
    people.etl({"table": "people"}, {"table": "people"}, [step])
    result = people.run()
    assert result.exit_code == code
    (rule,) = check(result.to_json())["rules"]
    assert (rule["measured"], rule["holds"]) == (0 if emptied else 300, False)
    if severity == "error":
        assert result.execution.error_code == "rule-broken"
        assert f"got {rule['measured']}" in str(result.execution.error)


def test_rows_that_are_rejected_in_the_source_of_a_join_are_accounted_for(people: Desk) -> None:
    known = {"id": "known", "type": "validate", "rules": [{"id": "coded", "type": "required-fields", "fields": ["code"]}]}
    source = {"type": "database", "connection": "source", "table": "countries", "transformations": [known]}
    people.etl({"table": "people"}, {"table": "people"}, [{"id": "named", "type": "join", "source": source, "on": {"country": "code"}}])
    record = people.ran()
    assert record["metrics"]["recordsRejected"] == 1
    assert [letter["step"] for letter in people.letters()] == ["known"]
    assert len(loaded(people)) == sum(country in ("A", "B", "C") for *_, country in PEOPLE)


def test_a_threshold_that_is_kept_rejects_rows_all_the_same(people: Desk) -> None:
    define(people, {**REQUIRED, "maxFailures": "4%", "mostly": 0.96})
    assert check(people.ran())["rules"][0]["holds"] is True
    assert len(loaded(people)) == COUNT - 12


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        ({**FORMAT, "pattern": "(?=x)"}, "rules[0].pattern", "expected a pattern that can be run"),
        ({**FORMAT, "field": "mail"}, "rules[0].field", "no field 'mail'"),
        ({**REFERENCE, "field": "age"}, "rules[0].reference.field", "expected a column that values of 'age'"),
        ({**REFERENCE, "reference": {**COUNTRIES, "table": "lands"}}, "rules[0].reference", "lands"),
        ({**REFERENCE, "reference": {**COUNTRIES, "field": "cod"}}, "rules[0].reference", "cod"),
    ],
    ids=["pattern", "field", "type", "table", "column"],
)
def test_a_rule_that_cannot_hold_is_refused_before_the_run(people: Desk, rule: dict[str, Any], path: str, message: str) -> None:
    define(people, rule)
    with pytest.raises(PlanError) as refused:
        people.service.plan()
    assert any(path in problem.path and message in problem.message for problem in refused.value.problems), refused.value


@pytest.mark.no_bundle
def test_preview_shows_what_goes_on_and_what_is_rejected(people: Desk) -> None:
    define(people, *RULES)
    shown = people.service.preview(limit=60)
    bad = {i for i, rules in violated().items() if set(rules) - {"range"} and i <= 60}
    assert [row["id"] for row in shown.rows] == [i for i in range(1, 61) if i not in bad]
    assert len(shown.dead) == len(bad)


def test_rows_behind_rules_that_take_others_are_in_no_order_that_could_be_told(people: Desk) -> None:
    # Which of several rows of one e-mail is the last one would hang on the workers.
    step = {"id": "check", "type": "validate", "rules": [UNIQUE]}
    people.etl({"table": "people"}, {"table": "people", "mode": "upsert", "keyFields": ["country"]}, [step])
    result = people.run()
    assert (result.exit_code, result.execution.error_code) == (2, "mode-refused")
    assert "behind 'check' rows are in no order" in str(result.error)
    people.etl({"table": "people"}, {"table": "people", "mode": "upsert", "keyFields": ["id"]}, [step])
    people.ran()


@pytest.mark.long
def test_the_first_row_behind_other_rules_is_the_same_for_any_workers(people: Desk) -> None:
    other = {"id": "planned", "type": "validate", "rules": [REFERENCE]}
    define(people, UNIQUE, before=(other,))
    people.ran()
    one = sorted(rejected(people))
    people.ran(options=list(TWO))
    assert sorted(letter["record"]["id"] for letter in people.letters()) == sorted(one * 2)


def test_a_rule_that_fails_on_rows_does_not_hold(people: Desk) -> None:
    cast = {"id": "cast", "type": "expression", "condition": "CAST(email AS INTEGER) > 0", "mostly": 1}
    define(people, cast)
    result = people.run()
    assert (result.exit_code, result.execution.error_code) == (1, "rule-broken")
    assert "288 of 288 rows violate the rule 'cast'" in str(result.execution.error)
    define(people, {**cast, "mostly": 0})
    result = people.run()
    assert result.exit_code == 0  # below 1,000 rows a share of failures says nothing
    people.define({**json.loads((people.folder / "service.json").read_text()), "errorBudget": {"max": 5}})
    result = people.run()
    assert (result.exit_code, result.execution.error_code) == (1, "budget-exceeded")


def test_steps_behind_each_other_mark_rows_one_after_the_other(people: Desk) -> None:
    young = {"id": "young", "type": "validate", "rules": [{**RANGE, "id": "old", "max": 295}]}
    define(people, RANGE, before=(young,))
    people.ran()
    marks = dict(loaded(people, "id, _dq"))
    assert (marks[290], marks[291], marks[296]) == (None, ["range"], ["old", "range"])


def test_every_broken_rule_is_told(people: Desk) -> None:
    rules = [{**REQUIRED, "maxFailures": 0}, {**FORMAT, "maxFailures": 0}, {**RANGE, "maxFailures": 0}]
    define(people, *rules)
    error = str(people.run().execution.error)
    assert [f"the rule {name!r}" in error for name in ("there", "format", "range")] == [True] * 3


@pytest.mark.long
def test_keys_of_more_batches_than_a_byte_can_number(people: Desk) -> None:
    # A function gives batches of 1,000 rows. The rows that repeat a key are in the first and the last of 140.
    rows = 140_000
    pq.write_table(pa.table({"id": range(rows), "k": [*range(rows - 1), 0]}), people.folder / "many.parquet")
    people.functions("def same(row: dict) -> dict:\n    return row\n")
    same = {"id": "same", "type": "function", "handler": "functions:same", "output": {"id": "bigint", "k": "bigint"}}
    unique = {"id": "check", "type": "validate", "rules": [{"id": "once", "type": "unique", "field": "k"}]}
    source, target = {"type": "file", "path": "many.parquet"}, {"type": "none"}
    people.define({"name": "Many", "pipeline": {"source": source, "transformations": [same, unique], "destination": target}})
    people.ran()
    assert [letter["record"]["id"] for letter in people.letters()] == [rows - 1]
