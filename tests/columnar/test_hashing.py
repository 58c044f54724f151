from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar.hashing import row_hashes, shard

NAN = float("nan")
OTHER_NAN = float(np.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\xff", "<f8")[0])


def _hash(kind: pa.DataType, value: object) -> int:
    return int(row_hashes(pa.record_batch([pa.array([value], kind)], names=["k"]), ["k"])[0])


EQUAL = {
    "one": [
        (pa.int8(), 1),
        (pa.uint64(), 1),
        (pa.int64(), 1),
        (pa.float32(), 1.0),
        (pa.float64(), 1.0),
        (pa.decimal128(5, 2), Decimal("1.00")),
        (pa.decimal128(38, 0), Decimal(1)),
        (pa.decimal128(38, 30), Decimal(1)),
        (pa.decimal256(60, 2), Decimal(1)),
    ],
    "zero": [
        (pa.int64(), 0),
        (pa.float64(), -0.0),
        (pa.float64(), 0.0),
        (pa.decimal128(5, 2), Decimal(0)),
        (pa.decimal128(30, 20), Decimal(0)),
    ],
    "a half": [(pa.float64(), 0.5), (pa.float32(), 0.5), (pa.decimal128(5, 1), Decimal("0.5")), (pa.decimal128(38, 20), Decimal("0.5"))],
    "a tenth": [(pa.float64(), 0.1), (pa.decimal128(5, 1), Decimal("0.1")), (pa.decimal128(38, 25), Decimal("0.1"))],
    "many digits": [
        (pa.decimal128(18, 2), Decimal("1234567890123456.45")),
        (pa.decimal128(38, 12), Decimal("1234567890123456.45")),
        (pa.float64(), 1234567890123456.45),
    ],
    "negative": [(pa.int32(), -7), (pa.float64(), -7.0), (pa.decimal128(38, 4), Decimal(-7))],
    "above 2^53": [(pa.int64(), 2**53 + 1), (pa.decimal128(38, 2), Decimal(2**53 + 1)), (pa.uint64(), 2**53 + 1)],
    "least": [(pa.int64(), -(2**63)), (pa.float64(), -(2.0**63)), (pa.decimal128(38, 0), Decimal(-(2**63)))],
    "above 2^63": [(pa.uint64(), 10**19), (pa.float64(), 1e19), (pa.decimal128(38, 3), Decimal(10**19))],
    "nan": [(pa.float64(), NAN), (pa.float64(), OTHER_NAN), (pa.float32(), NAN)],
    "text": [
        (pa.string(), "größe and more"),
        (pa.large_string(), "größe and more"),
        (pa.string_view(), "größe and more"),
        (pa.dictionary(pa.int8(), pa.string()), "größe and more"),
    ],
    "empty text": [(pa.string(), ""), (pa.large_string(), "")],
    "long text": [(pa.string(), "x" * 1_000), (pa.string_view(), "x" * 1_000)],
    "digits": [(pa.string(), "1")],
    "bytes": [(pa.binary(), b"1"), (pa.binary(1), b"1"), (pa.large_binary(), b"1"), (pa.binary_view(), b"1")],
    "true": [(pa.bool_(), True)],
    "date": [(pa.date32(), dt.date(1970, 1, 2)), (pa.date64(), dt.date(1970, 1, 2))],
    "instant": [
        (pa.timestamp("s"), dt.datetime(1970, 1, 2)),
        (pa.timestamp("us"), dt.datetime(1970, 1, 2)),
        (pa.timestamp("ns", "UTC"), dt.datetime(1970, 1, 2)),
        (pa.timestamp("ms", "Asia/Tokyo"), dt.datetime(1970, 1, 2, tzinfo=dt.timezone.utc)),
    ],
    "time": [(pa.time32("s"), dt.time(0, 0, 1)), (pa.time64("ns"), dt.time(0, 0, 1))],
    "duration": [(pa.duration("s"), dt.timedelta(seconds=1)), (pa.duration("us"), dt.timedelta(seconds=1))],
    "interval": [(pa.month_day_nano_interval(), (1, 0, 0))],
    "other interval": [(pa.month_day_nano_interval(), (0, 30, 0))],
    "struct": [(pa.struct([("a", pa.int64())]), {"a": 1}), (pa.struct([("a", pa.float64())]), {"a": 1.0})],
    "list": [(pa.list_(pa.int64()), [1, 2]), (pa.large_list(pa.int8()), [1, 2])],
    "null": [
        (pa.int64(), None),
        (pa.string(), None),
        (pa.float64(), None),
        (pa.null(), None),
        (pa.list_(pa.int8()), None),
        (pa.decimal128(5, 1), None),
    ],
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_keys_have_equal_hashes_whatever_carries_them(name: str) -> None:
    assert len({_hash(kind, value) for kind, value in EQUAL[name]}) == 1


def test_keys_of_different_meaning_or_value_differ() -> None:
    assert len({_hash(*pairs[0]) for pairs in EQUAL.values()}) == len(EQUAL)


def test_a_uuid_is_neither_its_bytes_nor_its_text() -> None:
    identity = uuid.UUID(int=5)
    batch = pa.record_batch([pa.ExtensionArray.from_storage(pa.uuid(), pa.array([identity.bytes], pa.binary(16)))], names=["k"])

    assert len({int(row_hashes(batch, ["k"])[0]), _hash(pa.binary(), identity.bytes), _hash(pa.string(), str(identity))}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a", "bc"), ("ab", "c")), (("a", None), (None, "a")), (("", "a"), ("a", "")), ((None, None), ("", "")), (("a\0", ""), ("a", "\0"))],
)
def test_parts_of_a_key_keep_their_place(one: tuple[str, str], other: tuple[str, str]) -> None:
    batch = pa.record_batch([pa.array([one[i], other[i]], pa.string()) for i in range(2)], names=["a", "b"])

    first, second = row_hashes(batch, ["a", "b"])
    assert first != second


_WORD = 2**64 - 1


def _mixed(word: int) -> int:
    """splitmix64, in Python's own integers."""
    word = (word + 0x9E3779B97F4A7C15) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return word ^ (word >> 31)


def _seed(place: int) -> int:
    return 0x5851F42D4C957F2D * (place + 1) & _WORD


def _of_int(value: int) -> int:
    return _mixed((value & _WORD) ^ _seed(2))


def _of_text(value: str) -> int:
    data = value.encode()
    found = _mixed(len(data) ^ _seed(4))
    for at in range(0, len(data), 8):
        found = _mixed((found * 0x94D049BB133111EB + int.from_bytes(data[at : at + 8], "little")) & _WORD)
    return found


def _of_key(*parts: int) -> int:
    found = len(parts)
    for part in parts:
        found = _mixed((found * 0xBF58476D1CE4E5B9 + part) & _WORD)
    return found


def test_hashes_are_fixed_for_ever() -> None:
    """Stored shards depend on this arithmetic: a change of it is a change of format."""
    numbers = [0, 1, -1, 2**62, -(2**63)]
    texts = ["", "a", "customer 17", "größe", "exactly 16 bytes"]
    batch = pa.record_batch({"n": numbers, "t": texts})

    assert row_hashes(batch, ["n"]).tolist() == [_of_key(_of_int(n)) for n in numbers]
    assert row_hashes(batch, ["t"]).tolist() == [_of_key(_of_text(t)) for t in texts]
    assert row_hashes(batch, ["t", "n"]).tolist() == [_of_key(_of_text(t), _of_int(n)) for n, t in zip(numbers, texts, strict=True)]
    assert shard(batch, ["n"], 1_000).to_pylist() == [344, 546, 165, 726, _of_key(_of_int(-(2**63))) % 1_000]


def test_another_process_with_another_hash_seed_agrees() -> None:
    code = (
        "import pyarrow as pa; from beam_pipelines.columnar.hashing import shard\n"
        "b = pa.record_batch({'t': ['x', 'a longer text', None], 'n': [1, 2, 3], 'l': [[1], [], None]})\n"
        "print(shard(b, ['t', 'n', 'l'], 97).to_pylist())"
    )

    answers = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    batch = pa.record_batch({"t": ["x", "a longer text", None], "n": [1, 2, 3], "l": [[1], [], None]})
    assert answers == {f"{shard(batch, ['t', 'n', 'l'], 97).to_pylist()}\n"}


@pytest.mark.parametrize("kind", ["integers", "texts", "floats"])
def test_keys_spread_evenly(kind: str) -> None:
    numbers = np.arange(64_000)
    column = {"integers": pa.array(numbers * 1_024), "texts": pa.array([f"key {n}" for n in numbers]), "floats": pa.array(numbers / 3)}[
        kind
    ]

    counts = np.bincount(shard(pa.record_batch([column], names=["k"]), ["k"], 64).to_numpy(), minlength=64)

    # Chi square with 63 degrees of freedom: 120 is beyond one in 100,000.
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 120


def test_a_shard_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one shard, got 0"):
        shard(pa.record_batch({"a": [1]}), ["a"], 0)
    assert shard(pa.record_batch({"a": [1, 2]}), ["a"], 1).to_pylist() == [0, 0]


COLUMNS = {
    "int": (pa.int64(), st.none() | st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float64(), st.none() | st.floats()),
    "decimal": (pa.decimal128(30, 6), st.none() | st.decimals(-(10**20), 10**20, places=6)),
    "text": (pa.string(), st.none() | st.text(max_size=20) | st.text(min_size=250, max_size=300)),
    "stamp": (pa.timestamp("us"), st.none() | st.datetimes()),
    "dict": (pa.dictionary(pa.int32(), pa.string()), st.none() | st.sampled_from(["a", "b"])),
    "list": (pa.list_(pa.int8()), st.none() | st.lists(st.integers(0, 5), max_size=3)),
}


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_shards_do_not_depend_on_how_rows_were_cut(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 20))
    names = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True))
    columns = [pa.array(data.draw(st.lists(COLUMNS[n][1], min_size=rows, max_size=rows)), COLUMNS[n][0]) for n in names]
    batch = pa.record_batch(columns, names=names)
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=4)))

    whole = shard(batch, names, 101).to_pylist()

    parts = [batch.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, rows], strict=True)]
    assert [s for part in parts for s in shard(part, names, 101).to_pylist()] == whole


