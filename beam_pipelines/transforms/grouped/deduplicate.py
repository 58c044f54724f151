"""Keep one of the rows that are alike."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from beam_pipelines.spec.order import terms
from beam_pipelines.spec.step.deduplicate import DeduplicateStep
from beam_pipelines.transforms.grouped.blocks import Positions
from beam_pipelines.transforms.grouped.step import Grouped
from beam_pipelines.transforms.step import Applied

__all__ = ["Deduplicate"]


class Deduplicate(Grouped):
    """A deduplicate step: the first or the last of the rows that are alike in some fields, as it is.

    The rows that it stands for are counted as absorbed. What is null or NaN in `orderBy` is neither first nor last while there is
    something else.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "deduplicate"

    def __init__(self, model: DeduplicateStep, path: str) -> None:
        super().__init__(model, path, model.by, terms(model.order_by))
        self._last = model.keep == "last"

    def _ranked(self, blocks: Sequence[pa.RecordBatch], *, last: bool = False) -> tuple[Positions, Positions]:
        return super()._ranked(blocks, last=self._last or last)

    def _kept(self, order: Positions, ranks: Positions) -> Positions:
        return order[ranks == 0]

    def _dropped(self, batches: tuple[pa.RecordBatch, ...], rows: int) -> Applied:
        return Applied(batches, absorbed=rows)
