"""Which rows meet: every way to join, every type of key, every way to cut and shard, against plain Python."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import index

HOWS = ("inner", "left", "right", "full", "semi", "anti")
Join = Callable[..., Any]
D = Decimal
DEC = pa.decimal128
UTC = dt.timezone.utc
DAY = dt.datetime(2024, 1, 1)

# Types of the two sides, and values that both can hold.
TYPES: dict[str, tuple[pa.DataType, pa.DataType, list[Any]]] = {
    "bool": (pa.bool_(), pa.bool_(), [True, False]),
    "int64": (pa.int64(), pa.int64(), [0, 1, -1, 2**63 - 1, -(2**63)]),
    "int8, int64": (pa.int8(), pa.int64(), [0, 1, -1, 127]),
    "uint64, int64": (pa.uint64(), pa.int64(), [0, 1, 2**63 - 1]),
    "float64": (pa.float64(), pa.float64(), [0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 1e300]),
    "float32, float64": (pa.float32(), pa.float64(), [0.0, -0.0, math.nan, 0.5, 3.0]),
    "int64, float64": (pa.int64(), pa.float64(), [0, 1, -1, 2**53]),
    "int64, decimal": (pa.int64(), pa.decimal128(38, 10), [0, 1, -1, 10**12]),
    "decimals": (pa.decimal128(20, 2), DEC(38, 20), [D("0.10"), D("1.00"), D("-7.25")]),
    "float64, decimal": (pa.float64(), DEC(38, 20), [0.5, 1.0, -2.25]),
    "text": (pa.string(), pa.string(), ["", "a", "A", "ä", "a" * 300, "1"]),
    "text, view": (pa.large_string(), pa.string_view(), ["", "a", "a longer text than twelve"]),
    "bytes": (pa.binary(), pa.large_binary(), [b"", b"\x00", b"ab"]),
    "bytes, fixed": (pa.binary(), pa.binary(2), [b"\x00\x00", b"ab"]),
    "date": (pa.date32(), pa.date64(), [dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)]),
    "timestamp": (pa.timestamp("us"), pa.timestamp("s"), [dt.datetime(2024, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59)]),
    "zoned": (pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Berlin"), [dt.datetime(2024, 1, 1, tzinfo=UTC)]),
    "time": (pa.time32("s"), pa.time64("us"), [dt.time(0), dt.time(23, 59, 59)]),
    "duration": (pa.duration("ms"), pa.duration("us"), [dt.timedelta(0), dt.timedelta(days=-1), dt.timedelta(seconds=1)]),
    "interval": (pa.month_day_nano_interval(), pa.month_day_nano_interval(), [(1, 2, 3), (0, 0, 0), (1, 2, 4)]),
    "uuid": (pa.uuid(), pa.uuid(), [uuid.UUID(int=0).bytes, uuid.UUID(int=7).bytes]),
    "json": (pa.json_(), pa.json_(), ['{"a":1}', "1", "null"]),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), pa.string(), ["", "a", "b"]),
    "dictionaries": (pa.dictionary(pa.int32(), pa.int64()), pa.dictionary(pa.int8(), pa.int64()), [1, 2, 3]),
    "null": (pa.null(), pa.int64(), []),
}


def array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        convert = float if pa.types.is_floating(kind) else D
        values = [None if value is None else convert(value) for value in values]
    return pa.array(values, kind)


def equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return False
    return bool(one == other or (one != one and other != other))


def expected(how: str, left: list[Any], right: list[Any]) -> list[tuple[Any, Any]]:
    """Numbers of the rows that come out together, None where there is none on a side."""
    pairs: list[tuple[Any, Any]] = [(x, y) for (x, a), (y, b) in itertools.product(enumerate(left), enumerate(right)) if equal(a, b)]
    ours, theirs = {x for x, _ in pairs}, {y for _, y in pairs}
    if how == "semi":
        return [(x, None) for x in sorted(ours)]
    lonely: list[tuple[Any, Any]] = [(x, None) for x in range(len(left)) if x not in ours]
    if how == "anti":
        return lonely
    pairs += lonely if how in ("left", "full") else []
    return pairs + ([(None, y) for y in range(len(right)) if y not in theirs] if how in ("right", "full") else [])


def numbers(rows: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(row["x"], row.get("y")) for row in rows]


def order(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return sorted(pairs, key=repr)


def sides(left: list[Any], right: list[Any], types: str) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    ours, theirs, _ = TYPES[types]
    return (
        pa.record_batch({"k": array(left, ours), "x": pa.array(range(len(left)), pa.int64())}),
        pa.record_batch({"k": array(right, theirs), "y": pa.array(range(len(right)), pa.int64())}),
    )


def collide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all keys have one hash."""
    monkeypatch.setattr(index, "_hashes", lambda keys, rows: np.full(rows, 7, dtype=np.uint64))


