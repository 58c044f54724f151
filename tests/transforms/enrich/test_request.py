"""Requests made of keys: what is encoded, what stays JSON, and what no value can do."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar.path import find_path
from beam_pipelines.spec.step.enrich import EnrichRequest
from beam_pipelines.transforms.enrich.request import Keys, Template, askable, keys_of


def template(**request: Any) -> Template:
    return Template(EnrichRequest.model_validate({"path": "/v1/{d}", **request}))


def target(value: Any, **request: Any) -> str | None:
    made = template(**request).of([(value,)])
    return made and made.target


def keys(values: list[Any], kind: pa.DataType | None = None) -> Keys:
    batch = pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["k"])
    return keys_of(batch, [find_path("k", batch.schema)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("example.com", "/v1/example.com"),
        ("a/b?c#d", "/v1/a%2Fb%3Fc%23d"),
        ("//evil.example", "/v1/%2F%2Fevil.example"),
        ("@evil.example", "/v1/%40evil.example"),
        ("x\\..\\y\r\nHost: evil", "/v1/x%5C..%5Cy%0D%0AHost%3A%20evil"),
        ("%2e%2e", "/v1/%252e%252e"),
        ("Ünï", "/v1/%C3%9Cn%C3%AF"),
        ("..", None),
        (".", None),
        ("", None),
        (7, "/v1/7"),
        (True, "/v1/true"),
        (2.0, "/v1/2"),
        (0.5, "/v1/0.5"),
    ],
)
def test_a_value_in_a_path_is_one_segment(value: Any, expected: str | None) -> None:
    assert target(value) == expected


@given(st.text())
def test_no_text_changes_where_a_request_leads(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return  # Arrow holds no such text
    made = target(value, path="/v1/{d}/x", query={"q": "{d}", "s": "a&b"})
    if made is None:
        assert value in ("", ".", "..")
        return
    parts = urlsplit("http://api.example" + made)
    assert (parts.netloc, parts.fragment) == ("api.example", "")
    segments = parts.path.split("/")
    assert (segments[:2], unquote(segments[2]), segments[3:]) == (["", "v1"], value, ["x"])
    assert [tuple(map(unquote, pair.split("="))) for pair in parts.query.split("&")] == [("q", value), ("s", "a&b")]


def test_a_place_in_the_middle_may_be_empty_but_makes_no_dots() -> None:
    assert target("", path="/v1/c-{d}") == "/v1/c-"
    assert target(".", path="/v1/.{d}") is None


def test_a_body_keeps_types_where_a_place_stands_alone() -> None:
    made = template(method="POST", path="/find", body={"id": "{d}", "all": [{"name": "no {d}"}], "n": 1}).of([(17,)])
    assert made is not None
    assert (made.method, made.target, orjson.loads(made.body or b"")) == ("POST", "/find", {"id": 17, "all": [{"name": "no 17"}], "n": 1})


def test_a_batch_repeats_parameters_and_lists_values() -> None:
    batch = {"size": 10, "match": {"d": "id"}}
    many = [("a,b",), ("c&d",)]
    in_query = template(path="/v1", query={"id": "{d}", "fast": True}, batch=batch).of(many)
    in_body = template(method="POST", path="/v1", body={"ids": "{d}"}, batch=batch).of(many)
    assert in_query is not None
    assert in_body is not None
    assert in_query.target == "/v1?id=a%2Cb&id=c%26d&fast=true"
    assert orjson.loads(in_body.body or b"") == {"ids": ["a,b", "c&d"]}


def test_each_key_is_there_once_in_the_order_of_the_rows_and_null_is_none() -> None:
    found = keys(["b", None, "a", "b", "", "a"])
    assert found.distinct == [("b",), ("a",), ("",)]
    assert found.numbers.tolist() == [0, -1, 1, 0, 2, 1]


def test_a_key_of_several_fields_is_none_where_any_is_null() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1, 1, 2, 1, None], "b": ["x", "y", "x", "x", "x"]})
    found = keys_of(batch, [find_path("a", batch.schema), find_path("b", batch.schema)])
    assert found.distinct == [(1, "x"), (1, "y"), (2, "x")]
    assert found.numbers.tolist() == [0, 1, 2, 0, -1]


def test_zeros_are_one_key_and_what_is_no_number_is_none() -> None:
    found = keys([0.0, -0.0, float("nan"), float("inf"), 1.5])
    assert (str(found.distinct), found.numbers.tolist()) == ("[(0.0,), (1.5,)]", [0, 0, -1, -1, 1])


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (dt.date(2026, 1, 31), pa.date32(), "2026-01-31"),
        (Decimal("7.50"), pa.decimal128(10, 2), "7.50"),
        ("x", pa.dictionary(pa.int8(), pa.string()), "x"),
        (True, pa.bool_(), True),
    ],
)
def test_types_as_they_stand_in_a_request(value: Any, kind: pa.DataType, expected: Any) -> None:
    assert keys([value], kind).distinct == [(expected,)]


def test_bytes_and_nested_values_cannot_be_asked_with() -> None:
    assert [askable(kind) for kind in (pa.binary(), pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.duration("s"))] == [False] * 4


@given(st.lists(st.tuples(st.sampled_from([None, 1, 2, 300]), st.sampled_from([None, "", "a", "b"])), max_size=30))
def test_keys_of_rows_are_those_of_plain_python(rows: list[tuple[Any, Any]]) -> None:
    columns = [pa.array([row[0] for row in rows], pa.int32()), pa.array([row[1] for row in rows], pa.string())]
    batch = pa.RecordBatch.from_arrays(columns, names=["a", "b"])
    found = keys_of(batch, [find_path("a", batch.schema), find_path("b", batch.schema)])
    whole = [row if None not in row else None for row in rows]
    assert found.distinct == list(dict.fromkeys(row for row in whole if row is not None))
    assert [None if number < 0 else found.distinct[number] for number in found.numbers] == whole
