"""Rows of several files in each batch, as behind a shuffle, put together by file."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.engine import sorted_out
from beam_pipelines.engine.sorted_out import SortedOut


def mixed(*rows: tuple[str, int]) -> pa.RecordBatch:
    """One batch of rows, each of a file and with its number."""
    made = [origin.attach(pa.record_batch({"n": pa.array([number], pa.int64())}), file, first_row=number) for file, number in rows]
    return origin.with_load(pa.Table.from_batches(made).unify_dictionaries().combine_chunks().to_batches()[0], "out")


def taken(waiting: SortedOut) -> list[tuple[str, str, list[int]]]:
    return [(load, source, batch.column("n").to_pylist()) for load, source, batch in waiting.taken()]


def test_rows_of_a_file_come_together_in_the_order_that_they_came():
    waiting = SortedOut()
    waiting.add(mixed(("b", 1), ("a", 2), ("b", 3)))
    waiting.add(mixed(("a", 4), ("c", 5)))
    assert taken(waiting) == [("out", "a", [2, 4]), ("out", "b", [1, 3]), ("out", "c", [5])]
    assert taken(waiting) == []


def test_no_more_waits_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_out, "ROOM", 60)
    waiting = SortedOut()
    waiting.add(mixed(("a", 1)))
    assert not waiting.full
    for number in range(5):
        waiting.add(mixed(("a", number)))
    assert waiting.full
    assert [len(rows) for _, _, rows in taken(waiting)] == [6]
    assert not waiting.full
