from __future__ import annotations

import dataclasses
import datetime as dt
import math
import uuid
from collections.abc import Generator, Iterable, Iterator
from decimal import Decimal
from typing import Annotated, Any, Optional, TypedDict, Union

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.transforms.declared import schema_of_annotation, schema_of_batches, schema_of_names, schema_of_rows

BEFORE = pa.schema(
    [
        ("id", pa.int32()),
        ("amount", pa.decimal128(10, 2)),
        ("at", pa.timestamp("us")),
        ("name", pa.large_string()),
        ("tags", pa.list_(pa.string())),
    ]
)


class Line(TypedDict):
    sku: str
    count: int


class Customer(TypedDict, total=False):
    id: int
    amount: Decimal
    at: dt.datetime
    name: Optional[str]  # noqa: UP045 (users write it so)
    score: float | None
    seen: dt.datetime
    day: dt.date
    lines: list[Line]
    tags: list[str]
    price: Annotated[Decimal, "decimal(12, 3)"]
    key: uuid.UUID
    raw: Annotated[str, "json"]


@dataclasses.dataclass
class Point:
    x: float
    label: str | None = None


def test_names_in_the_definition_are_types() -> None:
    found = schema_of_names({"id": "bigint", "price": "decimal(12,3)", "tags": "list<text>"}, "p")
    assert found == pa.schema([("id", pa.int64()), ("price", pa.decimal128(12, 3)), ("tags", pa.list_(pa.string()))])
    with pytest.raises(PlanError) as raised:
        schema_of_names({"a": "bigimt", "b": "text", "c": "wat"}, "steps[0].output")
    assert [problem.path for problem in raised.value.problems] == ["steps[0].output.a", "steps[0].output.c"]


def test_a_typed_dict_declares_columns_and_fields_that_were_there_keep_their_types() -> None:
    assert schema_of_annotation(Customer, BEFORE, "p") == pa.schema(
        [
            ("id", pa.int32()),
            ("amount", pa.decimal128(10, 2)),
            ("at", pa.timestamp("us")),
            ("name", pa.large_string()),
            ("score", pa.float64()),
            ("seen", pa.timestamp("us", "UTC")),
            ("day", pa.date32()),
            ("lines", pa.list_(pa.struct([("sku", pa.string()), ("count", pa.int64())]))),
            ("tags", pa.list_(pa.string())),
            ("price", pa.decimal128(12, 3)),
            ("key", pa.uuid()),
            ("raw", pa.json_()),
        ]
    )


@pytest.mark.parametrize(
    "annotation",
    [
        Point,
        Optional[Point],  # noqa: UP045
        Point | None,
        Iterator[Point],
        Iterable[Point],
        list[Point],
        Generator[Point, None, None],
        Union[Point, None, list[Point]],  # noqa: UP007
    ],
)
def test_a_shape_is_found_inside_of_optional_and_iterable(annotation: Any) -> None:
    assert schema_of_annotation(annotation, pa.schema([]), "p") == pa.schema([("x", pa.float64()), ("label", pa.string())])


@pytest.mark.parametrize("annotation", [None, dict, dict[str, Any], Any, Iterable[dict[str, Any]], str])
def test_other_annotations_declare_nothing(annotation: Any) -> None:
    assert schema_of_annotation(annotation, BEFORE, "p") is None


def test_annotations_without_a_column_type_are_refused_with_what_to_write() -> None:
    class Bare(TypedDict):
        price: Decimal

    class Odd(TypedDict):
        thing: object

    with pytest.raises(PlanError, match='Annotated\\[Decimal, "decimal\\(12, 2\\)"\\]'):
        schema_of_annotation(Bare, pa.schema([]), "p")
    with pytest.raises(PlanError, match="no column type"):
        schema_of_annotation(Odd, pa.schema([]), "p")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([None, 1, 2.5], pa.float64()),
        ([None, 1, 2], pa.int64()),
        ([1, 2**70], pa.decimal128(38, 0)),
        ([None, "a"], pa.string()),
        ([True, None], pa.bool_()),
        ([Decimal("1.5"), Decimal("2.125"), 3], pa.decimal128(38, 3)),
        ([dt.date(2024, 1, 1)], pa.date32()),
        ([dt.datetime(2024, 1, 1)], pa.timestamp("us")),
        ([dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))], pa.timestamp("us", "UTC")),
        ([math.nan, None], pa.float64()),
        ([[1], [2.5], None, []], pa.list_(pa.float64())),
        ([{"a": 1}, {"a": None, "b": "x"}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([b"x"], pa.binary()),
    ],
)
def test_a_sample_is_widened_as_a_whole(values: list[Any], kind: pa.DataType) -> None:
    assert schema_of_rows([{"new": value} for value in values], BEFORE, "p") == pa.schema([("new", kind)])


@pytest.mark.parametrize(
    "values",
    [
        [None, None],
        [1, "a"],
        [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)],
        [[], []],
        [{"a": None}],
        [1.5, Decimal(1)],
        [object()],
    ],
)
def test_a_sample_without_a_common_type_asks_for_a_declaration(values: list[Any]) -> None:
    with pytest.raises(PlanError) as raised:
        schema_of_rows([{"new": value} for value in values], BEFORE, "steps[0]")
    assert raised.value.problems[0].path == "steps[0]"
    assert "output:" in raised.value.problems[0].hint


def test_fields_that_were_there_keep_their_types_while_their_values_are_of_that_kind() -> None:
    rows = [{"id": 1, "amount": Decimal("1.5"), "at": dt.datetime(2024, 1, 1), "name": None, "tags": ["a"]}]
    assert schema_of_rows(rows, BEFORE, "p") == BEFORE
    assert schema_of_rows([{"id": 1.0}], BEFORE, "p").field("id").type == pa.float64()
    assert schema_of_rows([{"id": "1"}], BEFORE, "p").field("id").type == pa.string()
    assert schema_of_rows([{"tags": [1]}], BEFORE, "p").field("tags").type == pa.list_(pa.int64())


def test_fields_are_in_the_order_they_first_came() -> None:
    assert schema_of_rows([{"b": 1}, {"a": 1, "b": 2}], BEFORE, "p").names == ["b", "a"]


def test_batches_have_types_of_their_own() -> None:
    parts = [pa.record_batch({"x": pa.nulls(1), "id": pa.nulls(1)}), pa.record_batch({"x": [1], "id": pa.nulls(1)})]
    assert schema_of_batches(parts, BEFORE, "p") == pa.schema([("x", pa.int64()), ("id", pa.int32())])
    with pytest.raises(PlanError, match="null in all sampled rows"):
        schema_of_batches(parts[:1], BEFORE, "p")
