"""Whether values that differ in one type differ in another: what a key needs that is kept in another type than it arrives in."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["keeps_apart"]

_EXACT = 53  # bits of an integer that a double holds
_UNITS = ("s", "ms", "us", "ns")


def keeps_apart(arrives: pa.DataType, held: pa.DataType) -> bool:
    """Return True when no two values of `arrives` become one as `held`; a value that does not fit is refused by the database.

    Text counts as apart in types that are text to Arrow or to the database (uuid, enum), whose own spelling decides there.
    """
    if pa.types.is_dictionary(arrives):
        arrives = arrives.value_type
    if arrives == held or _text(held) or (_text(arrives) and isinstance(held, pa.BaseExtensionType)):
        return True
    if pa.types.is_integer(arrives):
        narrow = arrives.bit_width < _EXACT
        return pa.types.is_integer(held) or pa.types.is_decimal(held) or (pa.types.is_float64(held) and narrow)
    if pa.types.is_decimal(arrives):
        return pa.types.is_decimal(held) and held.scale >= arrives.scale
    if pa.types.is_floating(arrives):
        return pa.types.is_floating(held) and held.bit_width >= arrives.bit_width
    if pa.types.is_timestamp(arrives):
        return pa.types.is_timestamp(held) and _UNITS.index(held.unit) >= _UNITS.index(arrives.unit)
    if pa.types.is_date(arrives):
        return pa.types.is_timestamp(held) or pa.types.is_date(held)
    if pa.types.is_time(arrives):
        return pa.types.is_time(held) and _UNITS.index(held.unit) >= _UNITS.index(arrives.unit)
    return (_bytes(arrives) and _bytes(held)) or (pa.types.is_boolean(arrives) and pa.types.is_integer(held))


def _text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
