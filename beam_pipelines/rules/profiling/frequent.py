"""The values that occur most often, counted batch by batch in a bounded number of counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.plain import plain
from beam_pipelines.columnar.stored import reduced, restored

__all__ = ["COUNTERS", "Frequent"]

COUNTERS = 1_000

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Frequent:
    """How often values occur: exactly while there are no more different ones than counters, and then those that occur often.

    A count is then below the real one by at most `missed`, which is at most a thousandth of the values, and which values are kept depends
    on the cut of the rows; one that occurs more often than `missed` is always among them.

    Misra, Gries: Finding repeated elements (Science of Computer Programming 2, 1982); merged as by Agarwal and others: Mergeable summaries
    (PODS 2012).

    Args:
        values: Different ones, as `columnar.stored.reduced` gives them.
        counts: How often each occurs.
        missed: By how much counts may be too low.
    """

    values: pa.Array
    counts: Longs
    missed: int = 0

    @classmethod
    def nothing(cls, kind: pa.DataType) -> Frequent:
        """Return no values of a type."""
        return cls(reduced(pa.nulls(0, kind)), np.zeros(0, dtype=np.int64))

    @classmethod
    def of(cls, values: pa.Array) -> Frequent:
        """Return the values of an array, null left out."""
        given = reduced(values.drop_null())
        encoded = given.dictionary_encode()
        counts = np.bincount(np.asarray(encoded.indices), minlength=len(encoded.dictionary)).astype(np.int64)
        return cls.counted(encoded.dictionary, counts)

    @classmethod
    def counted(cls, values: pa.Array, counts: Longs, missed: int = 0) -> Frequent:
        """Return values that are counted, each once, in no more counters than there are."""
        if len(counts) <= COUNTERS:
            return cls(values, counts, missed)
        less = _largest(counts, COUNTERS + 1)
        kept = np.flatnonzero(counts > less)
        return cls(values.take(pa.array(kept)), counts[kept] - less, missed + less)

    def cut(self, characters: int) -> Frequent:
        """Return texts without what is behind so many characters; those that are then the same are counted together."""
        return self._together(pc.utf8_slice_codeunits(self.values, 0, characters), self.counts, self.missed)

    def __add__(self, other: Frequent) -> Frequent:
        if not len(other.counts):
            return Frequent(self.values, self.counts, self.missed + other.missed)
        counts = np.concatenate([self.counts, other.counts])
        return self._together(pa.concat_arrays([self.values, other.values]), counts, self.missed + other.missed)

    @classmethod
    def _together(cls, values: pa.Array, counts: Longs, missed: int) -> Frequent:
        encoded = values.dictionary_encode()
        sums = np.zeros(len(encoded.dictionary), dtype=np.int64)
        np.add.at(sums, np.asarray(encoded.indices), counts)
        return cls.counted(encoded.dictionary, sums, missed)

    def top(self, most: int, kind: pa.DataType) -> list[tuple[Any, int]]:
        """Return the values that occur most often as plain values with their counts; of equal counts the least text comes first.

        Args:
            most: How many.
            kind: Type of the values.
        """
        if len(self.counts) > most:  # those that may be among the first
            least = np.partition(self.counts, -most)[-most]
            kept = np.flatnonzero(self.counts >= least)
        else:
            kept = np.arange(len(self.counts))
        shown = plain(restored(self.values.take(pa.array(kept)), kind))
        return sorted(zip(shown, self.counts[kept].tolist(), strict=True), key=lambda pair: (-pair[1], str(pair[0])))[:most]


def _largest(counts: Longs, place: int) -> int:
    """Return the count that is the `place`-th from the largest, from 1."""
    most = int(counts.max())
    if most > 8 * len(counts):
        return int(np.partition(counts, -place)[-place])
    # Most are small and many alike: how many there are of each takes a fraction of the time.
    above = np.cumsum(np.bincount(counts)[::-1])
    return most - int(np.searchsorted(above, place))
