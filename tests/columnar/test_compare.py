"""Columns compared row by row, against Python's own exact numbers and times."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar.compare import ordered, orders

INTS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(2**53 - 2, 2**53 + 2), st.integers(-3, 3))
FLOATS = st.one_of(
    st.floats(allow_nan=False), INTS.map(float), st.sampled_from([2.0**63, -(2.0**63), 2.0**64, math.inf, -math.inf, 0.1, -0.5, 1.5])
)


def sign(one: Any, other: Any) -> int:
    return (one > other) - (one < other)


def decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def both_ways(left: pa.Array, right: pa.Array) -> list[int]:
    assert orders(left.type, right.type)
    assert orders(right.type, left.type)
    found = ordered(left, right)
    np.testing.assert_array_equal(found, -ordered(right, left))
    return list(found)


@given(st.lists(st.tuples(INTS, FLOATS), min_size=1, max_size=20))
def test_whole_numbers_and_floats_are_compared_exactly(pairs):
    ints, floats = zip(*pairs, strict=True)
    assert both_ways(pa.array(ints, pa.int64()), pa.array(floats, pa.float64())) == [sign(*pair) for pair in pairs]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), FLOATS, INTS), min_size=1, max_size=20))
def test_unsigned_numbers_are_compared_exactly(rows):
    unsigned, floats, ints = zip(*rows, strict=True)
    left = pa.array(unsigned, pa.uint64())
    assert both_ways(left, pa.array(floats, pa.float64())) == [sign(row[0], row[1]) for row in rows]
    assert both_ways(left, pa.array(ints, pa.int64())) == [sign(row[0], row[2]) for row in rows]


DECIMALS = st.one_of(
    st.decimals(min_value=Decimal("-1e17"), max_value=Decimal("1e17"), places=20, allow_nan=False),
    st.sampled_from([Decimal("0.1"), Decimal("0.10000000000000000001"), Decimal(2**53 + 1), Decimal("0"), Decimal("1e-20")]),
)


@given(st.lists(st.tuples(DECIMALS, FLOATS), min_size=1, max_size=20))
def test_decimals_are_compared_with_the_shortest_text_of_floats(pairs):
    pairs = [*pairs, *((one, float(one)) for one, _ in pairs)]
    decimals, floats = zip(*pairs, strict=True)
    expected = [sign(one, decimal(other)) for one, other in pairs]
    assert both_ways(pa.array(decimals, pa.decimal128(38, 20)), pa.array(floats, pa.float64())) == expected


@given(st.lists(st.tuples(DECIMALS, INTS, DECIMALS), min_size=1, max_size=20))
def test_decimals_are_compared_exactly_with_whole_numbers_and_with_each_other(rows):
    decimals, ints, others = zip(*rows, strict=True)
    left = pa.array(decimals, pa.decimal128(38, 20))
    assert both_ways(left, pa.array(ints, pa.int64())) == [sign(row[0], row[1]) for row in rows]
    wide = pa.array(others, pa.decimal256(50, 22))
    assert both_ways(left, wide) == [sign(row[0], row[2]) for row in rows]


def test_small_floats_are_compared_by_their_own_texts():
    singles = pa.array([0.1, 0.5, 16777216.0, math.inf, -math.inf], pa.float32())
    decimals = pa.array([Decimal("0.1"), Decimal("0.50000001"), Decimal(16777217), Decimal(1), Decimal(1)], pa.decimal128(38, 10))
    assert both_ways(singles, decimals) == [0, -1, -1, 1, -1]
    assert both_ways(pa.array([0.5, 2.0], pa.float16()), pa.array([1, 2])) == [-1, 0]
    assert both_ways(pa.array([0.5, 2.0], pa.float16()), pa.array([Decimal("0.5"), Decimal("2.1")])) == [0, -1]
    # A float32 is the number it is: a tenth is not among them.
    assert both_ways(pa.array([0.1], pa.float32()), pa.array([0.1])) == [1]


def test_the_widest_decimals_are_compared():
    one, other = Decimal(10**37), Decimal("0." + "9" * 38)
    assert both_ways(pa.array([one], pa.decimal128(38, 0)), pa.array([other], pa.decimal128(38, 38))) == [1]
    assert both_ways(pa.array([10**20 - 1], pa.decimal128(38, 0)), pa.array([1e20])) == [-1]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (pa.array([10**9 + 1, 10**9, -1, -1], pa.timestamp("ns")), pa.array([1, 1, 0, -1], pa.timestamp("s", "UTC")), [1, 0, -1, 1]),
        (pa.array([2**62, -(2**62)], pa.timestamp("s")), pa.array([2**62, -(2**62)], pa.timestamp("ns")), [1, -1]),
        (pa.array([dt.date(2024, 1, 2)] * 2), pa.array([dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 2, 1)]), [0, -1]),
        (pa.array([dt.date(2024, 1, 2)], pa.date64()), pa.array([dt.date(2024, 1, 3)]), [-1]),
        (pa.array([dt.time(10), dt.time(10, 0, 1)], pa.time32("s")), pa.array([dt.time(10, 0, 0, 1)] * 2, pa.time64("us")), [-1, 1]),
        (pa.array([1500, 2000], pa.duration("ms")), pa.array([2, 2], pa.duration("s")), [-1, 0]),
        (pa.array(["a", "ab", "Z", "é"]), pa.array(["b", "ab", "a", "z"], pa.large_string()), [-1, 0, -1, 1]),
        (pa.array([b"a", b"\xff"]), pa.array([b"b", b"\x00"], pa.binary(1)), [-1, 1]),
        (pa.array([True, False, True]), pa.array([False, True, True]), [1, -1, 0]),
        (pa.array([0.0, 1.0]), pa.array([-0.0, 2.0], pa.float32()), [0, -1]),
        (pa.array([1, -1], pa.int8()), pa.array([1, 0], pa.int64()), [0, -1]),
    ],
)  # fmt: skip
def test_values_of_a_kind_are_compared_whatever_their_width(left, right, expected):
    assert both_ways(left, right) == expected


def test_uuids_are_compared_by_their_bytes():
    ids = [uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=2**127)]
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one.bytes for one in ids], pa.binary(16)))
    assert both_ways(column, column.take(pa.array([1, 1, 0]))) == [-1, 0, 1]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.string(), pa.int64()),
        (pa.bool_(), pa.int64()),
        (pa.date32(), pa.time32("s")),
        (pa.string(), pa.date32()),
        (pa.string(), pa.binary()),
        (pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.int64())])),
        (pa.decimal256(76, 76), pa.int64()),
        (pa.decimal256(60, 2), pa.float64()),
        (pa.month_day_nano_interval(), pa.month_day_nano_interval()),
    ],
)
def test_values_that_have_no_common_order_are_not_compared(left, right):
    assert not orders(left, right)
    assert not orders(right, left)
