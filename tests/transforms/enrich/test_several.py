"""Answers of several keys: which one is whose."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar.path import find_path
from beam_pipelines.spec.step.enrich import RequestBatch
from beam_pipelines.transforms.enrich.answer import NOTHING, Failure, Reader
from beam_pipelines.transforms.enrich.request import keys_of
from beam_pipelines.transforms.enrich.several import Several


def read(response: Any, keys: list[Any], kind: pa.DataType | None = None, exact: Any = None, **model: Any) -> list[Any]:
    """What is read for keys of one column, as they come out of rows."""
    column = pa.array(keys, kind)
    batch = pa.RecordBatch.from_arrays([column], names=["k"])
    several = Several(RequestBatch.model_validate({"match": {"k": "id"}, **model}), {"k": column.type}, Reader({"n": "n"}))
    distinct = keys_of(batch, [find_path("k", batch.schema)]).distinct
    return several.read(response, response if exact is None else exact, distinct)


def test_answers_are_matched_by_their_keys_whatever_their_order() -> None:
    response = {"data": [{"key": {"id": 3}, "n": "C"}, {"key": {"id": 1}, "n": "A"}, {"n": "?"}, None, 7]}
    assert read(response, [1, 2, 3], items="data", match={"k": "key.id"}) == [{"n": "A"}, NOTHING, {"n": "C"}]


@pytest.mark.parametrize(
    ("key", "kind", "told"),
    [
        (17, pa.int64(), "17"),
        (17, pa.int32(), 17.0),
        ("17", pa.string(), 17),
        ("true", pa.string(), "true"),
        (True, pa.bool_(), True),
        (Decimal("1.50"), pa.decimal128(10, 2), 1.5),
        (Decimal("1.50"), pa.decimal128(10, 2), "1.5"),
        (0.1, pa.float32(), 0.1),
        (-0.0, pa.float64(), "0"),
        (dt.date(2026, 1, 2), pa.date32(), "2026-01-02"),
        (dt.datetime(2026, 1, 2, 3), pa.timestamp("us"), "2026-01-02T03:00:00Z"),
        (dt.datetime(2026, 1, 2, 3), pa.timestamp("us", "UTC"), "2026-01-02T04:00:00+01:00"),
        (uuid.UUID(int=7).bytes, pa.uuid(), str(uuid.UUID(int=7)).upper()),
    ],
)
def test_a_key_is_told_in_the_way_of_its_type(key: Any, kind: pa.DataType, told: Any) -> None:
    assert read([{"id": told, "n": 1}], [key], kind) == [{"n": 1}]


@pytest.mark.parametrize(
    ("key", "told"),
    [("None", None), ("true", True), ("1", True), (1, True), (True, 1), (True, "true"), ("[]", []), (1, {}), (1, 1.5)],
)
def test_what_is_no_value_of_that_kind_belongs_to_no_key(key: Any, told: Any) -> None:
    assert read([{"n": 1}, {"id": told, "n": 1}], [key]) == [NOTHING]


def test_a_key_that_no_float_holds_is_told_by_its_digits() -> None:
    key = Decimal(10**30 + 1)
    exact = [{"id": 10**30 + 1, "n": 1}, {"id": 10**30, "n": 2}]
    assert read([{"id": 1e30, "n": 1}, {"id": 1e30, "n": 2}], [key], pa.decimal128(38, 0), exact=exact) == [{"n": 1}]


def test_of_several_answers_for_a_key_none_is_chosen_unless_they_say_the_same() -> None:
    answers = read([{"id": 1, "n": 1}, {"id": 2, "n": 1}, {"id": "1", "n": 2}, {"id": 2, "n": 1, "of": "no interest"}], [1, 2])
    assert answers == [Failure("the API gave several answers for the row's key, and they differ", "lookup-ambiguous"), {"n": 1}]


def test_where_nothing_is_known_at_all_none_is_found() -> None:
    assert read(None, [1, 2]) == [NOTHING, NOTHING]


@pytest.mark.parametrize("response", [{}, {"data": {"1": {}}}, "no"])
def test_a_batch_without_its_list_fails_for_each_key(response: Any) -> None:
    answers = read(response, [1, 2], items="data")
    assert [answer.message[:28] for answer in answers] == ["expected a list of answers, "] * 2


def test_keys_of_several_fields_are_told_by_all_of_them() -> None:
    model = RequestBatch.model_validate({"match": {"a": "x", "b": "y"}})
    several = Several(model, {"a": pa.int64(), "b": pa.string()}, Reader({"n": "n"}))
    response = [{"x": 1, "y": "p", "n": 1}, {"x": 2, "y": "p", "n": 2}, {"x": 1, "n": 3}]
    assert several.read(response, response, [(1, "p"), (2, "q"), (2, "p")]) == [{"n": 1}, NOTHING, {"n": 2}]
