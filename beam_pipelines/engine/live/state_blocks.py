"""States cut into blocks, most of which are the same again when few of the states have changed: those need not be kept anew.

Blocks begin where the hash of a state's key says so, and not after so many states: one that comes, changes or goes changes its own block
alone. They are in the order of their windows, so what only waits for late rows is in blocks of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import hashing
from beam_pipelines.columnar.compact import take
from beam_pipelines.engine.aside import within

__all__ = ["state_blocks"]

_BITS = 11  # of a hash, all zero where a block begins: 2,048 states are in one on the average


def state_blocks(states: pa.RecordBatch, keys: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Cut states into blocks: the same ones for the same states, in whatever order these are.

    Args:
        states: One of each key, or several, which are never cut apart but for their size.
        keys: Columns that tell them apart: where the window begins, int64, and the groups.
    """
    hashes = hashing.row_hashes(states, keys, one_type=True)
    order = np.lexsort((hashes, np.asarray(states.column(keys[0]))))
    ordered = take(states, order)
    hashes = hashes[order]
    begins = np.flatnonzero((hashes[1:] >> np.uint64(64 - _BITS) == 0) & (hashes[1:] != hashes[:-1])) + 1
    bounds = [0, *begins.tolist(), states.num_rows]
    for begin, end in itertools.pairwise(bounds):
        yield from within(ordered.slice(begin, end - begin))
