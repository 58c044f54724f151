"""Rename, nest, convert and compute fields, column by column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.expression import UNREADABLE, Engine, Scope, Term, unreadable
from beam_pipelines.columnar.path import FieldPath, PathProblem, find_path, nest, target_parts
from beam_pipelines.errors import Code, FatalError, PlanError, Problem
from beam_pipelines.spec.mapping import FieldMapping
from beam_pipelines.spec.step.map import MapStep
from beam_pipelines.transforms.converters import Bound, Converted, ConverterProblem, bind
from beam_pipelines.transforms.step import Applied, dead_rows

__all__ = ["Map"]

Failures = dict[int, tuple[Code, str]]


@dataclass(frozen=True)
class _Field:
    """One mapping, compiled: a source path or an expression, then a converter, then a default."""

    target: str
    parts: tuple[str, ...]
    source: FieldPath | None
    term: Term | None
    bound: Bound | None
    default: pa.Scalar | None
    type: pa.DataType

    @property
    def plain(self) -> bool:
        """A rename: nothing of it can fail."""
        return self.source is not None and self.bound is None


@dataclass
class _Columns:
    """The values of each field for one batch, and what failed on the way."""

    arrays: list[pa.Array] = field(default_factory=list)
    failed: Failures = field(default_factory=dict)
    mended: set[int] = field(default_factory=set)


class Map:
    """A map step. Expressions and sources see the fields before the map.

    What comes out: `unmapped: drop` gives the targets, in the order of the definition. `unmapped: keep` gives the fields before the map in
    their order, those that a target has the name of replaced in place, and those that are the whole source of a mapping left out (they
    were renamed); then the other targets. A target `address.city` is a field of the struct `address`; with `keep` the other fields of an
    `address` that was there stay.

    A value that cannot be converted: `onError: deadletter` (the row is a dead letter), `null` (null, then the default), `keep` (the value
    as it was, for converters that keep the type). An expression that fails is a dead letter; with `onError: null` it is null. With
    `required: false` a row that would be a dead letter goes on with every target null that is made by an expression or a converter;
    plain renames cannot fail, and keep what they carry (a key above all). A plain rename shares the column.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "map"
    needs_sample = False

    def __init__(self, model: MapStep, path: str) -> None:
        self.id, self.required = model.id, model.required
        self._model, self._path = model, path
        self._engine: Engine | None = None
        self._scope: Scope | None = None
        self._fields: list[_Field] = []

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        self.open(schema, schema, datetime.fromisoformat("1970-01-01T00:00:00+00:00"))
        try:
            return self._schema(schema)
        finally:
            self.close()

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it follows from the mappings)
        self.close()
        self._engine = Engine()
        self._scope = Scope(schema_in, now, self._engine)
        try:
            self._fields = self._compile(schema_in, self._scope, self._engine)
        except PlanError:
            self.close()
            raise

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = self._scope = None

    @property
    def drops(self) -> bool:
        """Whether only what the mappings make goes on."""
        return self._model.unmapped == "drop"

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns that the map reads; None: all of them go on, too."""
        return self.reads if self.drops else None

    @property
    def reads(self) -> frozenset[str]:
        """The columns that mappings read."""
        if self._scope is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        names = self._scope.schema.names
        sources = {one.source.name for one in self._fields if one.source}
        return frozenset(sources | {names[index] for one in self._fields if one.term for index in one.term.used})

    def apply(self, batch: pa.RecordBatch) -> Applied:
        columns = self._columns(batch)
        failed, arrays = columns.failed, columns.arrays
        if failed and not self.required:
            arrays = [array if one.plain else _null_at(array, failed) for one, array in zip(self._fields, arrays, strict=True)]
        out = origin.carry(batch, self._assembled(batch, arrays))
        if failed and self.required:
            out = take(out, np.delete(np.arange(batch.num_rows), list(failed)))
            dead = dead_rows(batch, failed)
            nulled = len(columns.mended - set(failed))
        else:
            dead, nulled = (), len(columns.mended | set(failed))
        return Applied((out,) if out.num_rows else (), nulled=nulled, dead=dead)

    def _compile(self, schema: pa.Schema, scope: Scope, engine: Engine) -> list[_Field]:
        fields, problems = [], []
        codes: list[Code] = []
        for target, mapping in self._model.mappings.items():
            path = f"{self._path}.mappings.{target}"
            try:
                fields.append(self._field(target, mapping, schema, scope, engine))
            except (PathProblem, ConverterProblem) as problem:
                problems.append(Problem(problem.message, path, hint=problem.hint))
                codes.append(problem.code if isinstance(problem, PathProblem) else "expression-invalid")
            except PlanError as error:
                problems += error.problems or (Problem(error.message, path),)
                codes.append(error.code)
        problems += _clashes([one.parts for one in fields], f"{self._path}.mappings")
        if self._model.unmapped == "keep":
            problems += self._misfits(fields, schema)
        if problems:
            raise PlanError("a map cannot be carried out", problems=problems, code=codes[0] if codes else "expression-invalid")
        return fields

    def _field(self, target: str, mapping: FieldMapping, schema: pa.Schema, scope: Scope, engine: Engine) -> _Field:
        path = f"{self._path}.mappings.{target}"
        parts = target_parts(target)
        origin.refuse_reserved(parts[:1])
        source = find_path(mapping.source, schema) if mapping.source is not None else None
        term = scope.compile(mapping.expression, f"{path}.expression") if mapping.expression is not None else None
        kind: pa.DataType = source.type if source else term.type if term else pa.null()
        bound = bind(mapping.converter, kind, engine) if mapping.converter else None
        if bound and self._model.on_error == "keep" and bound.type != kind:
            raise ConverterProblem(
                f"expected a converter that keeps the type with onError: keep, got {mapping.converter and mapping.converter.name!r}:"
                f" a value that stays {kind} does not fit into a column of {bound.type}",
                "use onError: null or deadletter",
            )
        given = bound.type if bound else kind
        default = _default(mapping.default, given) if mapping.default is not None else None
        return _Field(target, parts, source, term, bound, default, default.type if default is not None else given)

    def _misfits(self, fields: Sequence[_Field], schema: pa.Schema) -> list[Problem]:
        problems = []
        for one in fields:
            old = schema.field(one.parts[0]).type if len(one.parts) > 1 and one.parts[0] in schema.names else None
            if old is not None and not pa.types.is_struct(old):
                message = f"{one.parts[0]!r} is kept and is a {old}, not a struct that could take {one.target!r}"
                problems.append(Problem(message, f"{self._path}.mappings.{one.target}", hint="name another target, or use unmapped: drop"))
        return problems

    def _schema(self, schema: pa.Schema) -> pa.Schema:
        empty = pa.RecordBatch.from_pylist([], schema)
        out = self._assembled(empty, self._columns(empty).arrays).schema
        renamed = {one.target: one for one in self._fields if self.required and one.source and not one.bound and len(one.parts) == 1}
        fields = []
        for item in out:
            same = renamed.get(item.name)
            kept = same is None and item.name in schema.names and all(one.parts[0] != item.name for one in self._fields)
            nullable = same.source.nullable if same and same.source else (schema.field(item.name).nullable if kept else True)
            fields.append(pa.field(item.name, item.type, nullable))
        return pa.schema(fields)

    def _columns(self, batch: pa.RecordBatch) -> _Columns:
        """Compute every field; failures by row, the first reason of each row."""
        if self._scope is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        terms = [one.term for one in self._fields if one.term]
        evaluated = iter(self._scope.evaluate(terms, batch) if terms else ())
        columns = _Columns()
        for one in self._fields:
            if one.source:
                array = one.source.read(batch)
            else:
                found = next(evaluated)
                array = found.array
                self._fail(columns, one, found.bad, found.reasons, "expression-failed", keeps=False)
            columns.arrays.append(self._converted(columns, one, array))
        return columns

    def _converted(self, columns: _Columns, one: _Field, array: pa.Array) -> pa.Array:
        if one.bound:
            found = _convert(one.bound, array)
            if found.bad:
                self._fail(columns, one, found.bad, found.reasons, "converter-failed", keeps=True)
            array = _put_back(found.array, array, found.bad) if found.bad and self._model.on_error == "keep" else found.array
        return array if one.default is None else _filled(array, one.default)

    def _fail(self, columns: _Columns, one: _Field, rows: Sequence[int], reasons: Sequence[str], code: Code, *, keeps: bool) -> None:
        mends = self._model.on_error == "null" or (self._model.on_error == "keep" and keeps)
        for row, why in zip(rows, reasons, strict=True):
            if mends:
                columns.mended.add(row)
            else:
                columns.failed.setdefault(row, (code, f"{one.target!r}: {why}"))

    def _assembled(self, batch: pa.RecordBatch, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        tree = _tree([one.parts for one in self._fields], arrays)
        columns: dict[str, Any] = {}
        if self._model.unmapped == "keep":
            renamed = {one.source.name for one in self._fields if one.source and not one.source.parts}
            kept = [name for name in origin.names(batch.schema) if name in tree or name not in renamed]
            columns = {name: batch.column(batch.schema.get_field_index(name)) for name in kept}
        for name, part in tree.items():
            columns[name] = part if isinstance(part, pa.Array) else nest(part, columns.get(name))
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _convert(bound: Bound, array: pa.Array) -> Converted:
    """Convert a column; text that is not UTF-8 fails before it reaches the kernels."""
    plain = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    broken = unreadable(plain)
    if not broken:
        return bound.convert(array)
    found = bound.convert(_null_at(plain, broken))
    why = {**dict.fromkeys(broken, UNREADABLE), **dict(zip(found.bad, found.reasons, strict=True))}
    rows = sorted(why)
    return Converted(found.array, rows, [why[row] for row in rows])


def _tree(paths: Sequence[tuple[str, ...]], arrays: Sequence[pa.Array]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*above, name), array in zip(paths, arrays, strict=True):
        level = tree
        for part in above:
            level = level.setdefault(part, {})
        level[name] = array
    return tree


def _clashes(paths: Sequence[tuple[str, ...]], path: str) -> list[Problem]:
    """Find targets that are both a value and a struct: `a` and `a.b`."""
    taken = set(paths)
    problems = []
    for parts in paths:
        for depth in range(1, len(parts)):
            if parts[:depth] in taken:
                whole = ".".join(parts[:depth])
                problems.append(Problem(f"expected {whole!r} to be a value or a struct, got it as both", f"{path}.{'.'.join(parts)}"))
    return problems


def _default(value: Any, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_null(kind):
        return pa.scalar(value)
    try:
        array, wrong = convert_column(pa.array([value]), kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ConverterProblem(f"expected a default of type {kind}, got {value!r}") from error
    if wrong is not None:
        raise ConverterProblem(f"expected a default of type {kind}, got {value!r}")
    return array[0]


def _filled(array: pa.Array, default: pa.Scalar) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.repeat(default, len(array))
    if array.null_count == 0:
        return array
    if isinstance(array, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(array.type, pc.fill_null(array.storage, default.value))
    if pa.types.is_dictionary(array.type):
        plain = pc.fill_null(array.dictionary_decode(), default.value)
        return plain.dictionary_encode().cast(array.type)
    return pc.fill_null(array, default)


def _null_at(array: pa.Array, rows: Iterable[int]) -> pa.Array:
    mask = np.zeros(len(array), dtype=bool)
    mask[list(rows)] = True
    return array.take(pa.array(np.arange(len(array)), mask=mask))


def _put_back(array: pa.Array, before: pa.Array, rows: Sequence[int]) -> pa.Array:
    """Return converted values with the values of some rows as they were; both have one type."""
    positions = np.arange(len(array))
    positions[list(rows)] += len(array)
    return pa.concat_arrays([array, before]).take(pa.array(positions))
