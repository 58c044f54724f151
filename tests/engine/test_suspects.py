from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.engine import suspects
from beam_pipelines.engine.rule_keys import BATCH, ROW

LOAD, AT = "main", 2


def told(*batches: list[str], first: int = 0) -> set[tuple[str, int]]:
    """Batch and position of each row that the shards suspect; row i of a batch is at position `first` + i."""
    shards: dict[Any, list[Any]] = {}
    for number, keys in enumerate(batches):
        rows = np.arange(first, first + len(keys), dtype=np.int64)
        for shard, block in suspects.hashed(LOAD, AT, f"b{number}", [pa.array(keys)], rows):
            shards.setdefault(shard, []).append(block)
    notes: Iterator[pa.RecordBatch] = (note for shard in shards.items() for note in suspects.SuspectFn().process(shard))
    return {(row[BATCH], row[ROW]) for note in notes for row in note.to_pylist()}


@pytest.mark.parametrize("first", [0, 70_000])  # beyond what two bytes number
def test_rows_that_share_a_key_are_suspected_wherever_they_are(first: int) -> None:
    found = told(["a", "b", "c", "b"], ["d", "a"], ["e"], first=first)
    assert found == {("b0", first), ("b0", first + 1), ("b0", first + 3), ("b1", first + 1)}


def test_of_many_keys_that_differ_hardly_any_is_suspected() -> None:
    assert len(told(*([f"{batch}-{row}" for row in range(5_000)] for batch in range(20)))) <= 2


def test_a_batch_without_keys_is_nobody_s() -> None:
    assert told([]) == set()