@st.composite
def cases(draw: st.DrawFn) -> Any:
    types = draw(st.sampled_from(sorted(TYPES)))
    values = st.sampled_from([None, *TYPES[types][2]])
    left, right = (draw(st.lists(values, max_size=12)) for _ in range(2))
    cuts = st.lists(st.integers(0, 12), max_size=3)
    return types, left, right, draw(cuts), draw(cuts), draw(st.sampled_from([1, 2, 16]))


@pytest.mark.parametrize("how", HOWS)
@given(case=cases())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_meet_by_equal_keys_however_they_are_cut_and_sharded(join: Join, how: str, case: Any) -> None:
    types, left, right, lefts, rights, shards = case
    ours, theirs, _ = TYPES[types]
    if how in ("right", "full") and ours != theirs:
        types = next(name for name, (one, other, _) in TYPES.items() if name == "int64")
        left, right = ([None if value is None else hash(value) % 5 for value in side] for side in (left, right))
    joined = join(*sides(left, right, types), how, lefts=lefts, rights=rights, shards=shards)
    assert order(numbers(joined.rows)) == order(expected(how, left, right))


@pytest.mark.parametrize("types", sorted(TYPES))
@pytest.mark.parametrize("how", ["inner", "full"])
def test_each_type_meets_itself_once_and_null_meets_nothing(join: Join, types: str, how: str) -> None:
    ours, theirs, values = TYPES[types]
    if how == "full" and ours != theirs:
        how = "left"
    joined = join(*sides([*values, None], [None, *values], types), how, shards=2)
    assert order(numbers(joined.rows)) == order(expected(how, [*values, None], [None, *values]))
    assert len(values) == 0 or len([pair for pair in numbers(joined.rows) if None not in pair]) >= len(values)


@pytest.mark.parametrize("constant", [False, True], ids=["hashed", "colliding"])
@pytest.mark.parametrize(
    ("left", "right", "meet"),
    [
        (pa.array([2**53 + 1]), pa.array([2.0**53]), False),
        (pa.array([2**53]), pa.array([2.0**53]), True),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1]), False),
        (pa.array([2**63], pa.uint64()), pa.array([-(2**63)]), False),
        (pa.array([3]), pa.array([D("3.00000000000000000001")], DEC(38, 20)), False),
        (pa.array([D("0.12345678901234567890")], DEC(38, 20)), pa.array([D("0.123456789012345678901")], DEC(38, 21)), False),
        (pa.array([D(10) ** 37], pa.decimal128(38, 0)), pa.array([D("0.5")], pa.decimal128(38, 38)), False),
        (pa.array([D("0.1")], DEC(38, 20)), pa.array([0.1]), True),
        (pa.array([D("0.1")], pa.decimal128(3, 1)), pa.array([D("0.1")], pa.decimal256(70, 60)), True),
        (pa.array([0.1], pa.float32()), pa.array([0.1]), False),
        (pa.array([dt.datetime(9999, 1, 1)], pa.timestamp("us")), pa.array([0], pa.timestamp("ns")), False),
        (pa.array([1], pa.timestamp("ns")), pa.array([0], pa.timestamp("us")), False),
        (pa.array([DAY], pa.timestamp("us")), pa.array([DAY.replace(tzinfo=UTC)], pa.timestamp("us", "UTC")), True),
        (pa.array([], pa.int64()), pa.array([1]), False),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_and_times_meet_by_what_they_are(
    join: Join, monkeypatch: pytest.MonkeyPatch, left: pa.Array, right: pa.Array, meet: bool, constant: bool
) -> None:
    if constant:
        collide(monkeypatch)
    joined = join(pa.record_batch({"k": left}), pa.record_batch({"k": right, "y": [1] * len(right)}))
    assert len(joined.rows) == int(meet)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("types", ["int64", "text", "float64"])
