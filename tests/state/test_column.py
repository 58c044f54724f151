from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from beam_pipelines.state.column import MAX_MESSAGE, Json, Message, Moment, Money

DIALECT = sqlite.dialect()
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=zones)


@given(moments, moments)
def test_times_come_back_and_their_text_sorts_as_they_do(one: datetime, other: datetime) -> None:
    texts = [Moment().process_bind_param(moment, DIALECT) for moment in (one, other)]
    assert texts[0]
    assert texts[1]
    assert Moment().process_result_value(texts[0], DIALECT) == one
    assert (texts[0] < texts[1]) == (one < other)


def test_a_time_is_kept_in_utc_with_microseconds() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert Moment().process_bind_param(noon, DIALECT) == "2026-03-01T06:30:00.000000+00:00"


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="with a zone"):
        Moment().process_bind_param(datetime(2026, 3, 1), DIALECT)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_money_comes_back_exactly(amount: Decimal) -> None:
    text = Money().process_bind_param(amount, DIALECT)
    assert Money().process_result_value(text, DIALECT) == amount


@given(st.text())
def test_any_message_can_be_kept(message: str) -> None:
    kept = Message().process_bind_param(message, DIALECT)
    assert kept is not None
    assert "\x00" not in kept
    kept.encode("utf-8")


def test_a_message_is_cut_and_shows_it() -> None:
    kept = Message().process_bind_param("x" * 10_000, DIALECT)
    assert kept == "x" * (MAX_MESSAGE - 1) + "…"


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_json_comes_back(value: object) -> None:
    text = Json().process_bind_param(value, DIALECT)
    assert text is None or text.isascii()
    assert Json().process_result_value(text, DIALECT) == value


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Json().process_bind_param(float("nan"), DIALECT)
