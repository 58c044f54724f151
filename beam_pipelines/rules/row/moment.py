"""Dates and timestamps within bounds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.judgement import Judgement, finding
from beam_pipelines.rules.row.texts import without_unreadable
from beam_pipelines.spec.rule.moment import DateRange, instants

__all__ = ["MomentRange"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_INSTANT = pa.timestamp("us", "UTC")
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY = 86_400 * 10**9  # nanoseconds


class MomentRange:
    """A date or a timestamp from `min` to `max`, both inclusive; null is not evaluated, text that is neither violates.

    A timestamp without a zone is UTC. A bound that is a date is its whole day, and a date that is held against a timestamp is its first
    instant.

    Args:
        model: From the definition.
        schema: Of the rows.
        now: The run's start, aware.
    """

    def __init__(self, model: DateRange, schema: pa.Schema, now: datetime) -> None:
        self._field = Field.find(model.field, schema)
        kind = family(self._field.type)
        if kind not in ("date", "timestamp", "text", "null"):
            raise RuleMisfit(f"expected a field of dates, timestamps or text, got {model.field!r} of type {self._field.type}", "field")
        low = None if model.min is None else instants(model.min)[0]
        high = [] if model.max is None else [instants(model.max)[1]]
        if model.not_in_future:
            high.append((now - _EPOCH) // timedelta(microseconds=1) * 1_000)
        tick = _DAY if kind == "date" else _NANOSECONDS[(self._field.type if kind == "timestamp" else _INSTANT).unit]
        self._low = None if low is None else _bound(-(-low // tick), low=True)
        self._high = _bound(min(high) // tick, low=False) if high else None
        self._message = f"expected {_worded(model)}"

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = self._field.read(batch)
        moments, none = values, None  # none: which are no moment
        if family(values.type) in ("text", "null"):
            texts, odd = without_unreadable(values)
            moments, wrong = convert_column(texts, _INSTANT)
            none = odd if wrong is None else wrong | odd
        days = pa.types.is_date(values.type)
        ticks = (moments.cast(pa.date32()).cast(pa.int32()) if days else moments).cast(pa.int64())
        findings = list(finding(self._outside(ticks), self._field.name, values, self._message))
        if none is not None:
            what = f"{self._message}, got something that is neither a date nor a timestamp"
            findings += finding(pa.array(none), self._field.name, values, what)
        return Judgement(tuple(findings), values.null_count)

    def _outside(self, ticks: pa.Array) -> pa.Array:
        """Return which values, as days or units of time since 1970, are not within the bounds."""
        tests = [pa.array(np.zeros(len(ticks), dtype=np.bool_))]
        if self._low is not None:
            tests.append(pc.less(ticks, self._low) if self._low.is_valid else ticks.is_valid())
        if self._high is not None:
            tests.append(pc.greater(ticks, self._high) if self._high.is_valid else ticks.is_valid())
        return reduce(pc.or_kleene, tests)


def _bound(ticks: int, *, low: bool) -> pa.Scalar | None:
    """Return a bound as 64 bits hold it. Null: no value is within it. None: every value is."""
    if -(2**63) <= ticks < 2**63:
        return pa.scalar(ticks, pa.int64())
    return None if (ticks < 0) == low else pa.scalar(None, pa.int64())


def _worded(model: DateRange) -> str:
    if model.min is not None and model.max is not None:
        text = f"a date or timestamp from {model.min} to {model.max}"
    elif model.min is not None:
        text = f"a date or timestamp that is not before {model.min}"
    else:
        text = "a date or timestamp" if model.max is None else f"a date or timestamp that is not after {model.max}"
    if not model.not_in_future:
        return text
    return f"{text} that is not in the future" if model.min is None and model.max is None else f"{text} and not in the future"
