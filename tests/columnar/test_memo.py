from __future__ import annotations

import json
import math
from collections.abc import Callable

import pyarrow as pa
import pytest

from beam_pipelines.columnar.expression import Scope, column, comparison, literal, memo, recall, write_down
from beam_pipelines.columnar.expression import engine as engines

SCHEMA = pa.schema([("age", pa.int32()), ("amount", pa.float64()), ("name", pa.string())])
BATCH = pa.RecordBatch.from_pylist(
    [
        {"age": 17, "amount": 5.0, "name": "Ada"},
        {"age": 18, "amount": math.nan, "name": "Bob"},
        {"age": None, "amount": 11.0, "name": None},
        {"age": 2**31 - 1, "amount": 12.0, "name": "Zoë"},
    ],
    SCHEMA,
)


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "_TERMS", {})
    monkeypatch.setattr(memo, "_TREES", {})


def written(*texts: str, schema: pa.Schema = SCHEMA) -> str:
    """What another process wrote down of these expressions."""
    with Scope(schema) as scope:
        for text in texts:
            scope.compile(text)
    text = write_down([schema])
    memo._TERMS.clear()
    return text


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(memory: str) -> None:
        raise AssertionError(f"the engine was asked for with {memory}")

    monkeypatch.setattr(engines, "_POOL", engines._Pool())
    monkeypatch.setattr(engines, "_connect", refuse)


def values(scope: Scope, text: str) -> list[object]:
    return scope.evaluate([scope.compile(text)], BATCH)[0].array.to_pylist()


def test_what_was_written_down_is_evaluated_without_the_engine(request: pytest.FixtureRequest) -> None:
    text = written("age >= 18", "amount > 10")
    request.getfixturevalue("no_engine")

    recall(text)

    with Scope(SCHEMA) as scope:
        assert values(scope, "age >= 18") == [False, True, None, True]
        assert values(scope, "amount > 10") == [False, False, True, True]
        both = scope.join("AND", [scope.compile("age >= 18"), scope.compile("amount > 10")])
        assert scope.evaluate([both], BATCH)[0].array.to_pylist() == [False, False, None, True]
        assert (both.used, str(both.type)) == ((0, 1), "bool")


def test_a_condition_made_by_a_program_is_written_down_as_well(request: pytest.FixtureRequest) -> None:
    node = comparison("COMPARE_EQUAL", column("name"), literal("Bob"))
    with Scope(SCHEMA) as scope:
        scope.build(node)
    text = write_down([SCHEMA])
    memo._TERMS.clear()
    request.getfixturevalue("no_engine")

    recall(text)

    with Scope(SCHEMA) as scope:
        assert scope.evaluate([scope.build(node)], BATCH)[0].array.to_pylist() == [False, True, None, False]


def test_a_row_that_a_kernel_cannot_judge_is_judged_by_the_engine_with_its_reason() -> None:
    recall(written("age + 1", "upper(name)"))

    with Scope(SCHEMA) as scope:
        found = scope.evaluate([scope.compile("age + 1"), scope.compile("upper(name)")], BATCH)

    assert (found[0].array.to_pylist(), found[0].bad) == ([18, 19, None, None], [3])
    assert found[0].reasons == ["age + 1: the result is out of range"]
    assert found[1].array.to_pylist() == ["ADA", "BOB", None, "ZOË"]


def test_a_joined_condition_that_a_kernel_cannot_judge_is_judged_by_the_engine() -> None:
    recall(written("upper(name) = 'ZOË'", "amount > 10"))

    with Scope(SCHEMA) as scope:
        either = scope.join("OR", [scope.compile("upper(name) = 'ZOË'"), scope.compile("amount > 10")])
        found = [scope.evaluate([term], BATCH)[0].array.to_pylist() for term in (either, scope.join("NOT", [either]))]

    assert found == [[False, False, True, True], [True, True, False, False]]


def test_what_was_written_down_holds_for_its_own_schema_alone() -> None:
    recall(written("age + 1"))
    wide = pa.schema([("age", pa.int64())])

    with Scope(wide) as scope:
        found = scope.evaluate([scope.compile("age + 1")], pa.record_batch({"age": [2**31 - 1]}, wide))[0]

    assert (found.array.to_pylist(), found.array.type, found.bad) == ([2**31], pa.int64(), [])


@pytest.mark.parametrize("text", ["sqrt(amount) > 2", "now() > TIMESTAMPTZ '2020-01-01'", "age IS DISTINCT FROM 5"])
def test_what_needs_the_engine_is_not_written_down(text: str) -> None:
    assert written(text) == "[]"


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda entries: "not JSON",
        lambda entries: "null",
        lambda entries: "[" * 100_000,
        lambda entries: json.dumps([[1, 2], 3, None]),
        lambda entries: json.dumps([entry[:3] for entry in entries]),
        lambda entries: json.dumps([[one[0], one[1], other[2], one[3]] for one, other in zip(entries, reversed(entries), strict=True)]),
    ],
)
def test_what_was_changed_by_hand_is_compiled_anew(spoilt: Callable[[list[list[str]]], str]) -> None:
    text = written("age >= 18", "age < 18")

    recall(spoilt(json.loads(text)))

    assert memo._TREES == {}
    with Scope(SCHEMA) as scope:
        assert values(scope, "age >= 18") == [False, True, None, True]


def test_what_was_recalled_is_written_down_again() -> None:
    text = written("age >= 18")

    recall(text)

    assert write_down([SCHEMA]) == text
    assert write_down([pa.schema([("age", pa.int64())])]) == "[]"
