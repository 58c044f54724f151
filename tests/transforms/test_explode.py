from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin, size
from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.explode import ExplodeStep
from beam_pipelines.transforms.explode import Explode
from tests.transforms.conftest import NOW

Run = Callable[..., Any]

ORDERS = pa.record_batch(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "tags": pa.array([["a", "b"], [], None, ["c", None]], pa.list_(pa.string())),
        "name": ["x", "y", None, "z"],
    }
)
NESTED = pa.record_batch(
    {
        "id": [1, 2, 3],
        "items": pa.array(
            [{"parts": [{"no": 1}, {"no": 2}], "of": "x"}, {"parts": None, "of": "y"}, None],
            pa.struct([("parts", pa.list_(pa.struct([("no", pa.int64())]))), ("of", pa.string())]),
        ),
    }
)


def counts(applied: Any) -> tuple[int, int]:
    return applied.made, applied.filtered


def test_each_element_is_a_row_in_the_place_of_the_list(run: Run) -> None:
    done = run({"type": "explode", "field": "tags"}, ORDERS)
    assert done.schema.names == ["id", "tags", "name"]
    assert done.schema.field("tags").type == pa.string()
    assert [tuple(row.values()) for row in done.rows] == [(1, "a", "x"), (1, "b", "x"), (4, "c", "z"), (4, None, "z")]
    assert [place["row"] for place in done.origins] == [0, 0, 3, 3]
    assert counts(done.applied) == (2, 2)


def test_outer_keeps_rows_without_elements_and_positions_count_from_zero(run: Run) -> None:
    done = run({"type": "explode", "field": "Tags", "as": "tag", "position": "at", "outer": True}, ORDERS)
    assert done.schema.names == ["id", "tag", "name", "at"]
    expected = [(1, "a", "x", 0), (1, "b", "x", 1), (2, None, "y", None), (3, None, None, None), (4, "c", "z", 0), (4, None, "z", 1)]
    assert [tuple(row.values()) for row in done.rows] == expected
    assert [place["row"] for place in done.origins] == [0, 0, 1, 2, 3, 3]
    assert counts(done.applied) == (2, 0)


def test_a_nested_list_leaves_the_structs_it_is_in(run: Run) -> None:
    done = run({"type": "explode", "field": "items.parts", "position": "at"}, NESTED)
    assert done.rows == [
        {"id": 1, "items": {"of": "x"}, "parts": {"no": 1}, "at": 0},
        {"id": 1, "items": {"of": "x"}, "parts": {"no": 2}, "at": 1},
    ]
    assert counts(done.applied) == (1, 2)
    outer = run({"type": "explode", "field": "items.parts", "as": "part", "outer": True}, NESTED)
    assert [(row["items"], row["part"]) for row in outer.rows[2:]] == [({"of": "y"}, None), (None, None)]


def test_a_struct_that_held_nothing_but_the_list_goes_with_it(run: Run) -> None:
    batch = pa.record_batch({"a": pa.array([{"b": {"c": [1, 2]}}]), "z": ["x"]})
    done = run({"type": "explode", "field": "a.b.c"}, batch)
    assert done.rows == [{"z": "x", "c": 1}, {"z": "x", "c": 2}]


def test_a_list_in_a_list_or_a_map_is_left_where_it_is(run: Run) -> None:
    batch = pa.record_batch(
        {
            "rows": pa.array([[[1, 2], [3]], []], pa.list_(pa.list_(pa.int64()))),
            "by": pa.array([[("k", [7, 8])], []], pa.map_(pa.string(), pa.list_(pa.int64()))),
        }
    )
    done = run({"type": "explode", "field": "rows[0]", "as": "n"}, batch)
    assert [(row["rows"], row["n"]) for row in done.rows] == [([[1, 2], [3]], 1), ([[1, 2], [3]], 2)]
    assert [row["k"] for row in run({"type": "explode", "field": "by.k"}, batch).rows] == [7, 8]


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2), pa.list_view(pa.int64()), pa.large_list_view(pa.int64())],
    ids=str,
)
def test_lists_in_any_layout_come_apart(run: Run, kind: pa.DataType) -> None:
    lists = pa.array([[9, 9], [1, 2], None, [3, 4]], kind).slice(1)
    done = run({"type": "explode", "field": "n", "outer": True}, pa.record_batch({"id": [1, 2, 3], "n": lists}))
    assert [tuple(row.values()) for row in done.rows] == [(1, 1), (1, 2), (2, None), (3, 3), (3, 4)]


