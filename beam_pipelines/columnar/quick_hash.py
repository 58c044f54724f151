"""Hashes of keys for those who look for equal ones within a run: made in a third of the time of `hashing`'s, and nobody may keep them.

Each word of a text is multiplied by an odd number of its place, and the products are added up: words that depend on nothing but the value
are all read at once, where `hashing` mixes them one after the other. The words of a text are those at its places 0, 8, 16 and so on, the
last of them moved back so that it ends with the text: no byte behind it has to be cut off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.hashing import Words, row_hashes, seeded
from beam_pipelines.columnar.kinds import is_bytes, is_text

__all__ = ["quick_hashes"]

_WORD = 8
_HALF = np.uint64(32)
_LONGEST = 256  # bytes: each word of the longest text is read of all
_AT_ONCE = 16_384  # texts; what lies between stays in the processor's cache: half the time of 65,536
# One for each place, that have nothing to do with each other: multiples of one number would make sums equal.
_ODD = seeded(np.arange(_LONGEST // _WORD + 2, dtype=np.uint64), 1) | np.uint64(1)


def quick_hashes(columns: Sequence[pa.Array]) -> Words:
    """Return a 64-bit hash of the key of each row; equal keys have equal hashes, different ones very probably different ones.

    Args:
        columns: Of the key, at least one, as `key_columns` gives them: values of other types are never compared with theirs.
    """
    combined = _hashes(columns[0])
    for column in columns[1:]:
        combined = combined * _ODD[0] + _hashes(column)
    return combined


def _hashes(column: pa.Array) -> Words:
    if (is_text(column.type) or is_bytes(column.type)) and len(column) and not pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.large_binary())
        ends = np.frombuffer(column.buffers()[1], dtype=np.int64)[column.offset : column.offset + len(column) + 1]
        lengths = np.diff(ends)
        odd = (lengths < _WORD) | (lengths > _LONGEST)
        if column.null_count:
            odd |= np.asarray(column.is_null())
        if not odd.all():
            hashes = _texts(column.buffers()[2], ends)
            if odd.any():
                hashes[odd] = _plain(column.filter(pa.array(odd)))
            return hashes
    return _plain(column)


def _plain(column: pa.Array) -> Words:
    return row_hashes(pa.RecordBatch.from_arrays([column], names=["key"]), ["key"], one_type=True)


def _texts(data: pa.Buffer, ends: npt.NDArray[np.int64]) -> Words:
    """Hash texts that lie one behind the other; what is said of one shorter than a word, or longer than the longest, is of no use."""
    words: Words = np.ndarray(shape=(data.size - _WORD + 1,), dtype="<u8", buffer=data, strides=(1,))
    hashes = np.empty(len(ends) - 1, dtype=np.uint64)
    for begin in range(0, len(hashes), _AT_ONCE):
        some = ends[begin : begin + _AT_ONCE + 1]
        first, last = some[:-1], np.maximum(some[1:] - _WORD, 0)
        spans = last - first
        mixed = spans.view(np.uint64) * _ODD[0]
        mixed += _times(words[last], _ODD[1])
        every = int(spans.min())
        for at in range(0, min(int(spans.max()), _LONGEST - _WORD), _WORD):
            odd = _ODD[2 + at // _WORD]
            if at < every:
                mixed += _times(words[first + at], odd)
            else:
                rows = np.flatnonzero(spans > at)
                mixed[rows] += _times(words[first[rows] + at], odd)
        mixed = _times(mixed, _ODD[0])
        mixed ^= mixed >> _HALF
        hashes[begin : begin + _AT_ONCE] = mixed
    return hashes


def _times(words: Words, odd: np.uint64) -> Words:
    """Multiply words, in place; their high halves go into the low ones first, for no bit of a product depends on higher ones."""
    words ^= words >> _HALF
    words *= odd
    return words
