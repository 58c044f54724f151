"""Blocks of states that are kept: those that are as they were are named, each of them once."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pyarrow as pa

from beam_pipelines.engine.aside import AsideBox
from beam_pipelines.engine.live.kept_states import is_kept, keep


class Box:
    """What is put aside."""

    def __init__(self) -> None:
        self.named: list[tuple[str, int]] = []
        self.written: list[list[Any]] = []

    def block(self, rows: pa.RecordBatch) -> None:
        self.written.append(rows.column("n").to_pylist())

    def stays(self, run: str, part: int) -> None:
        self.named.append((run, part))


def block(*numbers: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": list(numbers)})


def kept(part: int, *numbers: int) -> pa.RecordBatch:
    return block(*numbers).replace_schema_metadata({b"parts": orjson.dumps([("before", part)])})


def test_of_blocks_that_are_alike_each_stands_for_one() -> None:
    box, before = Box(), [kept(0, 1, 1), kept(1, 1, 1), kept(2, 5)]
    assert all(is_kept(one) for one in before)
    # An explode may give thousands of rows that nothing tells apart, in blocks that are alike.
    keep(cast(AsideBox, box), 3, [block(1, 1), block(1, 1), block(1, 1), block(5), block(6)], before, {})
    assert sorted(box.named) == [("before", 0), ("before", 1), ("before", 2)]
    assert box.written == [[1, 1], [6]]
