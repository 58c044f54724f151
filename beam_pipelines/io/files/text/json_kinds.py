"""Types of the values of JSON: merged over a sample, and as which Arrow type each is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.kinds import is_list
from beam_pipelines.io.files.text.json_text import Number

__all__ = ["DEEPEST", "as_text", "as_written", "finished", "kind_of", "merged"]

_EXACT, _LONGEST = 15, 19  # digits that a double holds exactly, and those of the largest int64
DEEPEST = 50  # Arrow reads no type back from its own format that is nested deeper than some 60 levels
_SMALL = pa.int32()  # stands for a whole number of at most 15 digits, until all of a sample is known


def kind_of(value: Any, depth: int = 0) -> pa.DataType:
    """What one value is; `pa.null()` of null. What is within more than `DEEPEST` others is text: its JSON."""
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, Number):
        return _number(value)
    if depth == DEEPEST:
        return pa.string()
    if isinstance(value, dict):
        return pa.struct([(name, kind_of(item, depth + 1)) for name, item in value.items()])
    if isinstance(value, list):
        return pa.list_(merged(kind_of(item, depth + 1) for item in value))
    return pa.string()


def _number(text: str) -> pa.DataType:
    digits = sum(map(str.isdigit, text.lower().partition("e")[0].lstrip("-0.")))
    if text.removeprefix("-").isdigit():
        return _SMALL if digits <= _EXACT else pa.int64() if digits <= _LONGEST and abs(int(text)) < 2**63 else pa.string()
    return pa.float64() if digits <= _EXACT + 2 and abs(float(text)) < float("inf") else pa.string()


def merged(kinds: Iterable[pa.DataType]) -> pa.DataType:
    """What holds the values of all of some types; text where they have nothing in common."""
    found = pa.null()
    for kind in kinds:
        found = _both(found, kind)
    return found


def _both(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_integer(one) and pa.types.is_integer(other):
        return pa.int64()
    if {one, other} == {_SMALL, pa.float64()}:
        return pa.float64()
    if is_list(one) and is_list(other):
        return pa.list_(_both(one.value_type, other.value_type))
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            fields[field.name] = _both(fields.get(field.name, pa.null()), field.type)
        return pa.struct(list(fields.items()))
    return pa.string()


def finished(kind: pa.DataType) -> pa.DataType:
    """The type of a column: text where the sample has nothing but null, or objects without keys."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_integer(kind):
        return pa.int64()
    if is_list(kind):
        return pa.list_(finished(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, finished(field.type)) for field in kind]) if kind.num_fields else pa.string()
    return kind


def as_written(kind: pa.DataType) -> pa.DataType | None:
    """The type as which Arrow reads what stands in JSON for a planned one; None: it cannot."""
    if is_list(kind):
        item = as_written(kind.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(kind):
        parts = [(field.name, as_written(field.type)) for field in kind]
        return None if any(part is None for _, part in parts) else pa.struct(parts)
    what = family(kind)
    if what in ("map", "json", "other"):
        return None
    if what == "int":
        return pa.uint64() if kind == pa.uint64() else pa.int64()
    if what == "decimal":
        # Arrow (25) looks for the digits behind the point alone, and would make 12345.1 a decimal(6,2): the cast that follows does not.
        return pa.decimal128(38, kind.scale) if kind.scale >= 0 else None
    return {"bool": pa.bool_(), "float": pa.float64()}.get(what, pa.string())


def as_text(kind: pa.DataType) -> pa.DataType:
    """The same shape with text in it."""
    if is_list(kind):
        return pa.list_(as_text(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, as_text(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(pa.string(), as_text(kind.item_type))
    return pa.string()
