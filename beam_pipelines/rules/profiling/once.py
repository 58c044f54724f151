"""Which columns hold no value twice, told exactly: for columns with more values than a profile counts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.hashing import Words, row_hashes
from beam_pipelines.columnar.origin import PREFIX

__all__ = ["KEYS", "Once"]

KEYS = ("int", "text", "uuid")  # families of types that keys have; figures and times are often different by chance


class Once:
    """The columns that may be keys, batch by batch: one of which a batch holds a value twice is out.

    Of the others the 64-bit hash of each value is kept. Equal values have equal hashes, so a column that is said to hold each value once
    does; of a million different values two have one hash once in 40 million data sets, and then the column is said not to.

    Args:
        schema: Of the rows.
        most: Hashes that are kept of all columns together, 8 bytes each; where there are more, nothing is known of any column.
    """

    def __init__(self, schema: pa.Schema, most: int = 30_000_000) -> None:
        names = [field.name for field in schema if family(field.type) in KEYS and not field.name.startswith(PREFIX)]
        self._hashes: dict[str, list[Words]] = {name: [] for name in names}
        self._most, self._left = most, most
        self._out: set[str] = set()

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the rows of a batch."""
        for name in list(self._hashes):
            values = batch.column(batch.schema.get_field_index(name)).drop_null()
            hashes = np.sort(row_hashes(pa.RecordBatch.from_arrays([values], names=["v"]), ["v"], one_type=True))
            if _twice(hashes):
                self._left += sum(map(len, self._hashes.pop(name)))
                self._out.add(name)
                continue
            self._hashes[name].append(hashes)
            self._left -= len(hashes)
        if self._left < 0:
            self._hashes = {}

    def known(self) -> dict[str, bool]:
        """Return of the columns of which it is known whether they hold each value once; null is no value."""
        return {**dict.fromkeys(self._out, False), **{name: not _twice(_joined(parts)) for name, parts in self._hashes.items()}}


def _joined(parts: list[Words]) -> Words:
    """Join hashes in ascending order, in the place of their parts: they are most of what a process holds then."""
    whole = np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)
    whole.sort()
    parts[:] = [whole]
    return whole


def _twice(ascending: Words) -> bool:
    return bool((ascending[1:] == ascending[:-1]).any())
