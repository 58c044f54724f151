"""Sessions: stretches of events of one group of which each is less than the gap behind the one before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar.groups import grouped
from beam_pipelines.transforms.late import Longs

__all__ = ["starts"]


def starts(groups: Sequence[pa.Array], first: Longs, last: Longs, gap: int) -> Longs:
    """Return where the session of each event, or of each session so far, begins.

    What overlaps, or is less than `gap` apart, is one session. The answer is that of all events in any order, for sessions so far are
    stretches without a gap.

    Args:
        groups: Columns of their groups, as Arrow hashes them; none: all are one group.
        first: Time of the first event, ms.
        last: Time of the last one.
        gap: ms.
    """
    if not len(first):
        return first
    of, order = _by_group(groups, len(first))
    inside = np.lexsort((first[order], of))
    of, order = of[inside], order[inside]
    begins, ends = first[order], last[order]
    if not np.array_equal(begins, ends):
        ends = _running(of, ends)
    new = np.append(True, (of[1:] != of[:-1]) | (begins[1:] - ends[:-1] >= gap))
    answer = np.empty_like(first)
    answer[order] = begins[new][np.cumsum(new) - 1]
    return answer


def _by_group(groups: Sequence[pa.Array], rows: int) -> tuple[Longs, Longs]:
    """Rows group after group: the group of each, and its position."""
    if not groups:
        return np.zeros(rows, dtype=np.int64), np.arange(rows, dtype=np.int64)
    _, _, found = grouped(groups, [], rows, listed=True)
    assert found is not None
    return found.of, found.order


def _running(of: Longs, values: Longs) -> Longs:
    """The greatest value so far within each group, of rows that are ordered by group.

    By ranks: group and rank fit into 64 bits together, group and time need not.
    """
    known, ranks = np.unique(values, return_inverse=True)
    ranked: Longs = np.maximum.accumulate(of * len(known) + ranks.reshape(-1))
    return known[ranked - of * len(known)]
