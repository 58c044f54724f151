from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError
from beam_pipelines.pricing import charge_hour, hours_between

D = Decimal


@dataclass(frozen=True)
class Price:
    """A price as a definition holds it (the models themselves belong to `spec`)."""

    model: str = "per-hour"
    rate: Decimal = Decimal(2)
    currency: str = "USD"
    includes: int | None = None
    overage: Decimal | None = None


STREAM = Price(model="per-hour", rate=D("2.0"), includes=1_000_000, overage=D("0.001"))
NINE = datetime(2026, 3, 1, 9, tzinfo=timezone.utc)


def test_an_hour_holds_the_included_events() -> None:
    assert D("2.00") == charge_hour(STREAM, hour=NINE, events=1_000_000).amount
    assert D("2.00") == charge_hour(STREAM, hour=NINE, events=0).amount


def test_each_event_above_costs_the_overage() -> None:
    made = charge_hour(STREAM, hour=NINE + timedelta(minutes=59), events=1_250_000)
    assert D("252.00") == made.amount  # 2 + 250,000 * 0.001
    assert [D("2.0"), D("250.000")] == [line.amount for line in made.lines]
    assert made.description == "Stream Pipeline - hour 2026-03-01T09Z, 1250000 events processed"


def test_a_price_without_overage_is_flat() -> None:
    assert D("3.00") == charge_hour(Price(model="per-hour", rate=D("3.0")), hour=NINE, events=10**9).amount


def test_the_hour_is_named_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert "hour 2026-03-01T03Z" in charge_hour(STREAM, hour=datetime(2026, 3, 1, 9, tzinfo=india), events=0).description


def test_a_run_price_is_refused_for_a_stream() -> None:
    with pytest.raises(PlanError, match="got 'per-gb'"):
        charge_hour(Price(model="per-gb"), hour=NINE, events=0)


@pytest.mark.parametrize(
    ("minutes", "length", "expected"),
    [
        (0, 60, [9]),  # ends on the hour: the next one is not touched
        (59, 2, [9, 10]),
        (10, 20, [9]),
        (0, 0, [9]),
        (30, 120, [9, 10, 11]),
        (0, 121, [9, 10, 11]),
    ],
)
def test_hours_are_those_in_which_the_stream_ran_at_any_time(minutes: int, length: int, expected: list[int]) -> None:
    started = NINE + timedelta(minutes=minutes)
    assert expected == [hour.hour for hour in hours_between(started, started + timedelta(minutes=length))]


def test_hours_are_utc_hours_across_a_change_of_clocks() -> None:
    # Half-hour zones and summer time do not move the clock hours that are billed.
    india = timezone(timedelta(hours=5, minutes=30))
    hours = hours_between(datetime(2026, 3, 1, 9, 0, tzinfo=india), datetime(2026, 3, 1, 9, 45, tzinfo=india))
    assert [datetime(2026, 3, 1, 3, tzinfo=timezone.utc), datetime(2026, 3, 1, 4, tzinfo=timezone.utc)] == hours


def test_times_without_zone_or_backwards_are_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        hours_between(datetime(2026, 3, 1), NINE)
    with pytest.raises(ValueError, match="at or after"):
        hours_between(NINE, NINE - timedelta(seconds=1))


moments = st.datetimes(datetime(2020, 1, 1), datetime(2020, 2, 1), timezones=st.just(timezone.utc))


@given(moments, moments, moments)
def test_cutting_a_stream_in_two_never_loses_an_hour(one: datetime, two: datetime, three: datetime) -> None:
    start, cut, end = sorted((one, two, three))
    assert set(hours_between(start, end)) <= set(hours_between(start, cut)) | set(hours_between(cut, end))
    assert sorted(set(hours_between(start, end))) == hours_between(start, end)
