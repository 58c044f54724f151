"""Steps by groups carried out as the engine does: blocks cut anywhere, cut down in any order, in shards."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from beam_pipelines.columnar import hashing, origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step import Transformation
from beam_pipelines.transforms.grouped import Grouped
from beam_pipelines.transforms.grouped.blocks import placed
from beam_pipelines.transforms.registry import build
from beam_pipelines.transforms.step import Applied

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.timezone.utc)
STEP: TypeAdapter[Any] = TypeAdapter(Transformation)
Row = dict[str, Any]


def made(type_: str, **definition: Any) -> Grouped:
    step = build(STEP.validate_python({"id": "s", "type": type_, **definition}), Functions(), "steps[0]")
    assert isinstance(step, Grouped)
    return step


def opened(schema: pa.Schema, type_: str, **definition: Any) -> tuple[Grouped, pa.Schema]:
    step = made(type_, **definition)
    planned = step.plan(schema, None)
    step.open(schema, planned, NOW)
    return step, planned


def in_pieces(batch: pa.RecordBatch, seed: int, shards: int, type_: str, **definition: Any) -> tuple[list[pa.RecordBatch], Applied]:
    """Rows cut anywhere, cut down some at a time, in shards; what comes out with its origin, and what was counted over all."""
    chance = random.Random(seed)
    step, planned = opened(batch.schema, type_, **definition)
    given = origin.with_load(origin.attach(batch, "t", first_row=0), "target")
    cuts = sorted(chance.choices(range(batch.num_rows + 1), k=4))
    blocks = [placed(given.slice(begin, end - begin), begin) for begin, end in itertools.pairwise([0, *cuts, batch.num_rows])]
    chance.shuffle(blocks)
    dropped = Applied(())
    if step.cuts:
        where = chance.randrange(len(blocks) + 1)
        for part in (blocks[:where], blocks[where:]):
            if part and chance.random() < 0.7:
                left, told = step.cut(part)
                dropped = counted(dropped, told)
                blocks = [block for block in blocks if all(block is not one for one in part)] + left
        chance.shuffle(blocks)
    by_shard: dict[int, list[pa.RecordBatch]] = {}
    for block in blocks:
        keys = step.keys(block)
        owners = np.zeros(block.num_rows) if keys is None else np.asarray(hashing.shard(keys, keys.schema.names, shards))
        for number in range(shards):
            mine = take(block, np.flatnonzero(owners == number))
            if mine.num_rows:
                by_shard.setdefault(number, []).append(mine)
    out: list[pa.RecordBatch] = []
    for mine in by_shard.values():
        applied = step.results(mine)
        dropped = counted(dropped, applied)
        out += applied.batches
    assert batch.num_rows == sum(one.num_rows for one in out) + dropped.filtered + dropped.absorbed
    for one in out:
        one.validate(full=True)
        assert origin.visible_schema(one.schema) == planned
        assert origin.load_of(one) == "target"
        assert [name for name in one.schema.names if name.startswith(origin.PREFIX)] == [origin.SOURCE, origin.ROW]
    return out, dropped


def counted(one: Applied, other: Applied) -> Applied:
    return Applied((), filtered=one.filtered + other.filtered, absorbed=one.absorbed + other.absorbed)


def rows_of(batches: list[pa.RecordBatch]) -> list[Row]:
    return [row for batch in batches for row in origin.visible(batch).to_pylist()]


@pytest.fixture(scope="session")
def workshop() -> SimpleNamespace:
    """Everything above."""
    return SimpleNamespace(made=made, opened=opened, in_pieces=in_pieces, rows_of=rows_of)