def test_keys_that_share_a_hash_are_told_apart_by_their_values(join: Join, monkeypatch: pytest.MonkeyPatch, how: str, types: str) -> None:
    collide(monkeypatch)
    monkeypatch.setattr(index, "MAX_PAIRS", 3)
    values = TYPES[types][2]
    left, right = [*values, None, values[0]], [values[1], values[1], *values[3:], None]
    joined = join(*sides(left, right, types), how, lefts=[2], rights=[3])
    assert order(numbers(joined.rows)) == order(expected(how, left, right))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("most", [1, 2, 3, 7, 1000])
def test_many_meet_many_in_parts_of_any_size(join: Join, monkeypatch: pytest.MonkeyPatch, how: str, most: int) -> None:
    monkeypatch.setattr(index, "MAX_PAIRS", most)
    left, right = [1, 2, 1, None, 5, 1, 3], [1, 1, 2, 4, None, 1, 3, 3]
    joined = join(*sides(left, right, "int64"), how, lefts=[3], rights=[1])
    assert order(numbers(joined.rows)) == order(expected(how, left, right))
    if how in ("left", "inner"):
        assert all(batch.num_rows <= most for batch in joined.batches)
        assert [x for x, _ in numbers(joined.rows)] == sorted(x for x, _ in numbers(joined.rows)), "left rows keep their order"


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("left", "right"), [([], [1, 2]), ([1, 2], []), ([], []), ([None], [None])])
def test_an_empty_side_is_a_side(join: Join, how: str, left: list[Any], right: list[Any]) -> None:
    joined = join(*sides(left, right, "int64"), how)
    assert order(numbers(joined.rows)) == order(expected(how, left, right))


@pytest.mark.parametrize("how", HOWS)
def test_several_keys_meet_together_and_one_null_is_enough_to_meet_nothing(join: Join, how: str) -> None:
    left = [(1, "a"), (1, "b"), (None, "a"), (2, None), (2, "ab"), (1, "a")]
    right = [(1, "a"), (2, "ab"), (None, "a"), (1, "c"), (2, "b")]
    tables = [
        pa.record_batch({"k": pa.array([k for k, _ in side], pa.int64()), "g": [g for _, g in side], name: pa.array(range(len(side)))})
        for name, side in (("x", left), ("y", right))
    ]
    whole = [[None if None in key else key for key in side] for side in (left, right)]
    joined = join(*tables, how, ["k", "g"], lefts=[1, 4], rights=[2], shards=16)
    assert order(numbers(joined.rows)) == order(expected(how, *whole))


def test_text_and_number_are_never_cut_alike(join: Join) -> None:
    tables = [
        pa.record_batch({"a": one, "b": other, name: pa.array([0])}) for name, one, other in (("x", ["a"], ["bc"]), ("y", ["ab"], ["c"]))
    ]
    assert join(*tables, "inner", ["a", "b"]).rows == []


def test_nested_keys_meet(join: Join) -> None:
    left = pa.record_batch({"address": [{"code": "A"}, {"code": None}, None, {"code": "B"}], "x": pa.array(range(4))})
    right = pa.record_batch({"codes": [["A"], ["Z", "B"], [], None], "y": pa.array(range(4))})
    joined = join(left, right, "left", {"address.code": "codes[0]"})
    assert order(numbers(joined.rows)) == order([(0, 0), (1, None), (2, None), (3, None)])
    assert joined.schema.names == ["address", "x", "codes", "y"], "a nested key of the right side is part of a column that comes out"


def test_a_dictionary_that_holds_null_has_no_key_there(join: Join) -> None:
    kind = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", None]))
    joined = join(pa.record_batch({"k": kind, "x": pa.array(range(3))}), pa.record_batch({"k": kind, "y": pa.array(range(3))}), "left")
    assert order(numbers(joined.rows)) == order([(0, 0), (1, None), (2, None)])


def test_a_sliced_side_is_read_from_where_it_begins(join: Join) -> None:
    for types, (kind, _, values) in TYPES.items():
        if len(values) < 3 or kind != TYPES[types][1]:
            continue
        left, right = sides(values, values, types)
        joined = join(left.slice(1), right.slice(2), "inner")
        assert order(numbers(joined.rows)) == order([(x + 1, y + 2) for x, y in expected("inner", values[1:], values[2:])]), types
