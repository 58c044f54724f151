"""Rows as a step by groups holds them: batches one after the other, each row with its place in the order of the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar import hashing, origin, size
from beam_pipelines.columnar.compact import compact, take

__all__ = ["column", "in_order", "joined", "picked", "placed", "unplaced"]

Positions = npt.NDArray[np.int64]
_PLACE = f"{origin.PREFIX}place"  # hidden: it is no column of the user's


def placed(batch: pa.RecordBatch, places: int | Positions) -> pa.RecordBatch:
    """Return rows with their places; what part of the source they are of is in these, and said no more.

    Args:
        batch: Rows.
        places: Of its rows in the order of the source; a number: of its first row.
    """
    known = np.arange(places, places + batch.num_rows, dtype=np.int64) if isinstance(places, int) else places
    return origin.with_part(batch, None).append_column(pa.field(_PLACE, pa.int64()), pa.array(known))


def unplaced(block: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows without their places."""
    return block.drop_columns([_PLACE])


def column(blocks: Sequence[pa.RecordBatch], read: Callable[[pa.RecordBatch], pa.Array]) -> pa.Array:
    """Return what is read of each block, one after the other; at least one block must be given."""
    arrays = [read(block) for block in blocks]
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def in_order(blocks: Sequence[pa.RecordBatch]) -> Positions:
    """Return the positions of all rows in the order of the source.

    Rows of one place, as a join makes them of one row, are told apart by what is in them: on every run they are in the same order.
    """
    places = np.concatenate([np.asarray(block.column(_PLACE)) for block in blocks])
    order = np.argsort(places, kind="stable")
    same = places[order][1:] == places[order][:-1]
    if not same.any():
        return order
    tied = np.zeros(len(places), dtype=np.bool_)
    tied[order[1:][same]] = tied[order[:-1][same]] = True
    hashes = np.zeros(len(places), dtype=np.uint64)
    begin = 0
    for block in blocks:
        rows = np.flatnonzero(tied[begin : begin + block.num_rows])
        shown = origin.visible(block)
        hashes[begin + rows] = hashing.row_hashes(take(shown, rows), shown.schema.names, one_type=True)
        begin += block.num_rows
    return np.lexsort((hashes, places))


def picked(blocks: Sequence[pa.RecordBatch], positions: Positions) -> list[pa.RecordBatch]:
    """Return some rows of blocks, small pieces put together.

    Args:
        blocks: Rows.
        positions: Of the rows over all blocks, in any order; rows keep that of the blocks.
    """
    wanted = np.sort(positions)
    ends = np.cumsum([block.num_rows for block in blocks])
    cuts = np.searchsorted(wanted, ends)
    parts = []
    begin = first = 0
    for block, end, cut in zip(blocks, ends.tolist(), cuts.tolist(), strict=True):
        whole = cut - begin == block.num_rows
        parts.append(block if whole else take(block, wanted[begin:cut] - first))
        begin, first = cut, end
    return [part for part in size.gather(parts) if part.num_rows]


def joined(blocks: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return all rows in one batch, each with its origin."""
    if len(blocks) == 1:
        return blocks[0]
    return pa.concat_batches([compact(block) for block in origin.alike(blocks)])
