"""The type that values of two types fit in: what two columns under one name are together."""

from __future__ import annotations

import pyarrow as pa

from beam_pipelines.columnar.kinds import is_bytes, is_text, plain_type

__all__ = ["wider"]

_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}  # of the greatest signed integer, by its bits
_UNSIGNED_64 = 20
_MOST = 38  # digits of a decimal that every target can hold
_UNITS = ("s", "ms", "us", "ns")
_INTEGERS = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_UNSIGNED = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the least type that holds the values of both; None where there is none, or values would change their meaning.

    Integers with doubles are doubles: a number above 2^53 need not fit. All else always does.

    >>> wider(pa.int32(), pa.decimal128(5, 2))
    Decimal128Type(decimal128(12, 2))
    """
    if one == other:
        return one
    one, other = plain_type(one), plain_type(other)
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    for test, found in ((is_text, pa.large_string()), (is_bytes, pa.large_binary()), (pa.types.is_date, pa.date32())):
        if test(one) and test(other):
            return found
    return _number(one, other) or _clock(one, other) or _nested(one, other)


def _number(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kinds = (one, other)
    if all(map(pa.types.is_integer, kinds)):
        return _integer(one, other)
    if all(pa.types.is_integer(kind) or pa.types.is_decimal(kind) for kind in kinds):
        scale = max(_scale(kind) for kind in kinds)
        digits = max(_whole(kind) for kind in kinds) + scale
        return pa.decimal128(digits, scale) if digits <= _MOST else None
    if all(map(pa.types.is_floating, kinds)):
        return max(kinds, key=lambda kind: int(kind.bit_width))
    floats, integers = (sum(map(test, kinds)) for test in (pa.types.is_floating, pa.types.is_integer))
    return pa.float64() if floats == integers == 1 else None


def _integer(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    bits = {pa.types.is_signed_integer(kind): 0 for kind in (one, other)}
    for kind in (one, other):
        signed = pa.types.is_signed_integer(kind)
        bits[signed] = max(bits[signed], int(kind.bit_width))
    if len(bits) == 1:
        return (_INTEGERS if True in bits else _UNSIGNED)[max(bits.values())]
    # An unsigned integer takes a signed one of twice its bits.
    needed = max(bits[True], 2 * bits[False])
    return _INTEGERS.get(needed) or pa.decimal128(_UNSIGNED_64, 0)


def _scale(kind: pa.DataType) -> int:
    return int(kind.scale) if pa.types.is_decimal(kind) else 0


def _whole(kind: pa.DataType) -> int:
    """Digits before the point."""
    if pa.types.is_decimal(kind):
        return int(kind.precision - kind.scale)
    return _UNSIGNED_64 if pa.types.is_uint64(kind) else _DIGITS[int(kind.bit_width)]


def _clock(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Times of one kind by the finer unit; a time with a zone is none without."""
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        if (one.tz is None) != (other.tz is None):
            return None
        return pa.timestamp(_finer(one, other), one.tz if one.tz == other.tz else "UTC")
    if pa.types.is_time(one) and pa.types.is_time(other):
        unit = _finer(one, other)
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    if pa.types.is_duration(one) and pa.types.is_duration(other):
        return pa.duration(_finer(one, other))
    return None


def _finer(one: pa.DataType, other: pa.DataType) -> str:
    return max(one.unit, other.unit, key=_UNITS.index)


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Lists by their items, and structs of the same fields by these."""
    lists = (pa.types.is_list, pa.types.is_large_list)
    if all(any(test(kind) for test in lists) for kind in (one, other)):
        item = wider(one.value_type, other.value_type)
        if item is None:
            return None
        return pa.list_(item) if pa.types.is_list(one) and pa.types.is_list(other) else pa.large_list(item)
    if not (pa.types.is_struct(one) and pa.types.is_struct(other)) or [field.name for field in one] != [field.name for field in other]:
        return None
    parts = [(field.name, wider(field.type, again.type)) for field, again in zip(one, other, strict=True)]
    return None if any(kind is None for _, kind in parts) else pa.struct([pa.field(name, kind) for name, kind in parts])
