"""Values that rise or fall from row to row: a batch at a time, each told the last value before it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import family
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.judgement import Finding, Judgement, finding
from beam_pipelines.spec.rule.order import Monotonic

__all__ = ["Order"]

_FAMILIES = ("int", "float", "decimal", "text", "date", "timestamp", "time", "duration", "null")


class Order:
    """Each value is not below (above) that of the row before. Null is not evaluated, NaN violates; the next row is not held against either.

    Text is in the order of its code points.
    """

    def __init__(self, model: Monotonic, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        if family(self._field.type) not in _FAMILIES:
            raise RuleMisfit(f"expected a field of values that have an order, got {model.field!r} of type {self._field.type}", "field")
        rising = model.direction == "increasing"
        self._breaks = (pc.less_equal if rising else pc.greater_equal) if model.strictly else (pc.less if rising else pc.greater)
        word = f"{'above' if rising else 'below'}" if model.strictly else f"not {'below' if rising else 'above'}"
        self._message = f"expected a value that is {word} that of the row before"

    def last(self, batch: pa.RecordBatch) -> pa.Array | None:
        """Return the last value of a batch, alone in an array; None: it has none."""
        _, compared, _ = self._read(batch)
        return compared.slice(len(compared) - 1) if len(compared) else None

    def judge(self, batch: pa.RecordBatch, before: pa.Array | None) -> Judgement:
        """Look at every row of a batch.

        Args:
            batch: Rows, in the order of the source.
            before: What `last` gave of the nearest batch before it that had a value; None: there is none.
        """
        values, compared, rows = self._read(batch)
        findings: list[Finding] = []
        if len(compared):
            first = pa.nulls(1, compared.type) if before is None else before
            broken = pc.fill_null(self._breaks(compared, pa.concat_arrays([first, compared.slice(0, len(compared) - 1)])), False)
            at = rows[np.asarray(broken)]
            if len(at):
                findings.append(Finding(at, self._field.name, values.take(pa.array(at)), self._message))
        if pa.types.is_floating(values.type):
            findings += finding(pc.is_nan(values), self._field.name, values, f"{self._message}, got something that is not a number")
        return Judgement(tuple(findings), values.null_count)

    def _read(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Return all values, those that are compared, and the positions of the latter."""
        values = self._field.read(batch)
        valid = values.is_valid()
        if pa.types.is_floating(values.type):
            valid = pc.and_(valid, pc.fill_null(pc.invert(pc.is_nan(values)), False))
        rows = np.flatnonzero(np.asarray(valid)).astype(np.int64)
        compared = values.take(pa.array(rows))
        return values, compared.cast(pa.float32()) if pa.types.is_float16(values.type) else compared, rows
