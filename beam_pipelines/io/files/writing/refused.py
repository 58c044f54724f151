"""Rows that a format cannot hold as they are: text that is no UTF-8, and days that ISO 8601 has no four digits for.

Arrow carries both without looking. Written down, the one would be read as another text or not at all, the other as no date.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.kinds import is_list, is_text

__all__ = ["refused_rows"]

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, days since 1970
_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_NO_TEXT = "text that is no UTF-8"
_NO_DAY = "a date or an instant that is not of the years 1 to 9999"
Mask = npt.NDArray[np.bool_]


def refused_rows(batch: pa.RecordBatch, *, dates: bool) -> tuple[Sequence[int], str]:
    """Rows with a value that cannot be written, ascending, and why: which column has what, without the value.

    Args:
        batch: Any rows.
        dates: The format writes days and instants as text.
    """
    found = np.zeros(batch.num_rows, dtype=bool)
    why: dict[str, None] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for mask, what in _faults(column, dates=dates):
            found |= mask
            why[f"column {name!r} has {what}"] = None
    return np.flatnonzero(found).tolist(), "; ".join(why)


def _faults(array: pa.Array, *, dates: bool) -> list[tuple[Mask, str]]:
    """Of each kind of fault the values of an array that have it, those within nested ones included."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _faults(array.storage, dates=dates)
    if pa.types.is_dictionary(kind):
        inner = _faults(array.dictionary, dates=dates)
        at, there = array.indices.fill_null(0).to_numpy(zero_copy_only=False), array.indices.is_valid().to_numpy(zero_copy_only=False)
        return [(mask[at] & there, what) for mask, what in inner if len(mask)]
    if is_text(kind):
        mask = _no_text(array)
        return [] if mask is None else [(mask, _NO_TEXT)]
    if dates and (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        mask = _no_day(array)
        return [] if mask is None else [(mask, _NO_DAY)]
    if pa.types.is_struct(kind):
        return [fault for part in array.flatten() for fault in _faults(part, dates=dates)]
    if is_list(kind) or pa.types.is_map(kind):
        return _within(array, dates=dates)
    return []


def _within(array: pa.Array, *, dates: bool) -> list[tuple[Mask, str]]:
    """The lists or maps that have an item with a fault."""
    lists = array
    if pa.types.is_map(array.type):
        kind = array.type
        entries = pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)])
        lists = array.cast(pa.list_(entries))
    faults = []
    for mask, what in _faults(pc.list_flatten(lists), dates=dates):
        found = np.zeros(len(array), dtype=bool)
        found[pc.list_parent_indices(lists).to_numpy()[mask]] = True
        faults.append((found, what))
    return faults


def _no_text(array: pa.Array) -> Mask | None:
    try:
        array.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return np.array([value is not None and not _is_text(value) for value in array.cast(_bytes_of(array.type)).to_pylist()], dtype=bool)
    return None


def _bytes_of(kind: pa.DataType) -> pa.DataType:
    return pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _no_day(array: pa.Array) -> Mask | None:
    per_day = _PER_DAY[array.type.unit] if pa.types.is_timestamp(array.type) else 1 if array.type == pa.date32() else _PER_DAY["ms"]
    first, end = _FIRST_DAY * per_day, (_LAST_DAY + 1) * per_day
    ticks = array.cast(pa.int32()).cast(pa.int64()) if array.type == pa.date32() else array.cast(pa.int64())
    bounds = pc.min_max(ticks).as_py()
    if bounds["min"] is None or (bounds["min"] >= first and bounds["max"] < end):
        return None
    mask: Mask = pc.fill_null(pc.or_(pc.less(ticks, first), pc.greater_equal(ticks, end)), False).to_numpy(zero_copy_only=False)
    return mask
