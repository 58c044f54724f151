"""Measures that need every value of a group: count_distinct, median, percentile and collect. Exact, and as large as the values are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import hashing
from beam_pipelines.columnar.groups import Groups, grouped
from beam_pipelines.columnar.sketch import between
from beam_pipelines.columnar.stored import stored
from beam_pipelines.transforms.aggregate.measure import Kernel, Measured, MeasureProblem, Rows, State, of_groups

__all__ = ["Collected", "Distinct", "Percentile"]


def _each(array: pa.Array) -> pa.ListArray:
    """Return a list a row: its value, or nothing where that is null."""
    ends = np.concatenate([[0], np.cumsum(np.asarray(array.is_valid()))])
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), array.drop_null())


def _joined(lists: pa.ListArray, groups: Groups) -> pa.ListArray:
    values, ends = of_groups(lists, groups)
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), values)


class Distinct(Kernel):
    """How many different values there are, null left out. NaN is NaN, and -0.0 is 0.0.

    Args:
        kind: Type of the field.
    """

    def __init__(self, kind: pa.DataType) -> None:
        if pa.types.is_nested(kind):
            raise MeasureProblem(f"expected values that can be told apart, got a {kind}")
        self._kept = pa.int64() if pa.types.is_duration(kind) else stored(kind)
        super().__init__(pa.int64(), State(pa.list_(self._kept)))

    def lift(self, rows: Rows) -> list[pa.Array]:
        return [_each(rows.values.cast(self._kept))]

    def combine(self, states: list[pa.Array], groups: Groups) -> list[pa.Array]:
        values, ends = of_groups(states[0], groups)
        of = pa.array(np.repeat(np.arange(len(groups)), np.diff(ends)))
        (owners, distinct), _, _ = grouped([of, values], [], len(values), listed=False)
        # Arrow gives pairs in about, but not quite, the order in which they come.
        distinct = distinct.take(pc.sort_indices(owners))
        counts = np.bincount(np.asarray(owners), minlength=len(groups))
        return [pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)), distinct)]

    def result(self, states: list[pa.Array]) -> Measured:
        return Measured(pc.list_value_length(states[0]).cast(pa.int64()))


class Percentile(Kernel):
    """The value below which a share of the values lies, between two of them by their distance (as SQL's percentile_cont).

    Args:
        kind: Type of the field.
        share: From 0 to 1.
    """

    def __init__(self, kind: pa.DataType, share: float) -> None:
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
            raise MeasureProblem(f"expected numbers, got a {kind}", "convert the field in a map step before")
        super().__init__(pa.float64(), State(pa.list_(pa.float64())))
        self._share = share

    def lift(self, rows: Rows) -> list[pa.Array]:
        return [_each(rows.values.cast(pa.float64(), safe=False))]

    def combine(self, states: list[pa.Array], groups: Groups) -> list[pa.Array]:
        return [_joined(states[0], groups)]

    def result(self, states: list[pa.Array]) -> Measured:
        lists = states[0]
        ends = np.asarray(lists.offsets, dtype=np.int64)
        counts = np.diff(ends)
        values = np.asarray(lists.flatten())
        values = values[np.lexsort((values, np.repeat(np.arange(len(counts)), counts)))]
        # Within the group: added to where it begins, a place would lose the digits of its fraction.
        place = np.maximum(counts - 1, 0) * self._share
        begins = ends[:-1] - ends[0]
        low = begins + np.floor(place).astype(np.int64)
        high = begins + np.ceil(place).astype(np.int64)
        none = counts == 0
        if not len(values):
            return Measured(pa.nulls(len(counts), self.type))
        low, high = (np.minimum(np.where(none, 0, at), len(values) - 1) for at in (low, high))
        return Measured(pa.array(between(values[low], values[high], place - np.floor(place)), mask=none))


class Collected(Kernel):
    """All values that are not null, as a list in the order of the source.

    Args:
        kind: Type of the field.
    """

    def __init__(self, kind: pa.DataType) -> None:
        super().__init__(pa.list_(kind), State(pa.list_(stored(kind))), State(pa.list_(pa.int64())))

    def lift(self, rows: Rows) -> list[pa.Array]:
        ordinals = pc.if_else(rows.values.is_valid(), rows.ordinals, pa.scalar(None, pa.int64()))
        return [_each(rows.values), _each(ordinals)]

    def combine(self, states: list[pa.Array], groups: Groups) -> list[pa.Array]:
        return [_joined(state, groups) for state in states]

    def result(self, states: list[pa.Array]) -> Measured:
        ends = np.asarray(states[0].offsets, dtype=np.int64)
        owners = np.repeat(np.arange(len(states[0])), np.diff(ends))
        values, places = states[0].flatten(), np.asarray(states[1].flatten())
        order = np.lexsort((places, owners))
        if ((owners[order][1:] == owners[order][:-1]) & (places[order][1:] == places[order][:-1])).any():
            # As a join makes several rows of one: their order follows from what is in them, whatever the order they came in.
            order = np.lexsort((hashing.row_hashes(pa.record_batch({"value": values}), ["value"], one_type=True), places, owners))
        values = values.take(pa.array(order))
        return Measured(pa.ListArray.from_arrays(pa.array((ends - ends[0]).astype(np.int32)), values))
