"""Lookups in another source: each row meets one row or none, or is a dead letter, for any batches and shards."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import compact, hashing, origin
from beam_pipelines.errors import PlanError
from beam_pipelines.spec import EnrichStep
from beam_pipelines.transforms.enrich.table import Lookup

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
Row = dict[str, Any]
CITIES = pa.RecordBatch.from_pydict(
    {
        "code": ["a", "b", "b", None, "d"],
        "city": ["Aachen", "Bonn", "Berlin", "Nowhere", None],
        "size": pa.array([1, 2, 3, 4, 5], pa.int32()),
    }
)
PEOPLE = pa.RecordBatch.from_pydict({"id": [1, 2, 3, 4, 5, 6], "home": ["a", "b", "c", None, "d", "a"]})


def lookup(on: Any = None, **more: Any) -> Lookup:
    step = {"id": "city", "type": "enrich", "source": {"type": "file", "path": "c.parquet"}, "on": on or {"home": "code"}, **more}
    return Lookup(EnrichStep.model_validate(step), "steps[0]")


def parts(batch: pa.RecordBatch, places: Sequence[int]) -> list[pa.RecordBatch]:
    edges = [0, *sorted(min(place, batch.num_rows) for place in places), batch.num_rows]
    return [batch.slice(first, last - first) for first, last in itertools.pairwise(edges) if last > first]


def looked_up(
    step: Lookup, left: pa.RecordBatch, right: pa.RecordBatch, lefts: Sequence[int] = (), rights: Sequence[int] = (), shards: int = 1
) -> tuple[list[Row], dict[int, str], int]:
    """Rows that came out, codes of the dead by `id`, and rows left out; every row is accounted for and keeps its origin."""
    step.against(right.schema)
    planned = step.plan(left.schema, None)
    step.open(left.schema, planned, NOW)

    def sharded(batches: list[pa.RecordBatch], keys: Any, number: int) -> list[pa.RecordBatch]:
        found = []
        for batch in batches:
            names = [f"k{position}" for position in range(len(keys))]
            of = hashing.shard(pa.RecordBatch.from_arrays([key.read(batch) for key in keys], names=names), names, shards)
            found.append(compact.take(batch, [row for row, one in enumerate(of.to_pylist()) if one == number]))
        return found

    rows: list[Row] = []
    dead: dict[int, str] = {}
    filtered = 0
    ours = [origin.with_load(origin.attach(part, "people", key=["id"]), "out") for part in parts(left, lefts)]
    for number in range(shards):
        index = step.indexed(sharded(parts(right, rights), step.right_keys, number))
        for batch in sharded(ours, step.left_keys, number):
            for applied in step.joined(batch, index):
                filtered += applied.filtered
                for out in applied.batches:
                    assert origin.visible_schema(out.schema).equals(planned)
                    assert [place["key"]["id"] for place in origin.describe(out, range(out.num_rows))] == out.column("id").to_pylist()
                    rows += origin.visible(out).to_pylist()
                for died in applied.dead:
                    ids = died.batch.column("id").to_pylist()
                    dead |= {ids[row]: code for row, code in zip(died.rows, died.codes, strict=True)}
    step.close()
    assert left.num_rows == len(rows) + len(dead) + filtered
    return sorted(rows, key=lambda row: int(row["id"])), dead, filtered


def test_a_row_gets_what_its_key_brings_or_nulls_and_one_of_several_is_a_dead_letter() -> None:
    rows, dead, filtered = looked_up(lookup(), PEOPLE, CITIES)
    assert rows == [
        {"id": 1, "home": "a", "city": "Aachen", "size": 1},
        {"id": 3, "home": "c", "city": None, "size": None},
        {"id": 4, "home": None, "city": None, "size": None},
        {"id": 5, "home": "d", "city": None, "size": 5},
        {"id": 6, "home": "a", "city": "Aachen", "size": 1},
    ]
    assert (dead, filtered) == ({2: "lookup-ambiguous"}, 0)


def test_what_is_not_found_may_get_defaults_which_are_not_for_nulls_that_were_found() -> None:
    rows, _, _ = looked_up(lookup(default={"city": "?", "size": 0}), PEOPLE, CITIES)
    assert [(row["id"], row["city"], row["size"]) for row in rows] == [
        (1, "Aachen", 1),
        (3, "?", 0),
        (4, "?", 0),
        (5, None, 5),
        (6, "Aachen", 1),
    ]


@pytest.mark.parametrize(
    ("on_missing", "dead", "filtered"),
    [("drop", {2: "lookup-ambiguous"}, 2), ("deadletter", {2: "lookup-ambiguous", 3: "lookup-missing", 4: "lookup-missing"}, 0)],
)
def test_what_is_not_found_may_be_left_out_or_a_dead_letter(on_missing: str, dead: dict[int, str], filtered: int) -> None:
    rows, died, left_out = looked_up(lookup(onMissing=on_missing), PEOPLE, CITIES)
    assert ([row["id"] for row in rows], died, left_out) == ([1, 5, 6], dead, filtered)


def test_fields_are_taken_under_their_new_names_and_the_key_may_be_one() -> None:
    rows, _, _ = looked_up(lookup(fields={"SIZE": "people", "code": "known_as"}), PEOPLE, CITIES)
    assert rows[0] == {"id": 1, "home": "a", "people": 1, "known_as": "a"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"fields": {"city": "Home"}}, "there is a column 'Home' already"),
        ({"fields": ["town"]}, "no field 'town'"),
        ({"fields": {"city": "a", "CITY": "b"}}, "'city' is taken twice"),
        ({"default": {"size": "many"}}, "expected a value of type int32 for 'size'"),
        ({"default": {"town": 1}}, "expected one of the new columns city, size, got 'town'"),
        ({"on": {"id": "code"}}, "which are never equal"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_plan(more: dict[str, Any], expected: str) -> None:
    step = lookup(**more)
    step.against(CITIES.schema)
    with pytest.raises(PlanError) as raised:
        step.plan(PEOPLE.schema, None)
    assert expected in str(raised.value)


KEYS = st.sampled_from([None, "", "a", "b", "c"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(KEYS, max_size=12),
    st.lists(KEYS, max_size=8),
    st.lists(st.integers(0, 12), max_size=3),
    st.sampled_from([1, 2, 16]),
    st.sampled_from(["null", "drop", "deadletter"]),
)
def test_neither_batches_nor_shards_change_what_comes_out(
    homes: list[str | None], codes: list[str | None], cuts: list[int], shards: int, on_missing: str
) -> None:
    left = pa.RecordBatch.from_arrays([pa.array(range(len(homes)), pa.int64()), pa.array(homes, pa.string())], names=["id", "home"])
    right = pa.RecordBatch.from_arrays([pa.array(codes, pa.string()), pa.array(range(len(codes)), pa.int64())], names=["code", "n"])
    rows, dead, filtered = looked_up(lookup(onMissing=on_missing), left, right, cuts, cuts, shards)
    met = {i: [n for n, code in enumerate(codes) if code is not None and code == home] for i, home in enumerate(homes)}
    lonely = [i for i, found in met.items() if not found]
    kept = [i for i, found in met.items() if len(found) == 1 or (not found and on_missing == "null")]
    assert [(row["id"], row["n"]) for row in rows] == [(i, met[i][0] if met[i] else None) for i in kept]
    several = {i: "lookup-ambiguous" for i, found in met.items() if len(found) > 1}
    assert dead == several | (dict.fromkeys(lonely, "lookup-missing") if on_missing == "deadletter" else {})
    assert filtered == (len(lonely) if on_missing == "drop" else 0)
