"""Quantiles of numbers, batch by batch: exactly up to a bound, and within 0.4 % above it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.sketch import between, bucket_values, buckets

__all__ = ["EXACT", "Quantiles"]

EXACT = 65_536  # numbers that are kept: half a megabyte

Doubles = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]


def _no_doubles() -> Doubles:
    return np.zeros(0)


@dataclass(frozen=True)
class Quantiles:
    """Numbers as doubles: themselves up to a bound, and how many there are of each size above it, as `columnar.sketch` says.

    Args:
        values: The numbers, ascending, where there are no more than the bound; else what stands for each bucket, ascending.
        counts: How many numbers are in each bucket; None where the numbers themselves are kept.
        bound: Most numbers that are kept.
    """

    values: Doubles = field(default_factory=_no_doubles)
    counts: Longs | None = None
    bound: int = EXACT

    @classmethod
    def of(cls, numbers: pa.Array, bound: int = EXACT) -> Quantiles:
        """Return the numbers of an array, which has neither null nor NaN."""
        return cls._kept(np.sort(np.asarray(pc.cast(numbers, pa.float64(), safe=False)) + 0.0), bound)

    @classmethod
    def weighted(cls, numbers: pa.Array, counts: Longs, bound: int = EXACT) -> Quantiles:
        """Return numbers, each of which occurs as often as `counts` says; none of them is null or NaN."""
        values = np.asarray(pc.cast(numbers, pa.float64(), safe=False)) + 0.0
        if int(counts.sum()) <= bound:
            return cls(np.sort(np.repeat(values, counts)), None, bound)
        return cls(*_counted(values, counts), bound)

    @classmethod
    def _kept(cls, values: Doubles, bound: int) -> Quantiles:
        if len(values) <= bound:
            return cls(values, None, bound)
        return cls(*_counted(values, np.ones(len(values), dtype=np.int64)), bound)

    def __add__(self, other: Quantiles) -> Quantiles:
        values = np.concatenate([self.values, other.values])
        if self.counts is None and other.counts is None:
            return self._kept(np.sort(values, kind="stable"), self.bound)
        counts = [np.ones(len(one.values), dtype=np.int64) if one.counts is None else one.counts for one in (self, other)]
        return Quantiles(*_counted(values, np.concatenate(counts)), self.bound)

    @property
    def approximate(self) -> bool:
        return self.counts is not None

    def at(self, share: float) -> float | None:
        """Return the number below which a share of them lies, between two by their distance (as SQL's percentile_cont); None: no number."""
        if not len(self.values):
            return None
        ends = np.arange(1, len(self.values) + 1) if self.counts is None else np.cumsum(self.counts)
        place = np.array([(int(ends[-1]) - 1) * share])
        low, high = (self.values[np.searchsorted(ends, at.astype(np.int64), side="right")] for at in (np.floor(place), np.ceil(place)))
        return float(between(low, high, place - np.floor(place))[0])


def _counted(values: Doubles, counts: Longs) -> tuple[Doubles, Longs]:
    """Return what stands for the buckets of values, ascending, and how many there are in each.

    A value that stands for a bucket is in that bucket, so that what is counted already may be counted again.
    """
    numbers = buckets(values).astype(np.int64)
    least = int(numbers.min())
    span = int(numbers.max()) - least + 1
    if span > 8 * len(numbers):  # a count for each bucket between them would be mostly zeros
        found, of = np.unique(numbers, return_inverse=True)
        sums = np.zeros(len(found), dtype=np.int64)
        np.add.at(sums, of, counts)
        return bucket_values(found), sums
    filled = np.bincount(numbers - least, weights=counts).astype(np.int64)
    kept = np.flatnonzero(filled)
    return bucket_values(kept + least), filled[kept]
