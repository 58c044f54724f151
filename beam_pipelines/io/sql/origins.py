"""Where rows came from that the target refuses in Commit: staged rows carry no origin, so their key tells it, or what was staged."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.plain import plain
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.window import Window

__all__ = ["origins"]


def origins(window: Window, rows: pa.RecordBatch, positions: Sequence[int], staged: Sequence[Staged]) -> list[dict[str, Any]]:
    """Origins as `columnar.origin.describe` writes them.

    Args:
        window: Of the load.
        rows: Rows of the staging schema.
        positions: Of each among all staged rows, from 0.
        staged: The objects that were staged, in their order.

    Returns:
        For each row `{"source": "customers", "key": {"id": 17}}` where the source's key arrives unchanged; else the source with the range
        it was read in (`{"source": "customers", "range": 2}`), or the first and the last of those that were staged together (`"ranges"`).
        Behind a shuffle it is the source alone, and behind a union all that the row may be of (`{"sources": ["customers", "leads"]}`).
    """
    if window.origin_key:
        columns = [plain(rows.column(target)) for _, target in window.origin_key]
        names = [source for source, _ in window.origin_key]
        return [{"source": window.table, "key": dict(zip(names, key, strict=True))} for key in zip(*columns, strict=True)]
    ends = list(accumulate(part.rows for part in staged))
    return [_read_in(window, staged[bisect_right(ends, position)]) for position in positions]


def _read_in(window: Window, part: Staged) -> dict[str, Any]:
    if part.sources and (part.sources != (window.table,) or len(window.ranges) > 1):
        return {"source": part.sources[0]} if len(part.sources) == 1 else {"sources": list(part.sources)}
    last = max(part.order, part.through)
    if last >= len(window.ranges):
        return {"source": window.table}
    if part.order < last:
        return {"source": window.table, "ranges": [part.order, last]}
    one = window.ranges[last]
    source = {"source": one.bounds.get("label", one.table)}  # a file has its own name
    return source if len(window.ranges) == 1 else {**source, "range": last}
