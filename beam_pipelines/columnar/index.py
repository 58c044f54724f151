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

from beam_pipelines.columnar import size
from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.hashing import row_hashes
from beam_pipelines.columnar.kinds import is_bytes, is_text

__all__ = ["Index", "comparable", "valid_keys"]

Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
MAX_PAIRS = size.MAX_ROWS  # pairs that are looked at together: a key that is everywhere on both sides must not fill the memory
_NUMBERS = ("int", "float", "decimal")


def comparable(left: pa.DataType, right: pa.DataType) -> bool:
    """Return whether values of two types can be equal; a time without a zone is UTC, as everywhere."""
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
        distinct: Of the rows of one key one is enough: whether a key is there is all that is asked.
    """

    def __init__(self, keys: Sequence[pa.Array], rows: int, *, distinct: bool = False) -> None:
        self._keys = [_values(key) for key in keys]
        valid = np.flatnonzero(valid_keys(keys, rows))
        hashes = _hashes(keys, rows)[valid]
        order = np.argsort(hashes, kind="stable")
        hashes, self._order = hashes[order], valid[order].astype(np.int64)
        first = np.concatenate([[True], hashes[1:] != hashes[:-1]]) if len(hashes) else np.zeros(0, dtype=np.bool_)
        if distinct:
            leaders = self._order[np.flatnonzero(first)][np.cumsum(first) - 1]
            kept = first | ~_same(self._keys, self._order, self._keys, leaders)
            hashes, self._order, first = hashes[kept], self._order[kept], first[kept]
        self._begins = np.flatnonzero(first).astype(np.int64)
        self._counts = np.diff(np.append(self._begins, len(hashes)))
        self._hashes = hashes[self._begins]
        # About one hash a bucket: what a batch asks for is nearly always where the table points to.
        bits = max(1, len(self._hashes).bit_length())
        self._shift = np.uint64(64 - bits)
        tops = (self._hashes >> self._shift).astype(np.int64)
        self._table = np.searchsorted(tops, np.arange((1 << bits) + 1)).astype(np.int64)

    def pairs(self, keys: Sequence[pa.Array], rows: int, *, lonely: bool = False) -> Iterator[tuple[Positions, Positions]]:
        """Find what a batch meets, at most `MAX_PAIRS` at a time.

        Args:
            keys: The batch's columns of the key.
            rows: Its number of rows.
            lonely: Give a row that meets nothing as well, in its place; but for one that shares the hash of a key, and not its values,
                which is not given.

        Yields:
            Positions in the batch, ascending, and beside each one here, -1 where there is none.
        """
        found = self._find(_hashes(keys, rows), valid_keys(keys, rows))
        values = [_values(key) for key in keys]
        counts = np.full(rows, int(lonely), dtype=np.int64)
        there = found >= 0
        counts[there] = self._counts[found[there]]
        ends = np.cumsum(counts)
        for begin in range(0, int(ends[-1]) if rows else 0, MAX_PAIRS):
            end = min(begin + MAX_PAIRS, int(ends[-1]))
            left, right = self._expanded(found, counts, ends, begin, end)
            met = np.flatnonzero(right >= 0)
            same = _same(self._keys, right[met], values, left[met])
            if not same.all():
                kept = np.ones(len(left), dtype=np.bool_)
                kept[met[~same]] = False
                left, right = left[kept], right[kept]
            yield left, right

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

    def _expanded(self, found: Positions, counts: Positions, ends: Positions, begin: int, end: int) -> tuple[Positions, Positions]:
        """Write out the pairs from number `begin` to `end` of all that the counts stand for."""
        rows = slice(int(np.searchsorted(ends, begin, side="right")), int(np.searchsorted(ends, end, side="left")) + 1)
        starts = ends[rows] - counts[rows]
        taken = np.minimum(ends[rows], end) - np.maximum(starts, begin)
        left = np.repeat(np.arange(rows.start, rows.stop), taken)
        within = np.arange(begin, end) - np.repeat(starts, taken)
        group = np.repeat(found[rows], taken)
        right = np.full(len(left), -1, dtype=np.int64)
        met = np.flatnonzero(group >= 0)
        right[met] = self._order[self._begins[group[met]] + within[met]]
        return left, right


def _hashes(keys: Sequence[pa.Array], rows: int) -> npt.NDArray[np.uint64]:
    names = [f"k{number}" for number in range(len(keys))]
    return row_hashes(pa.RecordBatch.from_arrays(list(keys), names=names), names) if rows else np.zeros(0, dtype=np.uint64)


def _values(key: pa.Array) -> pa.Array:
    """What is compared of a key: no dictionaries, views or extension types, and text with room for any number of pairs."""
    key = decoded(key)
    key = key.storage if isinstance(key, pa.ExtensionArray) else key
    if is_text(key.type):
        return key.cast(pa.large_string())
    if is_bytes(key.type):
        return key.cast(pa.large_binary())
    if pa.types.is_floating(key.type):
        return key.cast(pa.float64())
    if pa.types.is_interval(key.type):
        # Arrow compares no intervals; equal ones are equal bytes.
        return pa.Array.from_buffers(pa.binary(16), len(key), key.buffers(), key.null_count, key.offset)
    return key


def _same(ones: Sequence[pa.Array], here: Positions, others: Sequence[pa.Array], there: Positions) -> Flags:
    """Return of pairs of rows which have the same key."""
    same = np.ones(len(here), dtype=np.bool_)
    if len(here):
        at, of = pa.array(here), pa.array(there)
        for one, other in zip(ones, others, strict=True):
            same &= _equal(one.take(at), other.take(of))
    return same


def _equal(one: pa.Array, other: pa.Array) -> Flags:
    kinds = {family(one.type), family(other.type)}
    if "null" in kinds:
        return np.zeros(len(one), dtype=np.bool_)
    if kinds <= {"timestamp", "time", "duration"} and one.type != other.type:
        return np.asarray([a == b for a, b in zip(_ticks(one), _ticks(other), strict=True)]).all(axis=0) & _both(one, other)
    if one.type == other.type or not kinds <= {"int", "decimal", "float"}:
        equal = pc.equal(one, other)
        if kinds == {"float"}:
            equal = pc.or_(equal, pc.and_(pc.is_nan(one), pc.is_nan(other)))
        return np.asarray(pc.fill_null(equal, False))
    if "decimal" in kinds and "float" not in kinds:
        return _equal_exactly(one, other)
    # Arrow compares an integer with a float as floats, and decimals with a digit lost here and there. A hash is the same for two whole
    # numbers only if they are the same number, and for two floats if they are the same float: `hashing` maps one to one there.
    ours, theirs = (row_hashes(pa.RecordBatch.from_arrays([array], names=["k"]), ["k"]) for array in (one, other))
    return np.asarray(ours == theirs) & _both(one, other)


def _both(one: pa.Array, other: pa.Array) -> Flags:
    return np.asarray(one.is_valid()) & np.asarray(other.is_valid())


def _ticks(array: pa.Array) -> tuple[Positions, Positions]:
    """Microseconds, and the nanoseconds that are left: Arrow casts to the finer unit, which has no room for the year 9999."""
    ticks = np.asarray(pc.fill_null(array.cast(pa.int32() if pa.types.is_time32(array.type) else pa.int64()), 0), dtype=np.int64)
    if array.type.unit == "ns":
        return np.floor_divide(ticks, 1000), np.mod(ticks, 1000)
    return ticks * {"s": 10**6, "ms": 10**3, "us": 1}[array.type.unit], np.zeros_like(ticks)


def _equal_exactly(one: pa.Array, other: pa.Array) -> Flags:
    """Decimals of unlike scales, and whole numbers, as decimals with all the digits of both."""
    scale = max(getattr(array.type, "scale", 0) for array in (one, other))
    whole = max(array.type.precision - array.type.scale if pa.types.is_decimal(array.type) else 20 for array in (one, other))
    if scale >= 0 and whole + scale <= 76:
        wide = pa.decimal256(whole + scale, scale)
        return np.asarray(pc.fill_null(pc.equal(_widened(one, wide), _widened(other, wide)), False))
    values = zip(one.to_pylist(), other.to_pylist(), strict=True)
    return np.array([a is not None and b is not None and a == b for a, b in values], dtype=np.bool_)


def _widened(array: pa.Array, wide: pa.DataType) -> pa.Array:
    if pa.types.is_integer(array.type):
        array = array.cast(pa.decimal128(20, 0))
    return array.cast(wide)
