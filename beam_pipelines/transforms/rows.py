"""Record batches as rows and back, column by column: rows exist only inside of a user's row function."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.kinds import is_bytes, is_text, is_uuid

__all__ = ["MAX_ROWS", "python_types", "to_columns", "to_rows"]

MAX_ROWS = 1000  # rows that exist as dicts at one time

Row = dict[str, Any]
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_ERRORS = (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError)


def to_rows(batch: pa.RecordBatch) -> list[Row]:
    """Return the rows of a batch as dicts.

    Decimals are `Decimal`, timestamps `datetime` (aware where the column has a zone) to the microsecond, JSON is text, lists are lists,
    structs dicts, maps lists of pairs. A timestamp that `datetime` cannot hold (after the year 9999) is its microseconds since 1970.
    """
    names = batch.schema.names
    if not names:
        return [{} for _ in range(batch.num_rows)]
    columns = [_values(column) for column in batch.columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(array: pa.Array) -> list[Any]:
    wanted = _microseconds(array.type)
    if wanted != array.type:
        # Python has no nanoseconds, and `to_pylist` refuses them.
        array = array.cast(wanted, safe=False)
    values: list[Any] = _moments(array) if _by_numpy(wanted) else array.to_pylist()
    return values


@lru_cache(maxsize=1024)
def _by_numpy(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date32(kind) or (pa.types.is_timestamp(kind) and kind.tz in (None, "UTC")))


def _moments(array: pa.Array) -> list[Any]:
    """Return dates and timestamps by way of numpy: 0.1 us a value, where Arrow takes 1 to 3."""
    if pa.types.is_date32(array.type):
        dates: list[Any] = array.to_numpy(zero_copy_only=False).astype("datetime64[D]").tolist()
        return dates
    ticks = array.to_numpy(zero_copy_only=False).astype("datetime64[us]")
    if array.type.tz is None:
        stamps: list[Any] = ticks.tolist()
        return stamps
    return [None if span is None else _since(span) for span in (ticks - np.datetime64(0, "us")).tolist()]


def _since(span: Any) -> Any:
    try:
        return _EPOCH + span
    except (OverflowError, TypeError):
        return span // dt.timedelta(microseconds=1) if isinstance(span, dt.timedelta) else span


@lru_cache(maxsize=1024)
def _microseconds(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_microseconds(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_microseconds(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_microseconds(kind.value_type)))
    return kind


def to_columns(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> tuple[list[pa.Array], dict[int, str]]:
    """Return rows as the columns of a schema.

    A field that a row does not have is null. What fits is what `columnar.cast` takes: nothing is cut or rounded on the way.

    Args:
        rows: As a function gave them.
        schema: Planned.

    Returns:
        One array a field; and the rows that do not fit, with the reason: a value that is not of its field's type (null in the array), or a
        field that is not planned.
    """
    bad: dict[int, str] = {}
    known = frozenset(schema.names)
    for position, row in enumerate(rows):
        if not row.keys() <= known:
            extra = ", ".join(sorted(repr(str(name)) for name in row.keys() - known)[:5])
            bad[position] = f"the function gave {extra}, which is not in the planned output: declare it in `output:` of the step"
    arrays = []
    for field, values in zip(schema, _transposed(rows, schema.names), strict=True):
        array, wrong = _column(values, field.type)
        arrays.append(array)
        for position, value in sorted(wrong.items()):
            bad.setdefault(position, f"column {field.name!r}: expected {field.type}, got {type(value).__name__} that does not fit")
    return arrays, bad


def _transposed(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[list[Any]]:
    if len(names) > 1 and rows:
        try:
            return [list(values) for values in zip(*map(itemgetter(*names), rows), strict=True)]
        except KeyError:
            pass
    return [[row.get(name) for row in rows] for name in names]


def _column(values: list[Any], target: pa.DataType) -> tuple[pa.Array, dict[int, Any]]:
    """Return the values as an array of one type, null where they do not fit; and those that do not, by position."""
    kinds = set(map(type, values))
    kinds.discard(type(None))
    if not kinds:
        return _nulls(len(values), target), {}
    if pa.types.is_map(target) and kinds <= {list, dict}:
        return _maps(values, target)
    if kinds <= python_types(target):
        try:
            return pa.array(values, target), {}
        except _ERRORS:
            return _by_value(values, lambda value: pa.array([value], target), target)
    return _by_kind(values, kinds, target)


def _maps(values: Sequence[Any], target: pa.MapType) -> tuple[pa.Array, dict[int, Any]]:
    """Return dicts, or lists of pairs, as maps."""
    pairs: list[list[tuple[Any, Any]]] = []
    wrong: dict[int, Any] = {}
    for position, value in enumerate(values):
        try:
            pairs.append(list(dict(value or ()).items()))
        except (TypeError, ValueError):
            pairs.append([])
            wrong[position] = value
    owners = [position for position, listed in enumerate(pairs) for _ in listed]
    keys, bad_keys = _column([key for listed in pairs for key, _ in listed], target.key_type)
    items, bad_items = _column([item for listed in pairs for _, item in listed], target.item_type)
    for place in {*bad_keys, *bad_items, *np.flatnonzero(keys.is_null()).tolist()}:
        wrong[owners[place]] = values[owners[place]]
    blank = {position for position, value in enumerate(values) if value is None} | set(wrong)
    kept = pa.array([owner not in blank for owner in owners], pa.bool_())
    lengths = [0 if position in blank else len(listed) for position, listed in enumerate(pairs)]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    mask = pa.array([position in blank for position in range(len(values))], pa.bool_())
    return pa.MapArray.from_arrays(offsets, keys.filter(kept), items.filter(kept), type=target, mask=mask), wrong


def _by_value(values: Sequence[Any], make: Callable[[Any], pa.Array], target: pa.DataType) -> tuple[pa.Array, dict[int, Any]]:
    parts, wrong = [], {}
    for position, value in enumerate(values):
        try:
            parts.append(_nulls(1, target) if value is None else make(value))
        except _ERRORS:
            parts.append(_nulls(1, target))
            wrong[position] = value
    return pa.concat_arrays(parts), wrong


def _by_kind(values: Sequence[Any], kinds: set[type], target: pa.DataType) -> tuple[pa.Array, dict[int, Any]]:
    """Convert the values of each Python type together: what Arrow makes of them, then by the rules of `columnar.cast`."""
    order = np.zeros(len(values), dtype=np.int64)
    parts: list[pa.Array] = [_nulls(1, target)]
    wrong: dict[int, Any] = {}
    begin = 1
    for kind in kinds:
        at = [position for position, value in enumerate(values) if type(value) is kind]
        part, failed = _converted([values[position] for position in at], target)
        parts.append(part)
        wrong.update((at[position], value) for position, value in failed.items())
        order[at] = np.arange(begin, begin + len(at))
        begin += len(at)
    return pa.concat_arrays(parts).take(pa.array(order)), wrong


def _converted(values: Sequence[Any], target: pa.DataType) -> tuple[pa.Array, dict[int, Any]]:
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    try:
        array = pa.array(values)
    except _ERRORS:
        if len(values) == 1:
            return _nulls(1, target), {0: values[0]}
        return _by_value(values, lambda value: _only(value, target), target)
    made, misfits = convert_column(array, target)
    return made, {} if misfits is None else {position: values[position] for position in np.flatnonzero(misfits).tolist()}


def _only(value: Any, target: pa.DataType) -> pa.Array:
    made, misfits = _converted([value], target)
    if misfits:
        raise ValueError
    return made


def _nulls(length: int, target: pa.DataType) -> pa.Array:
    return convert_column(pa.nulls(length), target)[0]


@lru_cache(maxsize=1024)
def python_types(kind: pa.DataType) -> frozenset[type]:
    """Return the Python types that Arrow takes for a type as they are; it also takes others, and cuts them: 1.5 becomes the integer 1."""
    if isinstance(kind, pa.BaseExtensionType):
        return frozenset((uuid.UUID,)) if is_uuid(kind) else frozenset((str,)) if kind == pa.json_() else frozenset()
    tests: tuple[tuple[Callable[[pa.DataType], Any], tuple[type, ...]], ...] = (
        (pa.types.is_boolean, (bool,)),
        (pa.types.is_integer, (int,)),
        (pa.types.is_floating, (float, int)),
        (pa.types.is_decimal, (Decimal, int)),
        (is_text, (str,)),
        (is_bytes, (bytes,)),
        (pa.types.is_date, (dt.date,)),
        (pa.types.is_timestamp, (dt.datetime,)),
        (pa.types.is_time, (dt.time,)),
        (pa.types.is_duration, (dt.timedelta,)),
    )
    for test, kinds in tests:
        if test(kind):
            return frozenset(kinds)
    return frozenset()
