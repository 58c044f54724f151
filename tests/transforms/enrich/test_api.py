"""Rows that ask an API which is plain Python: who asks, how often, and what becomes of each row."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import PlanError
from beam_pipelines.io.http.json import MAX_DEPTH
from beam_pipelines.spec import EnrichStep
from beam_pipelines.transforms.enrich.answer import Failure
from beam_pipelines.transforms.enrich.api import Ask
from beam_pipelines.transforms.enrich.request import Request
from beam_pipelines.transforms.step import Applied, check_law

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
Row = dict[str, Any]


class Fake:
    """An API that knows what a function knows of a path."""

    def __init__(self, know: Callable[[Request], Any]) -> None:
        self.know, self.answers, self.lock = know, dict[Any, Any](), threading.Lock()
        self.asked: list[list[str]] = []

    def ask(self, requests: Sequence[Request], read: Callable[[int, Any, Any], Any]) -> list[Any]:
        self.asked.append([request.target for request in requests])
        known = [self.know(request) for request in requests]
        return [one if isinstance(one, Failure) else read(position, one, one) for position, one in enumerate(known)]

    @contextmanager
    def leased(self) -> Iterator[Fake]:
        yield self


def by_letter(request: Request) -> Any:
    """`c...` is not known, `f...` fails, `x...` gives what is no number; others their own length."""
    word = request.target.rpartition("/")[2]
    if word.startswith("c"):
        return None
    return Failure("the server answered 500") if word.startswith("f") else {"n": "many" if word.startswith("x") else len(word)}


def ask(api: Fake, rows: pa.RecordBatch, **more: Any) -> Applied:
    step = {"id": "s", "type": "enrich", "connection": "api", "request": {"path": "/v1/{k}"}, "output": {"n": "bigint"}, **more}
    made = Ask(EnrichStep.model_validate(step), "steps[0]")
    made.reach(api.leased)
    planned = made.plan(rows.schema, None)
    made.open(rows.schema, planned, NOW)
    applied = made.apply(origin.with_load(origin.attach(rows, "t", first_row=0), "out"))
    made.close()
    check_law("s", rows.num_rows, applied)
    for batch in applied.batches:
        assert origin.visible_schema(batch.schema).equals(planned)
        assert origin.load_of(batch) == "out"
    return applied


def keyed(*keys: str | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(keys, pa.string()), pa.array(range(len(keys)), pa.int64())], names=["k", "i"])


def rows_of(applied: Applied) -> list[tuple[int, Any]]:
    return [(row["i"], row["n"]) for batch in applied.batches for row in origin.visible(batch).to_pylist()]


def dead_of(applied: Applied) -> dict[int, tuple[str, str]]:
    return {row: (code, why) for died in applied.dead for row, code, why in zip(died.rows, died.codes, died.messages, strict=True)}


def test_each_distinct_key_is_asked_for_once_and_a_null_not_at_all() -> None:
    api = Fake(by_letter)
    applied = ask(api, keyed("aa", None, "b", "aa", "b", "c"))
    assert rows_of(applied) == [(0, 2), (1, None), (2, 1), (3, 2), (4, 1), (5, None)]
    assert api.asked == [["/v1/aa", "/v1/b", "/v1/c"]]


def test_what_was_answered_is_remembered_that_there_is_nothing_too_but_no_failure() -> None:
    api = Fake(by_letter)
    ask(api, keyed("aa", "c", "f"))
    ask(api, keyed("c", "f", "aa", "d"))
    assert api.asked == [["/v1/aa", "/v1/c", "/v1/f"], ["/v1/f", "/v1/d"]]


def test_a_batch_is_looked_at_a_thousand_rows_at_a_time() -> None:
    api = Fake(by_letter)
    applied = ask(api, keyed(*(f"k{number}" for number in range(2500))))
    assert [len(asked) for asked in api.asked] == [1000, 1000, 500]
    assert rows_of(applied) == [(number, len(f"k{number}")) for number in range(2500)]


def test_a_row_whose_call_failed_or_whose_answer_does_not_fit_is_a_dead_letter_with_its_reason() -> None:
    applied = ask(Fake(by_letter), keyed("a", "f", "x", "..", "f"))
    assert rows_of(applied) == [(0, 1)]
    dead = dead_of(applied)
    assert dead[1] == dead[4] == ("lookup-failed", "the server answered 500")
    assert dead[2][0] == "cast-failed"
    assert dead[3] == ("lookup-failed", "the row's value would make another path of the request: it is empty, '.' or '..'")
    assert "many" not in str(dead)


@pytest.mark.parametrize("more", [{"onError": "null"}, {"required": False}])
def test_failed_rows_go_on_with_nulls_and_are_counted_where_that_is_asked_for(more: Row) -> None:
    applied = ask(Fake(by_letter), keyed("a", "f", "x", "c"), default={"n": -1}, **more)
    assert (rows_of(applied), applied.nulled, dead_of(applied)) == ([(0, 1), (1, None), (2, None), (3, -1)], 2, {})


@pytest.mark.parametrize(
    ("more", "rows", "filtered", "nulled", "dead"),
    [
        ({"onMissing": "null"}, [0, 1, 2], 0, 0, []),
        ({"onMissing": "drop"}, [0], 2, 0, []),
        ({"onMissing": "deadletter"}, [0], 0, 0, [1, 2]),
        ({"onMissing": "deadletter", "onError": "null"}, [0], 0, 0, [1, 2]),
        ({"onMissing": "deadletter", "required": False}, [0, 1, 2], 0, 2, []),
    ],
)
def test_what_is_not_found_is_what_on_missing_says(more: Row, rows: list[int], filtered: int, nulled: int, dead: list[int]) -> None:
    applied = ask(Fake(by_letter), keyed("a", "c", None), **more)
    assert ([row for row, _ in rows_of(applied)], applied.filtered, applied.nulled, sorted(dead_of(applied))) == (
        rows,
        filtered,
        nulled,
        dead,
    )


def test_several_keys_go_in_one_request_and_are_told_apart() -> None:
    def know(request: Request) -> Any:
        ids = [pair.partition("=")[2] for pair in request.target.partition("?")[2].split("&")]
        return Failure("the server answered 500") if "f" in ids else [{"id": one, "n": len(one)} for one in reversed(ids) if one != "c"]

    api = Fake(know)
    request = {"path": "/v1", "query": {"id": "{k}"}, "batch": {"size": 2, "match": {"k": "id"}}}
    applied = ask(api, keyed("a", "bb", "c", "ddd", "f", "a"), request=request)
    assert api.asked == [["/v1?id=a&id=bb", "/v1?id=c&id=ddd", "/v1?id=f"]]
    assert (rows_of(applied), sorted(dead_of(applied))) == ([(0, 1), (1, 2), (2, None), (3, 3), (5, 1)], [4])


def test_a_key_that_is_no_utf_8_costs_its_row() -> None:
    bad = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")])
    applied = ask(Fake(by_letter), pa.RecordBatch.from_arrays([bad, pa.array([0, 1, 2])], names=["k", "i"]))
    assert (rows_of(applied), {row: why[0] for row, why in dead_of(applied).items()}) == ([(0, 1), (2, 1)], {1: "row-invalid"})


def test_an_empty_batch_asks_nothing() -> None:
    api = Fake(by_letter)
    assert (ask(api, keyed()).batches, api.asked) == ((), [])


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"request": {"path": "/{kk}"}}, "no field 'kk'"),
        ({"output": {"I": "bigint"}}, "there is a column 'I' already"),
        ({"output": {"n": "no type"}}, "steps[0].output.n"),
        ({"default": {"n": "x"}}, "expected a value of type int64 for 'n'"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_plan_and_nothing_is_asked(more: Row, expected: str) -> None:
    api = Fake(by_letter)
    with pytest.raises(PlanError) as raised:
        ask(api, keyed("a"), **more)
    assert expected in str(raised.value)
    assert api.asked == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([None, "a", "bb", "c", "f", "x", ".."]), max_size=20), st.lists(st.integers(0, 20), max_size=3))
def test_no_split_of_the_rows_changes_what_becomes_of_them(keys: list[str | None], cuts: list[int]) -> None:
    whole = keyed(*keys)
    edges = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
    results = [ask(Fake(by_letter), whole.slice(first, last - first)) for first, last in itertools.pairwise(edges)]
    assert [row for one in results for row in rows_of(one)] == rows_of(ask(Fake(by_letter), whole))


@pytest.mark.parametrize("kind", ["json", "text"])
def test_the_deepest_answer_that_is_read_fits_a_column(kind: str) -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    applied = ask(Fake(lambda request: {"n": deep}), keyed("a"), output={"n": kind})
    assert rows_of(applied) == [(0, json.dumps(deep))]


@pytest.mark.parametrize(
    ("kind", "number", "expected"),
    [
        ("decimal(38,0)", 123456789012345678901234567890, Decimal(123456789012345678901234567890)),
        ("decimal(20,2)", Decimal("12345678901234567.89"), Decimal("12345678901234567.89")),
        ("text", Decimal("12345678901234567.89"), "12345678901234567.89"),
        ("double", 1e30, 1e30),
    ],
)
def test_no_digit_of_a_number_is_lost(kind: str, number: Any, expected: Any) -> None:
    class Exact(Fake):
        def ask(self, requests: Sequence[Request], read: Callable[[int, Any, Any], Any]) -> list[Any]:
            return [read(at, {"n": float(number)}, {"n": number}) for at, _ in enumerate(requests)]

    assert rows_of(ask(Exact(by_letter), keyed("a"), output={"n": kind})) == [(0, expected)]


def test_the_name_of_a_field_in_a_path_may_have_a_slash() -> None:
    api = Fake(by_letter)
    rows = pa.RecordBatch.from_arrays([pa.array(["x/y"]), pa.array([0])], names=["a/b", "i"])
    ask(api, rows, request={"path": "/v1/{a/b}/all"})
    assert api.asked == [["/v1/x%2Fy/all"]]
