"""Conditions of a row, as SQL or as a structure."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar.expression import engine
from beam_pipelines.errors import PlanError
from beam_pipelines.rules import Result, check

TABLE = pa.table(
    {
        "total": [10.0, 5.0, None, 0.0],
        "net": [8.0, 6.0, 1.0, 0.0],
        "text": ["1", "x", None, "4"],
        "stamp": pa.array([dt.datetime(2024, 1, day) for day in (1, 2, 3, 4)], pa.timestamp("us", "UTC")),
    }
)


def checked(condition: Any, table: pa.Table = TABLE, **more: Any) -> Result:
    return check(table, [{"id": "r", "type": "expression", "condition": condition}], **more)


def test_rows_on_which_a_condition_is_false_violate_and_null_is_not_evaluated():
    found = checked("total >= net")
    assert found.violations.select(["recordIndex", "field", "value", "message"]).to_pylist() == [
        {"recordIndex": 1, "field": "total, net", "value": '{"total":5.0,"net":6.0}', "message": "expected total >= net"}
    ]
    assert (found.rules[0].tally.evaluated, found.rules[0].tally.unevaluated) == (3, 1)
    assert found.valid.num_rows == 3


@pytest.mark.parametrize(
    ("condition", "rows", "unevaluated"),
    [
        ({"field": "total", "operator": "gt", "value": 0}, [3], 1),
        ({"any": [{"field": "total", "operator": "gt", "value": 5}, {"field": "net", "operator": "=", "value": 6}]}, [3], 1),
        ({"all": ["net > 0", {"not": {"field": "text", "operator": "is_null"}}]}, [2, 3], 0),
        ("stamp < TIMESTAMPTZ '2024-01-03 00:00:00+00'", [2, 3], 0),
        ("1 = 2", [0, 1, 2, 3], 0),
        ("1 = 1", [], 0),
        ("NULL", [], 4),
    ],
)
def test_conditions_are_what_they_are_in_a_filter(condition, rows, unevaluated):
    found = checked(condition)
    assert found.violations["recordIndex"].to_pylist() == rows
    assert found.rules[0].tally.unevaluated == unevaluated


def test_a_condition_without_fields_has_no_value_to_show():
    found = checked("1 = 2", TABLE.slice(0, 1))
    assert found.violations.select(["field", "value"]).to_pylist() == [{"field": "", "value": None}]


def test_a_row_on_which_the_condition_fails_is_rejected_as_an_error_of_the_rule_and_the_others_go_on():
    found = checked("CAST(text AS INTEGER) < 3")
    assert found.violations["recordIndex"].to_pylist() == [1, 3]
    assert found.violations["message"].to_pylist()[0].startswith("the rule failed on this row: ")
    tally = found.rules[0].tally
    assert (tally.evaluated, tally.violated, tally.unevaluated, tally.failed) == (2, 1, 1, 1)
    assert found.rejected["text"].to_pylist() == ["x", "4"]
    assert found.passed + found.failed == found.total == 4


def test_a_rule_that_only_logs_still_rejects_rows_on_which_it_fails():
    rule = {"id": "r", "type": "expression", "condition": "CAST(text AS INTEGER) < 3", "severity": "info"}
    found = check(TABLE, [rule])
    assert found.rejected["text"].to_pylist() == ["x"]


def test_now_is_the_start_of_the_run():
    found = checked("stamp <= now()", now=dt.datetime(2024, 1, 2, 12, tzinfo=dt.timezone.utc))
    assert found.violations["recordIndex"].to_pylist() == [2, 3]
    assert checked("stamp <= now()").violations.num_rows == 0


@pytest.mark.parametrize(
    ("condition", "path", "message"),
    [
        ("totl > 1", "rules[0].condition", "totl"),
        ("total +", "rules[0].condition", "total +"),
        ("total + 1", "rules[0].condition", "expected a condition, which is true or false"),
        ("count(*) > 1", "rules[0].condition", "count"),
        ({"all": ["net > 0", {"field": "missing", "operator": "is_null"}]}, "rules[0].condition.all[1].field", "no field 'missing'"),
    ],
)
def test_conditions_that_do_not_fit_are_refused_before_the_first_row(condition, path, message):
    with pytest.raises(PlanError) as refused:
        checked(condition)
    (problem,) = refused.value.problems
    assert problem.path == path
    assert message in problem.message


def test_connections_are_given_back_whatever_happens(monkeypatch):
    given: list[Any] = []
    monkeypatch.setattr(engine._POOL, "give", lambda memory, connection: given.append(connection))
    checked("CAST(text AS INTEGER) < 3")
    assert len(given) == 1
    good = {"id": "good", "type": "expression", "condition": "CAST(text AS INTEGER) < 4"}
    with pytest.raises(PlanError):
        check(TABLE, [good, {"id": "bad", "type": "expression", "condition": "CAST(text AS INTEGER) + 1"}])
    assert len(given) == 3


def test_a_long_condition_is_shortened_in_messages():
    condition = " AND\n  ".join(["total > 5"] * 50)
    message = checked(condition).violations["message"].to_pylist()[0]
    assert message.startswith("expected total > 5 AND total > 5")
    assert message.endswith("...")
    assert len(message) < 250
