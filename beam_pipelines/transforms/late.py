"""How far event time was when a row came: what tells rows that come too late, by the log of the topic alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.origin import BEHIND, TIME
from beam_pipelines.errors import FatalError

__all__ = ["NEVER", "Longs", "closed_to", "longs", "times_of"]

Longs = npt.NDArray[np.int64]
NEVER = -(1 << 60)  # ms, before all times: where no time is known


def closed_to(batch: pa.RecordBatch, closed: int | None) -> Longs | None:
    """Of each row the event time up to which all had come before it, ms.

    Args:
        batch: Rows with `BEHIND`, unless nothing came before any of them.
        closed: The watermark of the last commit, ms; None: there is none.

    Returns:
        None: nothing is known of any row.
    """
    known = BEHIND in batch.schema.names
    if not known and closed is None:
        return None
    least = NEVER if closed is None else closed
    if not known:
        return np.full(batch.num_rows, least, dtype=np.int64)
    return np.maximum(np.asarray(batch.column(BEHIND).fill_null(NEVER)), least)


def times_of(batch: pa.RecordBatch, step: str) -> Longs:
    """Event times of rows, ms.

    Raises:
        FatalError: They have none, or a function before the step gave rows of which nobody knows what they came from.
    """
    if TIME not in batch.schema.names:
        raise FatalError(f"step {step!r} got rows without an event time", code="internal")
    if batch.column(TIME).null_count:
        raise FatalError(
            f"step {step!r} got rows without an event time, for a function before it gave another number of rows than it got: expected"
            " it to give the hidden columns of each row as well (`batch(origin=True)`), or to take rows one by one",
            code="function-failed",
        )
    return longs(batch, TIME)


def longs(batch: pa.RecordBatch, name: str) -> Longs:
    """A column of integers without nulls."""
    return np.asarray(batch.column(name), dtype=np.int64)
