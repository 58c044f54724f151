"""Values that rise or fall in the order of the source."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.rules import check
from tests.rules.tables import cut, found, of, told

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        (pa.array([1, 2, 2, 1, 3]), {}, ([3], 0)),
        (pa.array([1, 2, 2, 1, 3]), {"strictly": True}, ([2, 3], 0)),
        (pa.array([3, 2, 2, 4]), {"direction": "decreasing"}, ([3], 0)),
        (pa.array([3, 2, 2, 4]), {"direction": "decreasing", "strictly": True}, ([2, 3], 0)),
        (pa.array([None, 5, None, 4, None]), {}, ([3], 3)),
        (pa.array([1.0, NAN, 0.5, 0.5, None]), {}, ([1, 2], 1)),
        (pa.array([0.0, -0.0]), {"strictly": True}, ([1], 0)),
        (pa.array([2**63 - 1, -(2**63)]), {}, ([1], 0)),
        (pa.array(["a", "b", "B", ""]), {}, ([2, 3], 0)),
        (pa.array(["a", "b", "a"]).dictionary_encode(), {}, ([2], 0)),
        (pa.array([date(2024, 1, 2), date(2024, 1, 1)]), {}, ([1], 0)),
        (pa.array([Decimal("1.0"), Decimal("0.9")]), {}, ([1], 0)),
        (pa.array([2, 1], pa.float16()), {}, ([1], 0)),
        (pa.nulls(2), {}, ([], 2)),
        (pa.array([7]), {"strictly": True}, ([], 0)),
    ],
)
def test_rows_that_break_the_order(values: pa.Array, keys: dict[str, Any], expected: tuple[list[int], int]) -> None:
    result = check(pa.table({"v": values}), [{"id": "r", "type": "monotonic", "field": "v", **keys}])
    assert (sorted(found(result, "r")), of(result, "r")["notEvaluated"]) == expected


def test_rows_that_break_the_order_are_rejected_or_kept_as_others_are() -> None:
    table = pa.table({"v": [1, 3, 2, 4]})
    rule = {"id": "r", "type": "monotonic", "field": "v", "maxFailures": 0}
    assert check(table, [rule]).rejected.column("v").to_pylist() == [2]
    assert check(table, [rule]).status == "error"
    assert check(table, [{**rule, "severity": "warning"}]).valid.column("_dq").to_pylist() == [None, None, ["r"], None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.sampled_from([NAN, 0.0, 1.0, 2.0, 3.0]), max_size=15), st.lists(st.integers(0, 15), max_size=6))
def test_any_cut_finds_the_same_rows(values: list[float | None], ends: list[int]) -> None:
    table = pa.table({"v": pa.array(values, pa.float64())})
    rules = [
        {"id": "up", "type": "monotonic", "field": "v"},
        {"id": "s", "type": "monotonic", "field": "v", "strictly": True, "severity": "info"},
    ]
    whole = check(table, rules)
    assert told(check(cut(table, [end for end in ends if end <= len(values)]), rules)) == told(whole)
    last, expected = None, []
    for row, value in enumerate(values):
        if value is not None and value != value:
            expected.append(row)
        elif value is not None:
            if last is not None and value < last:
                expected.append(row)
            last = value
    assert found(whole, "up") == expected
