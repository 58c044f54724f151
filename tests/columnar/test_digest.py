"""Digests of keys: equal where keys are equal, apart where they differ, and not both words of them at once."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar import hashing
from beam_pipelines.columnar.digest import digests
from beam_pipelines.columnar.keys import key_columns

DAY = dt.date(2024, 2, 29)
# Values of each type, the first of them twice, in two ways where there are two.
VALUES: dict[str, pa.Array] = {
    "text": pa.array(["", "", "a", "ab", "ab\0", "x" * 300, "x" * 299 + "y"]),
    "large text": pa.array(["a", "a", "b"], pa.large_string()),
    "view": pa.array(["a", "a", "b"], pa.string_view()),
    "dictionary": pa.array(["b", "b", "a"]).dictionary_encode(),
    "bytes": pa.array([b"\0", b"\0", b"", b"\0\0"]),
    "fixed bytes": pa.array([b"ab", b"ab", b"ba"], pa.binary(2)),
    "whole": pa.array([0, 0, 1, -1, 2**62]),
    "unsigned": pa.array([2**63, 2**63, 2**63 + 1, 2**64 - 1], pa.uint64()),
    "double": pa.array([-0.0, 0.0, 1.5, float("nan"), 1e300, float("inf")]),
    "float": pa.array([-0.0, 0.0, 1.5], pa.float32()),
    "half": pa.array(np.array([-0.0, 0.0, 1.5], dtype=np.float16)),
    "boolean": pa.array([True, True, False]),
    "decimal": pa.array([Decimal("1.5"), Decimal("1.50"), Decimal("1" + "0" * 30), Decimal("1" + "0" * 29 + "1")], pa.decimal128(38, 2)),
    "wide decimal": pa.array([Decimal(1), Decimal("1.0"), Decimal("1" + "0" * 50), Decimal("1" + "0" * 49 + "1")], pa.decimal256(60, 1)),
    "date": pa.array([DAY, DAY, DAY + dt.timedelta(1)]),
    "timestamp": pa.array([1, 1, 2, 1001], pa.timestamp("ns")),
    "time": pa.array([1, 1, 2], pa.time32("s")),
    "duration": pa.array([1, 1, 2], pa.duration("us")),
    "interval": pa.array([(1, 2, 3), (1, 2, 3), (1, 2, 4), (2, 2, 3)], pa.month_day_nano_interval()),
    "uuid": pa.array([uuid.UUID(int=1).bytes, uuid.UUID(int=1).bytes, uuid.UUID(int=2**64).bytes], pa.uuid()),
    "struct": pa.array([{"a": 1, "b": None}, {"a": 1, "b": None}, {"a": 1, "b": ""}, {"a": None, "b": None}, {"a": 1, "b": "x"}]),
    "list": pa.array([[1, 2], [1, 2], [12], []]),
}


def told(*arrays: pa.Array) -> list[tuple[int, int]]:
    high, low = digests([column for array in arrays for column in key_columns(array)], len(arrays[0]))
    return list(zip(high.tolist(), low.tolist(), strict=True))


@pytest.mark.parametrize("kind", VALUES)
def test_equal_values_have_one_digest_and_others_have_their_own(kind: str) -> None:
    values = VALUES[kind]
    found = told(values)
    assert found[0] == found[1]
    for word in (0, 1):
        assert len({one[word] for one in found}) == len(values) - 1
    # A slice is no other value.
    assert told(pa.concat_arrays([values, values]).slice(1, len(values))) == [*found[1:], found[0]]


def test_several_values_are_told_apart_by_where_they_are() -> None:
    left, right = pa.array(["a", "ab", "a", "b"]), pa.array(["bc", "c", "bc", "a"])
    found = told(left, right)
    assert found[0] == found[2]
    assert len(set(found)) == 3
    assert len({*told(left, right), *told(right, left)}) == 6


def test_no_rows_have_no_digests() -> None:
    assert told(pa.array([], pa.string())) == []


def test_keys_that_meet_in_one_word_do_not_therefore_meet_in_the_other() -> None:
    # The first hash can be run backwards: the second word of a text makes good what the first has changed.
    def after(word: int) -> int:
        begin = hashing._seeded(np.array([16], dtype=np.int64), "bytes")
        return int(hashing._mix(np.array([word], dtype=np.uint64) + begin * hashing._SECOND)[0])

    one = [1, 7]
    other = [2, (7 + (after(1) - after(2)) * int(hashing._SECOND)) % 2**64]
    keys: list[Any] = [np.array(words, dtype="<u8").tobytes() for words in (one, other)]
    (first, second) = told(pa.array(keys))
    assert first[0] == second[0]
    assert first[1] != second[1]
