"""Rows by their key: which of them a batch of other rows meets. Nothing is done by row.

Rows are sorted by a 64-bit hash of their key (`columnar.hashing`: 1, 1.0 and decimal 1.00 are one key, "1" is another) and found by a table
of the hashes' first bits; keys that share a hash are told apart by their values. Null meets nothing, NaN meets NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.hashing import row_hashes

__all__ = ["Index", "comparable", "valid_keys"]

Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
MAX_PAIRS = 1 << 18  # pairs that are looked at together: a key that is everywhere on both sides must not fill the memory
_NUMBERS = ("int", "float", "decimal")


def comparable(left: pa.DataType, right: pa.DataType) -> bool:
    """Return whether values of two types can be equal."""
    families = [family(kind.value_type if pa.types.is_dictionary(kind) else kind) for kind in (left, right)]
    if any(name in ("struct", "list", "map", "other") for name in families):
        return False
    return families[0] == families[1] or all(name in _NUMBERS for name in families) or "null" in families


def valid_keys(columns: Sequence[pa.Array], rows: int) -> Flags:
    """Return which rows have no null in their key."""
    valid = np.ones(rows, dtype=np.bool_)
    for column in columns:
        if column.null_count:
            valid &= np.asarray(column.is_valid())
    return valid


class Index:
    """Rows by their key.

    Args:
        keys: Columns of the key; all of one length.
        rows: How many rows there are.
    """

    def __init__(self, keys: Sequence[pa.Array], rows: int) -> None:
        self._keys = list(keys)
        valid = np.flatnonzero(valid_keys(keys, rows))
        hashes = _hashes(keys, rows)[valid]
        order = np.argsort(hashes, kind="stable")
        hashes, self._order = hashes[order], valid[order].astype(np.int64)
        begins = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])) if len(hashes) else np.zeros(0, dtype=np.int64)
        self._begins = begins.astype(np.int64)
        self._counts = np.diff(np.append(self._begins, len(hashes)))
        self._hashes = hashes[self._begins]
        # About one hash a bucket: what a batch asks for is nearly always where the table points to.
        bits = max(1, len(self._hashes).bit_length())
        self._shift = np.uint64(64 - bits)
        tops = (self._hashes >> self._shift).astype(np.int64)
        self._table = np.searchsorted(tops, np.arange((1 << bits) + 1)).astype(np.int64)

    def pairs(self, keys: Sequence[pa.Array], rows: int) -> Iterator[tuple[int, int, Positions, Positions]]:
        """Find what a batch meets, a part of it at a time.

        Args:
            keys: The batch's columns of the key.
            rows: Its number of rows.

        Yields:
            First and last row of a part, and the pairs in it: positions in the batch, ascending, and positions here.
        """
        found = self._find(_hashes(keys, rows), valid_keys(keys, rows))
        counts = np.where(found >= 0, self._counts[np.maximum(found, 0)], 0) if len(self._hashes) else np.zeros(rows, dtype=np.int64)
        ends = np.cumsum(counts)
        first = 0
        while first < rows:
            done = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + MAX_PAIRS, side="right")))
            left, right = self._expanded(found[first:last], counts[first:last])
            left += first
            same = self._same(keys, left, right)
            if not same.all():
                left, right = left[same], right[same]
            yield first, last, left, right
            first = last

    def _find(self, hashes: npt.NDArray[np.uint64], valid: Flags) -> Positions:
        """Return where each hash stands among those of the index, -1 where it is not among them."""
        found = np.full(len(hashes), -1, dtype=np.int64)
        if not len(self._hashes):
            return found
        bucket = (hashes >> self._shift).astype(np.int64)
        place, end = self._table[bucket], self._table[bucket + 1]
        open_ = np.flatnonzero(valid & (place < end))
        while len(open_):
            at = place[open_]
            hit = self._hashes[at] == hashes[open_]
            found[open_[hit]] = at[hit]
            open_ = open_[~hit]
            place[open_] += 1
            open_ = open_[place[open_] < end[open_]]
        return found

    def _expanded(self, found: Positions, counts: Positions) -> tuple[Positions, Positions]:
        left = np.repeat(np.arange(len(found)), counts)
        begins = np.cumsum(counts) - counts
        within = np.arange(len(left)) - np.repeat(begins, counts)
        return left, self._order[np.repeat(self._begins[np.maximum(found, 0)], counts) + within] if len(left) else left

    def _same(self, keys: Sequence[pa.Array], left: Positions, right: Positions) -> Flags:
        same = np.ones(len(left), dtype=np.bool_)
        if not len(left):
            return same
        here, there = pa.array(right), pa.array(left)
        for mine, theirs in zip(self._keys, keys, strict=True):
            same &= _equal(mine.take(here), theirs.take(there))
        return same


def _hashes(keys: Sequence[pa.Array], rows: int) -> npt.NDArray[np.uint64]:
    names = [f"k{number}" for number in range(len(keys))]
    return row_hashes(pa.RecordBatch.from_arrays(list(keys), names=names), names) if rows else np.zeros(0, dtype=np.uint64)


def _equal(one: pa.Array, other: pa.Array) -> Flags:
    one, other = decoded(one), decoded(other)
    one, other = (array.storage if isinstance(array, pa.ExtensionArray) else array for array in (one, other))
    if pa.types.is_null(one.type) or pa.types.is_null(other.type):
        return np.zeros(len(one), dtype=np.bool_)
    equal = pc.equal(one, other)
    if pa.types.is_floating(one.type) and pa.types.is_floating(other.type):
        equal = pc.or_(equal, pc.and_(pc.is_nan(one), pc.is_nan(other)))
    return np.asarray(pc.fill_null(equal, False))
