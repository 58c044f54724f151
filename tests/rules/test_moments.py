"""The standard deviation against Python's own, exactly, whatever the sizes of the numbers are."""

from __future__ import annotations

import statistics
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.rules.dataset.moments import Moments

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e9, 1e9 + 10) | st.integers(-(2**31), 2**31).map(float)


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=20), st.integers(0, 20))
def test_doubles_give_what_fractions_give(numbers: list[float], at: int) -> None:
    exact = statistics.variance(map(Fraction, numbers))
    one, other = (Moments.of(pa.array(part, pa.float64())) for part in (numbers[:at], numbers[at:]))
    deviation = (one + other).deviation
    assert deviation is not None
    assert (one + other) == Moments.of(pa.array(numbers, pa.float64()))
    assert deviation == pytest.approx(float(_root(exact)), rel=1e-15)


def _root(square: Fraction) -> Fraction:
    """The square root, by Newton's steps on a scaled integer."""
    scale = 1 << 4400
    from math import isqrt

    return Fraction(isqrt(int(square * scale)), 1 << 2200)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 4], pa.int8()),
        ([0, 2**64 - 1], pa.uint64()),
        ([-(2**63), 2**63 - 1, 5], pa.int64()),
        ([Decimal("1.10"), Decimal("7.35"), Decimal("-3.00")], pa.decimal128(20, 2)),
        ([1.5, 2.25, 8], pa.float32()),
    ],
)
def test_every_type_of_number(values: list[Any], kind: pa.DataType) -> None:
    assert Moments.of(pa.array(values, kind)).deviation == pytest.approx(float(statistics.stdev(map(Fraction, values))), rel=1e-14)


def test_what_has_no_deviation() -> None:
    assert Moments().deviation is None
    assert Moments.of(pa.array([3])).deviation is None
    assert Moments.of(pa.array([1.0, float("inf")])).deviation is None
    assert Moments.of(pa.array([2, 2, 2])).deviation == 0.0
