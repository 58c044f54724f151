"""Values that must occur in another table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar.compact import joined
from beam_pipelines.columnar.index import comparable, valid_keys
from beam_pipelines.rules.field import Field, RuleMisfit, found
from beam_pipelines.rules.judgement import Finding, Judgement, Positions
from beam_pipelines.rules.key.known import Known
from beam_pipelines.spec.rule.reference import ForeignKey

__all__ = ["References"]


class References:
    """A foreign key: its values occur together in a row of the reference; a row with a null in its key is not checked.

    Args:
        model: From the definition.
        schema: Of the rows.
        reference: The rows that are referred to; only the reference's columns are looked at.
    """

    def __init__(self, model: ForeignKey, schema: pa.Schema, reference: pa.Table) -> None:
        several = model.fields is not None
        self._fields = [Field.find(name, schema, f"fields[{at}]" if several else "field") for at, name in enumerate(model.names)]
        columns = []
        batches = reference.to_batches() or [pa.RecordBatch.from_pylist([], reference.schema)]
        for at, (ours, name) in enumerate(zip(self._fields, model.reference.names, strict=True)):
            key = f"reference.fields[{at}]" if model.reference.fields else "reference.field"
            theirs = Field.find(name, reference.schema, key)
            if not comparable(ours.type, theirs.type):
                raise RuleMisfit(
                    f"expected a column that values of {ours.name!r} ({ours.type}) can be equal to,"
                    f" got {model.reference.where} ({name}) of type {theirs.type}",
                    key,
                )
            columns.append(joined([theirs.read(batch) for batch in batches]))
        self._known = Known(columns)
        self._name = ", ".join(model.names)
        self._message = f"expected a value that occurs in {model.reference.where} ({', '.join(model.reference.names)})"

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = self.keys(batch)
        valid = valid_keys(values, batch.num_rows)
        rows = np.flatnonzero(valid & ~self._known.has(values)).astype(np.int64)
        return Judgement(self._finding(batch, rows), batch.num_rows - int(valid.sum()))

    def keys(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """Return the columns of the key."""
        return [field.read(batch) for field in self._fields]

    def told(self, batch: pa.RecordBatch, rows: Positions) -> Judgement:
        """Return what the rule says of a batch, of which somebody else knows the rows that refer to nothing.

        Args:
            batch: Rows.
            rows: Positions of those, ascending.
        """
        return Judgement(self._finding(batch, rows), batch.num_rows - int(valid_keys(self.keys(batch), batch.num_rows).sum()))

    def _finding(self, batch: pa.RecordBatch, rows: Positions) -> tuple[Finding, ...]:
        return (Finding(rows, self._name, found(self._fields, batch, rows), self._message),) if len(rows) else ()
