"""What is taken out of an answer, and what is no answer."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from beam_pipelines.transforms.enrich.answer import NOTHING, Failure, Reader

READER = Reader({"company.name": "name", "sites[1].city": "second", "n": "n"})


def test_values_are_found_by_their_paths_and_what_is_not_there_is_null() -> None:
    assert READER.read({"company": {"name": "Acme"}, "sites": [{"city": "A"}, {"city": "B"}], "n": 3}) == {
        "name": "Acme",
        "second": "B",
        "n": 3,
    }
    assert READER.read({"company": "Acme", "sites": [{"city": "A"}], "m": 3}) == {"name": None, "second": None, "n": None}


@pytest.mark.parametrize("answer", [None, []])
def test_null_and_an_empty_list_know_nothing(answer: Any) -> None:
    assert READER.read(answer) is NOTHING
    assert Reader({"[0].name": "name"}).read(answer) is NOTHING


@pytest.mark.parametrize(("answer", "got"), [("x", "text"), (1, "a number"), (True, "true or false"), ([1], "a list")])
def test_another_kind_of_answer_is_a_failure(answer: Any, got: str) -> None:
    assert READER.read(answer) == Failure(f"expected an object as answer, got {got}")


def test_an_answer_may_be_a_list() -> None:
    reader = Reader({"[0].name": "name"})
    assert reader.read([{"name": "Acme"}, {"name": "B"}]) == {"name": "Acme"}
    assert reader.read({}) == Failure("expected a list as answer, got an object")


@pytest.mark.parametrize("number", [123456789012345678901234567890, Decimal("12345678901234567.89"), 18446744073709551615])
def test_numbers_that_a_float_would_change_keep_their_digits_where_the_column_holds_them(number: Any) -> None:
    reader = Reader({"n.v": "text", "n.w": "decimal", "n.x": "other"}, ["text"], ["decimal"])
    answer, exact = ({"n": dict.fromkeys("vwx", value)} for value in (float(number), number))
    assert reader.read(answer, exact) == {"text": str(number), "decimal": number, "other": float(number)}
