"""What a bundle holds of rows that may come out, and where rows stand in the order of the source."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.engine import grouped
from beam_pipelines.engine.grouped import Held
from beam_pipelines.engine.places import Places
from beam_pipelines.spec.step.deduplicate import DeduplicateStep
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.transforms.grouped import Deduplicate
from beam_pipelines.transforms.grouped.blocks import placed

SCHEMA = pa.schema({"k": pa.int64(), "x": pa.int64()})
ALIKE = DeduplicateStep.model_validate({"id": "d", "by": ["k"], "keep": "last"})


def step() -> Deduplicate:
    made = Deduplicate(ALIKE, "p")
    made.open(SCHEMA, made.plan(SCHEMA, None), dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc))
    return made


def batch(keys: int, number: int, rows: int = 1000) -> pa.RecordBatch:
    ids = np.arange(number * rows, (number + 1) * rows)
    return placed(origin.attach(pa.record_batch([pa.array(ids % keys), pa.array(ids)], schema=SCHEMA), "t", first_row=0), number * rows)


@pytest.mark.parametrize(("keys", "most"), [(7, 2000), (20_000, 42_000)], ids=["few keys", "many keys"])
def test_a_bundle_holds_rows_that_may_come_out_and_not_all_that_it_saw(keys: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "_LITTLE", 1000)
    held, absorbed = Held(step()), 0
    for number in range(100):
        absorbed += held.add(batch(keys, number)).absorbed
        assert sum(block.num_rows for block in held.blocks) == held.rows <= most
    absorbed += held.cut().absorbed
    assert not held.large
    blocks = held.take()
    assert absorbed == 100_000 - keys
    assert len(blocks) < 100
    last = {key: value for block in blocks for key, value in zip(block["k"].to_pylist(), block["x"].to_pylist(), strict=True)}
    assert last == {number % keys: number for number in range(100_000 - keys, 100_000)}
    assert (held.rows, held.bytes, held.blocks) == (0, 0, [])


def test_rows_of_which_none_can_be_dropped_are_told_to_be_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "_MUCH", 100_000)
    held = Held(step())
    seen = 0
    for number in range(100):
        held.add(batch(1 << 40, number))
        assert held.bytes < 300_000
        if held.large:
            seen += sum(block.num_rows for block in held.take())
    assert 90_000 <= seen <= 100_000


def labelled(rows: pa.RecordBatch, part: int) -> pa.RecordBatch:
    return rows.replace_schema_metadata({b"bp:part": str(part).encode()})


def test_places_go_on_within_a_range_and_ranges_follow_each_other() -> None:
    plain = pa.record_batch({"x": [1, 2, 3]})
    places = Places([FilterStep.model_validate({"id": "f", "condition": "true"})])
    asked: list[Any] = [places.of(load, labelled(plain, part)) for load, part in [("a", 0), ("a", 1), ("a", 0), ("b", 0)]]
    assert asked == [0, 1 << 40, 3, 0]


def test_behind_a_step_by_groups_places_follow_from_where_rows_came_from() -> None:
    plain = pa.record_batch({"x": [1, 2, 3]})
    read = origin.attach(plain, "a.csv", first_row=7)
    places = Places([ALIKE])
    first, again = (places.of("a", read) for _ in range(2))
    assert not isinstance(first, int)
    assert not isinstance(again, int)
    assert np.diff(first).tolist() == [1, 1]
    assert first.tolist() == again.tolist()
    keyed = origin.attach(plain, "t", key=["x"])
    whole, tail = places.of("a", keyed), places.of("a", keyed.slice(1))
    assert not isinstance(whole, int)
    assert not isinstance(tail, int)
    assert whole.tolist()[1:] == tail.tolist()


def test_rows_of_two_sources_have_places_of_their_own_whatever_they_are_in_one_batch_with() -> None:
    plain = pa.record_batch({"x": [1, 2, 3]})
    rows = [origin.attach(plain, "t", key=["x"]), origin.attach(plain, "u", key=["x"]), origin.attach(plain, "a.csv", first_row=7)]
    places = Places([ALIKE])
    apart = [place for one in rows for place in list_of(places.of("a", one))]
    assert len(set(apart)) == 9
    assert list_of(places.of("a", pa.concat_batches(origin.alike(rows)))) == apart


def list_of(places: Any) -> list[int]:
    found: list[int] = places.tolist()
    return found
