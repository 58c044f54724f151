from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import SpecError
from beam_pipelines.runs.mark import Mark

UTC = dt.timezone.utc

values = st.one_of(
    st.integers(),
    st.text(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
)


@given(values)
def test_a_mark_comes_back_from_json_as_the_same_value(value: object) -> None:
    mark = Mark.of(value)  # type: ignore[arg-type]
    back = Mark.from_json(mark.to_json())
    assert back == mark
    assert back is not None
    assert value == back.value


@given(st.integers(), st.integers())
def test_later_is_the_greater_of_two(a: int, b: int) -> None:
    assert max(a, b) == Mark.of(a).later(Mark.of(b)).value


def test_a_time_with_another_offset_is_the_same_moment_in_utc() -> None:
    paris = dt.timezone(dt.timedelta(hours=2))
    assert Mark.of(dt.datetime(2026, 6, 1, 12, tzinfo=paris)).text == "2026-06-01T10:00:00.000000+00:00"


def test_nanoseconds_of_arrow_are_cut_to_microseconds() -> None:
    scalar = pa.scalar(1_700_000_000_123_456_789, pa.timestamp("ns"))
    assert dt.datetime(2023, 11, 14, 22, 13, 20, 123456) == Mark.of(scalar).value


@pytest.mark.parametrize("value", [None, True, b"x", [1], pa.scalar(None, pa.int64())])
def test_what_cannot_be_a_cursor_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cursor value"):
        Mark.of(value)  # type: ignore[arg-type]


def test_marks_of_two_types_are_not_compared() -> None:
    with pytest.raises(TypeError, match="type int with one of type text"):
        Mark.of(1).later(Mark.of("1"))


@pytest.mark.parametrize(("text", "kind"), [("soon", "timestamp"), ("1.5", "int"), ("2026-02-30", "date"), ("2026-01-01", "nonsense")])
def test_a_typed_watermark_that_does_not_fit_is_refused(text: str, kind: str) -> None:
    with pytest.raises(SpecError, match=kind):
        Mark.parse(text, kind)


def test_a_typed_watermark_is_read_as_the_stored_type() -> None:
    assert Mark.of(Decimal("12.50")) == Mark.parse(" 12.50 ", "decimal")
