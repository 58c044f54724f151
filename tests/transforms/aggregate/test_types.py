"""Every function over every type of field and of key: whatever the cut, the order and the shards, what plain Python works out."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import uuid
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError

ANY = ["count", "first", "last", "collect"]
APART = [*ANY, "count_distinct"]
ORDERED = [*APART, "min", "max"]
NUMBERS = [*ORDERED, "sum", "avg", "median", "stddev"]
PIECES = st.tuples(st.integers(0, 99), st.sampled_from([1, 2, 16]))  # seed, shards


@dataclass(frozen=True)
class Kind:
    """A type, its values, and the functions that it has."""

    type: pa.DataType
    values: st.SearchStrategy[Any]
    functions: list[str]
    total: pa.DataType | None = None  # of sums

    @property
    def groups(self) -> bool:
        return "count_distinct" in self.functions

    def array(self, values: list[Any]) -> pa.Array:
        kind = self.type
        if isinstance(kind, pa.BaseExtensionType):
            return pa.ExtensionArray.from_storage(
                kind, pa.array([one.bytes if isinstance(one, uuid.UUID) else one for one in values], kind.storage_type)
            )
        return pa.array(values, kind)


def whole(low: int, high: int) -> st.SearchStrategy[int]:
    # Sums of a few must not leave 64 bits, whatever is in them: what does is another test.
    most = 2**63 // 40
    near = st.integers(max(low, -5), 5)
    return near | st.integers(max(low, -most), min(high, most)) if low > -most or high < most else near | st.integers(-most, most)


FLOATS = st.sampled_from([math.nan, 0.0, -0.0, 1.5, 0.1]) | st.floats(-1e9, 1e9)
DAYS = st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))
TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))
BYTES = st.sampled_from([b"", b"a", b"b"]) | st.binary(max_size=20)
TEXTS = st.sampled_from(["", "a", "A", "ä", "b"]) | st.text(st.characters(codec="utf-8"), max_size=20)
INTERVALS = st.builds(lambda *parts: pa.MonthDayNano(parts), *[st.integers(-3, 3)] * 3)
PLACES = st.fixed_dictionaries({"city": st.none() | TEXTS, "n": st.none() | st.integers(0, 3)})

KINDS = {
    "bool": Kind(pa.bool_(), st.booleans(), ORDERED),
    **{
        str(kind): Kind(kind, whole(-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1), NUMBERS)
        for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())
    },
    **{str(kind): Kind(kind, whole(0, 2**kind.bit_width - 1), NUMBERS) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
    "float": Kind(pa.float32(), st.floats(-1e9, 1e9, width=32) | st.just(math.nan), NUMBERS),
    "double": Kind(pa.float64(), FLOATS, NUMBERS),
    "decimal32": Kind(pa.decimal32(7, 2), st.decimals(-9999, 9999, places=2), NUMBERS),
    "decimal64": Kind(pa.decimal64(18, 4), st.decimals(-9999, 9999, places=4), NUMBERS),
    "decimal": Kind(pa.decimal128(22, 2), st.decimals(-(10**19), 10**19, places=2), NUMBERS),
    "decimal38": Kind(pa.decimal128(38, 0), st.integers(-(10**36), 10**36).map(Decimal), NUMBERS),
    "decimal256": Kind(pa.decimal256(50, 3), st.decimals(-(10**30), 10**30, places=3), NUMBERS),
    "text": Kind(pa.string(), TEXTS, ORDERED),
    "large text": Kind(pa.large_string(), TEXTS, ORDERED),
    "text view": Kind(pa.string_view(), TEXTS, ORDERED),
    "dictionary": Kind(pa.dictionary(pa.int32(), pa.string()), TEXTS, ORDERED),
    "dictionary of numbers": Kind(pa.dictionary(pa.int8(), pa.int64()), st.integers(-3, 3), NUMBERS),
    "bytes": Kind(pa.binary(), BYTES, ORDERED),
    "large bytes": Kind(pa.large_binary(), BYTES, ORDERED),
    "bytes view": Kind(pa.binary_view(), BYTES, ORDERED),
    "fixed bytes": Kind(pa.binary(2), st.binary(min_size=2, max_size=2), ORDERED),
    "date": Kind(pa.date32(), DAYS, ORDERED),
    "date64": Kind(pa.date64(), DAYS, ORDERED),
    "time": Kind(pa.time64("us"), st.times(), ORDERED),
    "seconds": Kind(pa.time32("s"), st.times().map(lambda time: time.replace(microsecond=0)), ORDERED),
    "timestamp": Kind(pa.timestamp("us"), TIMES, ORDERED),
    "timestamptz": Kind(pa.timestamp("us", "UTC"), TIMES.map(lambda time: time.replace(tzinfo=dt.timezone.utc)), ORDERED),
    "duration": Kind(pa.duration("us"), st.timedeltas(dt.timedelta(-999), dt.timedelta(999)), [*ORDERED, "sum"]),
    "interval": Kind(pa.month_day_nano_interval(), INTERVALS, APART),
    "uuid": Kind(pa.uuid(), st.sampled_from([uuid.UUID(int=place) for place in (0, 1, 2**127)]) | st.uuids(), ORDERED),
    "json": Kind(pa.json_(), st.sampled_from(["{}", "[1]", "null"]), ORDERED),
    "null": Kind(pa.null(), st.none(), ORDERED),
    "list": Kind(pa.list_(pa.int64()), st.lists(st.none() | st.integers(0, 3), max_size=3), ANY),
    "list of dictionaries": Kind(pa.list_(pa.dictionary(pa.int32(), pa.string())), st.lists(TEXTS, max_size=3), ANY),
    "struct": Kind(pa.struct({"city": pa.string(), "n": pa.int64()}), PLACES, ANY),
    "map": Kind(pa.map_(pa.string(), pa.int64()), st.lists(st.tuples(TEXTS, st.integers(0, 3)), max_size=2), ANY),
}  # fmt: skip
EVERY = ["count", "count_distinct", "sum", "avg", "min", "max", "first", "last", "median", "percentile", "stddev", "collect"]


def rows(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, Any]]]:
    return st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.none() | values), max_size=25)


def scale(values: list[Any]) -> float:
    """Greatest number of a group, which says how many digits of a double are right."""
    numbers = [abs(float(value)) for value in values if isinstance(value, (int, float, Decimal)) and not math.isnan(value)]
    return max([sum(numbers), *numbers], default=0.0)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=10)
@given(data=st.data())
def test_any_function_over_any_type(name: str, data: st.DataObject, workshop: Any) -> None:
    kind = KINDS[name]
    given_rows = data.draw(rows(kind.values))
    array = kind.array([value for _, value in given_rows])
    batch = pa.record_batch({"key": pa.array([key for key, _ in given_rows], pa.string()), "x": array})
    definition = {"groupBy": ["key"], "aggregations": {"x": kind.functions}}
    groups: dict[Any, list[Any]] = defaultdict(list)
    for (key, _), value in zip(given_rows, array.to_pylist(), strict=True):
        groups[key].append(value)
    for got in (workshop.at_once(batch, **definition), workshop.in_pieces(batch, *data.draw(PIECES), **definition)):
        assert sorted(map(str, groups)) == sorted(str(row["key"]) for row in got)
        for row in got:
            values = groups[row["key"]]
            for function in kind.functions:
                wanted = workshop.expected(function, values)
                assert workshop.same(row[f"{function}_x"], wanted, scale(values)), (function, row, wanted)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.groups])
@settings(max_examples=10)
@given(data=st.data())
def test_any_type_as_a_key(name: str, data: st.DataObject, workshop: Any) -> None:
    kind = KINDS[name]
    array = kind.array(data.draw(st.lists(st.none() | kind.values, max_size=25)))
    batch = pa.record_batch({"key": array, "one": pa.array(range(len(array)), pa.int64())})
    definition: dict[str, Any] = {"groupBy": ["key"], "aggregations": {"*": "count", "one": "collect"}}
    groups: dict[Any, list[int]] = defaultdict(list)
    for place, value in enumerate(array.to_pylist()):
        groups[workshop.canonical(value)].append(place)
    for got in (workshop.at_once(batch, **definition), workshop.in_pieces(batch, *data.draw(PIECES), **definition)):
        assert {workshop.canonical(row["key"]): row["collect_one"] for row in got} == groups
        assert len(got) == len(groups)
        assert all(row["count"] == len(row["collect_one"]) for row in got)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if "min" in kind.functions])
@settings(max_examples=10)
@given(data=st.data())
def test_first_and_last_by_a_field_of_any_type_that_has_an_order(name: str, data: st.DataObject, workshop: Any) -> None:
    kind = KINDS[name]
    drawn = data.draw(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 99), st.none() | kind.values), max_size=25))
    orders = kind.array([order for _, _, order in drawn])
    batch = pa.record_batch(
        {"key": pa.array([key for key, _, _ in drawn], pa.string()), "x": pa.array([x for _, x, _ in drawn], pa.int64()), "at": orders}
    )
    entry = [{"function": function, "args": {"orderBy": "at"}} for function in ("first", "last")]
    definition = {"groupBy": ["key"], "aggregations": {"x": entry}}
    groups: dict[Any, list[tuple[Any, Any]]] = defaultdict(list)
    for (key, x, _), order in zip(drawn, orders.to_pylist(), strict=True):
        groups[key].append((x, order))
    for got in (workshop.at_once(batch, **definition), workshop.in_pieces(batch, *data.draw(PIECES), **definition)):
        assert len(got) == len(groups)
        for row in got:
            values, by = zip(*groups[row["key"]], strict=True)
            assert (row["first_x"], row["last_x"]) == (workshop.expected("first", values, by), workshop.expected("last", values, by))


@pytest.mark.parametrize("name", KINDS)
def test_what_does_not_fit_a_type_is_refused(name: str, workshop: Any) -> None:
    schema = pa.schema({"x": KINDS[name].type})
    entries = [{"function": one, "args": {"p": 0.9} if one == "percentile" else {}} for one in EVERY]
    taken = set()
    for entry in entries:
        with contextlib.suppress(PlanError):
            workshop.aggregate(aggregations={"x": [entry]}).plan(schema, None)
            taken.add(entry["function"])
    fits = {*KINDS[name].functions, *(["percentile"] if "median" in KINDS[name].functions else [])}
    assert taken == fits
