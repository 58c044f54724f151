"""Steps by groups as they are written, and what their order means."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from beam_pipelines.spec.order import Term, terms
from beam_pipelines.spec.step import Processor, Transformation

STEP: TypeAdapter[Any] = TypeAdapter(Transformation)


PIVOT = {"type": "pivot", "groupBy": ["k"], "column": "c", "values": ["a"], "value": "n"}


def messages(step: dict[str, Any], adapter: TypeAdapter[Any] = STEP) -> list[str]:
    with pytest.raises(ValidationError) as raised:
        adapter.validate_python({"id": "s", **step})
    return [error["msg"] for error in raised.value.errors()]


def test_an_order_is_a_field_or_several_with_a_minus_for_the_greatest_first() -> None:
    assert terms("amount") == (Term("amount", descending=False),)
    assert terms(("-amount", "- name", "a.b")) == (
        Term("amount", descending=True),
        Term("name", descending=True),
        Term("a.b", descending=False),
    )
    assert terms(None) == ()
    for order in ("-id", ["-id"], ["-id", "name"]):
        step = STEP.validate_python({"id": "s", "type": "top", "n": 1, "orderBy": order})
        assert terms(step.order_by)[0] == Term("id", descending=True)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"type": "top", "n": 1, "orderBy": "-"}, "expected a field, or -field for the greatest first, got '-'"),
        ({"type": "top", "n": 0, "orderBy": "x"}, "expected at least 1, got 0"),
        ({"type": "top", "n": 1}, "expected 'orderBy', which is missing"),
        ({"type": "deduplicate", "keep": "best"}, "expected 'first' or 'last', got 'best'"),
        ({"type": "union", "source": {"type": "file", "path": "x.parquet"}, "missing": "drop"}, "expected 'refuse' or 'null', got 'drop'"),
        ({**PIVOT, "value": None}, "expected the field that is summed up"),
        ({**PIVOT, "values": ["a", "b", "a"]}, "expected each value once, got 'a' again"),
        ({**PIVOT, "values": [1, None]}, "expected a value that names a column, got nothing"),
        ({**PIVOT, "values": {"x": None}}, "expected a value, got null, which is like no value"),
        ({"type": "limit", "n": 1, "required": False}, "expected true: a step of type 'limit' cannot pass failed rows on, got false"),
    ],
)
def test_mistakes_are_told_in_words(step: dict[str, Any], expected: str) -> None:
    assert messages(step) == [expected]


def test_values_of_a_pivot_name_their_columns() -> None:
    for values, names in (
        (["a", 2024, True, 1.5], {"a": "a", "2024": 2024, "true": True, "1.5": 1.5}),
        ({"jan": 1}, {"jan": 1}),
    ):
        assert STEP.validate_python({"id": "s", **PIVOT, "values": values}).columns == names
    counted = STEP.validate_python({"id": "s", **PIVOT, "value": None, "function": "count", "groupBy": ["a.b", "c[0]"]})
    assert counted.group_names == ("a_b", "c_0")


def test_rows_of_a_whole_source_are_not_sorted() -> None:
    (message,) = messages({"type": "sort", "by": [], "orderBy": "x"})
    assert message.startswith("expected the fields of a group: rows of a whole source are worked on in parts")


@pytest.mark.parametrize("kind", ["deduplicate", "top", "limit", "sort", "union", "pivot"])
def test_a_stream_has_no_such_steps(kind: str) -> None:
    message, *_ = messages({"type": kind, "n": 1, "orderBy": "x", "by": ["x"]}, TypeAdapter(Processor))
    assert message.endswith(f"got {kind!r}")