def test_a_batch_without_an_element_gives_no_batch(run: Run) -> None:
    done = run({"type": "explode", "field": "tags"}, ORDERS.slice(1, 2))
    assert (done.applied.batches, counts(done.applied)) == ((), (0, 2))


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"field": "tag"}, "field", "no field 'tag'"),
        ({"field": "id"}, "field", "expected a list, got 'id', a int64"),
        ({"field": "tags", "as": "name"}, "as", "two columns would be called 'name'"),
        ({"field": "tags", "position": "id"}, "position", "two columns would be called 'id'"),
        ({"field": "tags", "as": "at", "position": "at"}, "position", "two columns would be called 'at'"),
        ({"field": "tags", "as": "ID"}, "as", "two columns would be called 'ID'"),
    ],
)
def test_what_cannot_be_exploded_is_refused_where_it_stands(run: Run, keys: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(PlanError) as raised:
        run({"type": "explode", **keys}, ORDERS)
    (problem,) = raised.value.problems
    assert problem.path == f"pipeline.transformations[0].{path}"
    assert message in problem.message


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3), max_size=8), st.integers(0, 8), st.booleans())
def test_any_cut_gives_the_same(cut_anywhere: Run, lists: list[Any], cut: int, outer: bool) -> None:
    batch = pa.record_batch({"id": pa.array(range(len(lists)), pa.int64()), "n": pa.array(lists, pa.list_(pa.int64()))})
    cut_anywhere({"type": "explode", "field": "n", "position": "at", "outer": outer}, batch, min(cut, len(lists)))


def opened(definition: dict[str, Any], schema: pa.Schema) -> Explode:
    step = Explode(ExplodeStep.model_validate({"id": "e", "type": "explode", **definition}), "pipeline.transformations[0]")
    step.open(schema, step.plan(schema, None), NOW)
    return step


def test_a_batch_that_becomes_many_rows_is_taken_in_pieces() -> None:
    lengths = [3, 0, size.MAX_ROWS - 3, size.MAX_ROWS + 1, 1, 2]
    batch = pa.record_batch({"n": pa.array([[1] * length for length in lengths], pa.list_(pa.int8()))})
    pieces = list(opened({"field": "n"}, batch.schema).pieces(batch))
    assert pa.Table.from_batches(pieces).combine_chunks().to_batches()[0].equals(batch)
    became = [sum(max(len(row["n"]), 1) for row in piece.to_pylist()) for piece in pieces]
    # The long one shares its piece with what is before it, or stands alone: a row is not cut.
    assert max(became) <= 2 * size.MAX_ROWS
    assert len(pieces) >= 3


def test_wide_rows_are_taken_in_smaller_pieces() -> None:
    batch = pa.record_batch({"text": ["x" * 100_000] * 20, "n": pa.array([[1] * 100] * 20, pa.list_(pa.int8()))})
    step = opened({"field": "n"}, batch.schema)
    sizes = [out.nbytes for piece in step.pieces(batch) for out in step.apply(piece).batches]
    assert sum(sizes) > 190_000_000
    assert max(sizes) <= 2 * size.MAX_BYTES + 100 * 100_000


def test_hidden_columns_stay_behind_the_others() -> None:
    batch = origin.attach(ORDERS, "orders", key=["id"])
    (out,) = opened({"field": "tags", "position": "at"}, ORDERS.schema).apply(batch).batches
    assert out.schema.names == ["id", "tags", "name", "at", origin.SOURCE, origin.KEY]
    assert origin.describe(out, [2]) == [{"source": "orders", "key": {"id": 4}}]
