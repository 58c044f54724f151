"""Pivots against DuckDB's FILTER clause, for any split and any number of shards; what they refuse."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import math
import random
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import hashing, origin
from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.pivot import PivotStep
from beam_pipelines.transforms.aggregate.pivot import Pivot

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.timezone.utc)
MONTHS = st.sampled_from([None, "jan", "feb", "mar"])
ROWS = st.lists(st.tuples(st.sampled_from([None, "a", "b"]), MONTHS, st.integers(-3, 3) | st.none()), max_size=20)
SCHEMA = pa.schema({"k": pa.string(), "month": pa.string(), "n": pa.int64()})


def pivot(**definition: Any) -> Pivot:
    return Pivot(PivotStep.model_validate({"id": "p", "type": "pivot", **definition}), "steps[0]")


def in_pieces(batch: pa.RecordBatch, seed: int, shards: int, **definition: Any) -> tuple[pa.Schema, list[tuple[Any, ...]], int]:
    """The rows of a pivot of batches cut anywhere, combined in any order, in shards; and how many rows were dead."""
    chance, step = random.Random(seed), pivot(**definition)
    planned = step.plan(batch.schema, None)
    step.open(batch.schema, planned, NOW)
    cuts = sorted(chance.choices(range(batch.num_rows + 1), k=3))
    states, dead = [], 0
    for begin, end in itertools.pairwise([0, *cuts, batch.num_rows]):
        screened = step.screened(batch.slice(begin, end - begin))
        dead += screened.rows_dead
        states += [step.states(rows, begin) for rows in screened.batches]
    states = states or [step.nothing()]
    chance.shuffle(states)
    rows: list[tuple[Any, ...]] = []
    keys = states[0].schema.names[: len(step.group_by)]
    owners = [np.asarray(hashing.shard(state, keys, shards)) if keys else np.zeros(state.num_rows) for state in states]
    counted = batch.num_rows - dead
    for number in range(shards if keys else 1):
        mine = [state.take(pa.array(np.flatnonzero(owner == number))) for state, owner in zip(states, owners, strict=True)]
        applied = step.results(mine, "t")
        counted += applied.made - applied.absorbed - applied.rows_out
        for out in applied.batches:
            out.validate(full=True)
            assert origin.visible_schema(out.schema) == planned
            rows += [tuple(row.values()) for row in origin.visible(out).to_pylist()]
    assert counted == 0
    return planned, sorted(rows, key=repr), dead


@functools.cache
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def query(batch: pa.RecordBatch, text: str) -> list[tuple[Any, ...]]:
    database().register("t", pa.Table.from_batches([batch]))
    return sorted(database().execute(text).fetchall(), key=repr)


@pytest.mark.parametrize("function", ["sum", "count", "min", "count_distinct", "avg"])
def test_a_column_holds_the_function_over_the_rows_of_its_value(function: str) -> None:
    call = {"count": "count(*)", "count_distinct": "count(DISTINCT n)", "sum": "sum(n)::BIGINT"}.get(function, f"{function}(n)")
    cells = [
        (f"{call.removesuffix('::BIGINT')} FILTER (WHERE month = '{month}')" + ("::BIGINT" if "::" in call else ""))
        for month in ("jan", "feb")
    ]

    @settings(max_examples=20)
    @given(ROWS, st.integers(0, 2**32), st.sampled_from([1, 2, 16]))
    def check(rows: list[tuple[Any, ...]], seed: int, shards: int) -> None:
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
        definition = {"column": "month", "values": ["jan", "feb"], "value": "n", "function": function}
        _, found, _ = in_pieces(batch, seed, shards, groupBy=["k"], **definition)
        assert found == query(batch, f"SELECT k, {cells[0]}, {cells[1]} FROM t GROUP BY k")
        # Without fields there is one row, of no rows at all as well.
        _, found, _ = in_pieces(batch, seed, shards, groupBy=[], **definition)
        assert found == query(batch, f"SELECT {cells[0]}, {cells[1]} FROM t")
        # Rows with another value are dead letters, and make no group.
        _, found, dead = in_pieces(batch, seed, shards, groupBy=["k"], other="deadletter", **definition)
        assert dead == sum(month not in ("jan", "feb") for _, month, _ in rows)
        assert found == query(batch, f"SELECT k, {cells[0]}, {cells[1]} FROM t WHERE month IN ('jan', 'feb') GROUP BY k")

    check()


TYPED = [
    (pa.int64(), [1, 2, None], [1, "2"], [10, 20]),
    (pa.decimal128(5, 2), [Decimal("1.50"), Decimal("2.00"), None], [1.5, 2], [10, 20]),
    (pa.float64(), [-0.0, 1.5, math.nan], [0, 1.5], [10, 20]),
    (pa.bool_(), [True, False, None], [True, False], [10, 20]),
    (pa.date32(), [dt.date(2024, 5, 1), dt.date(2024, 5, 2), None], ["2024-05-01", "2024-05-02"], [10, 20]),
    (pa.dictionary(pa.int32(), pa.string()), ["x", "2024", "y"], ["x", 2024], [10, 20]),
    (pa.string_view(), ["x", "a longer text than fits", None], ["x", "a longer text than fits"], [10, 20]),
]


@pytest.mark.parametrize(("kind", "held", "values", "expected"), TYPED, ids=lambda part: str(part)[:20])
def test_declared_values_are_of_the_columns_type(kind: pa.DataType, held: list[Any], values: list[Any], expected: list[int]) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(held, kind), pa.array([10, 20, 40])], names=["c", "n"])
    planned, rows, _ = in_pieces(batch, 1, 1, groupBy=[], column="c", values={"first": values[0], "second": values[1]}, value="n")
    assert planned == pa.schema({"first": pa.int64(), "second": pa.int64()})
    assert rows == [tuple(expected)]


def test_values_of_any_type_come_through_and_columns_are_named_by_values() -> None:
    struct = pa.array([{"a": 1}, {"a": 2}, {"a": 3}])
    batch = pa.RecordBatch.from_arrays([pa.array(["g", "g", "h"]), pa.array([True, False, True]), struct], names=["k", "b", "v"])
    planned, rows, _ = in_pieces(batch, 2, 2, groupBy=["k"], column="b", values=[True, False], value="v", function="first")
    assert planned.names == ["k", "true", "false"]
    assert rows == [("g", {"a": 1}, {"a": 2}), ("h", {"a": 3}, None)]


def test_only_the_columns_that_it_names_are_read() -> None:
    schema = pa.schema({"a": pa.struct({"k": pa.string()}), "b": pa.string(), "c": pa.int64(), "d": pa.int64()})
    step = pivot(groupBy=["a.k"], column="b", values=["x"], value="c")
    step.open(schema, step.plan(schema, None), NOW)
    assert step.columns == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("definition", "path", "code", "message"),
    [
        ({"column": "monht", "value": "n"}, "steps[0].column", "column-missing", "no field 'monht'"),
        ({"column": "month", "value": "m"}, "steps[0].value", "column-missing", "no field 'm'"),
        ({"column": "month", "value": "k"}, "steps[0].value", "type-unsupported", "sum of 'k'"),
        ({"column": "n", "value": "n"}, "steps[0].values[0]", "type-unsupported", "a value that 'n' can hold, a int64, got 'jan'"),
        ({"column": "n", "value": "n", "values": {"a": 1, "b": 1.0}}, "steps[0].values", "type-unsupported", "equal as int64"),
        ({"column": "month", "value": "n", "values": ["k"]}, "steps[0].values", "type-unsupported", "two results would be called 'k'"),
        ({"column": "month", "value": "n", "values": ["K"]}, "steps[0].values", "type-unsupported", "two results would be called 'K'"),
        ({"column": "n", "value": "n", "values": [2**70]}, "steps[0].values[0]", "type-unsupported", f"a int64, got {2**70}"),
        ({"column": "n", "value": "n", "values": {"yes": True}}, "steps[0].values.yes", "type-unsupported", "a int64, got True"),
        ({"column": "tags", "value": "n"}, "steps[0].column", "type-unsupported", "can be told apart"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(definition: dict[str, Any], path: str, code: str, message: str) -> None:
    step = pivot(**{"groupBy": ["k"], "values": ["jan"], **definition})
    with pytest.raises(PlanError) as raised:
        step.plan(SCHEMA.append(pa.field("tags", pa.list_(pa.string()))), None)
    (problem,) = raised.value.problems
    assert (problem.path, raised.value.code) == (path, code)
    assert message in problem.message
