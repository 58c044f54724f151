"""Slices that hold only what they show: most Arrow types are cut to the slice when they are written, these are not.

Arrow IPC writes a dictionary whole, whatever part of it a slice uses, and the data buffers of view types whole (measured, pyarrow 25: a
1,000-row slice of 1,000,000 dictionary-encoded texts is 15.9 MB, of `string_view` 7.5 MB of 200,000 rows, of `list_view` 4.0 MB). Columns
of all other types, nested ones included, are left alone, at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.kinds import is_view

__all__ = ["compact", "has_loose", "joined", "kept_rows", "pick", "take"]

# A dictionary this small beside its indices costs less to send than to look through.
_SMALL_DICTIONARY = 0.1


def compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Drop what the rows of a slice do not use: dictionary entries and the buffers behind views.

    Args:
        batch: A batch or a slice of one.

    Returns:
        An equal batch of the same schema; the same object when nothing can be dropped.
    """
    if not has_loose(batch.schema):
        return batch
    given = batch.columns
    columns = [_compacted(column) if _loose(column.type) else column for column in given]
    if all(new is old for new, old in zip(columns, given, strict=True)):
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


@lru_cache(maxsize=256)
def has_loose(schema: pa.Schema) -> bool:
    """Whether slices of this schema can hold more than they show."""
    return any(_loose(kind) for kind in schema.types)


def take(batch: pa.RecordBatch, rows: Sequence[int] | npt.NDArray[np.int64]) -> pa.RecordBatch:
    """Rows by position, for every type (Arrow's own `take` has no kernel for views and run-end encoding)."""
    positions = pa.array(rows, pa.int64())
    if not batch.num_columns:
        return batch.slice(0, len(rows))
    columns = [pick(column, positions) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def kept_rows(batch: pa.RecordBatch, mask: pa.Array) -> pa.RecordBatch:
    """Rows that a mask is true of, for every type (Arrow's own `filter` has no kernel for views and run-end encoding)."""
    try:
        return batch.filter(mask)
    except pa.ArrowNotImplementedError:
        return take(batch, np.flatnonzero(mask))


def joined(parts: Sequence[pa.Array]) -> pa.Array:
    """Arrays of one type, one after the other: text and bytes in the layout that has room for more than 2 GiB. At least one."""
    wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(parts[0].type)
    return pa.concat_arrays([part if wide is None else part.cast(wide) for part in parts])


def pick(column: pa.Array, positions: pa.Array) -> pa.Array:
    """Values by position, null where that is null; for every type."""
    kind = column.type
    try:
        return column.take(positions)
    except pa.ArrowNotImplementedError:
        if not len(positions):
            return column.slice(0, 0)
        if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
            wide = pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
            return column.cast(wide).take(positions).cast(kind)
        null = pa.nulls(1, kind)
        return pa.concat_arrays([null if position is None else column.slice(position, 1) for position in positions.to_pylist()])


@lru_cache(maxsize=1024)
def _loose(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _loose(kind.storage_type)
    if pa.types.is_dictionary(kind) or is_view(kind):
        return True
    return any(_loose(kind.field(position).type) for position in range(kind.num_fields))


def _compacted(array: pa.Array) -> pa.Array:
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        inner = _compacted(array.storage)
        return array if inner is array.storage else pa.ExtensionArray.from_storage(kind, inner)
    if pa.types.is_dictionary(kind):
        return _used(array)
    if pa.types.is_string_view(kind):
        return array.cast(pa.large_string()).cast(kind)
    if pa.types.is_binary_view(kind):
        return array.cast(pa.large_binary()).cast(kind)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _rebuilt(array)
    if pa.types.is_struct(kind):
        parts = [
            _compacted(array.field(position)) if _loose(kind.field(position).type) else array.field(position)
            for position in range(kind.num_fields)
        ]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=array.is_null())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _list(array)
    if pa.types.is_fixed_size_list(kind):
        # flatten() would leave out the places of null lists.
        width = kind.list_size
        return pa.FixedSizeListArray.from_arrays(
            _compacted(array.values.slice(array.offset * width, len(array) * width)), type=kind, mask=array.is_null()
        )
    return _rebuilt(array)


def _used(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """The dictionary cut to the entries that the indices name, in their old order."""
    dictionary, indices = array.dictionary, array.indices
    if dictionary.nbytes <= _SMALL_DICTIONARY * indices.nbytes:
        return array
    present = indices.drop_null() if indices.null_count else indices
    named = np.zeros(len(dictionary), dtype=bool)
    named[present.to_numpy(zero_copy_only=False)] = True
    kept = np.flatnonzero(named)
    inner = dictionary.take(pa.array(kept)) if len(kept) < len(dictionary) else dictionary
    if _loose(inner.type):
        inner = _compacted(inner)
    if inner is dictionary:
        return array
    places = np.cumsum(named, dtype=np.int64) - 1
    # Under a null any index may stand, also one that is out of range.
    raw = pc.fill_null(indices, 0).to_numpy(zero_copy_only=False)
    mask = indices.is_null().to_numpy(zero_copy_only=False) if indices.null_count else None
    moved = places[raw] if len(places) else np.zeros(len(indices), dtype=np.int64)
    return pa.DictionaryArray.from_arrays(
        pa.array(np.maximum(moved, 0), mask=mask).cast(array.type.index_type), inner, ordered=array.type.ordered
    )


def _list(array: pa.Array) -> pa.Array:
    """A list whose values are those of its own rows only, compacted."""
    kind = array.type
    offsets = array.offsets.to_numpy(zero_copy_only=False)
    first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    mask = array.is_null() if array.null_count else None
    width = pa.int64() if pa.types.is_large_list(kind) else pa.int32()
    moved = pa.array(offsets - first, width)
    if pa.types.is_map(kind):
        keys, items = (_tight(part.slice(first, last - first)) for part in (array.keys, array.items))
        return pa.MapArray.from_arrays(moved, keys, items, type=kind, mask=mask)
    values = _tight(array.values.slice(first, last - first))
    maker = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    return maker.from_arrays(moved, values, type=kind, mask=mask)


def _tight(array: pa.Array) -> pa.Array:
    return _compacted(array) if _loose(array.type) else array


def _rebuilt(array: pa.Array) -> pa.Array:
    """Built anew value by value: right for every type, for those too rare to deserve better."""
    return pa.array(array.to_pylist(), type=array.type)
