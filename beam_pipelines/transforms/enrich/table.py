"""Look rows up in another source: a left join in which each row meets one row, or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.index import Index
from beam_pipelines.columnar.path import PathProblem, find_path
from beam_pipelines.errors import Code, FatalError, PlanError, Problem
from beam_pipelines.spec.step.enrich import EnrichStep
from beam_pipelines.transforms.join.binding import Bound, bind
from beam_pipelines.transforms.join.step import Join, Right
from beam_pipelines.transforms.step import Applied, dead_rows

__all__ = ["AMBIGUOUS", "MISSING", "Lookup", "converted_default", "refuse_clashes"]

Positions = npt.NDArray[np.int64]
MISSING: tuple[Code, str] = ("lookup-missing", "nothing was found for the row's key")
AMBIGUOUS: tuple[Code, str] = ("lookup-ambiguous", "several rows were found for the row's key, and which one is meant is not known")


@dataclass(frozen=True)
class Known(Right):
    """Rows to look up in, or a shard of them.

    Args:
        several: Which rows share their key with another one.
        default: Position of the row that stands for those that are not found; None: they get nulls.
    """

    several: npt.NDArray[np.bool_]
    default: int | None


class Lookup(Join):
    """An enrich step against a table, a query or files.

    What comes out: the columns of the row, then those of the source that `fields` names, else all but its keys. A row whose key is not
    there, or has a null in it, is what `onMissing` says. A row whose key is there several times is a dead letter: rows of a source have no
    order that holds for every run, so the first one would be any.

    Args:
        model: From the definition, with a source.
        path: Where the step stands in it.
    """

    type = "enrich"

    def __init__(self, model: EnrichStep, path: str) -> None:
        super().__init__(model, path)
        self._step = model

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        brought = self._brought(bind(self._step, self._path, schema, self._against()))
        named = self._step.taken or {}
        # A name may be written in another case than the column has.
        names = list(named.values()) if named else [field.name for field in brought]
        refuse_clashes(names, schema, self._path)
        nullable = self._step.on_missing == "null"
        made = [pa.field(name, field.type, field.nullable or nullable) for name, field in zip(names, brought, strict=True)]
        self._defaults(pa.schema(made))
        return pa.schema([*schema, *made])

    def _brought(self, bound: Bound) -> list[pa.Field]:
        if self._step.taken is None:
            return super()._brought(bound)
        right = self._against()
        found: list[pa.Field] = []
        problems = []
        for name in self._step.taken:
            try:
                path = find_path(name, right)
                if path.parts:
                    raise PathProblem(f"{name!r} lies within a column", "take it out in the `transformations` of the source")
                if any(field.name == path.name for field in found):
                    raise PathProblem(f"{path.name!r} is taken twice", "copy it in a map step behind")
                found.append(right.field(path.name))
            except PathProblem as problem:
                problems.append(Problem(problem.message, f"{self._path}.fields", hint=problem.hint))
        if problems:
            raise PlanError("rows cannot be looked up", problems=problems, code="column-missing")
        return found

    def _defaults(self, made: pa.Schema) -> dict[str, pa.Array]:
        unknown = [name for name in self._step.default if name not in made.names]
        if unknown:
            message = f"expected one of the new columns {', '.join(made.names)}, got {unknown[0]!r}"
            raise PlanError("rows cannot be looked up", problems=[Problem(message, f"{self._path}.default")], code="column-missing")
        return {
            name: converted_default(value, made.field(name), f"{self._path}.default.{name}") for name, value in self._step.default.items()
        }

    def indexed(self, batches: Sequence[pa.RecordBatch]) -> Known:
        """Return rows of the source, ready to be met; of none, an empty one."""
        right = super().indexed(batches)
        keys = [key.read(right.rows) for key in self.right_keys]
        index = Index(keys, right.rows.num_rows, distinct=True)
        times = np.zeros(right.rows.num_rows, dtype=np.int64)
        for _, met in index.pairs(keys, right.rows.num_rows):
            times += np.bincount(met, minlength=len(times))
        rows, default = right.rows, None
        if self._step.default:
            default = rows.num_rows
            rows = self._with_default(rows)
        sizes = right.sizes if right.sizes is None or default is None else np.append(right.sizes, 0)
        return Known(rows, right.met, sizes, index, times > 1, default)

    def _with_default(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows, and behind them one with the defaults in the columns that they stand for, and nulls in the others."""
        brought = self._brought(self._bindings())
        made = list(self._opened())[len(self._opened()) - len(brought) :]
        defaults = self._defaults(pa.schema(made))
        values = {field.name: defaults[new.name] for field, new in zip(brought, made, strict=True) if new.name in defaults}
        schema = pa.schema([field.with_nullable(True) for field in rows.schema])
        arrays = [values[field.name] if field.name in values else pa.nulls(1, field.type) for field in schema]
        return pa.concat_batches([pa.RecordBatch.from_arrays(part, schema=schema) for part in (rows.columns, arrays)])

    def joined(self, batch: pa.RecordBatch, right: Right) -> Iterator[Applied]:
        """Look a batch up, with hidden columns.

        Yields:
            Parts whose sum accounts for every row of the batch.
        """
        if not isinstance(right, Known):
            raise FatalError(f"step {self.id!r} was given another step's right side", code="internal")
        rows = batch.num_rows
        met, times = np.full(rows, -1, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        for left, found in right.index.pairs([key.read(batch) for key in self.left_keys], rows):
            met[left] = found
            times += np.bincount(left, minlength=rows)
        there = met >= 0
        several = times > 1
        several[there] |= right.several[met[there]]
        reasons = {int(row): AMBIGUOUS for row in np.flatnonzero(several)}
        on_missing, lonely = self._step.on_missing, np.flatnonzero(~there)
        if on_missing == "deadletter":
            reasons |= {int(row): MISSING for row in lonely}
        elif right.default is not None:
            met[lonely] = right.default
        kept = np.flatnonzero(~several if on_missing == "null" else there & ~several)
        if len(kept):
            for out in self.paired(batch, right, kept, met[kept]):
                yield Applied((out,))
        yield Applied((), filtered=len(lonely) if on_missing == "drop" else 0, dead=dead_rows(batch, reasons))

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Look up in nothing."""
        parts = list(self.joined(batch, self.indexed([])))
        return Applied(
            tuple(out for part in parts for out in part.batches),
            filtered=sum(part.filtered for part in parts),
            dead=tuple(dead for part in parts for dead in part.dead),
        )


def refuse_clashes(names: Sequence[str], schema: pa.Schema, path: str) -> None:
    """Refuse new columns that have the name of another one, whatever their case: to expressions and most databases they are one.

    Raises:
        PlanError: Names each of them.
    """
    taken = {name.lower() for name in schema.names}
    problems = []
    for name in names:
        if name.lower() in taken:
            hint = f"give another name in `fields`, as in {{{name}: found_{name}}}"
            problems.append(Problem(f"there is a column {name!r} already", path, hint=hint))
        taken.add(name.lower())
    if problems:
        raise PlanError("the new columns of a lookup cannot be named so", problems=problems, code="expression-invalid")


def converted_default(value: Any, field: pa.Field, path: str) -> pa.Array:
    """Return the default of a column, as one value of its type.

    Raises:
        PlanError: It does not fit.
    """
    given = pa.array([value])
    made, wrong = convert_column(given, field.type)
    if wrong is not None:
        message = f"expected a value of type {field.type} for {field.name!r}, got one that does not fit"
        raise PlanError("a default does not fit", problems=[Problem(message, path)], code="type-unsupported")
    return made
