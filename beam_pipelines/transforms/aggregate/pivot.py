"""Group rows and sum them up, in a column for each value of a field: an aggregate over columns that hold a value or null."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.compact import pick, take
from beam_pipelines.columnar.kinds import plain_type
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.columnar.stored import reduced
from beam_pipelines.errors import Code, Problem
from beam_pipelines.spec.aggregation import Measure
from beam_pipelines.spec.step.aggregate import AggregateStep
from beam_pipelines.spec.step.pivot import PivotStep
from beam_pipelines.transforms.aggregate.functions import kernel
from beam_pipelines.transforms.aggregate.measure import MeasureProblem
from beam_pipelines.transforms.aggregate.step import Aggregate
from beam_pipelines.transforms.binding import Binding
from beam_pipelines.transforms.step import Applied, DeadRows

__all__ = ["Pivot"]


class Pivot(Aggregate):
    """A pivot step: one row for each group, the fields of `groupBy` first, then a column for each declared value.

    In the column of a value is what an aggregate over the rows that have it would give; a group that has no such row has what it would give
    of nothing. Rows with another value, or null, belong to their group all the same, or are dead letters.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "pivot"

    def __init__(self, model: PivotStep, path: str) -> None:
        self._pivot = model
        counts = model.function == "count"
        fields = {name: f"{origin.PREFIX}pivot{number}" for number, name in enumerate(model.columns)}
        aggregations = {field: [{"function": "sum" if counts else model.function, "as": name}] for name, field in fields.items()}
        totals = {"id": model.id, "groupBy": model.group_by, "aggregations": aggregations}
        super().__init__(AggregateStep.model_validate(totals), path)
        self._spread = tuple(fields.values())
        self._column: FieldPath | None = None
        self._value: FieldPath | None = None
        self._wanted = pa.nulls(0)

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the step reads."""
        ours = frozenset(path.name for path in (self._column, self._value) if path is not None)
        return (super().columns - set(self._spread)) | ours

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:
        _, value, _ = self._found(schema)
        return super().plan(self._spread_schema(schema, value), sample)

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:
        self._column, self._value, self._wanted = self._found(schema_in)
        super().open(self._spread_schema(schema_in, self._value), schema_out, now)

    def screened(self, batch: pa.RecordBatch) -> Applied:
        if self._pivot.other == "ignore":
            return super().screened(batch)
        known = np.asarray(pc.is_in(self._keyed(batch), value_set=self._wanted), dtype=np.bool_)
        if known.all():
            return super().screened(batch)
        rows = np.flatnonzero(~known).tolist()
        codes: list[Code] = ["row-invalid"] * len(rows)
        message = f"{self._pivot.column!r} holds none of the values that have a column"
        return replace(super().screened(take(batch, np.flatnonzero(known))), dead=(DeadRows(batch, rows, codes, [message] * len(rows)),))

    def states(self, batch: pa.RecordBatch, places: int | npt.NDArray[np.int64]) -> pa.RecordBatch:
        keyed = self._keyed(batch)
        value = None if self._value is None else self._value.read(batch)
        columns = list(batch.columns)
        for wanted in self._wanted:
            match = pc.fill_null(pc.equal(keyed, wanted), False)
            if value is None or self._pivot.function == "count":
                columns.append(match.cast(pa.int64()))
            else:
                columns.append(pick(value, pa.array(np.arange(batch.num_rows), mask=~np.asarray(match))))
        names = [*batch.schema.names, *self._spread]
        return super().states(pa.RecordBatch.from_arrays(columns, names=names), places)

    def results(self, states: Sequence[pa.RecordBatch], load: str) -> Applied:
        applied = super().results(states, load)
        if self._pivot.function != "count":
            return applied
        # Of no rows at all a sum is null, and a count is not.
        return replace(applied, batches=tuple(_counts(batch, len(self.group_by)) for batch in applied.batches))

    def _keyed(self, batch: pa.RecordBatch) -> pa.Array:
        assert self._column is not None
        return reduced(self._column.read(batch))

    def _spread_schema(self, schema: pa.Schema, value: FieldPath | None) -> pa.Schema:
        kind = pa.int64() if value is None or self._pivot.function == "count" else value.type
        return pa.schema([*schema, *(pa.field(name, kind) for name in self._spread)])

    def _found(self, schema: pa.Schema) -> tuple[FieldPath, FieldPath | None, pa.Array]:
        """The fields of a schema, and the declared values as the column holds them."""
        binding = Binding()
        column = binding.find(self._pivot.column, schema, f"{self._path}.column")
        value = None if self._pivot.value is None else binding.find(self._pivot.value, schema, f"{self._path}.value")
        wanted, told = (pa.nulls(0), []) if column is None else self._declared(column.type)
        for problem in (*told, *self._misfits(value)):
            binding.add(problem)
        binding.check("a pivot cannot be carried out")
        assert column is not None
        return column, value, wanted

    def _declared(self, kind: pa.DataType) -> tuple[pa.Array, list[Problem]]:
        kind = plain_type(kind)
        if pa.types.is_nested(kind) or pa.types.is_interval(kind):
            message = f"expected a field with values that can be told apart, got {self._pivot.column!r}, a {kind}"
            return pa.nulls(0), [Problem(message, f"{self._path}.column", hint="name a field inside of it")]
        problems, arrays = [], []
        for name, value in self._pivot.columns.items():
            array, wrong = convert_column(pa.array([Decimal(value) if isinstance(value, int) and abs(value) >= 2**63 else value]), kind)
            strange = isinstance(value, bool) and not pa.types.is_boolean(kind)  # Arrow takes true for 1
            if strange or (wrong is not None and wrong.any()):
                place = list(self._pivot.columns).index(name)
                path = f"{self._path}.values" + (f".{name}" if isinstance(self._pivot.values, dict) else f"[{place}]")
                problems.append(Problem(f"expected a value that {self._pivot.column!r} can hold, a {kind}, got {value!r}", path))
            else:
                arrays.append(reduced(array))
        if problems:
            return pa.nulls(0), problems
        wanted = pa.concat_arrays(arrays)
        if len(pc.unique(wanted)) < len(wanted):
            problems = [Problem(f"expected different values, got some that are equal as {kind}", f"{self._path}.values")]
        return wanted, problems

    def _misfits(self, value: FieldPath | None) -> Iterator[Problem]:
        """What the function cannot do, and names that are taken."""
        if value is not None:
            try:
                kernel(Measure(name="x", function=self._pivot.function, field="x"), plain_type(value.type), None)
            except MeasureProblem as problem:
                message = f"{self._pivot.function} of {self._pivot.value!r}: {problem.message}"
                yield Problem(message, f"{self._path}.value", hint=problem.hint)
        taken = set(map(str.lower, self.group_by))
        for name in self._pivot.columns:
            if name.lower() in taken:
                yield Problem(f"two results would be called {name!r}", f"{self._path}.values", hint="write {name: value}")
            taken.add(name.lower())


def _counts(batch: pa.RecordBatch, keys: int) -> pa.RecordBatch:
    shown = origin.visible(batch)
    columns = [column if at < keys else pc.fill_null(column, 0) for at, column in enumerate(shown.columns)]
    return origin.carry(batch, pa.RecordBatch.from_arrays(columns, schema=shown.schema))
