from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar.json_text import json_objects, json_texts
from beam_pipelines.columnar.plain import plain

ARRAYS: list[pa.Array] = [
    pa.array([1, None, -(2**63), 2**63 - 1]),
    pa.array([0, 255], pa.uint8()),
    pa.array([True, False, None]),
    pa.array([0.1, 1e300, -0.0, float("nan"), float("inf"), None]),
    pa.array(["a", "", None, "é😀"]),
    pa.array(["a", 'he said "no"', "back\\slash", "tab\tnew\nline", "\x00\x1f\x7f"]),
    pa.array(["x", "y"], pa.large_string()),
    pa.array(["x", None, "x"]).dictionary_encode(),
    pa.array(["x", "y"]).dictionary_encode(),
    pa.array([0, None, -62_135_596_800_000_000], pa.timestamp("us")),
    pa.array([0, None, 253_402_300_800], pa.timestamp("s", "Europe/Berlin")),
    pa.array([0, None, 19_000], pa.date32()),
    pa.array([[1, None], None, []]),
    pa.array([{"a": "x", "b": None}, None]),
    pa.array([b"\xff", None]),
    pa.nulls(2),
    pa.array([], pa.string()),
]


def as_json(array: pa.Array) -> list[Any]:
    return [json.loads(text) for text in json_texts(array).to_pylist()]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.type))
def test_each_text_is_the_value(array: pa.Array) -> None:
    assert as_json(array) == plain(array)
    assert as_json(array.slice(1)) == plain(array.slice(1))


def test_bytes_that_are_no_text_are_replaced() -> None:
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff\xfe", b"a"]).buffers())
    assert as_json(broken) == ["\ufffd\ufffd", "a"]


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_text_comes_back(texts: list[str | None]) -> None:
    assert as_json(pa.array(texts, pa.string())) == texts


def test_objects_hold_their_members_in_order() -> None:
    columns = [json_texts(pa.array([1, None])), json_texts(pa.array(["a", 'b"']))]
    assert json_objects(["n", 'na"me'], columns, 2).to_pylist() == ['{"n":1,"na\\"me":"a"}', '{"n":null,"na\\"me":"b\\""}']
    assert json_objects([], [], 2).to_pylist() == ["{}", "{}"]
