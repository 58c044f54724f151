"""Which rows repeat a key, against plain Python, for any cut into batches."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.rules.key import unique
from beam_pipelines.rules.key.unique import Repeats, repeats

KEEPS = ["first", "last", "none"]
KEYS: dict[str, list[Any]] = {
    "text": ["a", "b", "", "ü" * 9, "x" * 300, "y" * 300],
    "whole": [0, 1, -1, 2**62],
    "both": [("a", 1), ("a", 2)],
}


def told(keys: list[Any], keep: str) -> tuple[list[int], int, int]:
    """Rows that violate, keys that repeat, and rows that have one, by hand."""
    times = Counter(keys)
    wanted = []
    for row, key in enumerate(keys):
        last = key not in keys[row + 1 :]
        first = key not in keys[:row]
        kept = {"first": first, "last": last, "none": False}[keep]
        if times[key] > 1 and not kept:
            wanted.append(row)
    more = [number for number in times.values() if number > 1]
    return wanted, len(more), sum(more)


def parts(keys: list[Any], cuts: list[int]) -> list[list[pa.Array]]:
    several = bool(keys) and isinstance(keys[0], tuple)
    columns = [list(column) for column in zip(*keys, strict=True)] if several else [keys]
    ends = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
    return [[pa.array(column).slice(a, b - a) for a, b in pairwise(ends)] for column in columns]


def same(found: Repeats, wanted: tuple[list[int], int, int]) -> bool:
    return (found.rows.tolist(), found.keys, found.members) == wanted


@pytest.mark.parametrize("kind", KEYS)
@given(data=st.data())
def test_rows_that_repeat_a_key_are_those_that_plain_python_finds(kind: str, data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(KEYS[kind]), min_size=1, max_size=12))
    cuts = data.draw(st.lists(st.integers(0, 12), max_size=3))
    keep = data.draw(st.sampled_from(KEEPS))
    assert same(repeats(parts(keys, cuts), keep), told(keys, keep))


@pytest.mark.parametrize("keep", KEEPS)
def test_a_few_repeats_among_many_keys_are_found(keep: str) -> None:
    keys = [f"k{i}" for i in range(20_000)]
    for row, of in ((7, 19_000), (19_999, 0), (500, 400), (501, 400)):
        keys[row] = keys[of]
    assert same(repeats(parts(keys, [3, 9_000]), keep), told_of_many(keys, keep))


def told_of_many(keys: list[str], keep: str) -> tuple[list[int], int, int]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    several = [found for found in rows.values() if len(found) > 1]
    cut = {"first": slice(1, None), "last": slice(None, -1), "none": slice(None)}[keep]
    return sorted(row for found in several for row in found[cut]), len(several), sum(map(len, several))


def test_keys_that_share_a_hash_are_told_apart_by_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "quick_hashes", lambda columns: np.full(len(columns[0]), 5, dtype=np.uint64))
    assert repeats(parts(["a", "b", "c"], [1]), "first").rows.tolist() == []
    assert same(repeats(parts(["a", "b", "c", "b"], [2]), "first"), ([3], 1, 2))


def test_zero_is_minus_zero_and_nan_is_nan() -> None:
    key = unique.key_columns(pa.array([0.0, float("nan"), -0.0, float("nan"), 1.0]))
    assert same(repeats([key], "first"), ([2, 3], 2, 4))


def test_no_rows_repeat_nothing() -> None:
    assert same(repeats([[]], "first"), ([], 0, 0))
    assert same(repeats([[pa.array([], pa.string())]], "none"), ([], 0, 0))
