"""Windows of a stream against what one event at a time, in plain Python, makes of it."""

from __future__ import annotations

import itertools
import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from beam_pipelines.testing.windows import WindowOracle
from tests.transforms.window.drains import Stream, comparable, step_of

WINDOWS: dict[str, dict[str, Any]] = {
    "tumbling": {"type": "tumbling", "size": 10},
    "sliding": {"type": "sliding", "size": 12, "slide": 4},
    "uneven": {"type": "sliding", "size": 10, "slide": 4},
    "session": {"type": "session", "gap": 7},
}
MEASURES = {
    "n": "count",
    "pages": "count_distinct:page",
    "total": "sum:value",
    "mean": "avg:value",
    "least": "min:value",
    "most": "max:value",
    "begin": "first:page",
    "end": "last:page",
}
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "partition": st.integers(0, 2),
            "step": st.integers(-12, 15),
            "user": st.sampled_from(["a", "b", None]),
            "page": st.one_of(st.none(), st.integers(0, 3)),
            "value": st.one_of(st.none(), st.integers(-5, 5)),
        }
    ),
    max_size=40,
)


def log_of(drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events with offsets, whose times go up by and large, from before 1970 on."""
    events, time, next_offset = [], -40, {0: 0, 1: 0, 2: 0}
    for one in drawn:
        events.append({**one, "time": time + one["step"], "offset": next_offset[one["partition"]]})
        next_offset[one["partition"]] += 1
        time += 2
    return events


@pytest.mark.parametrize("kind", WINDOWS)
@settings(max_examples=20, deadline=None)
@given(
    drawn=EVENTS,
    grouped=st.booleans(),
    lateness=st.sampled_from([0, 3, 20]),
    disorder=st.sampled_from([0, 5, 12]),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    early=st.booleans(),
    end=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_stream_in_any_drains_batches_and_shards_gives_what_its_events_one_by_one_do(
    kind: str,
    drawn: list[dict[str, Any]],
    grouped: bool,
    lateness: int,
    disorder: int,
    cuts: list[int],
    early: bool,
    end: bool,
    seed: int,
) -> None:
    events = log_of(drawn)
    model = step_of(window=WINDOWS[kind], aggregations=MEASURES, groupBy=["user"] if grouped else [], allowedLateness=lateness)
    oracle, stream = WindowOracle(model, disorder), Stream(model, disorder, random.Random(seed))
    early = early and kind != "session"
    edges = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    for number in range(len(edges) - 1):
        part = events[edges[number] : edges[number + 1]]
        last = end and number == len(edges) - 2
        wanted = oracle.drain(part, early=early, end=last)
        assert comparable(stream.drain(part, oracle.closed, early=early, end=last)) == comparable(wanted)
    assert stream.late == oracle.late
    assert stream.partly == oracle.partly
    assert stream.table == oracle.table


@pytest.mark.parametrize("kind", WINDOWS)
@settings(max_examples=8, deadline=None)
@given(drawn=EVENTS, lateness=st.sampled_from([0, 6]), cuts=st.lists(st.integers(3, 43), max_size=5), seed=st.integers(0, 2**32))
def test_where_drains_end_changes_neither_the_last_results_nor_what_is_late(
    kind: str, drawn: list[dict[str, Any]], lateness: int, cuts: list[int], seed: int
) -> None:
    # Each partition has an event in the first drain: one that is heard of later finds closed what others have passed.
    first = [{"partition": partition, "step": 0, "user": "a", "page": 1, "value": 1} for partition in range(3)]
    events = log_of([*first, *drawn])
    model = step_of(window=WINDOWS[kind], aggregations=MEASURES, groupBy=["user"], allowedLateness=lateness)
    whole, cut = (Stream(model, 5, random.Random(seed)) for _ in range(2))
    whole.drain(events, None, end=True)
    oracle = WindowOracle(model, 5)
    edges = [0, *sorted(min(place, len(events)) for place in cuts), len(events)]
    for begin, end in itertools.pairwise(edges):
        oracle.drain(events[begin:end])
        cut.drain(events[begin:end], oracle.closed)
    cut.drain([], oracle.closed, end=True)
    assert cut.table == whole.table
    assert cut.late == whole.late
