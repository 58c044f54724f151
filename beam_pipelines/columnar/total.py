"""Sums of numbers without rounding, as whole numbers of the least unit of their type: the same in any order and for any cut of the rows.

A double is a whole number of 2^-1074, so a sum of doubles is one of Python's integers. Batches are added up by exponent, where the halves
of a mantissa, 27 bits each, stay exact in doubles (Kulisch's accumulator, an exponent at a time).
"""

from __future__ import annotations

from decimal import Context
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["total", "unit"]

_LEAST = 1074  # the least double is 2^-1074
_FRACTION = 53  # bits of a double's fraction
_HALF = 27
_MOST = 1 << 26  # doubles that are added up at once: 2^26 halves of 27 bits are 53 bits
_CAREFUL = 70  # digits of which a million may be added up in a decimal256
_WIDE = Context(prec=100)


def unit(kind: pa.DataType) -> Fraction:
    """Return what `total` counts of a type: 1 of integers, the last digit of decimals, the least double of floats."""
    if pa.types.is_integer(kind):
        return Fraction(1)
    return Fraction(1, 10**kind.scale if pa.types.is_decimal(kind) else 2**_LEAST)


def total(numbers: pa.Array) -> int:
    """Add up numbers, in units of their type.

    Args:
        numbers: Integers, decimals of a scale of at least 0 or finite floats; null counts for nothing.
    """
    numbers = numbers.drop_null()
    kind = numbers.type
    if pa.types.is_floating(kind):
        doubles = np.asarray(numbers.cast(pa.float64()))
        return sum(_doubles(doubles[begin : begin + _MOST]) for begin in range(0, len(doubles), _MOST))
    if pa.types.is_decimal(kind):
        if kind.precision > _CAREFUL:
            return sum(int(value.scaleb(kind.scale, _WIDE)) for value in numbers.to_pylist())
        added = pc.sum(numbers.cast(pa.decimal256(76, kind.scale))).as_py()
        return 0 if added is None else int(added.scaleb(kind.scale, _WIDE))
    integers = np.asarray(numbers)
    wide = integers if integers.dtype == np.uint64 else integers.astype(np.int64)
    low = (wide & np.array(0xFFFFFFFF, dtype=wide.dtype)).astype(np.int64)
    return (int((wide >> np.array(32, dtype=wide.dtype)).astype(np.int64).sum()) << 32) + int(low.sum())


def _doubles(values: npt.NDArray[np.float64]) -> int:
    fractions, exponents = np.frexp(values[values != 0.0])
    if not len(fractions):
        return 0
    whole = fractions * 2.0**_FRACTION
    high = np.floor(whole / 2.0**_HALF)
    low = whole - high * 2.0**_HALF
    least = int(exponents.min())
    places = exponents - least
    sums = [np.bincount(places, weights=half) for half in (high, low)]
    # Of the lowest exponent first; a sum of numbers below the least normal one ends in as many zeros as are shifted out.
    added = 0
    for place in np.flatnonzero((sums[0] != 0) | (sums[1] != 0)).tolist():
        added += ((int(sums[0][place]) << _HALF) + int(sums[1][place])) << place
    shift = least - _FRACTION + _LEAST
    return added << shift if shift >= 0 else added >> -shift
