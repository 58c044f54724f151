"""Measures that come near to what they measure, in states of bounded size: count_distinct and percentiles with `approx`.

Both are the same whatever the order and the cut of the rows, to the last bit: a state is a set of places with a number each, of which the
greatest is kept, or the sum. A library's sketches are objects, one a group, updated value by value and merged in an order that shows in the
result; these are columns, and merging a batch of them is one sort.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.groups import Groups
from beam_pipelines.columnar.hashing import row_hashes
from beam_pipelines.columnar.sketch import INDEX, REST, between, bucket_values, buckets, estimates, registers
from beam_pipelines.transforms.aggregate.measure import Kernel, Measured, MeasureProblem, Rows, State, of_groups

__all__ = ["ApproximateDistinct", "ApproximatePercentile"]

Longs = npt.NDArray[np.int64]

_RANK = 6  # bits that hold a rank, which is at most REST + 1


class ApproximateDistinct(Kernel):
    """About how many different values there are, null left out: HyperLogLog with 16,384 registers, whose standard error is 0.81 %.

    A state lists the registers that are not 0, each as its number and its rank in one integer: a group of few values is small, and one of
    many has 64 KiB. Values are equal as in `columnar.hashing`.

    Sources are named in `columnar.sketch`.

    Args:
        kind: Type of the field.
    """

    def __init__(self, kind: pa.DataType) -> None:
        if pa.types.is_nested(kind):
            raise MeasureProblem(f"expected values that can be told apart, got a {kind}")
        super().__init__(pa.int64(), State(pa.list_(pa.int32())))

    def lift(self, rows: Rows) -> list[pa.Array]:
        values = rows.values
        hashes = row_hashes(pa.RecordBatch.from_arrays([values], names=["v"]), ["v"], one_type=True)
        places, ranks = registers(hashes)
        return [_lists(np.asarray(values.is_valid()), ((places << _RANK) | ranks).astype(np.int32))]

    def combine(self, states: list[pa.Array], groups: Groups) -> list[pa.Array]:
        values, ends = of_groups(states[0], groups)
        owners = np.repeat(np.arange(len(groups)), np.diff(ends))
        # By group and register the ranks ascend: the last one is the greatest.
        ordered = np.sort((owners << (INDEX + _RANK)) | np.asarray(values, dtype=np.int64))
        last = np.append((ordered[1:] >> _RANK) != (ordered[:-1] >> _RANK), True)[: len(ordered)]
        kept = ordered[last]
        counts = np.bincount(kept >> (INDEX + _RANK), minlength=len(groups))
        return [_listed(counts, pa.array((kept & ((1 << (INDEX + _RANK)) - 1)).astype(np.int32)))]

    def result(self, states: list[pa.Array]) -> Measured:
        owners, values = _flat(states[0])
        width = REST + 2
        ranks = np.asarray(values, dtype=np.int64) & ((1 << _RANK) - 1)
        counts = np.bincount(owners * width + ranks, minlength=len(states[0]) * width).reshape(-1, width).astype(np.float64)
        counts[:, 0] = (1 << INDEX) - counts.sum(axis=1)
        return Measured(pa.array(np.rint(estimates(counts)).astype(np.int64)))


class ApproximatePercentile(Kernel):
    """About the value below which a share of the values lies: within 0.4 % of it.

    Values are counted by what they are rounded to, to 8 significant bits, which is at most 1/256 away; whole numbers up to 256 are exact. A
    state lists these numbers with their counts: of values from 1 to a million at most 2,560.

    The source is named in `columnar.sketch`.

    Args:
        kind: Type of the field.
        share: From 0 to 1.
    """

    def __init__(self, kind: pa.DataType, share: float) -> None:
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
            raise MeasureProblem(f"expected numbers, got a {kind}", "convert the field in a map step before")
        super().__init__(pa.float64(), State(pa.list_(pa.int32())), State(pa.list_(pa.int64())))
        self._share = share

    def lift(self, rows: Rows) -> list[pa.Array]:
        values = rows.values.cast(pa.float64(), safe=False)
        valid = np.asarray(values.is_valid())
        numbers = buckets(np.asarray(values.fill_null(0.0), dtype=np.float64))
        return [_lists(valid, numbers), _lists(valid, np.ones(len(numbers), dtype=np.int64))]

    def combine(self, states: list[pa.Array], groups: Groups) -> list[pa.Array]:
        buckets, ends = of_groups(states[0], groups)
        counts, _ = of_groups(states[1], groups)
        owners = np.repeat(np.arange(len(groups)), np.diff(ends))
        # Buckets are below 2^20, of either sign.
        keys = (owners << 21) + (np.asarray(buckets, dtype=np.int64) + (1 << 20))
        order = np.argsort(keys, kind="stable")
        keys, first = keys[order], np.zeros(0, dtype=np.int64)
        if len(keys):
            first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        totals = np.add.reduceat(np.asarray(counts, dtype=np.int64)[order], first) if len(first) else first
        kept = keys[first]
        sizes = np.bincount(kept >> 21, minlength=len(groups))
        return [
            _listed(sizes, pa.array(((kept & ((1 << 21) - 1)) - (1 << 20)).astype(np.int32))),
            _listed(sizes, pa.array(totals.astype(np.int64))),
        ]

    def result(self, states: list[pa.Array]) -> Measured:
        owners, buckets = _flat(states[0])
        _, counts = _flat(states[1])
        groups = len(states[0])
        if not len(buckets):
            return Measured(pa.nulls(groups, self.type))
        # Buckets of a group come in their order once its states have been combined; one state alone is in order as well.
        ends = np.cumsum(np.asarray(counts, dtype=np.int64))
        totals = np.bincount(owners, weights=np.asarray(counts, dtype=np.float64), minlength=groups).astype(np.int64)
        begins = np.cumsum(totals) - totals
        place = np.maximum(totals - 1, 0) * self._share
        values = bucket_values(np.asarray(buckets, dtype=np.int64))
        low, high = (
            values[np.minimum(np.searchsorted(ends, begins + at.astype(np.int64), side="right"), len(values) - 1)]
            for at in (np.floor(place), np.ceil(place))
        )
        return Measured(pa.array(between(low, high, place - np.floor(place)), mask=totals == 0))


def _lists(valid: npt.NDArray[np.bool_], values: npt.NDArray[np.int32] | Longs) -> pa.ListArray:
    """Return a list a row: its value, or nothing where the row has none."""
    return _listed(valid, pa.array(values if valid.all() else values[valid]))


def _listed(counts: npt.NDArray[np.generic], values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)), values)


def _flat(lists: pa.ListArray) -> tuple[Longs, pa.Array]:
    """Return the elements of lists, and the list that each is in."""
    ends = np.asarray(lists.offsets, dtype=np.int64)
    lengths = ends[1:] - ends[:-1]
    return np.repeat(np.arange(len(lists)), lengths), lists.flatten()
