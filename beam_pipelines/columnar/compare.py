"""Two columns compared row by row, exactly, also where their types differ; nothing is done by row.

Whole numbers, decimals and floats are numbers: a whole number is compared with the exact value of a float, a decimal with the shortest
decimal number that reads as the float, so that 0.10 is 0.1. Dates and timestamps are instants: a date is its first one in UTC, a timestamp
without a zone is UTC. Text is compared by code points, UUIDs and binary values by bytes, false is less than true.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.kinds import storage

__all__ = ["ordered", "orders"]

Orders = npt.NDArray[np.int8]
_EXACT = ("int", "decimal")
_NUMBERS = (*_EXACT, "float")
_CLOCKS = ("date", "timestamp")
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY = 86_400 * 10**9
_DIGITS = 76  # of the widest decimal
_FLOAT_DIGITS = 17  # of the shortest text of a float64, at most
_SAFE_DIGITS = 15  # decimals of as many digits are told apart by the nearest float64
_SAFE_DIGITS_SINGLE = 6  # the same of float32


def orders(left: pa.DataType, right: pa.DataType) -> bool:
    """Return whether values of two types, neither of them dictionaries or views, can be compared exactly."""
    one, other = family(left), family(right)
    if "null" in (one, other):
        return True
    if one in _NUMBERS and other in _NUMBERS:
        return _digits(left, right) <= _DIGITS
    if one in _CLOCKS and other in _CLOCKS:
        return True
    return one == other and one in ("text", "bytes", "bool", "uuid", "time", "duration")


def _digits(left: pa.DataType, right: pa.DataType) -> int:
    """Return how many digits a decimal must have that holds the values of two types of numbers."""
    families = {family(left), family(right)}
    if "decimal" not in families:
        return 0
    (whole, places), (others, more) = _extent(left), _extent(right)
    return max(whole, others) + max(places, more) + (_FLOAT_DIGITS + 1 if "float" in families else 0)


def _extent(kind: pa.DataType) -> tuple[int, int]:
    """Return the digits before and behind the point; none of a float, which is held against the digits of the other."""
    if pa.types.is_decimal(kind):
        return kind.precision - kind.scale, max(kind.scale, 0)
    return (0, 0) if pa.types.is_floating(kind) else (20, 0)


def ordered(left: pa.Array, right: pa.Array) -> Orders:
    """Return -1, 0 or 1 a row: whether the left value is less than, equal to or greater than the right one.

    Args:
        left: Values, of a type that `orders` with the other.
        right: As many.

    Returns:
        Anything where either is null or NaN.
    """
    one, other = family(left.type), family(right.type)
    if "null" in (one, other):
        return np.zeros(len(left), dtype=np.int8)
    if one in _NUMBERS and other in _NUMBERS:
        return _numbers(left, right)
    if one in (*_CLOCKS, "time", "duration"):
        return _ticks(left, right)
    return _same(*(_wide(storage(values)) for values in (left, right)))


def _wide(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_string(kind):
        return values.cast(pa.large_string())
    return values.cast(pa.large_binary()) if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) else values


def _same(left: pa.Array, right: pa.Array) -> Orders:
    """Compare values of one type by Arrow, or of types that it brings together without loss."""
    return _flags(pc.greater(left, right)) - _flags(pc.less(left, right))


def _flags(mask: pa.Array) -> Orders:
    return np.asarray(pc.fill_null(mask, False)).astype(np.int8)


def _numbers(left: pa.Array, right: pa.Array) -> Orders:
    one, other = family(left.type), family(right.type)
    if other == "float" and one != "float":
        return -_numbers(right, left)
    if one == "float" and other == "int":
        return _float_and_int(left, right)
    if one == "float" and other == "decimal":
        return _float_and_decimal(left, right)
    if one == other == "int" and pa.types.is_uint64(left.type) == pa.types.is_uint64(right.type):
        return _same(left, right)
    if one == other == "float":
        return _same(left.cast(pa.float64()), right.cast(pa.float64()))
    places = max(_extent(left.type)[1], _extent(right.type)[1])
    wide = pa.decimal256(_DIGITS, places) if _digits(left.type, right.type) > 38 else pa.decimal128(38, places)
    return _same(*(values.cast(wide) for values in (left, right)))


def _float_and_int(floats: pa.Array, ints: pa.Array) -> Orders:
    """Compare floats with whole numbers by their whole parts, and where these are equal by what is left."""
    unsigned = pa.types.is_uint64(ints.type)
    least, beyond = (0.0, 2.0**64) if unsigned else (-(2.0**63), 2.0**63)
    numbers = np.asarray(pc.fill_null(floats.cast(pa.float64()), 0.0))
    whole = np.floor(np.where(np.isnan(numbers), 0.0, numbers))
    inside = (whole >= least) & (whole < beyond)
    kind: Any = np.uint64 if unsigned else np.int64
    cut = np.where(inside, whole, 0.0).astype(kind)
    others = np.asarray(pc.fill_null(ints, 0)).astype(kind, copy=False)
    order = (cut > others).astype(np.int8) - (cut < others).astype(np.int8)
    order[(order == 0) & (numbers > whole)] = 1
    order[~inside] = np.where(whole[~inside] < least, -1, 1)
    return order


def _float_and_decimal(floats: pa.Array, decimals: pa.Array) -> Orders:
    """Compare floats with decimals by the floats nearest to these, and where they are equal by the digits.

    Rounding keeps the order, so only what rounds to the float itself needs its digits.
    """
    if pa.types.is_float16(floats.type):
        floats = floats.cast(pa.float32())
    kind = decimals.type
    order = _same(floats, decimals.cast(pa.string()).cast(floats.type))
    signs = np.asarray(pc.fill_null(floats, 0.0))
    infinite = np.isinf(signs)  # a decimal beyond the greatest float reads as infinity
    order[infinite] = np.sign(signs[infinite])
    safe = _SAFE_DIGITS if pa.types.is_float64(floats.type) else _SAFE_DIGITS_SINGLE
    tied = np.flatnonzero((order == 0) & np.isfinite(signs) & np.asarray(pc.and_(floats.is_valid(), decimals.is_valid())))
    if kind.precision <= safe or not len(tied):
        return order
    rows = pa.array(tied)
    # What rounds to a float is at most a digit before its shortest text, which has at most 17.
    wide = pa.decimal256(_DIGITS, _extent(kind)[1] + _FLOAT_DIGITS)
    digits, _ = convert_column(floats.take(rows).cast(pa.string()), wide)
    order[tied] = _same(digits, decimals.take(rows).cast(wide))
    return order


def _ticks(left: pa.Array, right: pa.Array) -> Orders:
    """Compare counts of units of time: the coarse one with the whole part of the fine one, and then by what is left of that."""
    (one, unit), (other, finer) = _counted(left), _counted(right)
    if unit < finer:
        return -_ticks(right, left)
    ratio = unit // finer
    whole = np.floor_divide(other, ratio)
    order = (one > whole).astype(np.int8) - (one < whole).astype(np.int8)
    order[(order == 0) & (whole * ratio != other)] = -1
    return order


def _counted(values: pa.Array) -> tuple[npt.NDArray[np.int64], int]:
    """Return how many units of time each value is, and the nanoseconds of one."""
    kind = values.type
    if pa.types.is_date(kind):
        days = values.cast(pa.date32()).cast(pa.int32())
        return np.asarray(pc.fill_null(days, 0)).astype(np.int64), _DAY
    counts = values.cast(pa.int32()).cast(pa.int64()) if pa.types.is_time32(kind) else values.cast(pa.int64())
    return np.asarray(pc.fill_null(counts, 0)), _NANOSECONDS[kind.unit]
