"""Where windows lie, and which of them hold the same part of a batch."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.testing.windows import windows_at
from beam_pipelines.transforms.window import spans
from beam_pipelines.transforms.window.spans import Spans
from tests.transforms.window.drains import batch_of, comparable, opened, step_of

SHAPES = [(10, 10), (12, 4), (10, 4), (7, 3), (1000, 1), (9, 9)]


@pytest.mark.parametrize(("size", "slide"), SHAPES)
@pytest.mark.parametrize("around", [0, -62_135_596_800_000, 253_402_300_799_900])
def test_each_time_is_in_the_windows_that_hold_it(size: int, slide: int, around: int) -> None:
    model = step_of(window={"type": "sliding", "size": size, "slide": slide})
    windows = Spans(size, slide)
    times = np.arange(around - 15, around + 15)
    codes, closed, ended = windows.placed(times, None)
    rows, starts = windows.expanded(codes)
    for row, time in enumerate(times.tolist()):
        assert starts[rows == row].tolist() == sorted(start for start, _ in windows_at(model, time))
    assert not closed.any()
    assert (ended < 0).all()


@pytest.mark.parametrize(("size", "slide"), SHAPES)
def test_windows_that_have_ended_are_left_out(size: int, slide: int) -> None:
    model = step_of(window={"type": "sliding", "size": size, "slide": slide})
    windows = Spans(size, slide)
    chance = random.Random(7)
    times, limits = (np.array([chance.randrange(-30, 30) for _ in range(200)]) for _ in range(2))
    codes, closed, ended = windows.placed(times, limits)
    rows, starts = windows.expanded(codes[ended < 0])
    kept = np.flatnonzero(ended < 0)
    for row, (time, limit) in enumerate(zip(times.tolist(), limits.tolist(), strict=True)):
        known = windows_at(model, time)
        wanted = sorted(start for start, end in known if end > limit)
        assert starts[kept[rows] == row].tolist() == wanted
        assert closed[row] == len(known) - len(wanted)
        assert ended[row] == limit - max(end for _, end in known)


def test_states_are_the_same_whether_windows_are_told_once_or_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(9)
    events = [
        {"partition": 0, "offset": offset, "time": chance.randrange(100), "user": chance.choice("abc"), "page": chance.randrange(5)}
        for offset in range(60)
    ]
    aggregations = {"d": "count_distinct:page", "n": "count", "f": "first:page"}
    step, _ = opened(step_of(window={"type": "sliding", "size": 40, "slide": 4}, groupBy=["user"], aggregations=aggregations))
    rows = step.screened(batch_of(events, [chance.randrange(20) for _ in events]), 10).rows
    once = step.states(rows)
    monkeypatch.setattr(spans, "_CELLS", 0)
    each = step.states(rows)

    def told(states: pa.RecordBatch) -> list[str]:
        return comparable(
            [{name: sorted(value) if isinstance(value, list) else value for name, value in row.items()} for row in states.to_pylist()]
        )

    assert told(once) == told(each)
    assert len(set(once.column("k0").to_pylist())) > 10
