"""Steps by groups as they are written, and what their order means."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from beam_pipelines.spec.order import Term, terms
from beam_pipelines.spec.step import Processor, Transformation

STEP: TypeAdapter[Any] = TypeAdapter(Transformation)


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
        ({"type": "limit", "n": 1, "required": False}, "expected true: a step of type 'limit' cannot pass failed rows on, got false"),
    ],
)
def test_mistakes_are_told_in_words(step: dict[str, Any], expected: str) -> None:
    assert messages(step) == [expected]


def test_rows_of_a_whole_source_are_not_sorted() -> None:
    (message,) = messages({"type": "sort", "by": [], "orderBy": "x"})
    assert message.startswith("expected the fields of a group: rows of a whole source are worked on in parts")


@pytest.mark.parametrize("kind", ["deduplicate", "top", "limit", "sort"])
def test_a_stream_has_no_such_steps(kind: str) -> None:
    (message,) = messages({"type": kind, "n": 1, "orderBy": "x", "by": ["x"]}, TypeAdapter(Processor))
    assert kind in message
