from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar.quick_hash import quick_hashes

KINDS = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]
# Around a word of eight bytes, two of them, and the longest that is read word by word.
LENGTHS = [0, 1, 7, 8, 9, 15, 16, 17, 24, 25, 255, 256, 257, 1_000]


def texts(seed: int) -> list[bytes | None]:
    """Texts of all lengths, each beside others that differ from it in one byte, and null; in any order."""
    chance, found = random.Random(seed), set[bytes | None]([None])
    for length in LENGTHS:
        text = bytes(chance.choice(b"abcdefgh") for _ in range(length))
        found |= {text, *(text[:at] + b"x" + text[at + 1 :] for at in range(length))}
    return chance.sample(sorted(found, key=str), len(found))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_equal_texts_have_equal_hashes_wherever_they_lie_and_others_have_others(kind: Any) -> None:
    one, other = pa.array(texts(1), pa.large_binary()).cast(kind), pa.array(sorted(texts(1), key=str), pa.large_binary()).cast(kind)
    first = dict(zip(one.to_pylist(), quick_hashes([one]).tolist(), strict=True))
    assert len(set(first.values())) == len(first) == len(one)
    rows = [0, 3, len(other) - 1]  # each alone, and in a slice of a slice
    whole = quick_hashes([other]).tolist()
    assert whole == [first[text] for text in other.to_pylist()]
    assert [int(quick_hashes([other.slice(1).slice(row - 1 if row else 0, 1)])[0]) for row in rows] == [whole[row or 1] for row in rows]


def test_of_several_columns_each_counts_in_its_place() -> None:
    left, right = pa.array(["a lot longer than a word", "b"]), pa.array(["b", "a lot longer than a word"])
    numbers = pa.array([1, 1])
    hashes = [*quick_hashes([left, right]), *quick_hashes([left, numbers]), *quick_hashes([numbers, left])]
    assert len(set(map(int, hashes))) == len(hashes)


def test_numbers_in_a_row_fall_into_all_shards_alike() -> None:
    hashes = quick_hashes([pa.array([f"user{number}@example.com" for number in range(100_000)])])
    for counts in (np.bincount((hashes >> np.uint64(56)).astype(np.int64) % 16), np.bincount((hashes % np.uint64(16)).astype(np.int64))):
        assert counts.min() > 5_900  # of 6,250, whose deviation is 77
        assert counts.max() < 6_600
    assert len(np.unique(hashes.astype(np.uint32))) > 99_990
