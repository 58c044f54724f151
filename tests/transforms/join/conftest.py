"""Join two small tables as the engine does, cut and sharded in any way, and check the law of every row."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import compact, hashing, origin
from beam_pipelines.spec.step.join import JoinStep
from beam_pipelines.transforms.join import Join

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.timezone.utc)
Row = dict[str, Any]


@dataclass
class Joined:
    """What a join gave.

    Args:
        schema: As planned.
        batches: What came out, with hidden columns.
        filtered: Left rows dropped.
    """

    schema: pa.Schema
    batches: list[pa.RecordBatch]
    filtered: int

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self.batches for row in origin.visible(batch).to_pylist()]

    @property
    def origins(self) -> list[Row]:
        return [place for batch in self.batches for place in origin.describe(batch, range(batch.num_rows))]


def step_of(how: str = "inner", on: Any = ("k",), **more: Any) -> Join:
    source = {"type": "database", "connection": "crm", "table": "countries"}
    keys = {"on": on} if on else {}
    return Join(JoinStep.model_validate({"id": "j", "type": "join", "how": how, "source": source, **keys, **more}), "steps[0]")


def cut_at(batch: pa.RecordBatch, places: Sequence[int]) -> list[pa.RecordBatch]:
    edges = [0, *sorted(min(place, batch.num_rows) for place in places), batch.num_rows]
    return [batch.slice(first, last - first) for first, last in itertools.pairwise(edges) if last > first]


def sharded(batches: list[pa.RecordBatch], keys: Any, shards: int) -> list[list[pa.RecordBatch]]:
    """Batches by shard, as the engine sends them; without keys none is sent."""
    if not keys:
        return [batches]
    found: list[list[pa.RecordBatch]] = [[] for _ in range(shards)]
    for batch in batches:
        names = [f"k{number}" for number in range(len(keys))]
        numbers = hashing.shard(pa.RecordBatch.from_arrays([key.read(batch) for key in keys], names=names), names, shards)
        for number in range(shards):
            part = compact.take(batch, [row for row, one in enumerate(numbers.to_pylist()) if one == number])
            if part.num_rows:
                found[number].append(part)
    return found


def join_all(
    step: Join, left: pa.RecordBatch, right: pa.RecordBatch, lefts: Sequence[int] = (), rights: Sequence[int] = (), shards: int = 1
) -> Joined:
    """Join, with both sides cut at some rows, in some number of shards; every row is accounted for, and origins go with them."""
    step.against(right.schema)
    planned = step.plan(left.schema, None)
    step.open(left.schema, planned, NOW)
    ours = [origin.with_load(origin.attach(part, "people", first_row=0), "target") for part in cut_at(left, lefts)]
    theirs = [origin.with_load(origin.attach(part, "countries", first_row=0), "target") for part in cut_at(right, rights)]
    out: list[pa.RecordBatch] = []
    filtered = made = 0
    for mine, others in zip(sharded(ours, step.left_keys, shards), sharded(theirs, step.right_keys, shards), strict=True):
        index = step.indexed(others)
        results = [applied for batch in mine for applied in step.joined(batch, index)]
        results += [step.unmet(index, "target")] if step.keeps_right else []
        for applied in results:
            out += applied.batches
            filtered += applied.filtered
            made += applied.made
    step.close()
    assert left.num_rows + made == sum(batch.num_rows for batch in out) + filtered
    for batch in out:
        assert batch.num_rows
        assert origin.visible_schema(batch.schema).equals(planned)
        assert origin.load_of(batch) == "target"
        batch.validate(full=True)
    return Joined(planned, out, filtered)


@pytest.fixture
def join() -> Callable[..., Joined]:
    """Join with `how` and `on`."""

    def joined(left: pa.RecordBatch, right: pa.RecordBatch, how: str = "inner", on: Any = ("k",), **more: Any) -> Joined:
        cuts = {key: more.pop(key) for key in ("lefts", "rights", "shards") if key in more}
        return join_all(step_of(how, on, **more), left, right, **cuts)

    return joined


@pytest.fixture
def make_step() -> Callable[..., Join]:
    return step_of
