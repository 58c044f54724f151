"""Converters to dates and timestamps: ISO 8601, or a format in strptime's letters with English names; zones by their IANA names."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression import Engine, Node, cast, function, literal
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.errors import PlanError
from beam_pipelines.transforms.converters.converter import (
    Bound,
    Converted,
    ConverterProblem,
    Entry,
    Parameter,
    blank_to_null,
    casting,
    computed,
    plain_text,
    text_type,
)

__all__ = ["ENTRIES"]

_UNITS = ("s", "ms", "us", "ns")
_OFFSET = r"[0-9]\s*(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)\s*$"
_UTC = pa.timestamp("us", "UTC")
_NAIVE = pa.timestamp("us")


def _date(kind: pa.DataType, format: str | None, engine: Engine) -> Bound:  # noqa: A002 (the key users write)
    if format is not None:
        return _parsed(engine, kind, "date", lambda value: cast(function("strptime", value, literal(format)), "DATE"), format)
    if pa.types.is_timestamp(kind):
        return Bound(pa.date32(), lambda array: Converted(_utc(array).cast(pa.date32()), [], []))
    return casting(kind, pa.date32(), "date such as 2024-12-31")


def _utc(array: pa.Array) -> pa.Array:
    """Return the start of each timestamp's day in UTC."""
    return pc.floor_temporal(array.cast(pa.timestamp(array.type.unit)), unit="day")


def _timestamp(kind: pa.DataType, format: str | None, zone: str | None, unit: str | None, engine: Engine) -> Bound:  # noqa: A002 (the key users write)
    if zone is not None:
        _check_zone(zone)
    if unit is not None:
        return _epoch(kind, unit, format, zone)
    if format is None:
        read = casting(kind, kind if pa.types.is_timestamp(kind) else _NAIVE, "timestamp such as 2024-12-31T23:59:59")
    else:
        read = _parsed(engine, kind, "timestamp", lambda value: function("strptime", value, literal(format)), format)
    if zone is None:
        return read
    if read.type.tz is not None:
        raise ConverterProblem(f"expected no zone beside timestamps that have one of their own, got {zone!r}")
    return _zoned(engine, casting(kind, _NAIVE, "timestamp") if pa.types.is_timestamp(kind) else read, zone)


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ConverterProblem(f"expected an IANA time zone such as Europe/Berlin, got {zone!r}") from error


def _epoch(kind: pa.DataType, unit: str, format: str | None, zone: str | None) -> Bound:  # noqa: A002 (the key users write)
    if unit not in _UNITS:
        raise ConverterProblem(f"expected unit: {', '.join(_UNITS)} for the converter 'timestamp', got {unit!r}")
    if format is not None or zone is not None:
        raise ConverterProblem("expected 'unit' alone: time since 1970 has neither a format nor a zone")
    whole = casting(kind, pa.int64(), "whole number")

    def convert(array: pa.Array) -> Converted:
        counted = whole.convert(array)
        stamps = counted.array.cast(pa.timestamp(unit, "UTC"))
        try:
            return Converted(stamps.cast(_UTC, safe=unit != "ns"), counted.bad, counted.reasons)
        except pa.ArrowInvalid:
            limit = {"s": 9_223_372_036_854, "ms": 9_223_372_036_854_775}[unit]
            fits = pc.less_equal(pc.abs(counted.array), limit)
            found = checked_range(counted, fits)
            return Converted(found.array.cast(pa.timestamp(unit, "UTC")).cast(_UTC), found.bad, found.reasons)

    return Bound(_UTC, convert)


def checked_range(counted: Converted, fits: pa.Array) -> Converted:
    """Return the numbers that a timestamp can hold; the others failed, beside those that had failed."""
    values = pc.if_else(fits, counted.array, pa.scalar(None, counted.array.type))
    reasons = dict(zip(counted.bad, counted.reasons, strict=True))
    for row in pc.indices_nonzero(pc.invert(pc.fill_null(fits, True))).to_pylist():
        reasons[row] = "the number is out of range for a timestamp"
    rows = sorted(reasons)
    return Converted(values, rows, [reasons[row] for row in rows])


def _parsed(engine: Engine, kind: pa.DataType, name: str, make: Callable[[Node], Node], format: str) -> Bound:  # noqa: A002 (the key users write)
    text_type(kind, name)
    try:
        return computed(engine, pa.string(), make, lambda array: Converted(blank_to_null(plain_text(array)).cast(pa.string()), [], []))
    except PlanError as error:
        message = error.problems[0].message if error.problems else error.message
        raise ConverterProblem(f"expected a format such as %d.%m.%Y for the converter {name!r}, got {format!r}: {message}") from error


def _zoned(engine: Engine, read: Bound, zone: str) -> Bound:
    """Return local times as instants: one that the zone skips fails, one that it has twice is the later one; text with an offset keeps it.

    Args:
        engine: Of the step.
        read: Gives timestamps without a zone; those from text with an offset in UTC.
        zone: Where local times are.
    """

    def moved_back(value: Node) -> Node:
        return function("timezone", literal(zone), function("timezone", literal(zone), value))

    local = computed(engine, _NAIVE, lambda value: function("timezone", literal(zone), value))
    there_and_back = computed(engine, _NAIVE, moved_back)

    def convert(array: pa.Array) -> Converted:
        naive = read.convert(array)
        instants = local.convert(naive.array).array
        skipped = pc.not_equal(there_and_back.convert(naive.array).array, naive.array)
        offset = _has_offset(array)
        if offset is not None:
            instants = pc.if_else(offset, naive.array.cast(_UTC), instants)
            skipped = pc.and_not(skipped, offset)
        reasons = dict(zip(naive.bad, naive.reasons, strict=True))
        reasons.update((row, f"the time does not exist in {zone}") for row in pc.indices_nonzero(pc.fill_null(skipped, False)).to_pylist())
        rows = sorted(reasons)
        return Converted(pc.if_else(pc.fill_null(skipped, False), pa.scalar(None, _UTC), instants), rows, [reasons[row] for row in rows])

    return Bound(_UTC, convert)


def _has_offset(array: pa.Array) -> pa.Array | None:
    array = plain_text(array)
    if not is_text(array.type):
        return None
    return pc.fill_null(pc.match_substring_regex(array, _OFFSET), False)


ENTRIES = (
    Entry("date", (Parameter("format", "text", None),), _date, "a date, ISO or by a format, as in date('%d.%m.%Y')", computes=True),
    Entry(
        "timestamp",
        (Parameter("format", "text", None), Parameter("zone", "text", None), Parameter("unit", "text", None)),
        _timestamp,
        "a timestamp, ISO or by a format; zone: where local times are; unit: s, ms, us or ns since 1970",
        computes=True,
    ),
)
