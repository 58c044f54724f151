from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar.total import total, unit


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.integers(0, 20))
def test_doubles_are_added_up_exactly(values: list[float], cut: int) -> None:
    parts = [pa.array(part, pa.float64()) for part in (values[:cut], values[cut:])]
    assert sum(map(total, parts)) * unit(pa.float64()) == sum(map(Fraction, values))


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_integers_are_added_up_beyond_64_bits(values: list[int | None]) -> None:
    assert total(pa.array(values, pa.int64())) == sum(value or 0 for value in values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([2**64 - 1] * 3, pa.uint64()), 3 * (2**64 - 1)),
        (pa.array([-128] * 5, pa.int8()), -640),
        (pa.array([Decimal("99.99"), None, Decimal("-0.02")]), Fraction("99.97")),
        (pa.array([Decimal(10**38 - 1)] * 4, pa.decimal128(38, 0)), 4 * (10**38 - 1)),
        (pa.array([Decimal(10**75)] * 40, pa.decimal256(76, 0)), 40 * 10**75),
        (pa.array([0.5, None], pa.float32()), Fraction(1, 2)),
        (pa.array([5e-324] * 3), 3 * Fraction(5e-324)),
        (pa.array([], pa.decimal128(5, 2)), 0),
    ],
)
def test_sums_of_each_type(values: pa.Array, expected: Fraction) -> None:
    assert total(values) * unit(values.type) == expected
