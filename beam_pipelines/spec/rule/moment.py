"""Dates and timestamps: within bounds, and text that is written as one."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.rule.base import FieldRule
from beam_pipelines.spec.values import Flag, Text, shown

__all__ = ["DateFormat", "DateRange", "instants"]

_DAY = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?"
_MOMENT = re.compile(rf"({_DAY})(?:[T ]({_CLOCK})(Z|[+-]\d{{2}}:\d{{2}})?)?")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_SECOND = dt.timedelta(seconds=1)
_DAY_LONG = 86_400 * 10**9  # nanoseconds


def instants(moment: str) -> tuple[int, int]:
    """Return the first and the last nanosecond since 1970 that a bound stands for: those of a date are the day's, in UTC.

    Args:
        moment: An ISO date or timestamp, as UTC where it names no zone.

    Raises:
        ValueError: It is neither.
    """
    match = _MOMENT.fullmatch(moment)
    if match is None:
        raise ValueError(_expected(moment))
    day, clock, zone = match.groups()
    padded = f"{clock}:00" if clock and len(clock) == 5 else clock or "00:00:00"
    seconds, _, fraction = padded.partition(".")
    try:
        # Python 3.10 reads neither a Z nor nanoseconds.
        whole = dt.datetime.fromisoformat(f"{day}T{seconds}{'+00:00' if zone in (None, 'Z') else zone}") - _EPOCH
    except ValueError as bad:
        raise ValueError(_expected(moment)) from bad
    first = whole // _SECOND * 10**9 + int(f"{fraction:0<9}")
    return first, first if clock else first + _DAY_LONG - 1


def _expected(value: object) -> str:
    return f"expected a date or a timestamp such as 2024-12-31 or 2024-12-31T23:59:59Z, got {shown(value)}"


def _moment(value: object) -> str:
    text = value.isoformat() if isinstance(value, dt.date) else value
    if not isinstance(text, str):
        raise ValueError(_expected(value))
    instants(text)
    return text


Moment = Annotated[str, PlainValidator(_moment), WithJsonSchema({"type": "string", "pattern": rf"^{_MOMENT.pattern}$"})]


class DateRange(FieldRule):
    """A date or a timestamp between bounds, both inclusive; text that is neither violates."""

    type: Literal["date-range"] = Field(default="date-range", description="A date or a timestamp within bounds.")
    min: Moment | None = Field(default=None, description="Earliest one allowed, an ISO date or timestamp; without a zone it is UTC.")
    max: Moment | None = Field(default=None, description="Latest one allowed; a date stands for its whole day.")
    not_in_future: Flag = Field(default=False, description="Not after the start of the run; dates: not after its day in UTC.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order."""
        low, high = raw.get("min"), raw.get("max")
        if low is None and high is None and not raw.get("notInFuture"):
            yield mistake("expected 'min', 'max' or 'notInFuture: true', got none of them", at="key", wants=("min", "max", "notInFuture"))
        try:
            if low is not None and high is not None and instants(_moment(low))[0] > instants(_moment(high))[1]:
                yield mistake(f"expected a moment that is not before 'min' ({low}), got {shown(high)}", "max")
        except ValueError:
            return  # which of them is no moment is told beside it


class DateFormat(FieldRule):
    """Text that is a date or a time in a format; null and the empty text are not evaluated."""

    type: Literal["date-format"] = Field(default="date-format", description="A date or a time, as text in a format.")
    format: Text = Field(description="In strptime's letters, with English names: %d.%m.%Y.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """A format that reads something, and all of the text."""
        written = raw.get("format")
        if isinstance(written, str) and written.strip():
            if "%" not in written:
                yield mistake(f"expected a format such as %d.%m.%Y, got {shown(written)}", "format")
            if written != written.strip():
                yield mistake(f"expected a format without white space at its ends, got {shown(written)}", "format")
