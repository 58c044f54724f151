"""Join rows with those of another source, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.errors import Code, FatalError, PlanError, Problem
from beam_pipelines.spec.step import JoinStep
from beam_pipelines.transforms.join.index import Index, comparable
from beam_pipelines.transforms.path import FieldPath, PathProblem, find_path
from beam_pipelines.transforms.step import Applied

__all__ = ["Join", "Right"]

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Right:
    """The right side, or a shard of it.

    Args:
        rows: Visible and hidden columns.
        index: Over its keys.
        met: Which rows have met one of the left side; kept for `right` and `full`.
    """

    rows: pa.RecordBatch
    index: Index
    met: npt.NDArray[np.bool_]


class Join:
    """A join step.

    What comes out: the left columns, then those of the right but for its keys, which are the left's. `inner` gives every pair whose keys
    are equal, `left` also the left rows that meet none, `right` the right ones, `full` both; `semi` gives left rows that meet any, once,
    and `anti` those that meet none. A key with a null in it meets nothing; 1 and 1.0 are equal, 1 and "1" cannot be joined; several rows of
    one key give every pair of them. A right column of the name of a left one takes `suffix`, or is refused without it.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "join"
    needs_sample = False
    required = True

    def __init__(self, model: JoinStep, path: str) -> None:
        self.id, self.how = model.id, model.how
        self._model, self._path = model, path
        self._right: pa.Schema | None = None
        self._schema: pa.Schema | None = None
        self._keys: list[tuple[FieldPath, FieldPath]] = []

    def against(self, right: pa.Schema) -> None:
        """Say what the rows of the right side are; before `plan` and `open`."""
        self._right = right

    @property
    def keeps_right(self) -> bool:
        """Whether right rows that meet nothing come out."""
        return self.how in ("right", "full")

    @property
    def left_keys(self) -> list[FieldPath]:
        return [left for left, _ in self._keys]

    @property
    def right_keys(self) -> list[FieldPath]:
        return [right for _, right in self._keys]

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        right = self._against()
        keys = self._bind(schema, right)
        nullable = self.keeps_right
        fields = [field.with_nullable(field.nullable or nullable) for field in schema]
        if self.how in ("semi", "anti"):
            return pa.schema(list(schema))
        taken = set(schema.names)
        problems = []
        for field in self._brought(right, keys):
            name = field.name
            if name in taken:
                name = f"{name}{self._model.suffix or ''}"
            if name in taken:
                problems.append(
                    Problem(
                        f"both sides have a column {field.name!r}" + (f", and one {name!r}" if name != field.name else ""),
                        self._path,
                        hint="give `suffix`, such as suffix: _right, or drop it in the `transformations` of the source",
                    )
                )
            taken.add(name)
            fields.append(pa.field(name, field.type, field.nullable or self.how in ("left", "full")))
        if problems:
            raise PlanError("a join cannot be carried out", problems=problems, code="expression-invalid")
        return pa.schema(fields)

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it has no clock)
        self._keys = self._bind(schema_in, self._against())
        self._schema = schema_out

    def close(self) -> None:
        self._schema = None

    def indexed(self, batches: Sequence[pa.RecordBatch]) -> Right:
        """Return rows of the right side, ready to be met; of none, an empty one."""
        self._opened()
        if batches:
            rows = pa.concat_batches([batch.replace_schema_metadata(None) for batch in batches])
        else:
            rows = pa.RecordBatch.from_pylist([], self._against())
        index = Index([key.read(rows) for key in self.right_keys], rows.num_rows)
        return Right(rows, index, np.zeros(rows.num_rows, dtype=np.bool_))

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Join with nothing: what a batch becomes whose right side is empty."""
        return self.joined(batch, self.indexed([]))

    def joined(self, batch: pa.RecordBatch, right: Right) -> Applied:
        """Join a batch of the left side, with hidden columns."""
        self._opened()
        keys = [key.read(batch) for key in self.left_keys]
        counts = np.zeros(batch.num_rows, dtype=np.int64)
        out: list[pa.RecordBatch] = []
        for first, last, left, met in right.index.pairs(keys, batch.num_rows):
            counts[first:last] = np.bincount(left - first, minlength=last - first)
            if self.keeps_right:
                right.met[met] = True
            if self.how not in ("semi", "anti"):
                out += self._rows(batch, right, *self._with_lonely(first, counts[first:last], left, met))
        if self.how in ("semi", "anti"):
            kept = batch.filter(pa.array(counts > 0 if self.how == "semi" else counts == 0))
            return Applied((kept,) if kept.num_rows else (), filtered=batch.num_rows - kept.num_rows)
        lonely = int((counts == 0).sum())
        dropped = 0 if self.how in ("left", "full") else lonely
        made = sum(one.num_rows for one in out) + dropped - batch.num_rows
        return Applied(tuple(out), filtered=dropped, made=made)

    def unmet(self, right: Right, load: str) -> Applied:
        """Return the right rows that met nothing, for `right` and `full`; the left side of the whole shard has been joined."""
        schema = self._opened()
        rows = right.rows.take(pa.array(np.flatnonzero(~right.met)))
        if not rows.num_rows:
            return Applied(())
        given = {left.name: key.read(rows) for left, key in self._keys}
        width = len(schema) - len(self._brought(self._against(), self._keys))
        columns = [
            given[field.name].cast(field.type) if field.name in given else pa.nulls(rows.num_rows, field.type)
            for field in list(schema)[:width]
        ]
        columns += [rows.column(field.name) for field in self._brought(self._against(), self._keys)]
        made = origin.carry(rows, pa.RecordBatch.from_arrays(columns, schema=schema))
        return Applied((origin.with_load(made, load),), made=rows.num_rows)

    def _with_lonely(self, first: int, counts: Positions, left: Positions, met: Positions) -> tuple[Positions, Positions]:
        """Return the pairs with, for `left` and `full`, rows that meet nothing (-1) in their places."""
        alone = np.flatnonzero(counts == 0) if self.how in ("left", "full") else np.zeros(0, dtype=np.int64)
        if not len(alone):
            return left, met
        left = np.concatenate([left, alone + first])
        met = np.concatenate([met, np.full(len(alone), -1, dtype=np.int64)])
        order = np.argsort(left, kind="stable")
        return left[order], met[order]

    def _rows(self, batch: pa.RecordBatch, right: Right, left: Positions, met: Positions) -> Iterator[pa.RecordBatch]:
        if not len(left):
            return
        schema = self._opened()
        # Where each row meets one there is nothing to copy of the left side.
        same = len(left) == batch.num_rows and bool((left == np.arange(batch.num_rows)).all())
        taken = batch if same else batch.take(pa.array(left))
        places = pa.array(np.maximum(met, 0), mask=met < 0)
        brought = [right.rows.column(field.name).take(places) for field in self._brought(self._against(), self._keys)]
        columns = [*origin.visible(taken).columns, *brought]
        yield origin.carry(taken, pa.RecordBatch.from_arrays(columns, schema=schema))

    def _brought(self, right: pa.Schema, keys: Sequence[tuple[FieldPath, FieldPath]]) -> list[pa.Field]:
        """The right columns that come out: all but the keys."""
        gone = {key.name for _, key in keys if not key.parts}
        return [field for field in right if field.name not in gone]

    def _against(self) -> pa.Schema:
        if self._right is None:
            raise FatalError(f"step {self.id!r} does not know its right side", code="internal")
        return self._right

    def _opened(self) -> pa.Schema:
        if self._schema is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._schema

    def _bind(self, left: pa.Schema, right: pa.Schema) -> list[tuple[FieldPath, FieldPath]]:
        keys, problems = [], []
        codes: list[Code] = []
        for one, other in self._model.keys_left_right:
            path = f"{self._path}.on"
            found = []
            for name, schema, side in ((one, left, "left"), (other, right, "right")):
                try:
                    found.append(find_path(name, schema))
                except PathProblem as problem:
                    problems.append(Problem(f"the {side} side: {problem.message}", path, hint=problem.hint))
                    codes.append(problem.code)
            if len(found) < 2:
                continue
            keys.append((found[0], found[1]))
            why = self._unfit(found[0], found[1], one, other)
            if why:
                problems.append(Problem(why, path, hint="convert one side in a map step before"))
                codes.append("type-unsupported")
        if problems:
            raise PlanError("a join cannot be carried out", problems=problems, code=codes[0])
        return keys

    def _unfit(self, left: FieldPath, right: FieldPath, one: str, other: str) -> str | None:
        if not comparable(left.type, right.type):
            return f"{one!r} is {left.type} and {other!r} is {right.type}, which are never equal"
        if self.keeps_right and (left.type != right.type or left.parts):
            return (
                f"{self.how} gives rows that only the right side has, whose {other!r} ({right.type}) is to stand in {one!r} ({left.type}):"
                " expected fields of one type, the left one not inside of another"
            )
        return None
