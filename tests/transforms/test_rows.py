from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.transforms.rows import to_columns, to_rows

UTC = dt.timezone.utc
BATCH = pa.record_batch(
    {
        "i": pa.array([1, None], pa.int32()),
        "f": [1.5, None],
        "s": ["a", None],
        "b": [b"x", None],
        "t": [True, None],
        "d": pa.array([Decimal("1.50"), None], pa.decimal128(8, 2)),
        "day": [dt.date(1969, 1, 2), None],
        "us": pa.array([dt.datetime(1960, 1, 2, 3, 4, 5, 678901), None], pa.timestamp("us")),
        "ns": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns")),
        "utc": pa.array([dt.datetime(2024, 1, 2, tzinfo=UTC), None], pa.timestamp("ms", "UTC")),
        "zone": pa.array([dt.datetime(2024, 1, 2, tzinfo=UTC), None], pa.timestamp("us", "Europe/Berlin")),
        "time": [dt.time(1, 2, 3), None],
        "span": [dt.timedelta(seconds=5), None],
        "list": [[1, None], None],
        "struct": [{"a": 1, "b": None}, None],
        "nested": pa.array([[{"at": 1_700_000_000_123_456_789}], None], pa.list_(pa.struct([("at", pa.timestamp("ns"))]))),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "word": pa.array(["w", None]).dictionary_encode(),
        "view": pa.array(["v", None], pa.string_view()),
        "id": pa.array([uuid.UUID(int=7), None], pa.uuid()),
        "json": pa.array(['{"a": 1}', None], pa.json_()),
    }
)


def test_rows_hold_pythons_own_values() -> None:
    first, second = to_rows(BATCH)
    assert first == {
        "i": 1,
        "f": 1.5,
        "s": "a",
        "b": b"x",
        "t": True,
        "d": Decimal("1.50"),
        "day": dt.date(1969, 1, 2),
        "us": dt.datetime(1960, 1, 2, 3, 4, 5, 678901),
        "ns": dt.datetime(2023, 11, 14, 22, 13, 20, 123456),
        "utc": dt.datetime(2024, 1, 2, tzinfo=UTC),
        "zone": dt.datetime(2024, 1, 2, tzinfo=UTC),
        "time": dt.time(1, 2, 3),
        "span": dt.timedelta(seconds=5),
        "list": [1, None],
        "struct": {"a": 1, "b": None},
        "nested": [{"at": dt.datetime(2023, 11, 14, 22, 13, 20, 123456)}],
        "map": [("k", 1)],
        "word": "w",
        "view": "v",
        "id": uuid.UUID(int=7),
        "json": '{"a": 1}',
    }
    assert set(second.values()) == {None}
    assert first["utc"].tzinfo is UTC
    assert type(first["day"]) is dt.date


def test_rows_come_back_as_the_columns_they_were() -> None:
    arrays, bad = to_columns(to_rows(BATCH), BATCH.schema)
    assert bad == {}
    cut = BATCH.set_column(8, "ns", BATCH.column("ns").cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("ns")))
    for array, name in zip(arrays, BATCH.schema.names, strict=True):
        if name != "nested":
            assert array.equals(cut.column(name)), name


def test_a_batch_without_columns_has_rows_all_the_same() -> None:
    assert to_rows(pa.record_batch({"a": [1, 2]}).select([])) == [{}, {}]
    assert to_columns([{}, {}], pa.schema([])) == ([], {})


