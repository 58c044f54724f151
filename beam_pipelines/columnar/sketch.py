"""What sketches are made of: registers that count different values, and buckets that count values by their size.

Both are the same whatever the order and the cut of the rows: of each register the greatest rank is kept, of each bucket the sum.

Flajolet, Fusy, Gandouet, Meunier: HyperLogLog, the analysis of a near-optimal cardinality estimation algorithm (AofA 2007). The estimate is
Ertl's, which needs no correction for few values: New cardinality estimation algorithms for HyperLogLog sketches (arXiv:1702.01284,
algorithm 6). Masson, Rim, Lee: DDSketch, a fast and fully-mergeable quantile sketch with relative-error guarantees (PVLDB 12, 2019), with
the mapping of a value to its bucket by exponent and first bits of the fraction, which needs no logarithm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["INDEX", "REST", "between", "bucket_values", "buckets", "estimates", "registers"]

Longs = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

INDEX = 14  # bits of a hash that choose the register: 16,384 of them
REST = 64 - INDEX
_KEPT = 7  # bits of a double's fraction that are kept
_DROPPED = 52 - _KEPT
_INFINITE = 0x7FF << _KEPT  # the bucket of infinity
_NAN = _INFINITE + (1 << (_KEPT - 1))


def registers(hashes: npt.NDArray[np.uint64]) -> tuple[Longs, Longs]:
    """Return the register of each hash, and the rank that it gives it: the place of the first 1 among the other bits, from 1."""
    rest = (hashes & np.uint64((1 << REST) - 1)).astype(np.float64)  # a double holds them all
    return (hashes >> np.uint64(REST)).astype(np.int64), (REST + 1 - np.frexp(rest)[1]).astype(np.int64)


def estimates(counts: Doubles) -> Doubles:
    """Return about how many different values fill registers so: the standard error is 0.81 %.

    Args:
        counts: Of each group, how many registers have which rank, from 0 to `REST + 1`.
    """
    size = float(1 << INDEX)
    total = size * _tau(1.0 - counts[:, -1] / size)
    for rank in range(counts.shape[1] - 2, 0, -1):
        total = 0.5 * (total + counts[:, rank])
    total += size * _sigma(counts[:, 0] / size)
    return size * size / (2.0 * np.log(2.0) * total)


def _sigma(share: Doubles) -> Doubles:
    """Ertl's σ: what registers that are empty weigh; infinitely much where all are."""
    with np.errstate(over="ignore", invalid="ignore"):
        powers, factor, total = share.copy(), 1.0, share.copy()
        while True:
            powers = powers * powers
            before = total
            total = total + powers * factor
            factor += factor
            if np.array_equal(total, before) or factor > 2.0**60:
                return np.where(share == 1.0, np.inf, total)


def _tau(share: Doubles) -> Doubles:
    """Ertl's τ: what registers of the greatest rank weigh."""
    roots, factor, total = share.copy(), 1.0, 1.0 - share
    while True:
        roots = np.sqrt(roots)
        before = total
        factor *= 0.5
        total = total - (1.0 - roots) ** 2 * factor
        if np.array_equal(total, before) or factor < 2.0**-60:
            return np.where((share == 0.0) | (share == 1.0), 0.0, total / 3.0)


def buckets(values: Doubles) -> npt.NDArray[np.int32]:
    """Return the number of the bucket of each value: they are in the order of the values, NaN last."""
    size = np.abs(values).view(np.int64)
    numbers = (size + (1 << (_DROPPED - 1))) >> _DROPPED
    # The greatest doubles would be rounded to infinity.
    numbers = np.where(np.isfinite(values), np.minimum(numbers, _INFINITE - 1), np.where(np.isnan(values), _NAN, _INFINITE))
    return np.where(values < 0, -numbers, numbers).astype(np.int32)


def bucket_values(numbers: Longs) -> Doubles:
    """Return the value that stands for each bucket."""
    sizes = (np.abs(numbers) << _DROPPED).view(np.float64)
    return np.where(numbers < 0, -sizes, sizes)


def between(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return values between others; an infinite one draws all to itself that is not its neighbour."""
    with np.errstate(invalid="ignore"):
        made = np.where(np.isinf(low) | np.isinf(high), low * (1 - share) + high * share, low + (high - low) * share)
    return np.where((low == high) | (share == 0), low, made)
