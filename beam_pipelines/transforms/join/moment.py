"""Values that have an order, as pairs of numbers that two sides of a join can be compared by: times, dates and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.kinds import plain_type

__all__ = ["Distance", "Moments", "Scale", "distance", "longest", "moments", "ordered_as", "searched"]

Flags = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]  # int64, or float64 where numbers are compared as such
Distance = tuple[Numbers, Longs]  # wholes, of integers without a sign, and rests
_TICKS = {"s": 10**6, "ms": 10**3, "us": 1}
_DAY = 86_400 * 10**6
_NUMBERS = ("int", "float", "decimal")
# How many of the lesser number make one of the greater. Nanoseconds are apart from microseconds, for 64 bits have no room for those of
# the year 9999; so is the last bit of an integer, where one side may be a uint64.
_PARTS = {"time": 1000, "date": 1, "int": 2, "float": 1}


def ordered_as(left: pa.DataType, right: pa.DataType) -> str | None:
    """Return what values of two types are compared as: `time`, `date`, `int` or `float`; None: they have no order in common."""
    families = {family(plain_type(kind)) for kind in (left, right)}
    if families in ({"date"}, {"int"}):
        return next(iter(families))
    if families <= {"timestamp", "date"}:
        return "time"
    return "float" if families <= set(_NUMBERS) else None


@dataclass(frozen=True)
class Moments:
    """Values in their order, which is that of `whole`, and of `rest` where that is the same.

    Args:
        whole: The greater part.
        rest: What is left, below the number of parts of a whole.
        valid: False: a null or NaN, which is nowhere in the order.
    """

    whole: Numbers
    rest: Longs
    valid: Flags

    def take(self, rows: Longs) -> Moments:
        return Moments(self.whole[rows], self.rest[rows], self.valid[rows])


def moments(array: pa.Array, kind: str) -> Moments:
    """Return the values of a column.

    Args:
        array: Of a type that is `ordered_as` this kind.
        kind: What it is compared as. A time without a zone is UTC, and a date among times the midnight that it begins with.
    """
    array = decoded(array)
    valid = np.asarray(array.is_valid())
    rest = np.zeros(len(array), dtype=np.int64)
    if kind == "float":
        values = np.asarray(pc.fill_null(array.cast(pa.float64(), safe=False), 0.0), dtype=np.float64)
        return Moments(values, rest, valid & ~np.isnan(values))
    if pa.types.is_date(array.type):
        days = _longs(array.cast(pa.date32()).cast(pa.int32()))
        return Moments(days if kind == "date" else days * _DAY, rest, valid)
    if kind == "int":
        values = np.asarray(pc.fill_null(array, 0))
        return Moments((values // 2).astype(np.int64), (values % 2).astype(np.int64), valid)
    ticks = _longs(array.cast(pa.int64()))
    if array.type.unit == "ns":
        return Moments(np.floor_divide(ticks, 1000), np.mod(ticks, 1000), valid)
    return Moments(ticks * _TICKS[array.type.unit], rest, valid)


def _longs(array: pa.Array) -> Longs:
    return np.asarray(pc.fill_null(array, 0), dtype=np.int64)


def longest(tolerance: timedelta | float, kind: str) -> tuple[int | float, int]:
    """Return a tolerance as wholes and a rest of the kind: a duration of times and dates, a number of numbers.

    Raises:
        ValueError: It is the other one.
    """
    if (kind in ("time", "date")) != isinstance(tolerance, timedelta):
        raise ValueError(f"expected {'a duration, such as 1h' if kind in ('time', 'date') else 'a number'}, got {tolerance}")
    if isinstance(tolerance, timedelta):
        return tolerance // timedelta(days=1 if kind == "date" else 0, microseconds=0 if kind == "date" else 1), 0
    if kind == "float":
        return tolerance, 0
    whole, rest = divmod(int(tolerance), _PARTS[kind])
    return min(whole, 2**63), rest  # further apart than any two of them


def distance(high: Moments, low: Moments, kind: str) -> Distance:
    """Return how far values lie above others, exactly."""
    if kind == "float":
        with np.errstate(invalid="ignore"):  # two infinities are the same
            apart = np.where(high.whole == low.whole, 0.0, high.whole - low.whole)
        return apart, np.zeros(len(apart), dtype=np.int64)
    rest = high.rest - low.rest
    # A difference of two int64 may need all 64 bits, and has no sign: that of unsigned ones is the same bits.
    wholes = high.whole.astype(np.int64).view(np.uint64) - low.whole.astype(np.int64).view(np.uint64) - (rest < 0).astype(np.uint64)
    return wholes, np.where(rest < 0, rest + _PARTS[kind], rest)


class Scale:
    """The different values of one side, in order, and where others stand among them.

    Args:
        values: Valid ones.
        kind: What they are compared as.
    """

    def __init__(self, values: Moments, kind: str) -> None:
        self._wholes = _different(values.whole)
        self._parts = _PARTS[kind] if values.rest.any() else 1
        if self._parts > 1:
            self._values = _different(np.searchsorted(self._wholes, values.whole) * self._parts + values.rest)
        else:
            self._values = self._wholes

    @property
    def width(self) -> int:
        """How many places there are."""
        return 2 * len(self._values) + 1

    def places(self, values: Moments) -> Longs:
        """Return the place of each value: odd for one of the scale, even for one between two of them."""
        at, there = _found(self._wholes, values.whole)
        if self._parts == 1:
            return 2 * at + there + (there & (values.rest > 0))
        wanted = at * self._parts + np.where(there, values.rest, 0)
        at, same = _found(self._values, wanted)
        return 2 * at + (there & same)


def searched(ordered: Numbers, wanted: Numbers, side: Literal["left", "right"] = "left") -> Longs:
    """As `numpy.searchsorted`, with what is sought in order, so that the memory it looks at is near: 3 times as fast in a million."""
    order = np.argsort(wanted)
    found = np.empty(len(wanted), dtype=np.int64)
    found[order] = np.searchsorted(ordered, wanted[order], side=side)
    return found


def _different(values: Numbers) -> Numbers:
    """As `numpy.unique`, which hashes them before it sorts: three times as slow."""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def _found(ordered: Numbers, wanted: Numbers) -> tuple[Longs, Flags]:
    at = searched(ordered, wanted)
    if not len(ordered):
        return at, np.zeros(len(wanted), dtype=np.bool_)
    return at, ordered[np.minimum(at, len(ordered) - 1)] == wanted
