from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError
from beam_pipelines.io.kafka.event_time import FIRST, LAST, EventTime, behind

UTC = dt.timezone.utc
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)


def read(values: list[Any], kind: pa.DataType, unit: str = "ms", zone: str | None = None) -> list[int | str]:
    """ms of each, or why there are none."""
    array = pa.array(values, pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else pa.array(values, kind)
    times, bad = EventTime("at", kind, unit, zone).read(array)
    return [bad.get(place, time) for place, time in enumerate(times.tolist())]


def ms(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(milliseconds=1)


def test_the_bounds_are_the_years_that_python_knows() -> None:
    assert ms(dt.datetime(1, 1, 1, tzinfo=UTC)) == FIRST
    assert ms(dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == LAST


@pytest.mark.parametrize(
    ("unit", "value", "time"),
    [
        ("s", 1_700_000_000, 1_700_000_000_000),
        ("ms", 1_700_000_000_123, 1_700_000_000_123),
        ("us", 1_700_000_000_123_999, 1_700_000_000_123),
        ("ns", 1_700_000_000_123_999_999, 1_700_000_000_123),
        ("us", -1, -1),  # cut towards the past, as every other time
        ("s", -62_135_596_800, FIRST),
        ("s", 253_402_300_799, LAST - 999),
    ],
)
def test_a_number_counts_what_the_unit_says(unit: str, value: int, time: int) -> None:
    assert read([value], pa.int64(), unit) == [time]


@pytest.mark.parametrize("value", [LAST + 1, FIRST - 1, 2**63 - 1, -(2**63), 884_541_340_800_000])  # the last one is of the year 30000
@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_number_of_another_year_is_no_time(unit: str, value: int) -> None:
    (why,) = read([value], pa.int64(), unit)
    assert f"years 0001 to 9999 (a number counts {unit} since 1970)" in str(why)
    assert str(value) not in str(why)


def test_narrow_and_unsigned_numbers_count_as_well() -> None:
    assert read([5, None], pa.int32()) == [5, "column 'at': expected the time of the event, got null"]
    assert read([5], pa.uint64()) == [5]
    assert "years" in str(read([2**64 - 1], pa.uint64())[0])


def test_seconds_with_a_fraction_keep_their_milliseconds() -> None:
    assert read([1_700_000_000.123, 1_700_000_000.9999, -1.5], pa.float64(), "s") == [1_700_000_000_123, 1_700_000_000_999, -1500]
    nan, infinite = read([float("nan"), float("inf")], pa.float64(), "s")
    assert "a number that is none" in str(nan)
    assert "years" in str(infinite)


moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(UTC))


@given(st.lists(st.tuples(moments, st.integers(-14 * 60, 14 * 60), st.sampled_from("T "), st.booleans()), min_size=1, max_size=5))
def test_a_text_of_iso_8601_is_its_moment(given_: list[tuple[dt.datetime, int, str, bool]]) -> None:
    texts, times = [], []
    for moment, minutes, separator, with_z in given_:
        there = moment.astimezone(dt.timezone(dt.timedelta(minutes=minutes)))
        text = moment.isoformat(separator).replace("+00:00", "Z") if with_z else there.isoformat(separator)
        texts.append(text)
        times.append(ms(moment))
    assert read(texts, pa.string()) == times


@pytest.mark.parametrize("text", ["soon", "2026-01-31", "2026-02-30T00:00:00Z", "30000-01-01T00:00:00Z", "12:00:00Z", "1700000000000", ""])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_a_text_that_is_none_has_no_time_whatever_stands_beside_it(text: str, zone: str | None) -> None:
    for others in ([], ["2026-01-31T00:00:00Z"], ["2026-01-31T00:00:00"], [None]):
        why = read([*others, text], pa.string(), zone=zone)[-1]
        assert "no ISO 8601 with a time of day" in str(why)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC"])
@pytest.mark.parametrize("text", ["2026-01-31T00:00:00", "2026-07-31 12:00:00.5", "2026-10-25T01:59:59", "0900-01-01T00:00:00"])
def test_a_text_without_a_zone_is_of_the_one_that_is_said(text: str, zone: str) -> None:
    wanted = ms(dt.datetime.fromisoformat(text.replace(".5", ".500")).replace(tzinfo=ZoneInfo(zone)))
    assert read([text, "2026-01-31T00:00:00Z"], pa.string(), zone=zone) == [wanted, 1_769_817_600_000]
    assert "and a zone, or timestampZone" in str(read([text], pa.string())[0])


def test_an_hour_that_comes_twice_is_the_first_and_one_that_never_comes_the_change() -> None:
    found = read(["2026-10-25T02:30:00", "2026-03-29T02:30:00"], pa.string(), zone="Europe/Berlin")
    assert found == [ms(dt.datetime(2026, 10, 25, 0, 30, tzinfo=UTC)), ms(dt.datetime(2026, 3, 29, 1, 0, tzinfo=UTC))]


def test_timestamps_are_instants_or_of_the_zone_that_is_said() -> None:
    assert read([1_999, None], pa.timestamp("us", "Asia/Tokyo"))[0] == 1
    assert read([5], pa.timestamp("s", "UTC")) == [5_000]
    assert read([0], pa.timestamp("ms"), zone="Europe/Berlin") == [-3_600_000]
    assert "years" in str(read([2**62], pa.timestamp("ms", "UTC"))[0])
    for kind, what in (
        (pa.timestamp("ms"), "say which one it is"),
        (pa.bool_(), "got bool"),
        (pa.date32(), "got date32"),
        (pa.binary(), "got binary"),
    ):
        with pytest.raises(PlanError, match=what) as no:
            EventTime("at", kind, "ms", None)
        assert (no.value.code, no.value.details) == ("cursor-invalid", {"sourceKey": "timestampField"})


@given(st.lists(st.integers(-100, 100), max_size=20), st.none() | st.integers(-100, 100), st.integers(0, 10), st.data())
def test_behind_is_what_had_come_before_however_it_is_cut(times: list[int], newest: int | None, late: int, data: st.DataObject) -> None:
    wanted: list[int | None] = []
    top = newest
    for time in times:
        wanted.append(None if top is None else top - late)
        top = time if top is None else max(top, time)
    cut = data.draw(st.integers(0, len(times)))
    first, middle = behind(np.array(times[:cut], np.int64), newest, late)
    second, last = behind(np.array(times[cut:], np.int64), middle, late)
    assert first.to_pylist() + second.to_pylist() == wanted
    assert last == top
