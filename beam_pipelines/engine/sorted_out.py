"""Rows that come from a shuffle, of many files in each batch: they wait until those of a file are worth writing."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.size import gather, slice_bytes

__all__ = ["ROOM", "SortedOut"]

ROOM = 32 << 20  # bytes of rows that wait


class SortedOut:
    """Keeps rows by file. Without it each batch would be an object a file: 200 files behind 16 shards were 3,154 objects, and are 200."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], list[pa.RecordBatch]] = {}
        self._bytes = 0

    @property
    def full(self) -> bool:
        """No more may wait."""
        return self._bytes > ROOM

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows with their origins, of one load."""
        load = origin.load_of(batch)
        for source, rows in origin.by_source(batch):
            self._waiting.setdefault((load, source), []).append(rows)
            self._bytes += slice_bytes(rows)

    def taken(self) -> Iterator[tuple[str, str, pa.RecordBatch]]:
        """Give all rows, one file after the other, each with its load and its file; nothing waits any more."""
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        for load, source in sorted(waiting):
            for rows in gather(origin.alike(waiting.pop((load, source)))):
                yield load, source, rows
