"""What is taken out of an answer, and what is no answer."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.spec.step.enrich import RequestBatch
from beam_pipelines.transforms.enrich.answer import NOTHING, Failure, Reader, reader_of_batch

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


def test_answers_of_a_batch_are_matched_by_their_keys_whatever_their_order_and_type() -> None:
    read = reader_of_batch(RequestBatch.model_validate({"items": "data", "match": {"id": "key.id"}}), ["id"], Reader({"name": "name"}))
    response = {
        "data": [{"key": {"id": "3"}, "name": "C"}, {"key": {"id": 1}, "name": "A"}, {"name": "?"}, {"key": {"id": 1}, "name": "A2"}]
    }
    assert read(response, [(1,), (2,), (3,)]) == [{"name": "A"}, NOTHING, {"name": "C"}]


@pytest.mark.parametrize("response", [None, {}, {"data": {"1": {}}}, "no"])
def test_a_batch_without_its_list_fails_for_each_key(response: Any) -> None:
    read = reader_of_batch(RequestBatch.model_validate({"items": "data", "match": {"id": "id"}}), ["id"], Reader({"name": "name"}))
    answers = read(response, [(1,), (2,)])
    assert [answer.message[:28] for answer in answers] == ["expected a list of answers, "] * 2
