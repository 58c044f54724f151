"""The standard deviation of numbers: exact sums of them and of their squares, rounded once, so that any cut of the rows gives the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.total import total, unit

__all__ = ["Moments"]

_UNIT = unit(pa.float64())
_SCALE = 1074  # the unit is 2^-1074, that of squares its square
_SMALL = 1 << 31  # integers below it have squares below 2^62
_SPLIT = 134_217_729.0  # 2^27 + 1
# Between these the square of a double, and what is lost in rounding it, are normal doubles.
_LOW, _HIGH = 2.0**-450, 2.0**500


@dataclass(frozen=True)
class Moments:
    """Sums of numbers, as doubles.

    Args:
        count: How many there are.
        sum: Of those that are finite, in units of 2^-1074.
        squares: The sum of their squares, in units of 2^-2148.
        infinite: Whether there is one that is not finite.
    """

    count: int = 0
    sum: int = 0
    squares: int = 0
    infinite: bool = False

    @classmethod
    def of(cls, numbers: pa.Array) -> Moments:
        """Return the sums of numbers, of which none is null or NaN."""
        kind = numbers.type
        if pa.types.is_integer(kind) and len(numbers):
            ends = pc.min_max(numbers).as_py()
            if max(-ends["min"], ends["max"]) < _SMALL:
                small = np.asarray(numbers).astype(np.int64)
                return cls(len(small), total(pa.array(small)) << _SCALE, total(pa.array(small * small)) << 2 * _SCALE)
        doubles = np.asarray(pc.cast(numbers, pa.float64(), safe=False))
        finite = doubles[np.isfinite(doubles)]
        return cls(len(doubles), total(pa.array(finite)), _squares(finite), len(finite) < len(doubles))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.sum + other.sum, self.squares + other.squares, self.infinite or other.infinite)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a sample; None of fewer than two numbers, or where one is infinite."""
        if self.count < 2 or self.infinite:
            return None
        variance = (self.squares * _UNIT - Fraction(self.sum) ** 2 * _UNIT / self.count) * _UNIT / (self.count - 1)
        return _root(variance)


def _squares(values: npt.NDArray[np.float64]) -> int:
    """Add up squares exactly: each as a double and what is lost in rounding it (Dekker's product, Numerische Mathematik 18, 1971)."""
    sizes = np.abs(values)
    plain = ((sizes > _LOW) & (sizes < _HIGH)) | (sizes == 0.0)
    odd = [] if plain.all() else values[~plain].tolist()
    kept = values[plain] if odd else values
    spread = _SPLIT * kept
    high = spread - (spread - kept)
    low = kept - high
    rounded = kept * kept
    lost = ((high * high - rounded) + 2.0 * high * low) + low * low
    added = (total(pa.array(rounded)) + total(pa.array(lost))) << _SCALE
    return added + sum(int(Fraction(one) ** 2 / _UNIT**2) for one in odd)


def _root(square: Fraction) -> float:
    """Return the square root, of numbers whose own square no double holds as well."""
    if square <= 0:
        return 0.0
    half = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    try:
        return math.ldexp(math.sqrt(square / Fraction(4) ** half), half)
    except OverflowError:
        return math.inf
