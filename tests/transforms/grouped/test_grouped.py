"""Deduplicate, top, limit and sort against DuckDB's window functions, for any split, any order of the pieces, 1, 2 and 16 shards."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import math
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin, size
from beam_pipelines.errors import PlanError
from beam_pipelines.transforms.grouped.blocks import placed

KEYS = st.sampled_from([None, "a", "b", "B", ""])
NUMBERS = st.sampled_from([None, math.nan, -0.0, 0.0, 1.5, -2.0, math.inf])
WHOLE = st.integers(-2, 2) | st.none()
ROWS = st.lists(st.tuples(KEYS, NUMBERS, WHOLE), max_size=25)
SHARDS = st.sampled_from([1, 2, 16])
SCHEMA = pa.schema({"k": pa.string(), "x": pa.float64(), "n": pa.int64(), "id": pa.int64()})
# What is null is last in both directions, and what is no number before it.
UP = "x IS NULL, isnan(x), x"
DOWN = "x IS NULL, isnan(x), x DESC"


def batch_of(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=False)]
    return pa.RecordBatch.from_arrays([*arrays, pa.array(range(len(rows)), pa.int64())], schema=SCHEMA)


def ids(batch: pa.RecordBatch, query: str) -> list[Any]:
    connection = database()
    connection.register("t", pa.Table.from_batches([batch]))
    # To DuckDB -0.0 and 0.0 are two keys.
    return sorted(connection.execute(f"WITH t AS (SELECT k, x + 0.0 AS x, n, id FROM t) {query}").fetchall())


@functools.cache
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


CASES = [
    ("deduplicate", {"by": ["k"]}, "row_number() OVER (PARTITION BY k ORDER BY id) = 1"),
    ("deduplicate", {"by": ["x", "n"]}, "row_number() OVER (PARTITION BY x, n ORDER BY id) = 1"),
    ("deduplicate", {"by": ["k"], "keep": "last"}, "row_number() OVER (PARTITION BY k ORDER BY id DESC) = 1"),
    ("deduplicate", {"by": ["k"], "orderBy": "x"}, f"row_number() OVER (PARTITION BY k ORDER BY {UP}, id) = 1"),
    ("deduplicate", {"by": ["k"], "orderBy": ["x"], "keep": "last"}, f"row_number() OVER (PARTITION BY k ORDER BY {DOWN}, id DESC) = 1"),
    (
        "deduplicate",
        {"by": ["k"], "orderBy": ["-n", "x"]},
        f"row_number() OVER (PARTITION BY k ORDER BY n IS NULL, n DESC, {UP}, id) = 1",
    ),
    ("top", {"n": 3, "by": ["k"], "orderBy": "-x"}, f"row_number() OVER (PARTITION BY k ORDER BY {DOWN}, id) <= 3"),
    ("top", {"n": 2, "orderBy": ["k", "-n"]}, "row_number() OVER (ORDER BY k IS NULL, k, n IS NULL, n DESC, id) <= 2"),
    ("top", {"n": 1, "by": ["x"], "orderBy": "k"}, "row_number() OVER (PARTITION BY x ORDER BY k IS NULL, k, id) = 1"),
    ("limit", {"n": 4}, "row_number() OVER (ORDER BY id) <= 4"),
]


@pytest.mark.parametrize(("type_", "definition", "kept"), CASES)
def test_rows_that_stay_are_those_of_the_query(workshop: SimpleNamespace, type_: str, definition: dict[str, Any], kept: str) -> None:
    @settings(max_examples=30)
    @given(ROWS, st.integers(0, 2**32), SHARDS)
    def check(rows: list[tuple[Any, ...]], seed: int, shards: int) -> None:
        batch = batch_of(rows)
        out, told = workshop.in_pieces(batch, seed, shards, type_, **definition)
        assert sorted((row["id"],) for row in workshop.rows_of(out)) == ids(batch, f"SELECT id FROM t QUALIFY {kept}")
        # Rows come out as they were, each with the place it was read from.
        for one in out:
            assert [place["row"] for place in origin.describe(one, range(one.num_rows))] == one.column("id").to_pylist()
        assert (told.absorbed if type_ != "deduplicate" else told.filtered) == 0

    check()


@settings(max_examples=30)
@given(ROWS, st.integers(0, 2**32), SHARDS)
def test_rows_of_a_group_are_numbered_and_come_one_after_the_other(
    workshop: SimpleNamespace, rows: list[tuple[Any, ...]], seed: int, shards: int
) -> None:
    batch = batch_of(rows)
    out, _ = workshop.in_pieces(batch, seed, shards, "sort", by=["k"], orderBy=["-x", "n"], **{"as": "place"})
    found = workshop.rows_of(out)
    order = f"row_number() OVER (PARTITION BY k ORDER BY {DOWN}, n IS NULL, n, id)"
    assert sorted((row["id"], row["place"]) for row in found) == ids(batch, f"SELECT id, {order} FROM t")
    for before, row in itertools.pairwise(found):
        assert row["place"] == (before["place"] + 1 if row["k"] == before["k"] else 1)


@settings(max_examples=30)
@given(st.lists(st.tuples(KEYS, NUMBERS, WHOLE), max_size=20), st.integers(0, 2**32), SHARDS)
def test_without_fields_rows_are_alike_in_all_columns(
    workshop: SimpleNamespace, rows: list[tuple[Any, ...]], seed: int, shards: int
) -> None:
    batch = batch_of(rows).select(["k", "x", "n"])
    out, told = workshop.in_pieces(batch, seed, shards, "deduplicate")

    def alike(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple("NaN" if value != value else value for value in row.values())

    found = [alike(row) for row in workshop.rows_of(out)]
    assert len(found) == len(set(found)) == len(rows) - told.absorbed
    assert set(found) == {alike(row) for row in batch.to_pylist()}


DAY = dt.date(2024, 5, 1)
ALIKE = {
    "list": (pa.list_(pa.float64()), [[1.0, 0.0], [1.0, -0.0], [0.0], [], None, None]),
    "struct": (
        pa.struct({"a": pa.float64(), "b": pa.list_(pa.string())}),
        [{"a": 0.0, "b": ["x"]}, {"a": -0.0, "b": ["x"]}, {"a": None, "b": None}, None, None],
    ),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", 2)], [("b", 2), ("a", 1)], [("a", 1)]]),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), ["a", "b", "a", None]),
    "view": (pa.string_view(), ["a", "a", "a longer text than fits in a view", None]),
    "decimal": (pa.decimal128(5, 2), [Decimal("1.50"), Decimal("1.50"), Decimal("1.51")]),
    "float16": (pa.float16(), [np.float16(0.0), np.float16(-0.0), np.float16(1.0)]),
    "uuid": (pa.uuid(), [b"a" * 16, b"a" * 16, b"b" * 16, None]),
    "json": (pa.json_(), ['{"a": 1}', '{"a": 1}', "1"]),
    "interval": (pa.month_day_nano_interval(), [(1, 2, 3), (1, 2, 3), (0, 32, 3)]),
    "date": (pa.date32(), [DAY, DAY, None, None]),
    "null": (pa.null(), [None, None]),
}  # fmt: skip
DIFFERENT = {"list": [0, 2, 3, 4], "struct": [0, 2, 3], "map": [0, 2], "dictionary": [0, 1, 3], "view": [0, 2, 3], "decimal": [0, 2]}
DIFFERENT |= {"float16": [0, 2], "uuid": [0, 2, 3], "json": [0, 2], "interval": [0, 2], "date": [0, 2], "null": [0]}


@pytest.mark.parametrize("name", ALIKE)
def test_values_of_every_type_are_alike_where_they_are_equal(workshop: SimpleNamespace, name: str) -> None:
    kind, values = ALIKE[name]
    batch = pa.RecordBatch.from_arrays([pa.array(values, kind), pa.array(range(len(values)))], names=["v", "id"])
    for seed, shards in ((1, 1), (2, 16)):
        out, _ = workshop.in_pieces(batch, seed, shards, "deduplicate", by=["v"])
        assert sorted(row for one in out for row in one.column("id").to_pylist()) == DIFFERENT[name]


def test_numbers_and_texts_that_look_the_same_are_of_different_columns_and_nulls_stay_apart(workshop: SimpleNamespace) -> None:
    batch = pa.record_batch({"a": ["x", None, "x", "xy"], "b": [None, "x", "y", ""]})
    out, _ = workshop.in_pieces(batch, 3, 2, "deduplicate")
    assert sum(one.num_rows for one in out) == 4


def test_rows_of_one_place_are_in_the_same_order_on_every_run(workshop: SimpleNamespace) -> None:
    """A join makes several rows of one, which all have its place."""
    batch = pa.record_batch({"k": ["a"] * 6, "v": [3, 1, 2, 6, 5, 4]})
    kept = set()
    for turn in range(6):
        rows = batch.take(pa.array(np.roll(np.arange(6), turn)))
        step, _ = workshop.opened(batch.schema, "top", n=2, by=["k"], orderBy="k")
        blocks = [placed(rows.slice(at, 2), np.zeros(2, dtype=np.int64)) for at in (0, 2, 4)]
        kept.add(tuple(sorted(row["v"] for row in workshop.rows_of(list(step.results(blocks).batches)))))
    assert len(kept) == 1


def test_batches_of_a_sort_end_where_a_group_does(workshop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size.split, "__defaults__", (10, size.MAX_BYTES))
    lengths = [3, 4, 4, 10, 1, 12, 2]
    batch = pa.record_batch({"k": np.repeat(np.arange(7), lengths), "v": np.arange(36)})
    step, _ = workshop.opened(batch.schema, "sort", by=["k"], orderBy="v")
    batches = step.apply(batch).batches
    assert [sorted(set(one.column("k").to_pylist())) for one in batches] == [[0, 1], [2], [3], [4], [5], [5], [6]]
    assert [one.num_rows for one in batches] == [7, 4, 10, 1, 10, 2, 2]


@pytest.mark.parametrize(
    ("one", "place"),
    # The keys of two tables may be of one type and yet have different names.
    [({"first_row": 0}, {"source": "one", "row": 1}), ({"key": ["a"]}, {"source": "one", "key": {"a": 2}})],
)
def test_rows_of_sources_of_different_kinds_keep_their_origin(
    workshop: SimpleNamespace, one: dict[str, Any], place: dict[str, Any]
) -> None:
    batch = pa.record_batch({"k": ["x", "y"], "a": [1, 2], "b": [5, 6]})
    other = pa.record_batch({"k": ["x", "y"], "a": [0, 3], "b": [7, 8]})
    blocks = [placed(origin.attach(batch, "one", **one), 0), placed(origin.attach(other, "other", key=["b"]), 9)]
    step, _ = workshop.opened(batch.schema, "sort", by=["k"], orderBy="a")
    (out,) = step.results(blocks).batches
    assert origin.visible(out).to_pydict() == {"k": ["x", "x", "y", "y"], "a": [0, 1, 2, 3], "b": [7, 5, 6, 8]}
    begin = {"source": "other", "key": {"b": 7}}
    assert [origin.describe(out, [row])[0] for row in (0, 2, 3)] == [begin, place, {"source": "other", "key": {"b": 8}}]
    step, _ = workshop.opened(batch.schema, "deduplicate", by=["k"], orderBy="a")
    kept = [found for rows in step.results(blocks).batches for found in origin.describe(rows, range(rows.num_rows))]
    assert kept == [place, {"source": "other", "key": {"b": 7}}]


def test_rows_of_several_files_are_sorted_with_their_origin(workshop: SimpleNamespace) -> None:
    blocks = []
    for at, (name, values) in enumerate([("a.csv", ["x", "y"]), ("b.csv", ["z", "x"])]):
        batch = pa.record_batch(
            {"k": pa.array(values).dictionary_encode(), "u": pa.array([b"a" * 16, bytes([at]) * 16], pa.uuid()), "n": [at, 9 - at]}
        )
        blocks.append(placed(origin.attach(batch, name, first_row=0), at << 40))
    step, _ = workshop.opened(origin.visible_schema(batch.schema), "sort", by=["k"], orderBy=["-u", "n"])
    (out,) = step.results(blocks[::-1]).batches
    assert out.select(["k", "n"]).to_pydict() == {"k": ["x", "x", "z", "y"], "n": [0, 8, 1, 9]}
    assert [(place["source"], place["row"]) for place in origin.describe(out, range(4))] == [
        ("a.csv", 0),
        ("b.csv", 1),
        ("b.csv", 0),
        ("a.csv", 1),
    ]


@pytest.mark.parametrize(
    ("type_", "definition", "path", "code", "message"),
    [
        ("deduplicate", {"by": ["nmae"]}, "steps[0].by[0]", "column-missing", "no field 'nmae'"),
        ("top", {"n": 1, "orderBy": ["-nmae"]}, "steps[0].orderBy", "column-missing", "no field 'nmae'"),
        ("top", {"n": 1, "orderBy": "tags"}, "steps[0].orderBy", "type-unsupported", "values have an order, got 'tags', a list"),
        (
            "sort",
            {"by": ["name"], "orderBy": "name", "as": "NAME"},
            "steps[0].as",
            "expression-invalid",
            "there is a column 'name' already",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(
    workshop: SimpleNamespace, type_: str, definition: dict[str, Any], path: str, code: str, message: str
) -> None:
    schema = pa.schema({"name": pa.string(), "tags": pa.list_(pa.string())})
    with pytest.raises(PlanError) as raised:
        workshop.made(type_, **definition).plan(schema, None)
    (problem,) = raised.value.problems
    assert (problem.path, raised.value.code) == (path, code)
    assert message in problem.message


def test_nested_fields_and_other_cases_are_found(workshop: SimpleNamespace) -> None:
    batch = pa.record_batch({"Home": [{"city": "x"}, {"city": "x"}, None], "at": [2, 1, 3]})
    out, _ = workshop.in_pieces(batch, 0, 2, "deduplicate", by=["home.city"], orderBy="AT")
    assert sorted(row["at"] for row in workshop.rows_of(out)) == [1, 3]
