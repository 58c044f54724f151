"""Values that occur once: which rows repeat a key, given all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.compact import joined
from beam_pipelines.columnar.index import valid_keys
from beam_pipelines.columnar.keys import key_columns
from beam_pipelines.columnar.quick_hash import quick_hashes
from beam_pipelines.rules.field import Field, found
from beam_pipelines.rules.judgement import Finding, Judgement, Positions
from beam_pipelines.spec.rule.unique import Unique

__all__ = ["Hashes", "Repeats", "UniqueKey", "repeated", "repeats", "spread", "suspects"]

Hashes = npt.NDArray[np.uint64] | npt.NDArray[np.uint32]

_BUCKETS = 16  # of a hash, bits that say which bucket it is in


class UniqueKey:
    """The key of a `unique` rule: what is asked of the rows of one schema, wherever they are brought together.

    Keys are equal as values of one type are: -0.0 is 0.0, NaN is NaN. A row with a null in its key has none, and is not evaluated.
    """

    def __init__(self, model: Unique, schema: pa.Schema) -> None:
        self.keep = model.keep
        names = model.names
        self._fields = [Field.find(name, schema, f"fields[{at}]" if model.fields else "field") for at, name in enumerate(names)]
        self._name = ", ".join(names)
        self._message = f"expected a {'value' if len(names) == 1 else 'combination of values'} that occurs once"

    def keys(self, batch: pa.RecordBatch) -> tuple[list[pa.Array], Positions]:
        """Return the keys of the rows that have one, as columns that Arrow compares, and the positions of these rows."""
        values = [field.read(batch) for field in self._fields]
        columns = [column for value in values for column in key_columns(value)]
        if not any(value.null_count for value in values):
            return columns, np.arange(batch.num_rows, dtype=np.int64)
        rows = np.flatnonzero(valid_keys(values, batch.num_rows)).astype(np.int64)
        return [column.take(pa.array(rows)) for column in columns], rows

    def unevaluated(self, batch: pa.RecordBatch) -> int:
        """Return how many rows of a batch have no key."""
        values = [field.read(batch) for field in self._fields]
        return 0 if not any(value.null_count for value in values) else batch.num_rows - int(valid_keys(values, batch.num_rows).sum())

    def told(self, batch: pa.RecordBatch, rows: Positions, unknown: int = 0) -> Judgement:
        """Return what the rule says of a batch, of which somebody else knows the rows that repeat a key.

        Args:
            batch: Rows.
            rows: Positions of those, ascending.
            unknown: Rows of which nobody can know it.
        """
        repeated = (Finding(rows, self._name, found(self._fields, batch, rows), self._message),) if len(rows) else ()
        return Judgement(repeated, self.unevaluated(batch) + unknown)


@dataclass(frozen=True)
class Repeats:
    """Keys that occur more than once.

    Args:
        rows: Positions of the rows that violate, ascending.
        keys: How many keys occur more than once.
        members: How many rows have such a key; those that come after the first of their key are `members - keys`.
    """

    rows: Positions
    keys: int = 0
    members: int = 0


def repeats(columns: Sequence[Sequence[pa.Array]], keep: Literal["first", "last", "none"]) -> Repeats:
    """Find the rows that repeat a key.

    Args:
        columns: Of the key, as `UniqueKey.keys` gives them, each batch after batch; rows in the order of the source.
        keep: Which row of a key does not violate.
    """
    none = Repeats(np.zeros(0, dtype=np.int64))
    rows = suspects(_hashes(columns))
    if not len(rows):
        return none
    columns = [_picked(parts, rows) for parts in columns]
    codes = _codes(columns[0])
    for column in columns[1:]:
        more = _codes(column)
        codes = _codes([pa.array(codes * (int(more.max()) + 1) + more)])  # below the number of rows, squared
    counts = np.bincount(codes)
    repeated = counts > 1
    keys, members = int(repeated.sum()), int(counts[repeated].sum())
    if not keys:
        return none
    if keep == "none":
        violating = repeated[codes]
    elif keep == "first":
        violating = ~_first(codes)
    else:
        # Numbered anew from the end, so that they come in the order of their first rows there.
        violating = ~_first(_codes([pa.array(codes[::-1])]))[::-1]
    return Repeats(rows[violating], keys, members)


def repeated(key: UniqueKey, batches: Sequence[pa.RecordBatch]) -> tuple[Repeats, list[Positions]]:
    """Find the rows of batches, which are all there are, that repeat a key.

    Args:
        key: Of the rule.
        batches: Rows, in the order of the source.

    Returns:
        What `repeats` finds among the rows that have a key; and the rows that violate, as positions in each batch.
    """
    keyed = [key.keys(batch) for batch in batches]
    nobody: Positions = np.zeros(0, dtype=np.int64)
    if not sum(len(rows) for _, rows in keyed):
        return Repeats(nobody), [nobody for _ in batches]
    found = repeats(list(zip(*(columns for columns, _ in keyed), strict=True)), key.keep)
    return found, spread(found.rows, [rows for _, rows in keyed])


def spread(found: Positions, parts: Sequence[Positions]) -> list[Positions]:
    """Return what was found among rows of several batches as positions in each batch.

    Args:
        found: Positions among the rows of all batches that were looked at, ascending.
        parts: Of each batch the positions of those; at least one batch.
    """
    ends = np.cumsum([len(rows) for rows in parts])
    cut = np.split(found, np.searchsorted(found, ends)[:-1])
    return [rows[some - (end - len(rows))] for rows, some, end in zip(parts, cut, ends.tolist(), strict=True)]


def _hashes(columns: Sequence[Sequence[pa.Array]]) -> Hashes:
    """Hash the key of each row: equal keys have equal hashes."""
    return np.concatenate([np.zeros(0, dtype=np.uint64), *(quick_hashes(parts) for parts in zip(*columns, strict=True))])


def suspects(hashes: Hashes) -> Positions:
    """Return the rows whose hash is not theirs alone, ascending: only these are looked at by value, which takes more time and memory."""
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    # Most hashes are not even near one of these few: to look each up takes twice as long as to sort them all.
    others = hashes.dtype.type(8 * hashes.itemsize - _BUCKETS)
    met = np.zeros(1 << _BUCKETS, dtype=np.bool_)
    met[twice >> others] = True
    rows = np.flatnonzero(met[hashes >> others])
    near = hashes[rows]
    return rows[twice[np.searchsorted(twice, near, side="right") - 1] == near]


def _picked(parts: Sequence[pa.Array], rows: Positions) -> list[pa.Array]:
    """Values by position, of columns that are in parts."""
    ends = np.cumsum([0, *map(len, parts)])
    cuts = np.searchsorted(rows, ends)
    each = zip(parts, ends[:-1].tolist(), cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
    return [part.take(pa.array(rows[begin:end] - first)) for part, first, begin, end in each]


def _codes(parts: Sequence[pa.Array]) -> Positions:
    """Number the distinct values in the order of their first rows."""
    # Of a chunked array Arrow writes the dictionary once a chunk: 20 times as long for 16 chunks of a million texts. Together they may be
    # more than 2 GiB.
    column = joined(parts)
    return np.asarray(column.dictionary_encode(null_encoding="encode").indices, dtype=np.int64)


def _first(codes: Positions) -> npt.NDArray[np.bool_]:
    """Return which rows are the first of their code, of codes that are numbered in the order of their first rows."""
    newest = np.maximum.accumulate(codes)
    return np.concatenate([[True], newest[1:] > newest[:-1]])
