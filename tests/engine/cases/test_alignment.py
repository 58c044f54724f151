"""Which row was expected as which."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.engine.cases.alignment import Within, align, same


def rows(*values: dict[str, Any]) -> list[dict[tuple[str, ...], Any]]:
    return [{(name,): value for name, value in row.items()} for row in values]


def pairs(expected: list[Any], got: list[Any], **how: Any) -> list[tuple[Any, ...]]:
    return [(pair.expected, pair.got, [".".join(place) for place in pair.places]) for pair in align(expected, got, **how)]


@pytest.mark.parametrize(
    ("a", "b", "answer"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (1.0, 1.0001, False),
        (0.0, -0.0, True),
        (True, 1, False),
        ("1", 1, False),
        (None, 0, False),
        ("NaN", "NaN", True),
        ([1, 0.1 + 0.2], [1, 0.3], True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        (Within("missing"), "name is missing (line 3)", True),
        (Within("line 4"), "name is missing (line 3)", False),
    ],
)
def test_same(a: Any, b: Any, answer: bool) -> None:
    assert same(a, b) is answer


def test_rows_without_an_order_find_their_like():
    got = rows({"id": 3, "n": "c"}, {"id": 1, "n": "a"}, {"id": 2, "n": "b"})
    assert pairs(rows({"id": 1, "n": "a"}, {"id": 2, "n": "x"}, {"id": 9, "n": "z"}), got) == [
        (0, 1, []),
        (1, 2, ["n"]),
        (2, None, []),
        (None, 0, []),
    ]


def test_a_row_that_names_few_columns_leaves_the_row_that_another_one_needs():
    got = rows({"a": 1, "b": 1}, {"a": 1, "b": 2})
    assert pairs(rows({"a": 1}, {"a": 1, "b": 1}), got) == [(0, 1, []), (1, 0, [])]


def test_rows_make_room_for_each_other():
    got = rows({"a": 1, "b": 1, "c": 0}, {"a": 1, "b": 0, "c": 1}, {"a": 0, "b": 0, "c": 1})
    assert pairs(rows({"a": 1}, {"c": 1}, {"b": 1}), got) == [(0, 1, []), (1, 2, []), (2, 0, [])]


def test_rows_in_order_say_where_one_is_missing():
    got = rows({"id": 1}, {"id": 3})
    assert pairs(rows({"id": 1}, {"id": 2}, {"id": 3}), got, ordered=True) == [(0, 0, []), (1, None, []), (2, 1, [])]
    assert pairs(rows({"id": 3}, {"id": 1}), got, ordered=True) == [(0, 0, ["id"]), (1, 1, ["id"])]


def test_keys_say_which_row_is_meant():
    got = rows({"id": 1, "x": 1, "y": 1}, {"id": 2, "x": 2, "y": 2}, {"id": 2, "x": 3, "y": 3})
    expected = rows({"id": 2, "x": 1, "y": 1}, {"id": 4, "x": 1, "y": 1})
    assert pairs(expected, got, keys=[("id",)]) == [(0, 1, ["x", "y"]), (1, None, []), (None, 0, []), (None, 2, [])]


small = st.dictionaries(st.sampled_from("abc"), st.integers(0, 1), max_size=3)
whole = st.fixed_dictionaries({"a": st.integers(0, 1), "b": st.integers(0, 1), "c": st.integers(0, 1)})


@given(st.lists(small, max_size=4), st.lists(whole, max_size=4))
def test_as_many_rows_fit_as_can(expected: list[dict[str, int]], got: list[dict[str, int]]) -> None:
    fitting = sum(pair.fits for pair in align(rows(*expected), rows(*got)))
    slots: list[Any] = [*range(len(got)), *[None] * len(expected)]
    best = max(
        sum(at is not None and row.items() <= got[at].items() for row, at in zip(expected, choice, strict=True))
        for choice in itertools.permutations(slots, len(expected))
    )
    assert fitting == best


@given(st.lists(st.fixed_dictionaries({"a": st.integers(0, 3), "b": st.integers(0, 3)}), max_size=6), st.randoms())
def test_every_row_of_either_side_is_in_one_pair(got: list[dict[str, int]], chance: Any) -> None:
    expected = [*chance.sample(got, len(got) // 2), {"a": 9, "b": 9}]
    for how in ({}, {"ordered": True}, {"keys": [("a",)]}):
        found = align(rows(*expected), rows(*got), **how)  # type: ignore[arg-type]
        assert sorted(pair.expected for pair in found if pair.expected is not None) == list(range(len(expected)))
        assert sorted(pair.got for pair in found if pair.got is not None) == list(range(len(got)))


def test_many_rows_in_another_order_are_matched_at_once() -> None:
    many = rows(*({"id": n, "n": n % 7} for n in range(5_000)))
    assert all(pair.fits for pair in align(many, many[::-1]))
