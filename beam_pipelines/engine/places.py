"""Where rows stand in the order of the source, for steps to which that matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar import hashing, origin
from beam_pipelines.engine.lineage import BY_GROUPS, sums_up, takes_others
from beam_pipelines.spec.step import StepBase
from beam_pipelines.spec.step.sided import sided

__all__ = ["Places"]

_PART = 40  # bits of a place that count rows within a range
# Steps behind which rows come in any order, beside those that sum up, joins and lookups in a source, and rules that take other rows.
_SHUFFLED = (*BY_GROUPS, "union")


class Places:
    """Places of the rows of one bundle in the order of the source: it reads a range from its beginning.

    Args:
        before: Models of the steps before the one that asks.
    """

    def __init__(self, before: Sequence[StepBase]) -> None:
        self._shuffled = any(step.type in _SHUFFLED or sums_up(step) or sided(step) or takes_others(step) for step in before)
        self._places: dict[tuple[str, int], int] = {}

    def of(self, load: str, batch: pa.RecordBatch, *, ordered: bool = True) -> int | npt.NDArray[np.int64]:
        """Return the places of the next rows of a load; a number: of the first.

        Args:
            load: What they belong to.
            batch: Rows as they reach the step.
            ordered: Whether their order matters behind a shuffle, where it has to be made up.
        """
        if self._shuffled:
            # Groups, and rows that were joined, come in any order. One that follows from where they came from is the same on every run.
            return _order_of_origins(batch) if ordered else 0
        part = origin.part_of(batch) or 0
        place = self._places.get((load, part), 0)
        self._places[load, part] = place + batch.num_rows
        return (part << _PART) + place


def _order_of_origins(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Places by file and row or line, else by the hash of source and key of a row or group; what has neither is one row."""
    if origin.SOURCE not in batch.schema.names:
        return np.zeros(batch.num_rows, dtype=np.int64)
    places = (origin.hashes(batch) >> np.uint64(1)).astype(np.int64)
    for name in (origin.ROW, origin.LINE):
        if name in batch.schema.names:
            rows = batch.column(name)
            files = (hashing.row_hashes(batch, [origin.SOURCE]) >> np.uint64(_PART + 1)).astype(np.int64)
            places = np.where(np.asarray(rows.is_null()), places, (files << _PART) + np.asarray(rows.fill_null(0)))
    return places