def test_many_texts_have_the_hashes_that_each_has_alone() -> None:
    texts = [None if at % 11 == 0 else "é" * (at % 7) + str(at) * (1 + at % 60) for at in range(20_000)]
    batch = pa.record_batch([pa.array(texts)], names=["t"])
    hashes = row_hashes(batch, ["t"])
    some = [0, 1, 8_191, 8_192, 8_193, 16_383, 16_384, 19_999]
    assert [row_hashes(batch.slice(at, 1), ["t"])[0] for at in some] == hashes[some].tolist()
    assert len(set(hashes.tolist())) == 1 + sum(text is not None for text in texts)


@settings(deadline=None, max_examples=200)
@given(st.integers(-(10**25), 10**25), st.integers(0, 12), st.integers(0, 12))
def test_a_decimal_has_one_hash_at_every_scale(unscaled: int, scale: int, extra: int) -> None:
    value = Decimal(unscaled).scaleb(-scale)

    one = _hash(pa.decimal128(38, scale), value)

    assert _hash(pa.decimal256(70, scale + extra), value) == one
    if len(str(abs(unscaled))) + extra <= 38:
        assert _hash(pa.decimal128(38, scale + extra), value) == one
    if value == value.to_integral_value() and -(2**63) <= value < 2**63:
        assert _hash(pa.int64(), int(value)) == one
    else:
        assert _hash(pa.float64(), float(value)) == one


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.decimal128(38, 0), [Decimal(10**37 + i) for i in range(500)]),
        (pa.decimal128(38, 10), [Decimal(10**27 + i).scaleb(-10) for i in range(500)]),
        (pa.decimal256(70, 0), [Decimal(10**60 + i) for i in range(500)]),
        (pa.uint64(), [2**63 + i for i in range(500)]),
        (pa.struct({"v": pa.decimal128(38, 0)}), [{"v": Decimal(10**37 + i)} for i in range(500)]),
    ],
    ids=str,
)
def test_numbers_that_no_double_tells_apart_have_hashes_of_their_own_among_their_like(kind: pa.DataType, values: list[object]) -> None:
    batch = pa.record_batch({"v": pa.array(values, kind)})
    assert len(set(row_hashes(batch, ["v"], one_type=True).tolist())) == 500
