"""How many different values there are, counted batch by batch: exactly up to a bound, and about so many above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.hashing import Words, row_hashes
from beam_pipelines.columnar.sketch import INDEX, REST, estimates, registers

__all__ = ["Distinct"]

Ranks = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Distinct:
    """The different values met, null left out: their 64-bit hashes up to a bound, and HyperLogLog's registers above.

    Two of a million values have one hash once in 40 million data sets. The estimate has a standard error of 0.81 %.

    Args:
        bound: Most values that are counted exactly.
        hashes: Of the values, ascending, each once; empty where there are registers.
        ranks: Registers; None up to the bound.
    """

    bound: int
    hashes: Words
    ranks: Ranks | None = None

    @classmethod
    def nothing(cls, bound: int) -> Distinct:
        return cls(bound, np.zeros(0, dtype=np.uint64))

    @classmethod
    def of(cls, values: pa.Array, bound: int) -> Distinct:
        """Return the different values of an array."""
        given = values.drop_null() if values.null_count else values
        return cls._kept(bound, _once(row_hashes(pa.RecordBatch.from_arrays([given], names=["v"]), ["v"], one_type=True)))

    @classmethod
    def among(cls, different: pa.Array, bound: int) -> Distinct:
        """Return the values of an array that holds none twice, and no null."""
        hashes = row_hashes(pa.RecordBatch.from_arrays([different], names=["v"]), ["v"], one_type=True)
        return cls._kept(bound, _once(hashes) if len(hashes) <= bound else hashes)

    @classmethod
    def _kept(cls, bound: int, hashes: Words) -> Distinct:
        if len(hashes) <= bound:
            return cls(bound, hashes)
        return cls(bound, np.zeros(0, dtype=np.uint64), _ranks(hashes))

    def __add__(self, other: Distinct) -> Distinct:
        if self.ranks is None and other.ranks is None:
            return self._kept(self.bound, _union(self.hashes, other.hashes))
        mine, theirs = (_ranks(one.hashes) if one.ranks is None else one.ranks for one in (self, other))
        return Distinct(self.bound, self.hashes[:0], np.maximum(mine, theirs))

    @property
    def approximate(self) -> bool:
        return self.ranks is not None

    @property
    def count(self) -> int:
        """How many there are, or about so many."""
        if self.ranks is None:
            return len(self.hashes)
        return int(np.rint(estimates(np.bincount(self.ranks, minlength=REST + 2).reshape(1, -1).astype(np.float64))[0]))


def _once(hashes: Words) -> Words:
    """Return hashes ascending, each once: sorting takes a third of the time of `numpy.unique`, which hashes them once more."""
    ordered = np.sort(hashes)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _union(one: Words, other: Words) -> Words:
    """Join two ascending arrays: in the time of the larger one, which is not sorted again."""
    large, small = (one, other) if len(one) >= len(other) else (other, one)
    if not len(small):
        return large
    places = np.searchsorted(large, small)
    new = large[np.minimum(places, len(large) - 1)] != small
    return np.insert(large, places[new], small[new])


def _ranks(hashes: Words) -> Ranks:
    places, ranks = registers(hashes)
    kept = np.zeros(1 << INDEX, dtype=np.uint8)
    np.maximum.at(kept, places, ranks.astype(np.uint8))
    return kept
