from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from beam_pipelines.spec import Schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def test_the_short_form_is_the_long_one_in_utc() -> None:
    short = Schedule.model_validate({"cron": "0 */4 * * *"})
    assert short == Schedule.model_validate({"type": "cron", "expression": "0 */4 * * *", "timezone": "UTC"})


def test_next_gives_the_times_after_a_moment_in_utc() -> None:
    schedule = Schedule(expression="0 */6 * * *")
    assert schedule.next(at("2026-03-01T06:00"), 3) == [at("2026-03-01T12:00"), at("2026-03-01T18:00"), at("2026-03-02T00:00")]


def test_the_expression_is_meant_in_its_zone() -> None:
    # Berlin is one hour ahead of UTC in winter, two in summer.
    schedule = Schedule(expression="0 9 * * *", timezone="Europe/Berlin")
    assert schedule.next(at("2026-01-15T00:00")) == [at("2026-01-15T08:00")]
    assert schedule.next(at("2026-07-15T00:00")) == [at("2026-07-15T07:00")]


def test_a_time_that_the_clocks_skip_runs_right_after_the_gap() -> None:
    # On 29 March 2026 Berlin's clocks go from 02:00 to 03:00, which is 01:00 UTC.
    schedule = Schedule(expression="30 2 * * *", timezone="Europe/Berlin")
    assert schedule.next(at("2026-03-28T12:00"), 2) == [at("2026-03-29T01:00"), at("2026-03-30T00:30")]


def test_a_time_that_occurs_twice_runs_once() -> None:
    # On 25 October 2026 Berlin's 02:30 comes twice, at 00:30 and 01:30 UTC.
    schedule = Schedule(expression="30 2 * * *", timezone="Europe/Berlin")
    times = schedule.next(at("2026-10-24T12:00"), 2)
    assert times[0] in (at("2026-10-25T00:30"), at("2026-10-25T01:30"))
    assert times[1] == at("2026-10-26T01:30")


def test_next_takes_a_moment_in_any_zone_and_refuses_one_without() -> None:
    schedule = Schedule(expression="0 0 * * *")
    tokyo = datetime(2026, 1, 2, 8, 0, tzinfo=timezone(timedelta(hours=9)))  # 23:00 UTC of the day before
    assert schedule.next(tokyo) == [at("2026-01-02T00:00")]
    with pytest.raises(ValueError, match="expected a time with its zone"):
        schedule.next(datetime(2026, 1, 1))


def test_describe_says_it_in_words_with_the_zone() -> None:
    assert Schedule(expression="0 2 * * *", timezone="Europe/Berlin").describe() == "At 02:00 every day (Europe/Berlin)"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"cron": "61 * * * *"}, "expected a cron expression, got '61 * * * *': bad minute"),
        ({"cron": "0 0 30 2 *"}, "expected a cron expression, got '0 0 30 2 *': bad day-of-month"),
        ({"cron": "* * * *"}, "expected five fields (minute, hour, day of month, month, day of week), got 4 in '* * * *'"),
        ({"cron": "* * * * * *"}, "expected five fields (minute, hour, day of month, month, day of week), got 6 in '* * * * * *'"),
        ({"cron": "0 0 * * *", "timezone": "Europe/Berln"}, "expected an IANA time zone such as Europe/Berlin, got 'Europe/Berln'"),
        ({"cron": "0 0 * * *", "timezone": "../../etc/passwd"}, "expected an IANA time zone"),
        ({"type": "interval", "expression": "0 0 * * *"}, "expected 'cron', got 'interval'"),
        ({"cron": "0 0 * * *", "expression": "0 0 * * *"}, "expected 'expression' once, got it as 'cron' and as 'expression'"),
        ({}, "expected 'expression', which is missing"),
    ],
)
def test_a_schedule_says_what_is_wrong_with_it(keys: dict[str, str], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Schedule.model_validate(keys)
    (error,) = caught.value.errors()
    assert error["msg"].startswith(expected)
