"""What is known of the numbers of a field, batch by batch: how many there are, their exact sum, the least and the greatest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.total import total, unit

__all__ = ["NUMBERS", "Figures", "numbers", "of_type"]

NUMBERS = ("int", "float", "decimal", "text", "null")  # families of types whose values may be numbers

Real = int | float | Decimal


def of_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the numbers of a field: text is read as doubles."""
    if family(kind) in ("text", "null") or pa.types.is_float16(kind):
        return pa.float64()
    return kind


def numbers(values: pa.Array) -> pa.Array:
    """Return the numbers among values, in the type `of_type`, without null, NaN and text that is no number."""
    read, _ = convert_column(values, of_type(values.type))
    read = read.drop_null()
    return read.filter(pc.invert(pc.is_nan(read))) if pa.types.is_floating(read.type) else read


@dataclass(frozen=True)
class Figures:
    """Figures of numbers of one type, the same for any cut of the rows.

    Args:
        count: How many there are.
        total: The sum of those that are finite, in `columnar.total.unit` of the type.
        positive: How many are infinity.
        negative: How many are minus infinity.
        least: The least one; None where there is none.
        greatest: The greatest one.
    """

    count: int = 0
    total: int = 0
    positive: int = 0
    negative: int = 0
    least: Real | None = None
    greatest: Real | None = None

    @classmethod
    def of(cls, given: pa.Array) -> Figures:
        """Return the figures of numbers as `numbers` gives them."""
        # -0.0 is 0.0; decimals stay as they are, for arithmetic would round them to 28 digits.
        ends = {name: end + 0.0 if isinstance(end, float) else end for name, end in pc.min_max(given).as_py().items()}
        positive = negative = 0
        finite = given
        if pa.types.is_floating(given.type) and any(end is not None and math.isinf(end) for end in ends.values()):
            positive, negative = (int(pc.sum(pc.equal(given, end)).as_py() or 0) for end in (math.inf, -math.inf))
            finite = given.filter(pc.is_finite(given))
        return cls(len(given), total(finite), positive, negative, ends["min"], ends["max"])

    def __add__(self, other: Figures) -> Figures:
        least = [end for end in (self.least, other.least) if end is not None]
        greatest = [end for end in (self.greatest, other.greatest) if end is not None]
        return Figures(
            self.count + other.count,
            self.total + other.total,
            self.positive + other.positive,
            self.negative + other.negative,
            min(least, default=None),
            max(greatest, default=None),
        )

    def sum(self, kind: pa.DataType) -> Fraction | float:
        """Return the sum, exactly; infinite or NaN where infinity is among the numbers."""
        if self.positive or self.negative:
            return math.nan if self.positive and self.negative else math.inf if self.positive else -math.inf
        return self.total * unit(kind)

    def mean(self, kind: pa.DataType) -> Fraction | float | None:
        """Return the mean, exactly; None where there is no number."""
        return self.sum(kind) / self.count if self.count else None
