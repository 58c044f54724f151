"""How large batches are: what they may be, what they are, and what is billed.

Two sizes, never to be mixed up. `slice_bytes` is what a slice takes in memory and on the wire, offsets, validity and hidden columns
included; it decides where batches are cut. `canonical_bytes` is the size of the values, whatever they are stored as; it is billed, so it
must not depend on the connector, the batch or the version of Arrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.compact import compact
from beam_pipelines.columnar.kinds import is_list
from beam_pipelines.columnar.origin import PREFIX

__all__ = ["MAX_BYTES", "MAX_CELL_BYTES", "MAX_ROWS", "canonical_bytes", "cell_sizes", "gather", "oversized", "slice_bytes", "split"]

MAX_ROWS = 65_536
MAX_BYTES = 8 * 1024 * 1024
MAX_CELL_BYTES = 32 * 1024 * 1024

Sizes = npt.NDArray[np.int64]


def slice_bytes(batch: pa.RecordBatch) -> int:
    """Bytes of the buffers that the rows of this slice use, hidden columns included; not those of the batch it was cut from."""
    return int(compact(batch).nbytes)


def split(batch: pa.RecordBatch, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> Iterator[pa.RecordBatch]:
    """Cut a batch into zero-copy slices within the limits, each as large as they allow; a row above `max_bytes` travels alone.

    Args:
        batch: Rows.
        max_rows: Greatest number of rows, at least 1.
        max_bytes: Greatest `slice_bytes`.

    Yields:
        The slices, in order; together exactly the rows. A batch within the limits is given back itself; an empty one too.
    """
    if batch.num_rows <= max_rows and (batch.num_rows <= 1 or slice_bytes(batch) <= max_bytes):
        yield batch
        return
    start = 0
    while start < batch.num_rows:
        length = _fitting(batch, start, min(max_rows, batch.num_rows - start), max_bytes)
        yield batch.slice(start, length)
        start += length


def _fitting(batch: pa.RecordBatch, start: int, most: int, max_bytes: int) -> int:
    """The greatest number of rows from `start` on that stays within `max_bytes`; at least 1."""
    if slice_bytes(batch.slice(start, most)) <= max_bytes:
        return most
    low, high = 1, most
    while low < high - 1:
        middle = (low + high) // 2
        if slice_bytes(batch.slice(start, middle)) <= max_bytes:
            low = middle
        else:
            high = middle
    return low


def gather(batches: Iterable[pa.RecordBatch], max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> Iterator[pa.RecordBatch]:
    """Join small batches and cut large ones: many readers give a few hundred rows at a time.

    Rows keep their order. Only neighbours of one schema, metadata (the load) included, are joined; what stays alone is not copied.

    Yields:
        Batches within the limits (but for a row that is larger by itself). Empty batches are dropped, unless all are: then one is given.
    """
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    empty: pa.RecordBatch | None = None
    given = False
    for whole in batches:
        if not whole.num_rows:
            empty = whole if empty is None else empty
            continue
        for part in split(whole, max_rows, max_bytes):
            bytes_ = slice_bytes(part)
            alike = not waiting or waiting[0].schema.equals(part.schema, check_metadata=True)
            if waiting and not (alike and rows + part.num_rows <= max_rows and size + bytes_ <= max_bytes):
                yield _joined(waiting)
                given, waiting, rows, size = True, [], 0, 0
            waiting.append(part)
            rows += part.num_rows
            size += bytes_
    if waiting:
        yield _joined(waiting)
    elif empty is not None and not given:
        yield empty


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    # Compacted first: the joined dictionary is the union of the whole dictionaries, also of what no row uses.
    return pa.concat_batches([compact(batch) for batch in batches])


def canonical_bytes(batch: pa.RecordBatch) -> int:
    """The billed size of the visible columns: the sum of `cell_sizes`.

    Equal values give an equal number, whatever the slicing, the offsets' width, dictionaries or views.
    """
    return sum(_total(column) for field, column in zip(batch.schema, batch.columns, strict=True) if not field.name.startswith(PREFIX))


def _total(array: pa.Array) -> int:
    """The sum of `cell_sizes`, without a size for each row where that can be had: five times as fast on lists of text."""
    kind = array.type
    width = _width(kind)
    if width is not None:
        return int((len(array) - array.null_count) * width + array.null_count)
    if _has_offsets(kind) and not array.null_count:
        return _between_ends(array)
    if _has_offsets(kind):
        return int((pc.sum(pc.binary_length(array)).as_py() or 0) + array.null_count)
    if is_list(kind):
        return _total(array.flatten()) + int(array.null_count)  # flatten() leaves out what null lists point at
    if pa.types.is_struct(kind) and not array.null_count:
        return sum(_total(array.field(position)) for position in range(kind.num_fields))
    return int(cell_sizes(array).sum())


def _between_ends(array: pa.Array) -> int:
    """Bytes from the first offset to the last: the sum of the lengths where there is no null, without one for each row."""
    if not len(array):
        return 0
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    offsets = np.frombuffer(array.buffers()[1], np.int64 if wide else np.int32)
    return int(offsets[array.offset + len(array)]) - int(offsets[array.offset])


def cell_sizes(array: pa.Array) -> Sizes:
    """The canonical size of each cell, in bytes.

    null 1; boolean 1; integers, floats, decimals, dates, times, timestamps, durations and fixed-size binary their width (decimal128: 16);
    text its UTF-8 length, binary its length; a list the sum of its items, a map of its keys and values, a struct of its fields; an
    extension type (UUID: 16, JSON: the text) its storage; a dictionary-encoded or run-end-encoded value what it stands for.

    Args:
        array: Any type but unions.

    Returns:
        One size a row, int64.
    """
    kind = array.type
    width = _width(kind)
    if width is not None:
        sizes: Sizes = np.full(len(array), width, dtype=np.int64)
    elif isinstance(array, pa.ExtensionArray):
        return cell_sizes(array.storage)
    elif pa.types.is_dictionary(kind):
        sizes = _looked_up(cell_sizes(array.dictionary), array.indices)
    elif pa.types.is_run_end_encoded(kind):
        return cell_sizes(pc.run_end_decode(array))
    elif _has_offsets(kind):
        sizes = _lengths(pc.binary_length(array))
    elif pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        sizes = _lengths(pc.binary_length(array.cast(pa.large_binary())))
    elif pa.types.is_struct(kind):
        sizes = np.zeros(len(array), dtype=np.int64)
        for position in range(kind.num_fields):
            sizes += cell_sizes(array.field(position))
    elif pa.types.is_map(kind):
        sizes = _summed(array, cell_sizes(array.keys) + cell_sizes(array.items))
    elif kind.num_fields == 1:
        sizes = _list_sizes(array)
    else:
        raise TypeError(f"expected a type whose values have a size of their own, got {kind}")
    if array.null_count:
        return np.where(np.asarray(array.is_null()), 1, sizes)
    return sizes


def oversized(batch: pa.RecordBatch, max_cell_bytes: int = MAX_CELL_BYTES) -> pa.BooleanArray | None:
    """Rows that have a visible cell above `max_cell_bytes`; None when there is none, which costs next to nothing to find out."""
    found: npt.NDArray[np.bool_] | None = None
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if field.name.startswith(PREFIX) or _width(field.type) is not None or _total(column) <= max_cell_bytes:
            continue
        above = cell_sizes(column) > max_cell_bytes
        if above.any():
            found = above if found is None else found | above
    return None if found is None else pa.array(found)


def _width(kind: pa.DataType) -> int | None:
    """Bytes of a value where all values of the type have the same; None otherwise. Null columns: 1, as each value is null."""
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return 1
    if isinstance(kind, pa.BaseExtensionType):
        return _width(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) or pa.types.is_nested(kind):
        return None
    try:
        return int(kind.bit_width) // 8
    except ValueError:
        return None


def _has_offsets(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def _lengths(lengths: pa.Array) -> Sizes:
    return np.asarray(pc.fill_null(lengths, 0), dtype=np.int64)


def _looked_up(sizes: Sizes, indices: pa.Array) -> Sizes:
    if not len(sizes):
        return np.ones(len(indices), dtype=np.int64)
    return np.take(sizes, np.asarray(pc.fill_null(indices, 0)))


def _list_sizes(array: pa.Array) -> Sizes:
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _summed(array, cell_sizes(array.values))
    if pa.types.is_fixed_size_list(kind):
        width = kind.list_size
        items = cell_sizes(array.values.slice(array.offset * width, len(array) * width))
        return np.asarray(items.reshape(len(array), width).sum(axis=1), dtype=np.int64)
    # Not by a cast to a list: that of a sliced view is wrong (pyarrow 25: offsets go below zero). flatten() leaves out null lists' items.
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), dtype=np.int64)
    return _between(np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]), cell_sizes(array.flatten()))


def _summed(array: pa.Array, items: Sizes) -> Sizes:
    """Sums of the items of each list; `items` holds one size for each place of the child array."""
    return _between(np.asarray(array.offsets, dtype=np.int64), items)


def _between(offsets: Sizes, items: Sizes) -> Sizes:
    running = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(items, dtype=np.int64)])
    sums: Sizes = running[offsets[1:]] - running[offsets[:-1]]
    return sums
