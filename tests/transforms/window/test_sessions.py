"""Sessions so far that become one, against a plain walk over the stretches of each group."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
from hypothesis import example, given

from beam_pipelines.transforms.window.sessions import starts

STRETCHES = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(-40, 40), st.sampled_from([0, 0, 3, 20])), max_size=15)


def plainly(stretches: list[tuple[str, int, int]], gap: int) -> list[int]:
    """Where the session of each begins: stretches that are less than the gap apart take the earlier start, until none changes."""
    begins = [first for _, first, _ in stretches]
    changed = True
    while changed:
        changed = False
        for here, (group, first, length) in enumerate(stretches):
            for there, (other, begin, width) in enumerate(stretches):
                near = group == other and begin - (first + length) < gap and first - (begin + width) < gap
                if near and begins[there] < begins[here]:
                    begins[here], changed = begins[there], True
    return begins


@given(STRETCHES, st.sampled_from([1, 4, 10]), st.booleans())
@example([("a", 0, 20), ("a", 3, 0), ("a", 21, 0), ("b", 1, 0)], 4, True)  # the second one ends before the first
@example([("a", 0, 20), ("b", 3, 0), ("a", 25, 0)], 4, True)
def test_what_is_less_than_the_gap_apart_is_one_session(stretches: list[tuple[str, int, int]], gap: int, grouped: bool) -> None:
    told = stretches if grouped else [("a", first, length) for _, first, length in stretches]
    first = np.array([one[1] for one in told], dtype=np.int64)
    last = first + np.array([one[2] for one in told], dtype=np.int64)
    groups = [pa.array([one[0] for one in told], pa.string())] if grouped else []
    assert starts(groups, first, last, gap).tolist() == plainly(told, gap)


def test_sessions_hold_at_both_ends_of_the_calendar_whatever_the_number_of_groups() -> None:
    edges = np.array([-62_135_596_800_000, 253_402_300_799_999], dtype=np.int64)
    first = np.tile(edges, 50_000)
    groups = [pa.array(np.repeat(np.arange(50_000), 2))]
    assert np.array_equal(starts(groups, first, first + 3, 10), first)
    assert np.array_equal(starts(groups, first, first, 10), first)
