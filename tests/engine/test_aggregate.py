"""What a bundle holds of the states of groups: never more than a few times what they amount to."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.engine import states as held_states
from beam_pipelines.engine.states import States
from beam_pipelines.spec.step.aggregate import AggregateStep
from beam_pipelines.transforms.aggregate import Aggregate

SCHEMA = pa.schema({"k": pa.int64(), "x": pa.float64()})


def step(**aggregations: Any) -> Aggregate:
    made = Aggregate(AggregateStep.model_validate({"id": "a", "groupBy": ["k"], "aggregations": aggregations}), "p")
    made.open(SCHEMA, made.plan(SCHEMA, None), dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc))
    return made


def batch(keys: int, number: int, rows: int = 1000) -> pa.RecordBatch:
    ids = np.arange(number * rows, (number + 1) * rows)
    return pa.record_batch([pa.array(ids % keys), pa.array(ids / 2)], schema=SCHEMA)


def rows(made: Aggregate, parts: list[pa.RecordBatch]) -> dict[int, Any]:
    (out,) = made.results(parts, "t").batches
    return {row["k"]: list(row.values())[1:] for row in origin.visible(out).to_pylist()}


@pytest.mark.parametrize(("keys", "most"), [(7, 2000), (20_000, 42_000)], ids=["few keys", "many keys"])
def test_a_bundle_holds_states_of_its_groups_and_not_of_its_rows(keys: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_states, "_LITTLE", 1000)
    made = step(**{"*": "count", "x": "sum"})
    held = States(made)
    for number in range(100):
        held.add(made.states(batch(keys, number), number * 1000))
        assert sum(part.num_rows for part in held.batches) == held.rows <= most
    states = held.take()
    assert states is not None
    assert states.num_rows == keys
    ids = np.arange(100_000)
    assert rows(made, [states]) == {key: [len(ids[key::keys]), ids[key::keys].sum() / 2] for key in range(keys)}


def test_states_that_are_large_and_few_are_combined_and_told_to_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_states, "_MUCH", 64_000)
    made = step(x="median")
    held, parts = States(made), []
    for number in range(100):
        held.add(made.states(batch(2, number), number * 1000))
        if held.large:
            states = held.take()
            assert states is not None
            # A double is 8 bytes; a batch has a thousand.
            assert states.nbytes < 2 * 64_000 + 32_000
            parts.append(states)
    assert len(parts) > 5
    last = held.take()
    assert rows(made, [*parts, *([last] if last is not None else [])]) == {0: [24_999.5], 1: [25_000.0]}
    assert held.take() is None
