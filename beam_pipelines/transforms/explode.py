"""Make a row of each element of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin, size
from beam_pipelines.columnar.compact import pick, take
from beam_pipelines.columnar.kinds import is_list
from beam_pipelines.columnar.path import FieldPath, PathProblem, find_path
from beam_pipelines.errors import Code, FatalError, PlanError, Problem
from beam_pipelines.spec.step.explode import ExplodeStep
from beam_pipelines.transforms.step import Applied

__all__ = ["Explode"]

Lengths = npt.NDArray[np.int64]


class Explode:
    """An explode step: a row's elements come out one after the other, each with the row's other columns and its origin.

    A list that is a column is replaced by its elements, in its place. A list inside of structs is taken out of them, and its elements are
    a column behind the others; out of a map or another list it cannot be taken, and stays. Else each of n rows would hold n elements.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "explode"
    needs_sample = False

    def __init__(self, model: ExplodeStep, path: str) -> None:
        self.id, self.required = model.id, model.required
        self._model, self._path = model, path
        self._list: FieldPath | None = None

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        found = self._find(schema)
        rest, place = _apart(found, pa.RecordBatch.from_pylist([], schema))
        planned: pa.Schema = rest.schema
        for key, at, field in self._added(found, place, rest):
            # Whatever their case: to expressions and most databases `Word` and `word` are one.
            if field.name.lower() in map(str.lower, planned.names):
                raise self._refusal(f"two columns would be called {field.name!r}", key, f"give another name: {key}")
            planned = planned.insert(at, field)
        return planned

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (they follow from the list)
        self._list = self._find(schema_in)

    def close(self) -> None:
        self._list = None

    def before(self, read: frozenset[str]) -> frozenset[str]:
        """Return the columns that must come in, for some columns to come out."""
        found = self._opened()
        return read - {self._name(found), self._model.position} | {found.name}

    def pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Cut a batch into slices that become no more rows than a batch may hold, nor many more bytes. A row is not cut.

        Args:
            batch: With hidden columns.
        """
        if not batch.num_rows:
            return
        lengths = np.maximum(_lengths(self._opened().read(batch)), 1)
        most = min(size.MAX_ROWS, max(1, size.MAX_BYTES * batch.num_rows // max(1, size.slice_bytes(batch))))
        # A row goes to the slice that its last element would be in if rows could be cut.
        slices = (np.cumsum(lengths) - 1) // most
        begin = 0
        for end in [*(np.flatnonzero(np.diff(slices)) + 1).tolist(), batch.num_rows]:
            yield batch.slice(begin, end - begin)
            begin = end

    def apply(self, batch: pa.RecordBatch) -> Applied:
        found, outer = self._opened(), self._model.outer
        lists = found.read(batch)
        lengths = _lengths(lists)
        counts = np.maximum(lengths, 1) if outer else lengths
        filtered = int((counts == 0).sum())
        parents = np.repeat(np.arange(batch.num_rows), counts)
        if not len(parents):
            return Applied((), filtered=filtered)
        without = np.repeat(lengths, counts) == 0  # elements that stand for an empty list
        elements = lists.flatten()
        if without.any():
            elements = pick(elements, pa.array(np.cumsum(~without) - 1, pa.int64(), mask=without))
        rest, place = _apart(found, batch)
        if len(parents) > batch.num_rows or filtered:
            rest = take(rest, parents)
        within = np.arange(len(parents)) - np.repeat(np.cumsum(counts) - counts, counts)
        arrays = (elements, pa.array(within, pa.int64(), mask=without))
        for (_, at, field), array in zip(self._added(found, place, rest), arrays, strict=False):
            rest = rest.add_column(at, field, array)
        return Applied((rest,), filtered=filtered, made=int(np.maximum(lengths - 1, 0).sum()))

    def _added(self, found: FieldPath, place: int, rest: pa.RecordBatch) -> Iterator[tuple[str, int, pa.Field]]:
        """The new columns with their places, and the keys that name them."""
        field = found.type.value_field
        yield "as", place, pa.field(self._name(found), field.type, field.nullable or self._model.outer)
        if self._model.position is not None:
            yield "position", len(origin.names(rest.schema)) + 1, pa.field(self._model.position, pa.int64(), self._model.outer)

    def _name(self, found: FieldPath) -> str:
        return self._model.output or next((part for part in reversed(found.parts) if isinstance(part, str)), found.name)

    def _opened(self) -> FieldPath:
        if self._list is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._list

    def _find(self, schema: pa.Schema) -> FieldPath:
        try:
            found = find_path(self._model.field, schema)
        except PathProblem as problem:
            raise self._refusal(problem.message, "field", problem.hint, problem.code) from problem
        if not is_list(found.type):
            hint = "make a list of it in a map step before"
            if pa.types.is_map(found.type):
                hint = f"make a list of it in a map step before: map_entries({self._model.field})"
            raise self._refusal(f"expected a list, got {self._model.field!r}, a {found.type}", "field", hint, "type-unsupported")
        return found

    def _refusal(self, message: str, key: str, hint: str, code: Code = "expression-invalid") -> PlanError:
        return PlanError("a list cannot be exploded", problems=[Problem(message, f"{self._path}.{key}", hint=hint)], code=code)


def _lengths(lists: pa.Array) -> Lengths:
    """How many elements each list has; none where it is null."""
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)


def _apart(found: FieldPath, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """Return a batch without the list, and where the column of its elements belongs."""
    at, behind = batch.schema.get_field_index(found.name), len(origin.names(batch.schema))
    if not found.parts:
        return batch.remove_column(at), at
    column = batch.column(at)
    pruned = _pruned(column, [str(part) for part in found.parts]) if _of_structs(column.type, found.parts) else column
    if pruned is None:
        return batch.remove_column(at), behind - 1
    return batch.set_column(at, batch.schema.field(at).with_type(pruned.type), pruned), behind


def _of_structs(kind: pa.DataType, parts: Sequence[str | int]) -> bool:
    """Whether a path leads through structs alone."""
    for part in parts:
        if not pa.types.is_struct(kind):
            return False
        kind = kind.field(part).type
    return True


def _pruned(array: pa.StructArray, parts: Sequence[str]) -> pa.StructArray | None:
    """Return structs without a field, and without those that have no other; None when there is nothing else in them."""
    fields, arrays = [], []
    for place in range(array.type.num_fields):
        field, child = array.type.field(place), pc.struct_field(array, [place])
        if field.name == parts[0]:
            below = _pruned(child, parts[1:]) if len(parts) > 1 else None
            if below is None:
                continue
            field, child = field.with_type(below.type), below
        fields.append(field)
        arrays.append(child)
    if not fields:
        return None
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=array.is_null() if array.null_count else None)
