"""Arrow columns as SQLite keeps them: numbers as numbers, moments as ISO 8601 text, decimals as exact text, nested values as JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["columns_of", "not_numbers"]


def not_numbers(batch: pa.RecordBatch) -> list[int]:
    """Rows with a NaN in a column of floating-point numbers: SQLite stores null for it, without a word."""
    bad: set[int] = set()
    for column in batch.columns:
        if pa.types.is_floating(column.type):
            bad.update(pc.indices_nonzero(pc.fill_null(pc.is_nan(column), False)).to_pylist())
    return sorted(bad)


def columns_of(batch: pa.RecordBatch) -> list[list[Any]]:
    """The columns of a batch as lists of values that sqlite3 can bind.

    Timestamps with a zone become UTC and end in `Z`; booleans 0 and 1; unsigned 64-bit numbers above 2^63 text; NaN within nested values
    null, as JSON has no other.
    """
    return [_column(column) for column in batch.columns]


def _column(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _column(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        return list(_moments(column).to_pylist())
    if pa.types.is_date(kind) or pa.types.is_decimal(kind) or pa.types.is_time(kind):
        return list(pc.cast(column, pa.string()).to_pylist())
    if pa.types.is_duration(kind):
        return list(pc.cast(column, pa.int64()).to_pylist())
    if pa.types.is_uint64(kind):
        return [value if value is None or value < 1 << 63 else str(value) for value in column.to_pylist()]
    if pa.types.is_nested(kind):
        return [None if value is None else orjson.dumps(value, default=str).decode() for value in column.to_pylist()]
    return list(column.to_pylist())


def _moments(column: pa.Array) -> pa.Array:
    zone = column.type.tz
    plain = column.cast(pa.timestamp(column.type.unit, tz="UTC")).cast(pa.timestamp(column.type.unit)) if zone else column
    text = pc.strftime(plain, format="%Y-%m-%d %H:%M:%S")
    # strftime writes the fraction of the column's unit; whole seconds are kept short, as SQLite's own functions write them.
    text = pc.replace_substring_regex(text, r"\.0+$", "")
    return pc.binary_join_element_wise(text, "Z", "") if zone else text