def test_a_timestamp_beyond_the_year_9999_is_its_microseconds() -> None:
    far = 300_000_000_000_000_000
    for zone in (None, "UTC"):
        assert to_rows(pa.record_batch({"at": pa.array([far], pa.timestamp("us", zone))})) == [{"at": far}]


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (pa.int64(), 5, 5),
        (pa.int64(), 5.0, 5),
        (pa.int64(), 5.5, ...),  # Arrow alone makes 5 of it
        (pa.int64(), "5", 5),
        (pa.int64(), "x", ...),
        (pa.int64(), math.nan, ...),
        (pa.int64(), 2**63, ...),
        (pa.int64(), np.int32(7), 7),
        (pa.int16(), 40_000, ...),
        (pa.int64(), Decimal("5.5"), ...),  # and of this as well
        (pa.float64(), 5, 5.0),
        (pa.float64(), 2**60 + 1, ...),
        (pa.float64(), np.float64(1.5), 1.5),
        (pa.float64(), "1.5", 1.5),
        (pa.decimal128(6, 2), Decimal("1.5"), Decimal("1.50")),
        (pa.decimal128(6, 2), Decimal("1.234"), ...),
        (pa.decimal128(6, 2), 7, Decimal("7.00")),
        (pa.decimal128(6, 2), "1.5", Decimal("1.50")),
        (pa.string(), "a", "a"),
        (pa.string(), "\ud800", ...),
        (pa.string(), 5, "5"),
        (pa.string(), object(), ...),
        (pa.bool_(), True, True),
        (pa.bool_(), 2, ...),
        (pa.date32(), dt.date(2024, 1, 1), dt.date(2024, 1, 1)),
        (pa.date32(), dt.datetime(2024, 1, 1, 5), ...),  # Arrow alone drops the hours
        (pa.date32(), 19_000, ...),  # Arrow alone makes days of it
        (pa.timestamp("us"), dt.datetime(2024, 1, 1, 5), dt.datetime(2024, 1, 1, 5)),
        (pa.timestamp("us"), dt.datetime(2024, 1, 1, 5, tzinfo=dt.timezone(dt.timedelta(hours=2))), dt.datetime(2024, 1, 1, 3)),
        (pa.timestamp("us"), "2024-01-01T05:00:00", dt.datetime(2024, 1, 1, 5)),
        (pa.timestamp("us"), 5, ...),
        (pa.timestamp("us", "UTC"), dt.datetime(2024, 1, 1, 5), dt.datetime(2024, 1, 1, 5, tzinfo=UTC)),
        (pa.list_(pa.int64()), [1, None], [1, None]),
        (pa.list_(pa.int64()), (1, 2), [1, 2]),
        (pa.list_(pa.int64()), [1.5], ...),
        (pa.list_(pa.int64()), "12", ...),
        (pa.struct([("a", pa.int64())]), {"a": 1}, {"a": 1}),
        (pa.struct([("a", pa.int64())]), {"a": 1.5}, ...),
        (pa.map_(pa.string(), pa.int64()), {"a": 1, "b": None}, [("a", 1), ("b", None)]),
        (pa.map_(pa.string(), pa.int64()), [("a", 1)], [("a", 1)]),
        (pa.map_(pa.string(), pa.int64()), {"a": 1.5}, ...),
        (pa.map_(pa.string(), pa.int64()), {None: 1}, ...),
        (pa.map_(pa.string(), pa.int64()), [1], ...),
        (pa.uuid(), uuid.UUID(int=1), uuid.UUID(int=1)),
        (pa.json_(), '{"a": 1}', '{"a": 1}'),
    ],
)
def test_a_value_fits_exactly_or_not_at_all(kind: pa.DataType, value: Any, stored: Any) -> None:
    for neighbours in ([], [{"v": None}], [{}]):
        arrays, bad = to_columns([*neighbours, {"v": value}], pa.schema([("v", kind)]))
        at = len(neighbours)
        assert arrays[0].type == kind
        if stored is ...:
            assert list(bad) == [at]
            assert f"column 'v': expected {kind}, got {type(value).__name__} that does not fit" in bad[at]
            assert arrays[0][at].as_py() is None
        else:
            assert bad == {}
            assert arrays[0][at].as_py() == stored


def test_a_bad_value_costs_its_row_among_good_ones_of_other_types() -> None:
    rows = [{"v": 1}, {"v": "2"}, {"v": "x"}, {"v": 3.0}, {"v": 3.5}, {"v": None}, {}]
    arrays, bad = to_columns(rows, pa.schema([("v", pa.int64())]))
    assert arrays[0].to_pylist() == [1, 2, None, 3, None, None, None]
    assert list(bad) == [2, 4]


def test_a_field_that_is_not_planned_is_not_dropped_in_silence() -> None:
    arrays, bad = to_columns([{"a": 1}, {"a": 2, "extra": 3}], pa.schema([("a", pa.int64())]))
    assert arrays[0].to_pylist() == [1, 2]
    assert list(bad) == [1]
    assert "'extra', which is not in the planned output" in bad[1]


anything = st.one_of(
    st.none(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=3),
    st.booleans(),
    st.dates(),
    st.decimals(allow_nan=False, places=2),
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(anything, max_size=12), st.sampled_from([pa.int64(), pa.float64(), pa.string(), pa.decimal128(20, 2), pa.date32(), pa.bool_()])
)
def test_a_value_is_judged_by_itself_whatever_stands_beside_it(values: list[Any], kind: pa.DataType) -> None:
    schema = pa.schema([("v", kind)])
    arrays, bad = to_columns([{"v": value} for value in values], schema)
    for position, value in enumerate(values):
        alone, wrong = to_columns([{"v": value}], schema)
        assert (0 in wrong) == (position in bad)
        assert repr(alone[0][0].as_py()) == repr(arrays[0][position].as_py())
