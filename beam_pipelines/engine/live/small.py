"""Small batches on their way to the shards, put together: each piece that goes there costs as much as a thousand rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import pyarrow as pa

from beam_pipelines.columnar import size

__all__ = ["Small"]

K = TypeVar("K")


class Small(Generic[K]):
    """Batches of one bundle by what they belong to, until there are enough of them."""

    def __init__(self) -> None:
        self._batches: dict[K, list[pa.RecordBatch]] = {}
        self._bytes = 0

    def add(self, key: K, batch: pa.RecordBatch) -> None:
        """Add a batch; one without rows is passed over."""
        if batch.num_rows:
            self._batches.setdefault(key, []).append(batch)
            self._bytes += size.slice_bytes(batch)

    @property
    def enough(self) -> bool:
        """Whether it is time to `take` them."""
        return self._bytes >= size.MAX_BYTES

    def take(self) -> Iterator[tuple[K, pa.RecordBatch]]:
        """Return all that was added, put together, and begin anew."""
        taken, self._batches, self._bytes = self._batches, {}, 0
        for key, batches in taken.items():
            yield from ((key, batch) for batch in size.gather(batches))
