"""Join rows with those of another source, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar import origin, size
from beam_pipelines.columnar.compact import pick, take
from beam_pipelines.columnar.convert import decoded
from beam_pipelines.columnar.index import Index
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.errors import FatalError, PlanError, Problem
from beam_pipelines.spec.step.sided import Sided
from beam_pipelines.transforms.join.as_of import AsOfIndex
from beam_pipelines.transforms.join.binding import Bound, bind, common
from beam_pipelines.transforms.step import Applied

__all__ = ["Join", "Positions", "Right", "Rows"]

Positions = npt.NDArray[np.int64]
MUCH = 4 * size.MAX_BYTES  # bytes of rows that are put together at once


@dataclass(frozen=True)
class Rows:
    """Rows of the right side.

    Args:
        rows: Visible and hidden columns.
        met: Which rows have met one of the left side; kept for `right` and `full`.
        sizes: Bytes of what each row brings, but for columns whose values are all of one size; None: all are.
    """

    rows: pa.RecordBatch
    met: npt.NDArray[np.bool_]
    sizes: Positions | None


@dataclass(frozen=True)
class Right(Rows):
    """The right side, or a shard of it.

    Args:
        index: Over its keys.
    """

    index: Index | AsOfIndex


class Join:
    """A join step.

    What comes out: the left columns, then those of the right but for its keys, which are the left's. `inner` gives every pair whose keys
    are equal, `left` also the left rows that meet none, `right` the right ones, `full` both; `semi` gives left rows that meet any, once,
    and `anti` those that meet none. A key with a null in it meets nothing; 1 and 1.0 are equal, 1 and "1" cannot be joined; several rows of
    one key give every pair of them. A right column of the name of a left one takes `suffix`, or is refused without it. With `asOf` a left
    row meets at most one right row: of those of its key, the one that counts at its time.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "join"
    needs_sample = False
    required = True

    def __init__(self, model: Sided, path: str) -> None:
        self.id, self.how = model.id, model.how
        self._model, self._path = model, path
        self._right: pa.Schema | None = None
        self._schema: pa.Schema | None = None
        self._bound: Bound | None = None

    def against(self, right: pa.Schema) -> None:
        """Say what the rows of the right side are; before `plan` and `open`."""
        self._right = right

    @property
    def keeps_right(self) -> bool:
        """Whether right rows that meet nothing come out."""
        return self.how in ("right", "full")

    def left_columns(self, wanted: frozenset[str]) -> frozenset[str]:
        """The columns of the left side that the step needs to give some of its own."""
        schema = self._opened()
        brought = () if self.how in ("semi", "anti") else self._brought(self._bindings())
        left = schema.names[: len(schema) - len(brought)]
        return (wanted & set(left)) | {key.name for key in self._met_by}

    @property
    def _keeps_left(self) -> bool:
        """Whether left rows that meet nothing come out."""
        return self.how in ("left", "full")

    @property
    def left_keys(self) -> tuple[FieldPath, ...]:
        return self._bindings().left

    @property
    def right_keys(self) -> tuple[FieldPath, ...]:
        return self._bindings().right

    @property
    def _met_by(self) -> tuple[FieldPath, ...]:
        """What rows are looked up by: their keys, then their time."""
        bound = self._bindings()
        return (*bound.left, *(bound.times[:1] if bound.times else ()))

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        right = self._against()
        bound = bind(self._model, self._path, schema, right)
        nullable = self.keeps_right
        # A key that only the right side has stands in the left column, which is as wide as both need.
        wide = {left.name: common(left.type, other.type) for left, other in zip(bound.left, bound.right, strict=True)} if nullable else {}
        fields = [field.with_nullable(field.nullable or nullable).with_type(wide.get(field.name) or field.type) for field in schema]
        if self.how in ("semi", "anti"):
            return pa.schema(list(schema))
        # Whatever their case: to expressions and most databases `Name` and `name` are one.
        lefts = {name.lower() for name in schema.names}
        brought = self._brought(bound)
        taken = lefts | {field.name.lower() for field in brought}
        problems = []
        for field in brought:
            name = field.name
            if name.lower() in lefts:
                name = f"{name}{self._model.suffix or ''}"
                if name.lower() in taken:
                    problems.append(
                        Problem(
                            f"both sides have a column {field.name!r}" + (f", and one has {name!r}" if name != field.name else ""),
                            self._path,
                            hint="give `suffix`, such as suffix: _right, or drop it in the `transformations` of the source",
                        )
                    )
                taken.add(name.lower())
            fields.append(pa.field(name, field.type, field.nullable or self._keeps_left))
        if problems:
            raise PlanError("a join cannot be carried out", problems=problems, code="expression-invalid")
        return pa.schema(fields)

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it has no clock)
        self._bound = bind(self._model, self._path, schema_in, self._against())
        self._schema = schema_out

    def close(self) -> None:
        self._schema = None

    def indexed(self, batches: Sequence[pa.RecordBatch]) -> Right:
        """Return rows of the right side, ready to be met; of none, an empty one."""
        schema, bound = self._against(), self._bindings()
        rows = _concatenated(batches, schema, with_origin=self.keeps_right or bound.times is not None)
        keys = [key.read(rows) for key in bound.right]
        index: Index | AsOfIndex
        if bound.times and bound.way:
            index = AsOfIndex([*keys, bound.times[1].read(rows)], rows, bound.way)
        else:
            index = Index(keys, rows.num_rows, distinct=self.how in ("semi", "anti"))
        brings = self.bringing(rows, np.zeros(rows.num_rows, dtype=np.bool_))
        return Right(brings.rows, brings.met, brings.sizes, index)

    def bringing(self, rows: pa.RecordBatch | None, met: npt.NDArray[np.bool_]) -> Rows:
        """Rows of the right side as `paired` takes them, with which of them have met one; None: there are none."""
        if rows is None:
            rows = _concatenated([], self._against(), with_origin=False)
        return Rows(rows, met, _variable([rows.column(field.name) for field in self._brought(self._bindings())]))

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Join with nothing: what a batch becomes whose right side is empty."""
        parts = list(self.joined(batch, self.indexed([])))
        batches = tuple(out for part in parts for out in part.batches)
        return Applied(batches, filtered=sum(part.filtered for part in parts), made=sum(part.made for part in parts))

    def joined(self, batch: pa.RecordBatch, right: Right) -> Iterator[Applied]:
        """Join a batch of the left side, with hidden columns; a part of it at a time, for a key may be everywhere on both sides.

        Yields:
            Parts whose sum accounts for every row of the batch.
        """
        self._opened()
        keys = [key.read(batch) for key in self._met_by]
        given, hit = (np.zeros(batch.num_rows, dtype=np.bool_) for _ in range(2))
        rows_out = 0
        for left, met in right.index.pairs(keys, batch.num_rows, lonely=self._keeps_left):
            given[left] = True
            hit[left[met >= 0]] = True
            if self.keeps_right:
                right.met[met[met >= 0]] = True
            if self.how not in ("semi", "anti"):
                rows_out += len(left)
                for out in self.paired(batch, right, left, met):
                    yield Applied((out,), made=out.num_rows)
        if self.how in ("semi", "anti"):
            kept = take(batch, np.flatnonzero(hit if self.how == "semi" else ~hit))
            yield Applied((kept,) if kept.num_rows else (), filtered=batch.num_rows - kept.num_rows)
            return
        if self._keeps_left and not given.all():
            rest = np.flatnonzero(~given)
            for out in self.paired(batch, right, rest, np.full(len(rest), -1, dtype=np.int64)):
                yield Applied((out,), made=out.num_rows)
        dropped = 0 if self._keeps_left else int((~hit).sum())
        yield Applied((), filtered=dropped, made=dropped - batch.num_rows)

    def unmet(self, right: Rows, load: str) -> Applied:
        """Return the right rows that met nothing, for `right` and `full`; the left side of the whole shard has been joined."""
        schema = self._opened()
        rows = take(right.rows, np.flatnonzero(~right.met))
        if not rows.num_rows:
            return Applied(())
        given = {left.name: key.read(rows) for left, key in zip(self.left_keys, self.right_keys, strict=True)}
        width = len(schema) - len(self._brought(self._bindings()))
        columns = [
            decoded(given[field.name]).cast(field.type) if field.name in given else pa.nulls(rows.num_rows, field.type)
            for field in list(schema)[:width]
        ]
        columns += [rows.column(field.name) for field in self._brought(self._bindings())]
        made = origin.carry(rows, pa.RecordBatch.from_arrays(columns, schema=schema))
        return Applied((origin.with_load(made, load),), made=rows.num_rows)

    def paired(self, batch: pa.RecordBatch, right: Rows, left: Positions, met: Positions) -> Iterator[pa.RecordBatch]:
        """Put pairs of rows together, as many at a time as are no more than a few batches' bytes."""
        brought = [right.rows.column(field.name) for field in self._brought(self._bindings())]
        ours = _variable(origin.visible(batch).columns)
        sizes = np.zeros(len(left), dtype=np.int64)
        if ours is not None:
            sizes += ours[left]
        if right.sizes is not None and len(right.sizes):
            sizes += np.where(met >= 0, right.sizes[met], 0)
        ends = np.cumsum(sizes)
        begin = 0
        while begin < len(left):
            done = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, done + MUCH, side="right")))
            yield self._together(batch, brought, left[begin:end], met[begin:end])
            begin = end

    def _together(self, batch: pa.RecordBatch, brought: Sequence[pa.Array], left: Positions, met: Positions) -> pa.RecordBatch:
        # Where each row meets one there is nothing to copy of the left side.
        same = len(left) == batch.num_rows and bool((left == np.arange(batch.num_rows)).all())
        taken = batch if same else take(batch, left)
        alone = met < 0
        places = pa.array(np.where(alone, 0, met), mask=alone) if alone.any() else pa.array(met)
        kinds = zip(origin.visible(taken).columns, self._opened().types, strict=False)
        ours = [column if column.type == kind else decoded(column).cast(kind) for column, kind in kinds]
        columns = [*ours, *(pick(column, places) for column in brought)]
        return origin.carry(taken, pa.RecordBatch.from_arrays(columns, schema=self._opened()))

    def _brought(self, bound: Bound) -> list[pa.Field]:
        """The right columns that come out."""
        return [field for field in self._against() if field.name not in bound.gone]

    def _against(self) -> pa.Schema:
        if self._right is None:
            raise FatalError(f"step {self.id!r} does not know its right side", code="internal")
        return self._right

    def _bindings(self) -> Bound:
        self._opened()
        assert self._bound is not None
        return self._bound

    def _opened(self) -> pa.Schema:
        if self._schema is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._schema


def _variable(columns: Sequence[pa.Array]) -> Positions | None:
    """Bytes of each row in columns whose values are not all of one size; None when there is no such column."""
    sizes = [size.cell_sizes(column) for column in columns if not _even(column.type)]
    return np.sum(sizes, axis=0) if sizes else None


def _even(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _even(kind.storage_type)
    return bool(
        pa.types.is_primitive(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_null(kind) or pa.types.is_dictionary(kind)
    )


def _concatenated(batches: Sequence[pa.RecordBatch], schema: pa.Schema, *, with_origin: bool) -> pa.RecordBatch:
    """Rows of the right side in one batch, in the planned schema; with their origin where it is wanted and all have one of a kind."""
    if not batches:
        return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    hidden = [origin.hidden(batch) for batch in batches] if with_origin else []
    first = hidden[0].schema if hidden and hidden[0] is not None else None
    fields = list(schema)
    if first is not None and all(one is not None and one.schema.equals(first) for one in hidden):
        fields += list(first)
    whole = pa.schema(fields)
    return pa.concat_batches([pa.RecordBatch.from_arrays([batch.column(name) for name in whole.names], schema=whole) for batch in batches])
