"""Lengths within bounds."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import Result, check
from beam_pipelines.spec import Length


def checked(values: pa.Array, **bounds: int) -> Result:
    return check(pa.table({"x": values}), [{"id": "r", "type": "length", "field": "x", **bounds}])


def test_text_is_as_long_as_its_characters():
    found = checked(pa.array(["", "a", "ä€", "日本語", "👍", None, "  "]), min=1, max=2)
    assert found.violations["recordIndex"].to_pylist() == [0, 3]
    assert set(found.violations["message"].to_pylist()) == {"expected 1 to 2 characters"}
    assert found.rules[0].tally.unevaluated == 1


@pytest.mark.parametrize(
    ("values", "bounds", "rows", "message"),
    [
        (pa.array([b"", b"\xff\xfe", "ä€".encode(), None]), {"max": 2}, [2], "expected at most 2 bytes"),
        (pa.array([b"ab", None], pa.binary(2)), {"min": 3}, [0], "expected at least 3 bytes"),
        (pa.array([[], [1, None], None, [1, 2, 3]]), {"min": 1, "max": 2}, [0, 3], "expected 1 to 2 items"),
        (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), {"min": 3, "max": 3}, [0], "expected 3 items"),
        (
            pa.array([[("a", 1)], [], None, [("a", 1), ("b", 2)]], pa.map_(pa.string(), pa.int64())),
            {"max": 1},
            [3],
            "expected at most 1 entries",
        ),
        (pa.array(["ab", "abc", None, "abc"]).dictionary_encode(), {"max": 2}, [1, 3], "expected at most 2 characters"),
        (pa.array(["ab", "abc"], pa.large_string()), {"min": 3}, [0], "expected at least 3 characters"),
        (pa.nulls(2), {"min": 3}, [], None),
    ],
)
def test_other_values_are_as_long_as_their_parts(values, bounds, rows, message):
    found = checked(values, **bounds)
    assert found.violations["recordIndex"].to_pylist() == rows
    assert set(found.violations["message"].to_pylist()) == ({message} if message else set())
    assert found.rules[0].tally.unevaluated == values.null_count


def test_the_length_of_a_map_is_told_in_any_part_of_a_table():
    maps = pa.array([[("a", 1)], None, [("a", 1), ("b", 2)], [], [("c", 3)]], pa.map_(pa.string(), pa.int64()))
    assert checked(maps.slice(1), min=2).violations["recordIndex"].to_pylist() == [2, 3]


def test_a_bound_beyond_what_lengths_can_be_holds_of_all_or_none():
    assert checked(pa.array(["a"]), max=2**40).violations.num_rows == 0
    assert checked(pa.array(["a"]), min=2**40).violations.num_rows == 1
    assert checked(pa.array(["a", None]), max=2**70).violations.num_rows == 0
    assert checked(pa.array(["a", None]), min=2**70).violations.num_rows == 1


@pytest.mark.parametrize("values", [pa.array([1, 2]), pa.array([{"a": 1}]), pa.array([1.5]), pa.array([True])])
def test_values_without_a_length_are_refused(values):
    with pytest.raises(PlanError) as refused:
        checked(values, min=1)
    (problem,) = refused.value.problems
    assert problem.path == "rules[0].field"
    assert problem.message == f"expected a field of text, binary values, lists or maps, got 'x' of type {values.type}"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "expected 'min' or 'max', got neither"),
        ({"min": 3, "max": 2}, "expected at least 'min' (3), got 2"),
        ({"min": -1}, "expected at least 0, got -1"),
        ({"max": "3"}, "expected a whole number, got '3'"),
    ],
)
def test_bounds_that_make_no_sense_are_told(keys, expected):
    with pytest.raises(ValidationError) as refused:
        Length.model_validate({"id": "r", "field": "x", **keys})
    assert [error["msg"] for error in refused.value.errors()] == [expected]
