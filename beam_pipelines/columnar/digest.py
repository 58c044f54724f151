"""A key in 128 bits: what is remembered in the place of its values, whatever they weigh.

Two hashes of `columnar.hashing` that are independent of each other: the second begins elsewhere, so that keys which meet in the first do
not therefore meet in it. Of n different keys two have one digest with a probability of about n^2 / 2^129: 1.5e-21 for a thousand million of
them. The hashes are fast and have no secret: they are not made to withstand somebody who looks for keys that meet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.hashing import Words, row_hashes
from beam_pipelines.columnar.kinds import is_bytes, is_text

__all__ = ["digests"]

# Before each text and bytes in the second hash: eight bytes, one step of the first kind, bring it to where the other has never been.
_ELSEWHERE = b"\x9d\x5a\xe1\x07\xc3\x68\xb2\xf4"


def digests(columns: Sequence[pa.Array], rows: int) -> tuple[Words, Words]:
    """Return the digest of each row's key, as two words of 64 bits.

    Args:
        columns: Of the key, as `columnar.keys.key_columns` gives them: equal keys have equal values. At least one.
        rows: How many there are.
    """
    if not rows:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64)
    parts = [part for column in columns for part in _bits(column)]
    first = _hashed(parts)
    elsewhere = [pa.array(np.full(rows, 0x2545F4914F6CDD1D, dtype=np.int64))]
    return first, _hashed([*elsewhere, *(_moved(part) for part in parts)])


def _hashed(columns: Sequence[pa.Array]) -> Words:
    names = [f"c{at}" for at in range(len(columns))]
    return row_hashes(pa.RecordBatch.from_arrays(list(columns), names=names), names, one_type=True)


def _moved(column: pa.Array) -> pa.Array:
    if not pa.types.is_large_binary(column.type):
        return column
    return pc.binary_join_element_wise(pa.scalar(_ELSEWHERE, pa.large_binary()), column, pa.scalar(b"", pa.large_binary()))


def _bits(column: pa.Array) -> list[pa.Array]:
    """Return values as the bits they are stored as: up to 64 as a whole number, of which no two have one hash, others as bytes."""
    kind = column.type
    if pa.types.is_null(kind):
        return [pa.array(np.zeros(len(column), dtype=np.int64))]
    if column.null_count:  # of a struct's field: there is a null, which is no value
        return [column.is_valid(), *_bits(_filled(column))]
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return [column]
    if is_text(kind) or is_bytes(kind):
        return [column.cast(pa.large_binary())]
    width = kind.bit_width
    if width in (32, 64):
        return [column.view(pa.int32() if width == 32 else pa.int64())]
    return [column.view(pa.binary(width // 8)).cast(pa.large_binary())]


def _filled(column: pa.Array) -> pa.Array:
    """Return values with one of them in the place of nulls."""
    if column.null_count == len(column):
        return pa.nulls(len(column))
    known = column.is_valid().index(True).as_py()
    positions = np.arange(len(column))
    positions[np.asarray(column.is_null())] = known
    filled = column.take(pa.array(positions))
    assert not filled.null_count
    return filled
