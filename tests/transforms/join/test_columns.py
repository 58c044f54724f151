"""What comes out of a join beside its keys: columns, their names and types, origins, and how much at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.errors import PlanError
from beam_pipelines.transforms.join import step as module

Join = Callable[..., Any]

PEOPLE = pa.record_batch({"id": [1, 2, 3], "country": ["A", "B", None], "name": ["Ann", "Bob", "Cyd"]})
COUNTRIES = pa.record_batch({"code": ["A", "E"], "name": ["Alpha", "Epsilon"], "pop": pa.array([1, 9], pa.int32())})
ON = {"country": "code"}


def test_the_left_columns_come_first_then_those_of_the_right_without_its_keys(join: Join) -> None:
    joined = join(PEOPLE, COUNTRIES, "inner", ON, suffix="_country")
    assert joined.schema.names == ["id", "country", "name", "name_country", "pop"]
    assert joined.rows == [{"id": 1, "country": "A", "name": "Ann", "name_country": "Alpha", "pop": 1}]
    assert joined.filtered == 2


@pytest.mark.parametrize("how", ["right", "full"])
def test_a_row_of_the_right_side_alone_has_its_key_in_the_left_column_and_its_own_origin(join: Join, how: str) -> None:
    joined = join(PEOPLE, COUNTRIES, how, ON, suffix="_country")
    alone = {"id": None, "country": "E", "name": None, "name_country": "Epsilon", "pop": 9}
    assert joined.rows[-1] == alone
    assert joined.origins[-1] == {"source": "countries", "row": 1}
    assert joined.origins[0] == {"source": "people", "row": 0}


@pytest.mark.parametrize(
    ("how", "nullable"),
    [("inner", (False, False)), ("left", (False, True)), ("right", (True, False)), ("full", (True, True)), ("semi", (False, None))],
)
def test_what_may_be_missing_is_nullable(join: Join, how: str, nullable: tuple[Any, Any]) -> None:
    left = pa.record_batch([pa.array([1]), pa.array([2])], schema=pa.schema([pa.field("k", pa.int64()), pa.field("x", pa.int64(), False)]))
    right = pa.record_batch([pa.array([3]), pa.array([2])], schema=pa.schema([pa.field("k", pa.int64()), pa.field("y", pa.int64(), False)]))
    schema = join(left, right, how).schema
    assert schema.field("x").nullable is nullable[0]
    assert (schema.field("y").nullable if "y" in schema.names else None) is nullable[1]


@pytest.mark.parametrize("how", ["semi", "anti"])
def test_semi_and_anti_give_left_rows_as_they_came_and_take_no_suffix(join: Join, how: str) -> None:
    joined = join(PEOPLE, COUNTRIES, how, ON)
    assert joined.schema.equals(PEOPLE.schema)
    assert [row["id"] for row in joined.rows] == ([1] if how == "semi" else [2, 3])


@pytest.mark.parametrize(
    ("left", "right", "suffix", "problem"),
    [
        (["k", "a"], ["k", "a"], None, "both sides have a column 'a'"),
        (["k", "Name"], ["k", "name"], None, "both sides have a column 'name'"),
        (["k", "a", "a_r"], ["k", "a"], "_r", "both sides have a column 'a', and one has 'a_r'"),
        (["k", "a"], ["k", "a", "a_r"], "_r", "both sides have a column 'a', and one has 'a_r'"),
    ],
)
def test_a_clash_of_names_is_refused(make_step: Any, left: list[str], right: list[str], suffix: str | None, problem: str) -> None:
    step = make_step(suffix=suffix)
    step.against(pa.schema([(name, pa.int64()) for name in right]))
    with pytest.raises(PlanError, match="cannot be carried out") as refused:
        step.plan(pa.schema([(name, pa.int64()) for name in left]), None)
    assert [one.message for one in refused.value.problems] == [problem]
    assert refused.value.problems[0].hint is not None
    assert "suffix" in refused.value.problems[0].hint


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.string(), pa.int64()),
        (pa.string(), pa.float64()),
        (pa.string(), pa.uuid()),
        (pa.string(), pa.binary()),
        (pa.bool_(), pa.int64()),
        (pa.date32(), pa.timestamp("us")),
        (pa.dictionary(pa.int8(), pa.string()), pa.int64()),
        (pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.int64())])),
    ],
    ids=str,
)
def test_keys_that_are_never_equal_are_refused_with_their_types(make_step: Any, left: pa.DataType, right: pa.DataType) -> None:
    step = make_step(on={"a": "b"})
    step.against(pa.schema([("b", right)]))
    with pytest.raises(PlanError) as refused:
        step.plan(pa.schema([("a", left)]), None)
    (problem,) = refused.value.problems
    assert refused.value.code == "type-unsupported"
    assert str(left) in problem.message
    assert str(right) in problem.message
    assert problem.path == "steps[0].on"


@pytest.mark.parametrize(("on", "side"), [({"nmae": "code"}, "left"), ({"country": "coed"}, "right")])
def test_a_key_that_is_not_there_is_refused_with_what_is_near(make_step: Any, on: dict[str, str], side: str) -> None:
    step = make_step(on=on)
    step.against(COUNTRIES.schema)
    with pytest.raises(PlanError) as refused:
        step.plan(PEOPLE.schema, None)
    (problem,) = refused.value.problems
    assert refused.value.code == "column-missing"
    assert problem.message.startswith(f"the {side} side: no field")
    assert "did you mean" in str(problem.hint)


@pytest.mark.parametrize("how", ["right", "full"])
@pytest.mark.parametrize(
    ("left", "right"),
    [(pa.int64(), pa.float64()), (pa.int64(), pa.uint64()), (pa.decimal128(5, 2), pa.decimal128(6, 2)), (pa.time32("s"), pa.time64("us"))],
)
def test_keys_of_two_kinds_are_refused_where_the_right_one_is_to_stand_in_the_left(
    make_step: Any, how: str, left: pa.DataType, right: pa.DataType
) -> None:
    step = make_step(how)
    step.against(pa.schema([("k", right)]))
    with pytest.raises(PlanError) as refused:
        step.plan(pa.schema([("k", left)]), None)
    assert "expected fields of one kind" in refused.value.problems[0].message


@pytest.mark.parametrize("how", ["right", "full"])
@pytest.mark.parametrize(
    ("left", "right", "wide", "values"),
    [
        (pa.int32(), pa.int64(), pa.int64(), [1, 2**40]),
        (pa.int64(), pa.int8(), pa.int64(), [1, 5]),
        (pa.float32(), pa.float64(), pa.float64(), [0.5, 0.1]),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.large_string(), ["a", "b"]),
        (pa.string(), pa.large_string(), pa.large_string(), ["a", "b"]),
    ],
)
def test_the_left_key_is_as_wide_as_both_sides_need(
    join: Join, how: str, left: pa.DataType, right: pa.DataType, wide: pa.DataType, values: list[Any]
) -> None:
    joined = join(pa.record_batch({"k": pa.array(values[:1], left)}), pa.record_batch({"k": pa.array(values, right), "y": [1, 2]}), how)
    assert joined.schema.field("k").type == wide
    assert joined.rows == [{"k": values[0], "y": 1}, {"k": values[1], "y": 2}]


def test_rows_are_put_together_a_few_bytes_at_a_time(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MUCH", 1000)
    left = pa.record_batch({"k": [1] * 10, "text": ["x" * 90] * 9 + ["x" * 5000]})
    right = pa.record_batch({"k": [1, 1], "more": ["y" * 10, "y" * 300]})
    joined = join(left, right)
    assert len(joined.rows) == 20
    # A pair is 100 or 390 bytes of text: four of them fit, and one whose row is larger goes alone.
    assert max(batch.num_rows for batch in joined.batches) == 4
    assert [batch.num_rows for batch in joined.batches][-2:] == [1, 1]


def test_a_text_that_comes_out_many_times_over_does_not_overflow(make_step: Any) -> None:
    # 60,000 times 40,000 bytes are 2.4 GB: more than the offsets of one Arrow column hold, and than should be in memory at once.
    left = pa.record_batch({"k": np.ones(60_000, dtype=np.int64)})
    right = pa.record_batch({"k": [1], "text": ["z" * 40_000]})
    step = make_step()
    step.against(right.schema)
    step.open(left.schema, step.plan(left.schema, None), None)
    sizes = [(out.num_rows, out.nbytes) for applied in step.joined(left, step.indexed([right])) for out in applied.batches]
    assert sum(rows for rows, _ in sizes) == 60_000
    assert max(bytes_ for _, bytes_ in sizes) < 1.1 * module.MUCH


@pytest.mark.parametrize("how", ["left", "full"])
def test_columns_of_every_layout_are_brought_along(join: Join, how: str) -> None:
    kinds: dict[str, pa.Array] = {
        "dictionary": pa.array(["a", None], pa.dictionary(pa.int8(), pa.string())),
        "view": pa.array(["a text that is longer than twelve", None], pa.string_view()),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None])),
        "list": pa.array([[1, 2], None]),
        "struct": pa.array([{"a": 1}, None]),
        "null": pa.nulls(2),
    }
    right = pa.record_batch({"k": [1, 7], **kinds})
    joined = join(pa.record_batch({"k": [1, 2]}), right, how, rights=[1])
    want = [{"k": 1, **{name: column[0].as_py() for name, column in kinds.items()}}, {"k": 2, **dict.fromkeys(kinds)}]
    want += [{"k": 7, **dict.fromkeys(kinds)}] if how == "full" else []
    assert joined.rows == want


def test_a_right_side_whose_rows_have_no_origin_of_one_kind_goes_without(make_step: Any) -> None:
    step = make_step("full")
    step.against(COUNTRIES.schema.set(0, pa.field("k", pa.string())))
    rows = COUNTRIES.rename_columns(["k", "name", "pop"])
    left = pa.record_batch({"k": ["A"], "x": [1]})
    planned = step.plan(left.schema, None)
    step.open(left.schema, planned, None)
    right = step.indexed([origin.attach(rows.slice(0, 1), "a", first_row=0), origin.attach(rows.slice(1), "b", key=["k"])])
    met = [row for applied in step.joined(left, right) for batch in applied.batches for row in batch.to_pylist()]
    (alone,) = step.unmet(right, "target").batches
    assert [row["pop"] for row in met] == [1]
    assert alone.to_pylist() == [{"k": "E", "x": None, "name": "Epsilon", "pop": 9}]
