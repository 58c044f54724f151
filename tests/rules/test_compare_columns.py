"""One column held against another."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import Result, check
from beam_pipelines.spec import CompareColumns


def checked(left: pa.Array, operator: str, right: pa.Array) -> Result:
    rule = {"id": "r", "type": "compare-columns", "field": "a", "operator": operator, "other": "b"}
    return check(pa.table({"a": left, "b": right}), [rule])


@pytest.mark.parametrize(
    ("operator", "rows", "words"),
    [
        ("lt", [1, 2], "less than"),
        ("lte", [2], "at most"),
        ("gt", [0, 1], "greater than"),
        ("gte", [0], "at least"),
        ("eq", [0, 2], "equal to"),
        ("ne", [1], "other than"),
        ("<=", [2], "at most"),
    ],
)
def test_rows_that_do_not_compare_so_violate(operator, rows, words):
    found = checked(pa.array([1, 2, 3, None, 5, None]), operator, pa.array([2.5, 2.0, 2.5, 1.0, None, None]))
    assert found.violations["recordIndex"].to_pylist() == rows
    assert set(found.violations["message"].to_pylist()) == {f"expected a to be {words} b"}
    assert found.rules[0].tally.unevaluated == 3
    assert set(found.violations["field"].to_pylist()) == {"a, b"}


def test_what_was_found_is_both_values():
    found = checked(pa.array([dt.date(2024, 1, 2)]), "lt", pa.array([dt.datetime(2024, 1, 1, 12)]))
    assert found.violations["value"].to_pylist() == ['{"a":"2024-01-02","b":"2024-01-01T12:00:00.000000"}']


@pytest.mark.parametrize("operator", ["lt", "lte", "gt", "gte", "eq", "ne"])
def test_nan_violates_whatever_the_operator(operator):
    nan = float("nan")
    found = checked(pa.array([nan, 1.0, nan, nan]), operator, pa.array([Decimal(1), None, None, Decimal(2)]))
    assert found.violations["recordIndex"].to_pylist() == [0, 3]
    assert all(text.endswith("got something that is not a number") for text in found.violations["message"].to_pylist())


def test_numbers_are_compared_exactly():
    assert checked(pa.array([2**53 + 1]), "gt", pa.array([2.0**53])).violations.num_rows == 0
    assert checked(pa.array([Decimal("0.10")]), "eq", pa.array([0.1])).violations.num_rows == 0


def test_dictionaries_and_nested_fields_are_read():
    table = pa.table(
        {"order": [{"from": "b", "to": "a"}, {"from": "a", "to": "b"}, None], "key": pa.array(["a", "b", "c"]).dictionary_encode()}
    )
    rules = [
        {"id": "nested", "type": "compare-columns", "field": "order.from", "operator": "lte", "other": "order.to"},
        {"id": "key", "type": "compare-columns", "field": "key", "operator": "=", "other": "order.to"},
    ]
    found = check(table, rules)
    assert found.violations.select(["recordIndex", "rule"]).to_pylist() == [{"recordIndex": 0, "rule": "nested"}]
    assert [rule.tally.unevaluated for rule in found.rules] == [1, 1]


def test_a_column_of_nothing_is_not_evaluated():
    assert checked(pa.nulls(2), "eq", pa.array([1, 2])).rules[0].tally.unevaluated == 2


def test_types_that_cannot_be_compared_are_refused():
    with pytest.raises(PlanError) as refused:
        checked(pa.array(["1"]), "lt", pa.array([2]))
    (problem,) = refused.value.problems
    assert problem.path == "rules[0].other"
    assert problem.message == "expected a field that values of 'a' (string) can be compared with, got 'b' of type int64"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"operator": "lt", "other": "a"}, "expected another field than 'a'"),
        ({"operator": "in", "other": "b"}, "expected 'lt', 'lte', 'gt', 'gte', 'eq' or 'ne', got 'in'"),
        ({"operator": "lt"}, "expected 'other', which is missing"),
    ],
)
def test_a_rule_says_what_is_wrong_with_it(keys, expected):
    with pytest.raises(ValidationError) as refused:
        CompareColumns.model_validate({"id": "r", "field": "a", **keys})
    assert [error["msg"] for error in refused.value.errors()] == [expected]
