"""Lengths within bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import family
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.judgement import Judgement, finding
from beam_pipelines.spec.rule.length import Length

__all__ = ["LengthRange"]

_LONGEST = 2**63 - 1  # no value is as long, so that a bound beyond it says the same


class LengthRange:
    """A length from `min` to `max`, both inclusive: Unicode code points of text, bytes of binary values, items of lists, entries of maps.

    Null is not evaluated; empty text has the length 0, as empty lists have.
    """

    def __init__(self, model: Length, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        kind = family(self._field.type)
        if kind not in _MEASURES:
            raise RuleMisfit(
                f"expected a field of text, binary values, lists or maps, got {model.field!r} of type {self._field.type}", "field"
            )
        self._measure, unit = _MEASURES[kind]
        self._low, self._high = model.min, model.max
        self._message = f"expected {_worded(model.min, model.max, unit)}"

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = self._field.read(batch)
        lengths = self._measure(values)
        tests = []
        if self._low is not None:
            tests.append(pc.less(lengths, pa.scalar(min(self._low, _LONGEST), pa.int64())))
        if self._high is not None:
            tests.append(pc.greater(lengths, pa.scalar(min(self._high, _LONGEST), pa.int64())))
        outside = tests[0] if len(tests) == 1 else pc.or_(tests[0], tests[1])
        return Judgement(tuple(finding(outside, self._field.name, values, self._message)), values.null_count)


def _entries(maps: pa.Array) -> pa.Array:
    """Return how many entries each map has; Arrow has no such function (pyarrow 25)."""
    counts = np.diff(np.asarray(maps.offsets))
    return pa.array(counts, mask=maps.is_null().to_numpy(zero_copy_only=False) if maps.null_count else None)


def _nothing(nulls: pa.Array) -> pa.Array:
    return pa.nulls(len(nulls), pa.int64())


_MEASURES: dict[str, tuple[Callable[[pa.Array], pa.Array], str]] = {
    "text": (pc.utf8_length, "characters"),
    "bytes": (pc.binary_length, "bytes"),
    "list": (pc.list_value_length, "items"),
    "map": (_entries, "entries"),
    "null": (_nothing, "characters"),
}


def _worded(low: int | None, high: int | None, unit: str) -> str:
    if low is None:
        return f"at most {high} {unit}"
    if high is None:
        return f"at least {low} {unit}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"
