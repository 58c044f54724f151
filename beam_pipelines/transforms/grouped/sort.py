"""Put the rows of each group in order, and number them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin, size
from beam_pipelines.columnar.compact import take
from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.spec.order import terms
from beam_pipelines.spec.step.sort import SortStep
from beam_pipelines.transforms.grouped.blocks import Positions, joined, unplaced
from beam_pipelines.transforms.grouped.step import Grouped
from beam_pipelines.transforms.step import Applied

__all__ = ["Sort"]


class Sort(Grouped):
    """A sort step: the rows of a group one after the other, in batches that end where a group does, numbered if asked for.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "sort"
    cuts: ClassVar[bool] = False

    def __init__(self, model: SortStep, path: str) -> None:
        super().__init__(model, path, model.by, terms(model.order_by))
        self._number = model.output

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:
        planned = super().plan(schema, sample)
        if self._number is None:
            return planned
        # Whatever its case: to expressions and most databases `Rank` and `rank` are one.
        taken = [name for name in schema.names if name.lower() == self._number.lower()]
        if taken:
            problem = Problem(f"there is a column {taken[0]!r} already", f"{self._path}.as", hint="choose another name")
            raise PlanError(f"step {self.id!r} cannot be carried out", problems=[problem], code="expression-invalid")
        return planned.append(pa.field(self._number, pa.int64(), nullable=False))

    def results(self, blocks: Sequence[pa.RecordBatch]) -> Applied:
        order, ranks = self._ranked(blocks)
        rows = unplaced(take(joined(blocks), order))
        if self._number is not None:
            columns = [*origin.visible(rows).columns, pa.array(ranks + 1)]
            rows = origin.carry(rows, pa.RecordBatch.from_arrays(columns, schema=self._opened()))
        return Applied(tuple(_by_groups(rows, np.flatnonzero(ranks == 0))))

    def _kept(self, order: Positions, ranks: Positions) -> Positions:  # noqa: ARG002 (all of them)
        return order


def _by_groups(rows: pa.RecordBatch, starts: Positions) -> Iterator[pa.RecordBatch]:
    """Cut rows between groups, as many groups at a time as a batch may hold; a group that is larger by itself travels in several."""
    ends = np.append(starts[1:], rows.num_rows)
    begin = 0
    while begin < rows.num_rows:
        most = next(size.split(rows.slice(begin)))
        fitting = ends[(ends > begin) & (ends <= begin + most.num_rows)]
        end = int(fitting[-1]) if len(fitting) else int(ends[np.searchsorted(ends, begin, side="right")])
        yield from size.split(rows.slice(begin, end - begin))
        begin = end
