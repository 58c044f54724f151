"""Rows by their key and their time: which one of them counts at the time of each row of a batch. Nothing is done by row.

Rows are put in the order of key and time, as one number a row, so that the row that counts is found by one binary search over all rows of a
batch (`numpy.searchsorted`). Keys are told apart as in `columnar.index`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.convert import decoded
from beam_pipelines.columnar.hashing import row_hashes
from beam_pipelines.columnar.index import Index
from beam_pipelines.columnar.kinds import plain_type, storage
from beam_pipelines.transforms.join.moment import Distance, Moments, Scale, distance, longest, moments, searched

__all__ = ["AsOfIndex", "Way"]

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Way:
    """How rows meet by time.

    Args:
        kind: What times are compared as: `moment.ordered_as`.
        direction: Where the row that counts lies; of two that are equally near, the earlier one.
        tolerance: How far away it may be; None: any distance.
        allow_equal: Whether a row of the same time counts.
    """

    kind: str
    direction: Literal["backward", "forward", "nearest"]
    tolerance: timedelta | int | float | None
    allow_equal: bool


class AsOfIndex:
    """Rows by their key and their time; a null in either, or NaN as a time, meets nothing.

    Of several rows of one key and one time the last counts: that of the greatest key of its source; of files, the last row of the last file
    by name; where that does not tell them apart (a join on this side gives several rows for one), by a hash of all values.

    Args:
        keys: Columns of the key, and that of the time behind them.
        rows: The rows, with their origin.
        way: How they meet.
    """

    def __init__(self, keys: Sequence[pa.Array], rows: pa.RecordBatch, way: Way) -> None:
        self._way = way
        *same, times = keys
        self._leaders = Index(same, rows.num_rows, distinct=True) if same else None
        found = moments(times, way.kind)
        groups = self._groups(same, rows.num_rows)
        kept = np.flatnonzero(found.valid & (groups >= 0))
        self._scale = Scale(found.take(kept), way.kind)
        # Keys by numbers from 0, by the first row that has one; -1: no row that counts has it.
        leaders = np.unique(groups[kept])
        self._numbers = np.full(rows.num_rows + 1, -1, dtype=np.int64)
        self._numbers[leaders] = np.arange(len(leaders))
        codes = self._numbers[groups[kept]] * self._scale.width + self._scale.places(found.take(kept))
        order = np.argsort(codes, kind="stable")
        codes, kept = _last(codes[order], kept[order], rows)
        self._codes, self._rows = codes, kept
        self._times = found.take(kept)

    def pairs(self, keys: Sequence[pa.Array], rows: int, *, lonely: bool = False) -> Iterator[tuple[Positions, Positions]]:
        """Find what a batch meets, as `Index.pairs` does; at most one row each."""
        if not rows:
            return
        *same, times = keys
        wanted = moments(times, self._way.kind)
        at = self._counting(wanted, self._groups(same, rows))
        met = at >= 0
        right = np.full(rows, -1, dtype=np.int64)
        right[met] = self._rows[at[met]]
        left = np.arange(rows, dtype=np.int64) if lonely else np.flatnonzero(met)
        yield left, right[left]

    def _groups(self, keys: Sequence[pa.Array], rows: int) -> Positions:
        """Return the first row here that has the key of each row, -1 where there is none: one number a key, whatever hash it shares."""
        if self._leaders is None:
            return np.zeros(rows, dtype=np.int64)
        found = np.full(rows, -1, dtype=np.int64)
        for left, right in self._leaders.pairs(keys, rows):
            # A leader may be there twice where keys share a hash; the first one counts, on both sides.
            fresh = found[left] < 0
            found[left[fresh][::-1]] = right[fresh][::-1]
        return found

    def _counting(self, wanted: Moments, groups: Positions) -> Positions:
        """Return which of our rows, as they are ordered here, counts for each of a batch; -1 where none does."""
        none = np.full(len(groups), -1, dtype=np.int64)
        if not len(self._codes):
            return none
        group = self._numbers[groups]  # of -1 the last one, which is -1 as well
        here = wanted.valid & (group >= 0)
        codes = group * self._scale.width + self._scale.places(wanted)
        before, after = none, none
        if self._way.direction != "forward":
            at = searched(self._codes, codes, side="right" if self._way.allow_equal else "left") - 1
            before = self._near(at, here, group, wanted, late=True)
        if self._way.direction != "backward":
            at = searched(self._codes, codes, side="left" if self._way.allow_equal else "right")
            after = self._near(at, here, group, wanted, late=False)
        if self._way.direction != "nearest":
            return np.maximum(before, after)
        both = np.flatnonzero((before >= 0) & (after >= 0))
        asked = wanted.take(both)
        back = self._apart(asked, before[both], late=True)
        ahead = self._apart(asked, after[both], late=False)
        further = (ahead[0] > back[0]) | ((ahead[0] == back[0]) & (ahead[1] >= back[1]))
        chosen = np.maximum(before, after)
        chosen[both] = np.where(further, before[both], after[both])
        return chosen

    def _near(self, at: Positions, here: npt.NDArray[np.bool_], group: Positions, wanted: Moments, *, late: bool) -> Positions:
        """Leave out rows of other keys, and those that are too far away; `late`: what is asked for is not before them."""
        inside = np.clip(at, 0, len(self._codes) - 1)
        near = here & (at == inside) & (self._codes[inside] // self._scale.width == group)
        if self._way.tolerance is not None:
            rows = np.flatnonzero(near)
            wholes, rest = self._apart(wanted.take(rows), inside[rows], late=late)
            most, left = longest(self._way.tolerance, self._way.kind)
            near[rows] = (wholes < most) | ((wholes == most) & (rest <= left))
        return np.where(near, inside, -1)

    def _apart(self, asked: Moments, at: Positions, *, late: bool) -> Distance:
        ours = self._times.take(at)
        return distance(asked, ours, self._way.kind) if late else distance(ours, asked, self._way.kind)


def _last(codes: Positions, rows: Positions, batch: pa.RecordBatch) -> tuple[Positions, Positions]:
    """Keep of each code the row that counts; the codes are ordered."""
    if not len(codes):
        return codes, rows
    ends = np.append(codes[1:] != codes[:-1], True)
    if ends.all():
        return codes, rows
    tied = np.flatnonzero(~ends | ~np.insert(ends[:-1], 0, True))
    table = {"code": pa.array(codes[tied]), **_ranks(take(batch, rows[tied]))}
    order = np.asarray(pc.sort_indices(pa.table(table), sort_keys=[(name, "ascending") for name in table]), dtype=np.int64)
    rows = rows.copy()
    rows[tied] = rows[tied][order]
    return codes[ends], rows[ends]


def _ranks(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return columns by which any two rows that differ have an order, the same on every run."""
    found: dict[str, pa.Array] = {}
    for name in (origin.KEY, origin.SOURCE, origin.ROW, origin.LINE, origin.PARTITION, origin.OFFSET):
        if name in batch.schema.names:
            column = batch.column(name)
            parts = [column.field(at) for at in range(column.type.num_fields)] if pa.types.is_struct(column.type) else [column]
            for part in parts:
                values = storage(decoded(part))
                values = values.cast(plain_type(values.type))
                if _sorts(values):
                    found[f"o{len(found)}"] = values
    found["all"] = pa.array(row_hashes(batch, origin.names(batch.schema), one_type=True))
    return found


def _sorts(values: pa.Array) -> bool:
    """Whether Arrow knows an order of values."""
    try:
        pc.sort_indices(pa.table({"k": values.slice(0, 0)}), sort_keys=[("k", "ascending")])
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowInvalid):
        return False
    return True
