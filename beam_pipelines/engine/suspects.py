"""Rows that may repeat a key: told by hashes, which are all that goes to the shards of most rows; of the few others the keys follow.

Two keys that share a hash are two keys: whoever brings the suspects together (`rule_keys.repeated_rows`) compares values. The keys of a
batch lie packed beside the pipeline until it is told which of its rows are suspects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin, size
from beam_pipelines.columnar.compact import joined, take
from beam_pipelines.columnar.quick_hash import quick_hashes
from beam_pipelines.engine import beside, shuffle
from beam_pipelines.engine.bundle import PlainFn, in_global_window
from beam_pipelines.engine.rule_keys import NOTE, ROW, ROWS, Block, Shard, by_batch, key_batch, key_names, sharded, told_of, told_whole
from beam_pipelines.rules.judgement import Positions
from beam_pipelines.rules.key.unique import suspects

__all__ = ["HASHES_TYPE", "KEYED_TYPE", "SuspectFn", "SuspectKeysFn", "hashed", "packed"]

HASHES_TYPE = tuple[tuple[str, int, int], tuple[str, bytes]]  # of a shard: name of the batch, and hashes with the positions of their rows
KEYED_TYPE = tuple[str, int, str, bytes]  # load, place of the rule, name of the batch, keys
# Half of the hash does: of a thousand million rows 62 million are in a shard, and one in seventy is suspected for nothing.
_HALF = np.uint32
_NUMBER = np.uint64(56)  # what is before these bits of a hash tells the shard
_HASH = "hash"


def hashed(load: str, at: int, name: str, columns: Sequence[pa.Array], rows: Positions) -> Iterator[tuple[Shard, tuple[str, bytes]]]:
    """Hashes of keys by shard, each beside the position of its row.

    Args:
        load: What the rows belong to.
        at: Place of the rule.
        name: Of the batch.
        columns: Of the keys.
        rows: Their positions in the batch.
    """
    hashes = quick_hashes(columns)
    numbers = (hashes >> _NUMBER).astype(np.uint8) % shuffle.SHARDS  # numbers this small are sorted by radix
    order = np.argsort(numbers, kind="stable")
    halves = hashes.astype(_HALF)[order]
    positions = rows[order].astype(np.uint16 if len(rows) and rows[-1] < 1 << 16 else np.uint32)
    ends = np.cumsum(np.bincount(numbers, minlength=shuffle.SHARDS)).tolist()
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if end > begin:
            block = pa.RecordBatch.from_arrays([pa.array(halves[begin:end]), pa.array(positions[begin:end])], names=[_HASH, ROW])
            yield (load, at, number), (name, beside.packed(_waits(name, at, number), block, None))  # hashes do not compress


def packed(
    load: str, at: int, name: str, columns: Sequence[pa.Array], more: Mapping[str, pa.Array], about: Mapping[str, str]
) -> tuple[str, int, str, bytes]:
    """Keys of a batch with `more` columns and what is `about` all of them, for when it is known which of them are suspects."""
    return load, at, name, beside.packed(_waits(name, at), key_batch(columns, more, about))


def _waits(name: str, at: int, shard: int | None = None) -> str:
    return f"{name} keys {at}" if shard is None else f"{name} hashes {at} {shard}"


class SuspectFn(PlainFn):
    """Tells of the hashes of a shard which are not those of one row, by batch."""

    def process(self, shard: tuple[Shard, Iterable[tuple[str, bytes]]]) -> Iterator[pa.RecordBatch]:
        (load, at, number), blocks = shard
        parts = [(name, beside.unpacked(_waits(name, at, number), block)) for name, block in blocks]
        found = suspects(np.concatenate([part.column(_HASH) for _, part in parts]))
        if len(found):
            positions = np.concatenate([part.column(ROW) for _, part in parts])
            of = np.searchsorted(np.cumsum([part.num_rows for _, part in parts]), found, side="right")
            batches = pa.array([name for name, _ in parts]).take(pa.array(of))
            note = pa.RecordBatch.from_arrays([batches, pa.array(positions[found].astype(np.int32))], schema=NOTE)
            yield told_of(str(at), note.replace_schema_metadata({origin.LOAD: load.encode()}))


class SuspectKeysFn(PlainFn):
    """Sends the keys of the suspects among the rows of a batch to the shards; those of many batches together, for they are few."""

    def start_bundle(self) -> None:
        self._found: dict[tuple[str, str], dict[int, Positions]] | None = None
        self._gathered: dict[tuple[str, int], list[pa.RecordBatch]] = {}
        self._bytes: dict[tuple[str, int], int] = {}

    def process(self, keyed: tuple[str, int, str, bytes], notes: Iterable[pa.RecordBatch]) -> Iterator[tuple[Shard, Block]]:
        load, at, name, block = keyed
        if self._found is None:
            self._found = by_batch(notes)
        rows = self._found.get((load, name), {}).get(at)
        if rows is None:
            return
        keys = beside.unpacked(_waits(name, at), block)
        part = told_whole(take(keys, np.searchsorted(np.asarray(keys.column(ROW)), rows)))
        self._gathered.setdefault((load, at), []).append(part)
        self._bytes[load, at] = self._bytes.get((load, at), 0) + size.slice_bytes(part)
        if self._bytes[load, at] >= size.MAX_BYTES:
            yield from self._sent(load, at)

    def _sent(self, load: str, at: int) -> Iterator[tuple[Shard, Block]]:
        parts = self._gathered.pop((load, at))
        self._bytes[load, at] = 0
        names = parts[0].schema.names
        columns = {name: joined([part.column(name) for part in parts]) for name in names}
        keys = [columns.pop(name) for name in key_names(parts[0])]
        yield from sharded(load, at, ROWS, keys, columns, {}, one_type=True)

    def finish_bundle(self) -> Iterator[Any]:
        for load, at in list(self._gathered):
            yield from map(in_global_window, self._sent(load, at))
        self._found = None
