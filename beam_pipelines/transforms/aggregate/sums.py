"""count, sum and avg. Sums of integers and decimals are exact; those of doubles are rounded in the order in which batches come."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.transforms.aggregate.measure import Kernel, Measured, MeasureProblem, Rows, State

__all__ = ["Average", "Count", "Sum"]

Longs = npt.NDArray[np.int64]

_HALF = 1 << 32
_LONGEST = 38  # digits of a decimal128
_CAREFUL = 28  # digits of which ten thousand million may be added up in a decimal128


class Count(Kernel):
    """Rows of the group, those in which the field is null included."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), State(pa.int64(), "sum"))

    def lift(self, rows: Rows) -> list[pa.Array]:
        return [pa.array(np.ones(len(rows.values), dtype=np.int64))]

    def nothing(self, null: Rows) -> list[pa.Array]:  # noqa: ARG002 (a row with a null is a row)
        return [pa.array([0], pa.int64())]

    def result(self, states: list[pa.Array]) -> Measured:
        return Measured(states[0])


class Sum(Kernel):
    """The sum of what is not null; null where all is.

    Integers are added up as two halves of 32 bits, for a sum of 64 bits would wrap around without a word.

    Args:
        kind: Type of the field.
        name: Of the result, for messages.

    Raises:
        MeasureProblem: It cannot be added up.
    """

    def __init__(self, kind: pa.DataType, name: str) -> None:
        self._name = name
        if pa.types.is_floating(kind):
            super().__init__(pa.float64(), State(pa.float64(), "sum"))
        elif pa.types.is_decimal(kind):
            total = pa.decimal128(_LONGEST, kind.scale)
            super().__init__(total, State(pa.decimal256(76, kind.scale) if kind.precision > _CAREFUL else total, "sum"))
        elif pa.types.is_integer(kind) or pa.types.is_duration(kind):
            super().__init__(kind if pa.types.is_duration(kind) else pa.int64(), State(pa.int64(), "sum"), State(pa.int64(), "sum"))
        else:
            raise MeasureProblem(
                f"expected numbers to add up, got a {kind}", "convert the field in a map step before, such as with converter: decimal"
            )

    def lift(self, rows: Rows) -> list[pa.Array]:
        values = rows.values
        if len(self.states) == 1:
            return [values.cast(self.states[0].type)]
        if pa.types.is_duration(values.type):
            values = values.cast(pa.int64())
        if not pa.types.is_uint64(values.type):
            values = values.cast(pa.int64())
        low = pc.bit_wise_and(values, pa.scalar(_HALF - 1, values.type))
        return [pc.shift_right(values, pa.scalar(32, values.type)).cast(pa.int64()), low.cast(pa.int64())]

    def result(self, states: list[pa.Array]) -> Measured:
        if len(states) == 1:
            return self._narrowed(states[0])
        missing = np.asarray(states[0].is_null())
        high, low = _halves(states)
        large = _beyond(high)
        values = (np.where(large, 0, high) << 32) | low
        array = pa.array(values, mask=missing | large).cast(self.type)
        return Measured(array, np.flatnonzero(large).tolist(), f"{self._name}: the sum is out of the range of bigint")

    def _narrowed(self, sums: pa.Array) -> Measured:
        if sums.type == self.type:
            return Measured(sums)
        most = Decimal((0, (9,) * _LONGEST, -sums.type.scale))
        large = pc.fill_null(pc.greater(pc.abs(sums), pa.scalar(most, sums.type)), False)
        array = pc.if_else(large, pa.scalar(None, sums.type), sums).cast(self.type)
        return Measured(array, pc.indices_nonzero(large).to_pylist(), f"{self._name}: the sum has more than {_LONGEST} digits")


def _halves(states: Sequence[pa.Array]) -> tuple[Longs, Longs]:
    """Return sums as their higher and their lower 32 bits, of which the lower ones are not negative; 0 for null."""
    high, low = (np.asarray(pc.fill_null(state, 0), dtype=np.int64) for state in states)
    return high + (low >> 32), low & (_HALF - 1)


def _beyond(high: Longs) -> npt.NDArray[np.bool_]:
    """Which sums need more than 64 bits."""
    return np.asarray((high >= _HALF // 2) | (high < -_HALF // 2))


class Average(Kernel):
    """The mean of what is not null, a double; null where all is.

    Args:
        kind: Type of the field.
        name: Of the result, for messages.
    """

    def __init__(self, kind: pa.DataType, name: str) -> None:
        if pa.types.is_duration(kind):
            raise MeasureProblem(f"expected numbers, got a {kind}")
        self._sum = Sum(kind, name)
        super().__init__(pa.float64(), *self._sum.states, State(pa.int64(), "sum"))

    def lift(self, rows: Rows) -> list[pa.Array]:
        return [*self._sum.lift(rows), rows.values.is_valid().cast(pa.int64())]

    def result(self, states: list[pa.Array]) -> Measured:
        *sums, count = states
        if len(sums) == 2:
            high, low = _halves(sums)
            large = _beyond(high)
            # Rounded once: halves of which one is negative would cancel each other's digits.
            exact = ((np.where(large, 0, high) << 32) | low).astype(np.float64)
            total = pa.array(np.where(large, high * float(_HALF) + low, exact))
        else:
            total = sums[0].cast(pa.float64())
        counted = pc.if_else(pc.equal(count, 0), pa.scalar(None, pa.int64()), count)
        return Measured(pc.divide(total, counted.cast(pa.float64())))
