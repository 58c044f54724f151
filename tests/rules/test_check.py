"""The seed's rules on tables small enough to be judged by eye."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.rules import check
from tests.rules.tables import found, of, rows

PEOPLE = pa.table(
    {
        "id": pa.array([1, 2, 3, 4, 5, 6, 7, 8], pa.int64()),
        "email": ["a@x.io", "b@x.io", "nonsense", "a@x.io", None, "c@x.io", "", "a@x.io"],
        "age": [30, -1, 40, 50, 151, None, 20, 0],
        "city": pa.array([1, 2, 9, 1, 1, None, 2, 9], pa.int64()),
    }
)
CITIES = {"cities": pa.table({"id": pa.array([1, 2, 3], pa.int64())})}
SEED: list[dict[str, Any]] = [
    {"id": "present", "type": "required-fields", "fields": ["email", "age"]},
    {"id": "mail", "type": "regex", "field": "email", "pattern": "^[^@]+@[^@]+$", "severity": "warning"},
    {"id": "age", "type": "numeric-range", "field": "age", "min": 0, "max": 150},
    {"id": "once", "type": "unique", "field": "email"},
    {"id": "city", "type": "foreign-key", "field": "city", "reference": {"table": "cities", "field": "id"}, "severity": "info"},
]


def test_the_seed_s_rules_find_what_the_eye_finds() -> None:
    result = check(PEOPLE, SEED, references=CITIES)
    assert [(one["recordIndex"], one["rule"], one["field"], one["value"]) for one in result.violations.to_pylist()] == [
        (1, "age", "age", "-1"),
        (2, "mail", "email", "nonsense"),
        (2, "city", "city", "9"),
        (3, "once", "email", "a@x.io"),
        (4, "present", "email", None),
        (4, "age", "age", "151"),
        (5, "present", "age", None),
        (6, "present", "email", ""),
        (7, "once", "email", "a@x.io"),
        (7, "city", "city", "9"),
    ]
    assert {(one["rule"], one["severity"], one["action"]) for one in result.violations.to_pylist()} == {
        ("present", "error", "reject"),
        ("mail", "warning", "flag"),
        ("age", "error", "reject"),
        ("once", "error", "reject"),
        ("city", "info", "log"),
    }
    assert (result.total, result.passed, result.failed, result.warnings) == (8, 2, 6, 1)
    assert result.valid.column("id").to_pylist() == [1, 3]
    assert result.valid.column("_dq").to_pylist() == [None, ["mail"]]
    assert result.rejected.column("id").to_pylist() == [2, 4, 5, 6, 7, 8]
    assert result.rejected.schema == PEOPLE.schema
    assert [(one.tally.evaluated, one.tally.violated, one.tally.unevaluated) for one in result.rules] == [
        (8, 3, 0),
        (6, 1, 2),
        (7, 2, 1),
        (7, 2, 1),
        (7, 2, 1),
    ]
    assert result.ok


def test_a_violation_comes_with_its_record() -> None:
    result = check(PEOPLE, SEED, references=CITIES)
    told = result.violations_with_records()
    assert len(told) == 10
    assert [one["record"]["id"] for one in told] == [2, 3, 3, 4, 5, 5, 6, 7, 8, 8]
    assert told[0]["record"] == {"id": 2, "email": "b@x.io", "age": -1, "city": 2}
    assert result.to_dict(examples=1)["examples"] == told[:1]


def test_no_message_holds_a_value_of_a_row() -> None:
    secret = "s3cret"
    table = pa.table({"a": [secret, secret, "b"], "n": [secret, "1", "2"]})
    rules: list[dict[str, Any]] = [
        {"id": "r", "type": "regex", "field": "a", "pattern": "^b$"},
        {"id": "n", "type": "numeric-range", "field": "n", "min": 0},
        {"id": "u", "type": "unique", "field": "a"},
        {"id": "s", "type": "in-set", "field": "a", "values": ["b"]},
        {"id": "f", "type": "foreign-key", "field": "a", "reference": {"table": "t", "field": "a"}},
    ]
    result = check(table, rules, references={"t": pa.table({"a": ["b"]})})
    assert {one["rule"] for one in result.violations.to_pylist()} == {"r", "n", "u", "s", "f"}
    assert not [one for one in result.violations.to_pylist() if secret in one["message"]]


@pytest.mark.parametrize("action", ["reject", "flag", "log"])
@pytest.mark.parametrize("severity", ["error", "warning", "info"])
def test_severity_and_action_are_independent(severity: str, action: str) -> None:
    table = pa.table({"a": [1, -1, 2, -2]})
    result = check(table, [{"id": "r", "type": "numeric-range", "field": "a", "min": 0, "severity": severity, "action": action}])
    assert (result.failed, result.warnings) == (2 if severity == "error" else 0, 2 if severity == "warning" else 0)
    assert result.passed + result.failed == result.total == 4
    assert result.rejected.column("a").to_pylist() == ([-1, -2] if action == "reject" else [])
    assert result.valid.column("a").to_pylist() == ([1, 2] if action == "reject" else [1, -1, 2, -2])
    assert result.valid.column_names == (["a", "_dq"] if action == "flag" else ["a"])
    if action == "flag":
        assert result.valid.column("_dq").to_pylist() == [None, ["r"], None, ["r"]]
    assert found(result, "r") == [1, 3]


def test_actions_set_what_a_severity_does() -> None:
    table = pa.table({"a": [1, -1]})
    rule = {"id": "r", "type": "numeric-range", "field": "a", "min": 0, "severity": "warning"}
    assert check(table, [rule], actions={"warning": "reject"}).rejected.num_rows == 1
    assert check(table, [{**rule, "action": "log"}], actions={"warning": "reject"}).rejected.num_rows == 0


def test_a_row_is_marked_with_every_rule_it_violates_in_the_order_of_the_rules() -> None:
    table = pa.table({"a": [-1, 5, -1], "b": ["x", "", "ok"]})
    rules = [
        {"id": "z", "type": "in-set", "field": "b", "values": ["ok"], "action": "flag"},
        {"id": "a", "type": "numeric-range", "field": "a", "min": 0, "action": "flag"},
    ]
    assert check(table, rules).valid.column("_dq").to_pylist() == [["z", "a"], ["z"], ["a"]]


@pytest.mark.parametrize("keep", ["first", "last", "none"])
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_valid_and_rejected_are_the_input_with_its_equal_rows(keep: str, copies: int) -> None:
    table = pa.concat_tables([PEOPLE] * copies)
    rules = [*SEED[:3], {**SEED[3], "keep": keep}, {**SEED[4], "action": "reject"}]
    result = check(table, rules, references=CITIES)
    kept = result.valid.drop_columns(["_dq"])
    assert sorted(rows(kept) + rows(result.rejected)) == sorted(rows(table))
    assert result.passed + result.failed == result.total == 8 * copies


def test_a_table_without_rows_holds_every_rule() -> None:
    result = check(PEOPLE.slice(0, 0), SEED, references=CITIES)
    assert (result.total, result.failed, result.violations.num_rows, result.ok) == (0, 0, 0, True)
    assert result.valid.schema.names == [*PEOPLE.column_names, "_dq"]
    assert result.rejected.schema == PEOPLE.schema


def test_violations_are_complete_however_many() -> None:
    table = pa.table({"a": range(20_000)})
    result = check(table, [{"id": "r", "type": "numeric-range", "field": "a", "max": -1}])
    assert found(result, "r") == list(range(20_000))


@pytest.mark.parametrize(
    ("keys", "holds"),
    [
        ({"mostly": 0.75}, True),  # 6 of 8 hold
        ({"mostly": 0.76}, False),
        ({"mostly": 1}, False),
        ({"mostly": 0}, True),
        ({"maxFailures": 2}, True),
        ({"maxFailures": 1}, False),
        ({"maxFailures": 0}, False),
        ({"maxFailures": "25%"}, True),
        ({"maxFailures": "24.9%"}, False),
        ({"mostly": 0.75, "maxFailures": 1}, False),
    ],
)
@pytest.mark.parametrize("severity", ["error", "warning"])
def test_thresholds_are_judged_on_the_rows_looked_at(keys: dict[str, Any], holds: bool, severity: str) -> None:
    table = pa.table({"a": [1, 2, None, 3, -1, 4, 5, -1, 6, None]})
    result = check(table, [{"id": "r", "type": "numeric-range", "field": "a", "min": 0, "severity": severity, **keys}])
    assert of(result, "r")["holds"] is holds
    assert result.ok is (holds or severity == "warning")
    assert result.rejected.num_rows == (2 if severity == "error" else 0)  # a threshold changes nothing for the rows


def test_mostly_is_the_share_that_is_written() -> None:
    # 0.9 of 10 is 9: as doubles, 0.9 * 10 is, and 0.7 * 10 is not.
    for share, good in ((0.9, 9), (0.7, 7), (0.3, 3), (0.1, 1)):
        table = pa.table({"a": [1] * good + [-1] * (10 - good)})
        rule = {"id": "r", "type": "numeric-range", "field": "a", "min": 0, "mostly": share}
        assert check(table, [rule]).ok, share


def test_all_that_does_not_fit_is_said_at_once() -> None:
    rules: list[dict[str, Any]] = [
        {"id": "a", "type": "regex", "field": "email", "pattern": "(?=x)"},
        {"id": "b", "type": "numeric-range", "field": "agee", "min": 0},
        {"id": "c", "type": "foreign-key", "field": "email", "reference": {"table": "cities", "field": "id"}},
        {"id": "d", "type": "foreign-key", "field": "city", "reference": {"table": "towns", "field": "id"}},
        {"id": "e", "type": "in-set", "field": "age", "values": ["1"]},
        {"id": "f", "type": "unique", "fields": ["id", "emial"]},
    ]
    with pytest.raises(PlanError) as caught:
        check(PEOPLE, rules, references=CITIES)
    assert [problem.path for problem in caught.value.problems] == [
        "rules[0].pattern",
        "rules[1].field",
        "rules[2].reference.field",
        "rules[3].reference.table",
        "rules[4].values[0]",
        "rules[5].fields[1]",
    ]
    told = [problem.message for problem in caught.value.problems]
    assert "'(?=x)'" in told[0]
    assert "no field 'agee'" in told[1]
    assert "int64" in told[2]
    assert "'towns'" in told[3]
    assert "did you mean age?" in caught.value.problems[1].hint


def test_mistakes_in_rules_are_said_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        check(
            PEOPLE,
            [{"id": "a", "type": "regex", "field": "x"}, {"id": "a", "type": "unique"}, {"id": "c", "type": "in-sett", "field": "x"}],
        )
    assert len(caught.value.problems) >= 4


def test_rows_that_have_a_mark_already_are_refused() -> None:
    table = PEOPLE.append_column("_dq", pa.array(["x"] * 8))
    with pytest.raises(PlanError, match="do not fit"):
        check(table, [{**SEED[2], "action": "flag"}])
    assert check(table, [SEED[2]]).total == 8


def test_a_table_has_neither_windows_nor_a_horizon() -> None:
    once = {"id": "once", "type": "unique", "field": "email"}
    with pytest.raises(PlanError) as caught:
        check(PEOPLE, [{**once, "horizon": "1h"}, {**once, "id": "window", "scope": "window"}])
    assert [problem.path for problem in caught.value.problems] == ["rules[0].horizon", "rules[1].scope"]
