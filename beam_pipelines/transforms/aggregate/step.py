"""Group rows and sum them up: batches become states of groups, states combine, and the last ones become rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.groups import Values, grouped
from beam_pipelines.columnar.kinds import plain_type
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.columnar.stored import reduced, restored
from beam_pipelines.errors import Code, FatalError, Problem
from beam_pipelines.spec.aggregation import Measure
from beam_pipelines.spec.condition import Condition
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.transforms.aggregate.functions import kernel
from beam_pipelines.transforms.aggregate.measure import Kernel, MeasureProblem, Rows
from beam_pipelines.transforms.binding import Binding
from beam_pipelines.transforms.filter import Filter
from beam_pipelines.transforms.step import Applied, dead_rows

__all__ = ["ROWS", "Aggregate", "Summed"]

ROWS = "rows"  # of a state: how many rows it stands for
Dead = dict[int, tuple[Code, str]]


class Summed(Protocol):
    """What is summed up, as an aggregate step of a definition says it."""

    @property
    def id(self) -> str: ...
    @property
    def group_by(self) -> tuple[str, ...]: ...
    @property
    def group_names(self) -> tuple[str, ...]: ...
    @property
    def measures(self) -> tuple[Measure, ...]: ...
    @property
    def having(self) -> Condition | None: ...


@dataclass(frozen=True)
class _Bound:
    """A measure over one schema."""

    measure: Measure
    kernel: Kernel
    source: FieldPath | None  # None: rows are counted, whatever is in them
    order: FieldPath | None

    @property
    def width(self) -> int:
        return len(self.kernel.states)

    @property
    def listed(self) -> bool:
        return any(state.reduce is None for state in self.kernel.states)


class Aggregate:
    """An aggregate step: one row for each group, the fields of `groupBy` first, then the results in the order of the definition.

    Keys keep their types; null is a group of its own, NaN too, and -0.0 is 0.0. `count` counts rows, every other function leaves out
    null. Without `groupBy` there is one row, also of no rows at all. Fields are named as in the definition, dots of a path as `_`.

    States are batches: columns `k0, k1, ...` hold the key, `rows` how many rows a state stands for, `s0, s1, ...` the states of the
    measures. They combine in any order and any split (of doubles, sums differ in their last digits).

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "aggregate"
    needs_sample = False
    required = True

    def __init__(self, model: Summed, path: str) -> None:
        self.id = model.id
        self._model, self._path = model, path
        having = None if model.having is None else FilterStep(id=model.id, condition=model.having)
        self._having = None if having is None else Filter(having, path, "having")
        self._keys: list[FieldPath] = []
        self._measures: list[_Bound] = []
        self._schema: pa.Schema | None = None
        self._schema_in: pa.Schema | None = None

    @property
    def group_by(self) -> tuple[str, ...]:
        """The columns of the result that name a group."""
        return self._model.group_names

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the step reads."""
        self._opened()
        paths = [*self._keys, *(path for one in self._measures for path in (one.source, one.order) if path is not None)]
        return frozenset(path.name for path in paths)

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        keys, measures = self._bind(schema)
        planned = self._planned(keys, measures)
        if self._having is not None:
            self._having.plan(planned, None)
        return planned

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:
        self.close()
        self._keys, self._measures = self._bind(schema_in)
        self._schema, self._schema_in = schema_out, schema_in
        if self._having is not None:
            self._having.open(schema_out, schema_out, now)

    def close(self) -> None:
        self._schema = None
        if self._having is not None:
            self._having.close()

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Aggregate one batch, as if it held every row."""
        screened = self.screened(batch)
        states = [self.states(rows, 0) for rows in screened.batches] or [self.nothing()]
        done = self.results(states, origin.load_of(batch))
        return replace(done, filtered=screened.filtered + done.filtered, dead=(*screened.dead, *done.dead))

    def screened(self, batch: pa.RecordBatch) -> Applied:
        """Return the rows of a batch that belong to a group, as `states` takes them, and count what becomes of the others."""
        return Applied((batch,) if batch.num_rows else ())

    def nothing(self) -> pa.RecordBatch:
        """Return the states of no rows."""
        self._opened()
        return Aggregate.states(self, pa.RecordBatch.from_pylist([], self._schema_in), 0)

    @property
    def _listed(self) -> bool:
        return any(one.listed for one in self._measures)

    @property
    def ordered(self) -> bool:
        """Whether a result depends on the order of the rows."""
        return any(measure.function in ("first", "last", "collect") for measure in self._model.measures)

    def states(self, batch: pa.RecordBatch, places: int | npt.NDArray[np.int64]) -> pa.RecordBatch:
        """Return one state for each group of a batch.

        Args:
            batch: Rows.
            places: Of its rows in the order of the source; a number: of its first row.
        """
        self._opened()
        ordinals = pa.array(np.arange(places, places + batch.num_rows, dtype=np.int64) if isinstance(places, int) else places)
        columns: list[pa.Array] = [pa.array(np.ones(batch.num_rows, dtype=np.int64))]
        for one in self._measures:
            values = ordinals if one.source is None else reduced(one.source.read(batch))
            order = None if one.order is None else reduced(one.order.read(batch))
            columns += one.kernel.lift(Rows(values, ordinals, order))
        return self._combined([reduced(key.read(batch)) for key in self._keys], columns, batch.num_rows)

    def combine(self, states: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        """Return one state for each group of some states; at least one must be given."""
        self._opened()
        if len(states) == 1:
            return states[0]
        # Arrow's own functions take states where they are; what picks rows by their positions needs them in one piece.
        joined = pa.concat_batches(states) if self._listed else pa.Table.from_batches(states)
        width = len(self._keys)
        return self._combined(joined.columns[:width], joined.columns[width:], joined.num_rows)

    def results(self, states: Sequence[pa.RecordBatch], load: str) -> Applied:
        """Return the rows of the groups of which these are all states, and count what they stand for.

        Args:
            states: At least one; of no group when there is none.
            load: What the rows belong to.
        """
        schema = self._opened()
        final = self.combine(states)
        if not self._keys and final.num_rows == 0:
            final = self._nothing()
        width = len(self._keys)
        counted = int(pc.sum(final.column(width)).as_py() or 0)
        measured, dead = self._measured(final)
        columns = [restored(array, field.type) for array, field in zip([*final.columns[:width], *measured], schema, strict=True)]
        rows = pa.RecordBatch.from_arrays(columns, schema=schema)
        key = rows.schema.names[:width]
        rows = origin.with_load(origin.attach(rows, self.id, key=key, first_row=None if key else 0), load)
        return self._kept(rows, dead, final.num_rows - counted)

    def _measured(self, final: pa.RecordBatch) -> tuple[list[pa.Array], Dead]:
        """Return the results of the measures, as states hold values of their types, and the groups that have none."""
        columns: list[pa.Array] = []
        dead: Dead = {}
        place = len(self._keys) + 1
        for one in self._measures:
            measured = one.kernel.result(final.columns[place : place + one.width])
            place += one.width
            columns.append(measured.array)
            dead.update({row: ("cast-failed", measured.reason) for row in measured.bad if row not in dead})
        return columns, dead

    def _kept(self, rows: pa.RecordBatch, dead: Dead, beyond: int) -> Applied:
        """Drop the groups that died and those that `having` does not keep; `beyond`: groups above rows, negative: rows above groups."""
        died = dead_rows(rows, dead)
        if dead:
            rows = take(rows, np.delete(np.arange(rows.num_rows), sorted(dead)))
        kept = Applied((rows,) if rows.num_rows else ())
        if self._having is not None and rows.num_rows:
            kept = self._having.apply(rows)
        return replace(kept, made=max(beyond, 0), absorbed=max(-beyond, 0), dead=(*died, *kept.dead), kept=None)

    def _nothing(self) -> pa.RecordBatch:
        """The state of no rows at all."""
        columns = [pa.array([0], pa.int64())]
        for one in self._measures:
            values, order = (pa.nulls(1, pa.int64() if path is None else path.type) for path in (one.source, one.order))
            columns += one.kernel.nothing(Rows(reduced(values), pa.array([0], pa.int64()), reduced(order) if one.order else None))
        return pa.RecordBatch.from_arrays(columns, names=self._names())

    def _names(self) -> list[str]:
        states = sum(one.width for one in self._measures)
        return [*(f"k{number}" for number in range(len(self._keys))), ROWS, *(f"s{number}" for number in range(states))]

    def _combined(self, keys: Sequence[Values], columns: Sequence[Values], rows: int) -> pa.RecordBatch:
        reduced = [(columns[0], "sum")]
        places = list(itertools.accumulate((one.width for one in self._measures), initial=1))
        for one, place in zip(self._measures, places, strict=False):
            if not one.listed:
                reduced += [(columns[place + at], str(state.reduce)) for at, state in enumerate(one.kernel.states)]
        found, combined, groups = grouped(keys, reduced, rows, listed=self._listed)
        ready = iter(combined)
        out = [*found, next(ready)]
        for one, place in zip(self._measures, places, strict=False):
            if one.listed:
                assert groups is not None
                out += one.kernel.combine(list(columns[place : place + one.width]), groups)
            else:
                out += itertools.islice(ready, one.width)
        return pa.RecordBatch.from_arrays(out, names=self._names())

    def _opened(self) -> pa.Schema:
        if self._schema is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._schema

    def _planned(self, keys: Sequence[FieldPath], measures: Sequence[_Bound]) -> pa.Schema:
        fields = [pa.field(name, plain_type(key.type), key.nullable) for name, key in zip(self.group_by, keys, strict=True)]
        return pa.schema([*fields, *(pa.field(one.measure.name, one.kernel.type) for one in measures)])

    def _bind(self, schema: pa.Schema) -> tuple[list[FieldPath], list[_Bound]]:
        binding = Binding()
        keys = [binding.find_key(text, schema, f"{self._path}.groupBy[{at}]") for at, text in enumerate(self._model.group_by)]
        measures = []
        for measure in self._model.measures:
            path = self._entry_path(measure)
            told = len(binding.problems)
            rows = measure.field in (None, "*")
            source = None if rows else binding.find(str(measure.field), schema, path)
            by = measure.args.get("orderBy")
            order = binding.find(str(by), schema, path) if by is not None else None
            if rows and measure.function != "count":
                message = f"expected a field for {measure.function!r}; only count takes '*'"
                binding.refuse(message, path, "name a field in its place", "expression-invalid")
            if len(binding.problems) > told:
                continue
            try:
                kind = pa.int64() if source is None else plain_type(source.type)
                measures.append(_Bound(measure, kernel(measure, kind, plain_type(order.type) if order else None), source, order))
            except MeasureProblem as problem:
                binding.refuse(f"{measure.function} of {measure.field!r}: {problem.message}", path, problem.hint)
        for doubled in self._doubled():
            binding.add(doubled, "expression-invalid")
        binding.check("an aggregate cannot be carried out")
        return [key for key in keys if key is not None], measures

    def _entry_path(self, measure: Measure) -> str:
        """Where a measure stands in the definition."""
        return f"{self._path}.aggregations.{measure.field}"

    def _doubled(self) -> Iterator[Problem]:
        taken: set[str] = set()
        for name in [*self.group_by, *(measure.name for measure in self._model.measures)]:
            if name in taken:
                yield Problem(f"two results would be called {name!r}", f"{self._path}.aggregations", hint="name one with `as`")
            taken.add(name)
