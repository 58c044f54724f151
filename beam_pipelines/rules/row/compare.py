"""One column held against another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.compare import ordered, orders
from beam_pipelines.columnar.index import valid_keys
from beam_pipelines.rules.field import Field, RuleMisfit, found
from beam_pipelines.rules.judgement import Finding, Judgement
from beam_pipelines.spec.rule.compare import CompareColumns

__all__ = ["Comparison"]

# Which of -1, 0 and 1 an operator allows, and its words.
_OPERATORS: dict[str, tuple[tuple[int, ...], str]] = {
    "lt": ((-1,), "less than"),
    "lte": ((-1, 0), "at most"),
    "gt": ((1,), "greater than"),
    "gte": ((0, 1), "at least"),
    "eq": ((0,), "equal to"),
    "ne": ((-1, 1), "other than"),
}


class Comparison:
    """A value is less than, equal to or greater than that of another field of its row, compared exactly.

    A row in which either is null is not evaluated; one in which either is NaN violates, whatever the operator.
    """

    def __init__(self, model: CompareColumns, schema: pa.Schema) -> None:
        self._fields = [Field.find(model.field, schema), Field.find(model.other, schema, "other")]
        one, other = (field.type for field in self._fields)
        if not orders(one, other):
            raise RuleMisfit(
                f"expected a field that values of {model.field!r} ({one}) can be compared with, got {model.other!r} of type {other}",
                "other",
            )
        self._allowed, words = _OPERATORS[model.operator]
        self._name = f"{model.field}, {model.other}"
        self._message = f"expected {model.field} to be {words} {model.other}"

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = [field.read(batch) for field in self._fields]
        compared = valid_keys(values, batch.num_rows)
        if any(pa.types.is_null(field.type) for field in self._fields):
            return Judgement((), batch.num_rows)
        no_number = np.zeros(batch.num_rows, dtype=np.bool_)
        for column in values:
            if pa.types.is_floating(column.type):
                no_number |= np.asarray(pc.fill_null(pc.is_nan(column), False))
        violated = compared & ~np.isin(ordered(*values), self._allowed) & ~no_number
        ways = ((violated, self._message), (compared & no_number, f"{self._message}, got something that is not a number"))
        findings = [(np.flatnonzero(mask).astype(np.int64), message) for mask, message in ways]
        return Judgement(
            tuple(Finding(rows, self._name, found(self._fields, batch, rows), message) for rows, message in findings if len(rows)),
            batch.num_rows - int(compared.sum()),
        )
