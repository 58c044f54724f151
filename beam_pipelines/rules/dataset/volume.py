"""How many rows there are, and which share of them is null or different."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

import pyarrow as pa

from beam_pipelines.rules.dataset.distinct import Distinct
from beam_pipelines.rules.dataset.rule import Bounds, Verdict
from beam_pipelines.rules.field import Field
from beam_pipelines.spec.rule.ratio import DistinctRatio, NullRatio
from beam_pipelines.spec.rule.volume import DistinctCount, RowCount

__all__ = ["Differences", "Nulls", "Rows"]

EXACT = 1 << 20  # different values that are counted exactly: eight megabytes of hashes


class Rows:
    """How many rows there are."""

    def __init__(self, model: RowCount, schema: pa.Schema) -> None:
        del schema  # any will do
        self._bounds = Bounds(model.min, model.max)

    def nothing(self) -> int:
        return 0

    def measure(self, batch: pa.RecordBatch) -> int:
        return int(batch.num_rows)

    def merge(self, one: int, other: int) -> int:
        return one + other

    def judge(self, state: int, now: datetime) -> Verdict:
        del now
        return Verdict(self._bounds.hold(state), state, f"expected a number of rows {self._bounds}")


class Nulls:
    """Which share of the rows is null in a field; of no rows there is none."""

    def __init__(self, model: NullRatio, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        self._bounds = Bounds(model.min, model.max)

    def nothing(self) -> tuple[int, int]:
        return 0, 0

    def measure(self, batch: pa.RecordBatch) -> tuple[int, int]:
        return batch.num_rows, self._field.read(batch).null_count

    def merge(self, one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
        return one[0] + other[0], one[1] + other[1]

    def judge(self, state: tuple[int, int], now: datetime) -> Verdict:
        del now
        rows, nulls = state
        message = f"expected a share of nulls in {self._field.name} {self._bounds}"
        if not rows:
            return Verdict(None, None, message)
        return Verdict(self._bounds.hold(Fraction(nulls, rows)), nulls / rows, message, details={"nulls": nulls})


@dataclass(frozen=True)
class _Differences:
    values: int
    nulls: int
    distinct: Distinct


class Differences:
    """How many different values a field has, in all or for each value; null is no value."""

    def __init__(self, model: DistinctCount | DistinctRatio, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        self._ratio = isinstance(model, DistinctRatio)
        self._bounds = Bounds(model.min, model.max)

    def nothing(self) -> _Differences:
        return _Differences(0, 0, Distinct.nothing(EXACT))

    def measure(self, batch: pa.RecordBatch) -> _Differences:
        values = self._field.read(batch)
        return _Differences(len(values) - values.null_count, values.null_count, Distinct.of(values, EXACT))

    def merge(self, one: _Differences, other: _Differences) -> _Differences:
        return _Differences(one.values + other.values, one.nulls + other.nulls, one.distinct + other.distinct)

    def judge(self, state: _Differences, now: datetime) -> Verdict:
        del now
        count = min(state.distinct.count, state.values)  # an estimate may be above
        details = {"approximate": True} if state.distinct.approximate else {}
        if not self._ratio:
            message = f"expected a number of different values of {self._field.name} {self._bounds}"
            return Verdict(self._bounds.hold(count), count, message, state.nulls, details)
        message = f"expected a share of different values of {self._field.name} {self._bounds}"
        if not state.values:
            return Verdict(None, None, message, state.nulls)
        ratio = Fraction(count, state.values)
        return Verdict(self._bounds.hold(ratio), float(ratio), message, state.nulls, {"distinct": count, **details})
