"""The schema of what a function gives: as it is declared, or as a sample shows."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import pyarrow as pa
import typing_extensions

from beam_pipelines.columnar.types import parse_name
from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.transforms.rows import python_types

__all__ = ["has_shape", "schema_of_annotation", "schema_of_batches", "schema_of_names", "schema_of_rows"]

_UTC = pa.timestamp("us", "UTC")
_TYPES: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    dt.datetime: _UTC,
    dt.date: pa.date32(),
    dt.time: pa.time64("us"),
    dt.timedelta: pa.duration("us"),
    uuid.UUID: pa.uuid(),
}
_SEVERAL = (collections.abc.Iterable, collections.abc.Iterator, collections.abc.Generator, collections.abc.Sequence, list, tuple)


def _refused(message: str, path: str, hint: str = "") -> PlanError:
    return PlanError("the output of a function cannot be planned", problems=[Problem(message, path, hint=hint)], code="type-unsupported")


def schema_of_names(output: Mapping[str, str], path: str) -> pa.Schema:
    """Return the schema of `output: {id: bigint, email: text}`.

    Raises:
        PlanError: A type is unknown.
    """
    fields, problems = [], []
    for name, text in output.items():
        try:
            fields.append(pa.field(name, parse_name(text)))
        except PlanError as error:
            problems.append(Problem(error.message, f"{path}.{name}"))
    if problems:
        raise PlanError("the output of a function cannot be planned", problems=problems, code="type-unsupported")
    return pa.schema(fields)


def schema_of_annotation(annotation: Any, schema: pa.Schema, path: str) -> pa.Schema | None:
    """Return the schema of a function that is annotated to give a TypedDict or a dataclass, or several of them; None for other annotations.

    A field that the row had before, with a type of the same kind, keeps that type: `amount: Decimal` stays decimal(10, 2).

    Args:
        annotation: Of what is returned.
        schema: Before the function.
        path: Where the step stands in the definition.

    Raises:
        PlanError: A field has no type that a column could have.
    """
    shape = _shape(annotation)
    if shape is None:
        return None
    return pa.schema([pa.field(name, _field(name, hint, schema, path)) for name, hint in _hints(shape).items()])


def has_shape(annotation: Any) -> bool:
    """Whether an annotation of what is returned names columns."""
    return _shape(annotation) is not None


def _hints(shape: Any) -> dict[str, Any]:
    return typing_extensions.get_type_hints(shape, include_extras=True)


def _shape(annotation: Any) -> Any:
    """Return the TypedDict or dataclass inside of optional and iterable annotations."""
    if typing_extensions.is_typeddict(annotation) or (isinstance(annotation, type) and dataclasses.is_dataclass(annotation)):
        return annotation
    base = typing.get_origin(annotation)
    if base is typing.Union or base is getattr(types, "UnionType", None) or base in _SEVERAL:
        found = [shape for shape in map(_shape, typing.get_args(annotation)) if shape is not None]
        return found[0] if found and all(one is found[0] for one in found) else None
    return None


def _field(name: str, hint: Any, schema: pa.Schema, path: str) -> pa.DataType:
    old = schema.field(name).type if name in schema.names else None
    kind, bare = _kind(hint, name, path)
    if old is not None and bare in python_types(old):
        return old
    if kind is None:
        raise _refused(
            f"{name!r} is annotated as {hint!r}, which has no type of its own", path, 'write Annotated[Decimal, "decimal(12, 2)"]'
        )
    return kind


def _kind(hint: Any, name: str, path: str) -> tuple[pa.DataType | None, Any]:
    """Return the Arrow type of an annotation (None where it needs more), and the plain Python type it stands for."""
    base, parts = typing.get_origin(hint), typing.get_args(hint)
    if base is Annotated:
        named = next((extra for extra in parts[1:] if isinstance(extra, str)), None)
        return (parse_name(named), None) if named else _kind(parts[0], name, path)
    if base in (typing_extensions.Required, typing_extensions.NotRequired):
        return _kind(parts[0], name, path)
    if base is typing.Union or base is getattr(types, "UnionType", None):
        some = [part for part in parts if part is not type(None)]
        if len(some) == 1:
            return _kind(some[0], name, path)
    if base in (list, collections.abc.Sequence) and len(parts) == 1:
        inner = _kind(parts[0], name, path)[0]
        return (pa.list_(inner) if inner is not None else None), None
    if _shape(hint) is hint:
        return pa.struct([pa.field(key, _field(key, part, pa.schema([]), path)) for key, part in _hints(hint).items()]), None
    if hint in _TYPES:
        return _TYPES[hint], hint
    if hint is Decimal:
        return None, Decimal
    raise _refused(f"{name!r} is annotated as {hint!r}, which is no column type", path, "declare the columns in `output:` of the step")


def schema_of_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, path: str) -> pa.Schema:
    """Return the schema of sampled rows: null, int and float are widened over the whole sample, never by batch.

    A field that the row had before keeps its type when all its values are of that kind.

    Args:
        rows: What the function gave for the sample.
        schema: Before the function.
        path: Where the step stands in the definition.

    Raises:
        PlanError: A field is null in every row, or its values have no common type.
    """
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    return pa.schema([pa.field(name, _sampled(name, [row.get(name) for row in rows], schema, path)) for name in names])


def schema_of_batches(batches: Sequence[pa.RecordBatch], schema: pa.Schema, path: str) -> pa.Schema:
    """Return the schema of what a batch function gave for a sample: its own types; for columns of nulls, the type they had before.

    Args:
        batches: Visible columns.
        schema: Before the function.
        path: Where the step stands in the definition.

    Raises:
        PlanError: A column is null in every row and was not there before.
    """
    found: dict[str, pa.DataType] = {}
    for batch in batches:
        for field in batch.schema:
            if field.name not in found or _has_null(found[field.name]):
                found[field.name] = field.type
    for name, kind in found.items():
        if not _has_null(kind):
            continue
        if name not in schema.names:
            raise _refused(f"{name!r} was null in all sampled rows, so that its type is unknown", path, "cast it in the function")
        found[name] = schema.field(name).type
    return pa.schema(list(found.items()))


def _sampled(name: str, values: list[Any], schema: pa.Schema, path: str) -> pa.DataType:
    old = schema.field(name).type if name in schema.names else None
    kinds = set(map(type, values)) - {type(None)}
    hint = f"declare it: output: {{{name}: text, ...}} in the step"
    if not kinds:
        if old is not None:
            return old
        raise _refused(f"{name!r} was null in all {len(values)} sampled rows, so that its type is unknown", path, hint)
    if old is not None and _fits(values, kinds, old):
        return old
    found = _widened(values, kinds)
    if found is None or _has_null(found):
        shown = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise _refused(f"{name!r} was {shown} in the sampled rows, for which there is no common type", path, hint)
    return found


def _fits(values: list[Any], kinds: set[type], kind: pa.DataType) -> bool:
    allowed = python_types(kind)
    if allowed and not kinds <= allowed:
        return False
    try:
        made = pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        return False
    # Nested values have no Python type of their own to tell them by: they must be what Arrow takes them for.
    return bool(allowed) or made.equals(_inferred(values, kind))


def _inferred(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values).cast(kind)
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        return pa.nulls(0, kind)


def _widened(values: list[Any], kinds: set[type]) -> pa.DataType | None:
    if kinds <= {int, Decimal} and Decimal in kinds:
        scale = max((-int(value.as_tuple().exponent) for value in values if isinstance(value, Decimal) and value.is_finite()), default=0)
        return pa.decimal128(38, max(scale, 0))
    if kinds == {dt.datetime}:
        aware = {value.tzinfo is not None for value in values if value is not None}
        return None if len(aware) > 1 else (_UTC if aware == {True} else pa.timestamp("us"))
    if len(kinds) > 1 and not kinds <= {int, float}:
        return None
    try:
        found = pa.array(values).type
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        return pa.decimal128(38, 0) if kinds == {int} and max(abs(value) for value in values if value is not None) < 10**38 else None
    return found


def _has_null(kind: pa.DataType) -> bool:
    if pa.types.is_null(kind):
        return True
    return any(_has_null(kind.field(position).type) for position in range(kind.num_fields))
