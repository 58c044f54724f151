from __future__ import annotations

import datetime as dt
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.io.sqlite.stamps import Form, Stamps, parse

FORMS = [
    Form("", False),
    Form(" ", False),
    Form("T", True),
    Form(" ", True, 3),
    Form("T", True, 6, "Z"),
    Form("T", True, 0, "+00:00"),
    Form(" ", True, 9),
]
MOMENTS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 28))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026-01-31", Form("", False)),
        ("2026-01-31 10:00", Form(" ", False)),
        ("2026-01-31 10:00:05", Form(" ", True)),
        ("2026-01-31T10:00:05.123Z", Form("T", True, 3, "Z")),
        ("2026-01-31T10:00:05.123456+00:00", Form("T", True, 6, "+00:00")),
        ("2026-01-31T10:00:05+02:00", None),
        ("2026-1-31", None),
        ("31.01.2026", None),
        ("2026-01-31 10:00.5", None),
        ("", None),
    ],
)
def test_a_form_is_read_off_a_text(text: str, form: Form | None) -> None:
    assert Form.of(text) == form


@given(MOMENTS, st.sampled_from(FORMS))
def test_what_a_form_writes_is_of_that_form_and_means_the_floor(moment: dt.datetime, form: Form) -> None:
    text = form.write(moment)
    assert Form.of(text) == form
    assert parse(text) == form.floor(moment) <= moment
    assert sqlite3.connect(":memory:").execute("SELECT ? GLOB ?", (text, form.glob)).fetchone() == (1,)


@given(MOMENTS, MOMENTS, st.sampled_from(FORMS))
def test_texts_of_one_form_are_in_the_order_of_time(one: dt.datetime, other: dt.datetime, form: Form) -> None:
    assert (form.write(one) < form.write(other)) == (form.floor(one) < form.floor(other))


def spelled(moment: dt.datetime, digits: int) -> str:
    """As Python's isoformat does: no fraction where there is none."""
    return Form(" ", True, digits if moment.microsecond else 0).write(moment)


@given(st.lists(st.tuples(MOMENTS, st.sampled_from([6, 9])), max_size=20), MOMENTS, st.booleans())
def test_bounds_of_varied_fractions_leave_nothing_out(rows: list[tuple[dt.datetime, int]], bound: dt.datetime, inclusive: bool) -> None:
    stamps = Stamps("varied", Form(" "))
    low, at_low = stamps.low(bound, inclusive)
    ceiling, at_ceiling = stamps.ceiling(bound, inclusive)
    for moment, digits in [*rows, (bound, 6), (bound, 9)]:
        text = spelled(moment, digits)
        if moment > bound or (inclusive and moment == bound):
            assert text > low or (at_low and text == low)
        if moment < bound or (inclusive and moment == bound):
            assert text < ceiling or (at_ceiling and text == ceiling)
        if moment > bound or (not inclusive and moment == bound):
            assert text > ceiling or (not at_ceiling and text == ceiling)


@given(MOMENTS, MOMENTS.filter(lambda moment: moment.year > 1), st.integers(-14, 14))
def test_bounds_of_mixed_forms_leave_nothing_out_whatever_the_offset(moment: dt.datetime, bound: dt.datetime, hours: int) -> None:
    stamps = Stamps("mixed", Form(" "))
    try:
        local = moment + dt.timedelta(hours=hours)
    except OverflowError:
        return
    text = Form("T").write(local)
    if moment >= bound:
        assert text >= stamps.low(bound, False)[0]
    if moment <= bound:
        assert text <= stamps.ceiling(bound, False)[0]
