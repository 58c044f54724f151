"""Values that are in none of a list."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import check


def violating(values: pa.Array, *listed: object) -> list[int]:
    rule = {"id": "r", "type": "not-in-set", "field": "x", "values": list(listed)}
    return check(pa.table({"x": values}), [rule]).violations["recordIndex"].to_pylist()


def test_values_of_the_list_violate_and_null_is_not_evaluated():
    table = pa.table({"x": ["test", "ok", None, "TEST", "", "demo"]})
    found = check(table, [{"id": "r", "type": "not-in-set", "field": "x", "values": ["test", "demo"]}])
    assert found.violations["recordIndex"].to_pylist() == [0, 5]
    assert found.violations["value"].to_pylist() == ["test", "demo"]
    assert set(found.violations["message"].to_pylist()) == {"expected none of 'test', 'demo'"}
    assert (found.rules[0].tally.evaluated, found.rules[0].tally.unevaluated) == (5, 1)
    assert found.valid["x"].to_pylist() == ["ok", None, "TEST", ""]


@pytest.mark.parametrize(
    ("values", "listed", "rows"),
    [
        (pa.array([0, 1, 2]), (1.0, 2), [1, 2]),
        (pa.array([0.0, -0.0, 1.5, float("nan")]), (0,), [0, 1]),
        (pa.array([Decimal("1.10"), Decimal("2.00")]), (1.1,), [0]),
        (pa.array([True, False, None]), (False,), [1]),
        (pa.array([dt.date(1970, 1, 1), dt.date(2024, 1, 1)]), ("1970-01-01",), [0]),
        (pa.array(["a", "b", None, "a"]).dictionary_encode(), ("a", None), [0, 3]),
        (pa.array([2**63, 2**64 - 1, 5], pa.uint64()), (2**63, 2**64 - 1), [0, 1]),
        (pa.array([2.0**63, 1.0]), (2**63,), [0]),
    ],
)
def test_values_are_compared_by_their_meaning(values, listed, rows):
    assert violating(values, *listed) == rows


def test_a_value_that_the_field_cannot_hold_is_refused():
    with pytest.raises(PlanError) as refused:
        violating(pa.array([1, 2]), 3, "1")
    (problem,) = refused.value.problems
    assert problem.path == "rules[0].values[1]"
    assert problem.message == "expected a value that a field of type int64 can hold, got '1'"


@pytest.mark.parametrize(
    ("kind", "listed"),
    [
        (pa.int64(), 2**63),
        (pa.int8(), 10**50),
        (pa.uint64(), 2**64),
        (pa.float64(), 2**63 + 1),
        (pa.float64(), -(10**400)),
        (pa.decimal128(5, 2), 10**100),
        (pa.decimal128(5, 2), 1e300),
    ],
)
def test_a_number_that_is_of_no_type_of_arrow_is_refused_as_others_are(kind, listed):
    with pytest.raises(PlanError, match="fit the rows") as refused:
        violating(pa.array([1], kind), listed)
    assert refused.value.problems[0].message.startswith(f"expected a value that a field of type {kind} can hold")
