"""Values as a person writes them in YAML or JSON, made into columns of a type; the other way round of `plain`.

A type that YAML has must be written as such: "1" is no number, 5 no text. Of the others dates, times, uuids and intervals are written as
text, decimals as text or numbers, binary as base64, JSON as a value or as text.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.kinds import is_list

__all__ = ["inferred", "written"]

_UNFIT = object()
_FLOATS = ("NaN", "Infinity", "-Infinity")  # as `plain` gives them


def inferred(values: Sequence[Any]) -> pa.DataType | None:
    """The type that written values have by themselves: bool, bigint, double, text, lists and structs of those.

    Returns:
        None where there is none: values of several kinds, or nothing but null. A list without items is one of text.
    """
    there = [value for value in values if value is not None]
    kinds = {_kind(value) for value in there}
    if kinds == {"int", "float"}:
        return pa.float64()
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind == "list":
        items = [item for value in there for item in value]
        of_items = inferred(items) if any(item is not None for item in items) else pa.string()
        return None if of_items is None else pa.list_(of_items)
    if kind == "struct":
        names = dict.fromkeys(name for value in there for name in value)
        parts = {name: inferred([value.get(name) for value in there]) for name in names}
        return pa.struct([(name, part) for name, part in parts.items() if part is not None]) if all(parts.values()) else None
    return _SCALARS.get(kind)


_SCALARS = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "struct"
    if isinstance(value, (list, tuple)):
        return "list"
    return {bool: "bool", int: "int", float: "float", str: "text"}.get(type(value), "other")


def written(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Make written values into a column.

    Args:
        values: As YAML or JSON gives them.
        kind: The column's type.

    Returns:
        The column, null where a value does not fit; and the positions of those that do not, ascending.
    """
    if pa.types.is_dictionary(kind):
        array, wrong = written(values, kind.value_type)
        return convert_column(array, kind)[0], wrong
    if pa.types.is_struct(kind):
        return _structs(values, kind)
    if pa.types.is_map(kind):
        return _maps(values, kind)
    if is_list(kind):
        return _lists(values, kind)
    read, stored = _READERS.get(family(kind), (_text, pa.string()))
    texts = [None if value is None else read(value) for value in values]
    wrong = [position for position, text in enumerate(texts) if text is _UNFIT]
    return _converted([None if text is _UNFIT else text for text in texts], stored, kind, wrong)


def _converted(texts: list[Any], stored: pa.DataType | None, kind: pa.DataType, wrong: list[int]) -> tuple[pa.Array, list[int]]:
    try:
        raw = pa.array(texts, stored)
    except (pa.ArrowInvalid, OverflowError):  # a whole number beyond 64 bits
        too_large = [position for position, value in enumerate(texts) if isinstance(value, int) and not -(2**63) <= value < 2**63]
        raw = pa.array([None if position in too_large else value for position, value in enumerate(texts)], stored)
        wrong = sorted({*wrong, *too_large})
    array, misfits = convert_column(raw, kind)
    return array, wrong if misfits is None else sorted({*wrong, *np.flatnonzero(misfits).tolist()})


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _UNFIT


def _bool(value: Any) -> Any:
    return value if isinstance(value, bool) else _UNFIT


def _int(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else _UNFIT


def _float(value: Any) -> Any:
    if value in _FLOATS:
        return float(value)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else _UNFIT


def _decimal(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return format(Decimal(repr(value)), "f")
    return value if isinstance(value, str) else _UNFIT


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else _UNFIT
    except binascii.Error:
        return _UNFIT


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return orjson.dumps(value).decode()
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return _UNFIT
    return value


_READERS: dict[str, tuple[Callable[[Any], Any], pa.DataType | None]] = {
    "bool": (_bool, pa.bool_()),
    "int": (_int, pa.int64()),
    "float": (_float, pa.float64()),
    "decimal": (_decimal, pa.string()),
    "bytes": (_bytes, pa.binary()),
    "json": (_json, pa.string()),
}


def _structs(values: Sequence[Any], kind: pa.StructType) -> tuple[pa.Array, list[int]]:
    names = {field.name for field in kind}
    fits = [isinstance(value, Mapping) and value.keys() <= names for value in values]
    wrong = {position for position, (value, fit) in enumerate(zip(values, fits, strict=True)) if value is not None and not fit}
    columns = []
    for field in kind:
        column, bad = written([value.get(field.name) if fit else None for value, fit in zip(values, fits, strict=True)], field.type)
        columns.append(column)
        wrong.update(bad)
    blank = pa.array([not fit or position in wrong for position, fit in enumerate(fits)], pa.bool_())
    return pa.StructArray.from_arrays(columns, fields=list(kind), mask=blank), sorted(wrong)


def _lists(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    fits = [isinstance(value, (list, tuple)) for value in values]
    wrong = {position for position, (value, fit) in enumerate(zip(values, fits, strict=True)) if value is not None and not fit}
    lists = [list(value) if fit else None for value, fit in zip(values, fits, strict=True)]
    owners = [position for position, listed in enumerate(lists) for _ in listed or ()]
    items, bad = written([item for listed in lists for item in listed or ()], kind.value_type)
    wrong.update(owners[place] for place in bad)
    kept = [None if listed is None or position in wrong else listed for position, listed in enumerate(lists)]
    kept_items = items.filter(pa.array([owner not in wrong for owner in owners], pa.bool_()))
    offsets = np.concatenate([[0], np.cumsum([len(listed or ()) for listed in kept], dtype=np.int64)])
    mask = pa.array([listed is None for listed in kept], pa.bool_())
    made = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), kept_items, mask=mask)
    array, misfits = convert_column(made, kind)  # a list of fixed size holds so many
    return array, sorted(wrong if misfits is None else {*wrong, *np.flatnonzero(misfits).tolist()})


def _maps(values: Sequence[Any], kind: pa.MapType) -> tuple[pa.Array, list[int]]:
    entries = pa.list_(pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)]))
    pairs = [_pairs(value) for value in values]
    array, wrong = written([None if listed is _UNFIT else listed for listed in pairs], entries)
    wrong = sorted({*wrong, *(position for position, listed in enumerate(pairs) if listed is _UNFIT)})
    flat = array.flatten()
    lengths = [0 if length is None else length for length in array.value_lengths().to_pylist()]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), pa.int32())
    made = pa.MapArray.from_arrays(offsets, flat.field("key"), flat.field("value"), type=kind, mask=array.is_null())
    return made, wrong


def _pairs(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return [{"key": key, "value": item} for key, item in value.items()]
    if isinstance(value, (list, tuple)) and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value):
        return [{"key": key, "value": item} for key, item in value]
    return _UNFIT
