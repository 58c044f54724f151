"""Keep the rows on which a condition is true."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import kept_rows
from beam_pipelines.columnar.condition import compile_condition
from beam_pipelines.columnar.expression import Scope, Term
from beam_pipelines.errors import FatalError
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.transforms.step import Applied, dead_rows

__all__ = ["Filter", "narrowed"]


class Filter:
    """A filter step: null is not true, NaN is not greater than anything; a row on which the condition fails is a dead letter.

    With `required: false` such a row passes.

    Args:
        model: From the definition.
        path: Where the step stands in it.
        key: Of the condition, below the step.
    """

    type = "filter"
    needs_sample = False

    def __init__(self, model: FilterStep, path: str, key: str = "condition") -> None:
        self.id, self.required = model.id, model.required
        self._condition, self._path = model.condition, f"{path}.{key}"
        self._scope: Scope | None = None
        self._term: Term | None = None

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        with Scope(schema) as scope:
            self.compile(scope)
        return schema

    def compile(self, scope: Scope) -> Term:
        """Return the condition over a schema."""
        return compile_condition(self._condition, scope, self._path)

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (they are the same)
        self.close()
        self._scope = Scope(schema_in, now)
        self._term = self.compile(self._scope)

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the condition reads."""
        scope, term = self._opened()
        return frozenset(scope.schema.names[index] for index in term.used)

    def _opened(self) -> tuple[Scope, Term]:
        if self._scope is None or self._term is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._scope, self._term

    def apply(self, batch: pa.RecordBatch, columns: frozenset[str] | None = None) -> Applied:
        """Keep the rows on which the condition is true.

        Args:
            batch: With hidden columns.
            columns: What goes on of the rows, beside the hidden columns; None: all of it.
        """
        mask, failed = self.judge(batch)
        every = pc.all(mask, min_count=0).as_py()
        kept = batch if columns is None else narrowed(batch, columns)
        kept = kept if every else kept_rows(kept, mask)
        dead = dead_rows(batch, {row: ("expression-failed", why) for row, why in failed.items()} if self.required else {})
        filtered = batch.num_rows - kept.num_rows - (len(failed) if self.required else 0)
        batches = (kept,) if kept.num_rows else ()
        nulled = 0 if self.required else len(failed)
        return Applied(batches, filtered=filtered, nulled=nulled, dead=dead, kept=None if every else mask)

    def judge(self, batch: pa.RecordBatch) -> tuple[pa.BooleanArray, dict[int, str]]:
        """Return which rows go on, and why the condition failed on some; those go on when the filter is not required."""
        scope, term = self._opened()
        found = scope.evaluate([term], batch)[0]
        mask = found.array if pa.types.is_boolean(found.array.type) else pa.nulls(batch.num_rows, pa.bool_())
        mask = pc.fill_null(mask, False)
        if found.bad and not self.required:
            mask = pc.or_(mask, _at(found.bad, batch.num_rows))
        return mask, dict(zip(found.bad, found.reasons, strict=True))

    def close(self) -> None:
        if self._scope is not None:
            self._scope.close()
        self._scope = self._term = None


def _at(rows: list[int], length: int) -> pa.Array:
    mask = np.zeros(length, dtype=bool)
    mask[rows] = True
    return pa.array(mask)


def narrowed(batch: pa.RecordBatch, columns: frozenset[str]) -> pa.RecordBatch:
    """Return some columns of a batch, beside the hidden ones."""
    names = [name for name in batch.schema.names if name in columns or name.startswith(origin.PREFIX)]
    return batch.select(names) if names else batch  # without a column there is no number of rows
