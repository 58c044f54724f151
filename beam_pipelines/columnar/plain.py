"""Arrow values as JSON can hold them, losslessly: what dead letters, violations and messages show.

integers and finite floats stay numbers; NaN and the infinities, decimals, dates, times, durations and intervals become text; binary
becomes base64; a map becomes an object when its keys are text, else pairs. Timestamps are ISO 8601, with an offset where the column has a
zone.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import interval
from beam_pipelines.columnar.kinds import is_list, is_text, is_uuid

__all__ = ["iso_texts", "plain"]

# Seconds from 1970 to the years that Arrow's cast can write, 0001 to 9999.
_FIRST, _END = -62_135_596_800, 253_402_300_800


def plain(array: pa.Array) -> list[Any]:
    """Turn an array into Python values that `orjson.dumps` takes as they are.

    Args:
        array: Any type; invalid UTF-8 is shown with replacement characters rather than refused.

    Returns:
        One value a row, None for null.
    """
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _uuids(array) if is_uuid(kind) else plain(array.storage)
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary.take(array.indices))
    if is_text(kind):
        return _texts(array)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return list(iso_texts(array).to_pylist())
    if pa.types.is_struct(kind):
        return _structs(array)
    if pa.types.is_map(kind):
        return _maps(array)
    if is_list(kind):
        return _lists(array)
    if pa.types.is_interval(kind):
        return interval.to_text(array)
    if pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return _ticks(array)
    convert = _converter(kind)
    values = array.to_pylist()
    return values if convert is None else [None if value is None else convert(value) for value in values]


def _uuids(array: pa.ExtensionArray) -> list[str | None]:
    return [None if value is None else str(uuid.UUID(bytes=value)) for value in array.storage.to_pylist()]


def _converter(kind: pa.DataType) -> Callable[[Any], Any] | None:
    if pa.types.is_floating(kind):
        return _float
    if pa.types.is_decimal(kind):
        return _decimal
    if pa.types.is_time(kind):
        return lambda value: value.isoformat()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return None
    return _other


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _decimal(value: Decimal) -> str:
    # Plain digits: `1E+3` is the same number, but no database writes it so.
    return format(value, "f")


def _other(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): _other(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_other(item) for item in value]
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str | int) or value is None:
        return value
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _texts(array: pa.Array) -> list[str | None]:
    try:
        texts: list[str | None] = array.to_pylist()
    except UnicodeDecodeError:
        raw = array.cast(pa.binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "replace") for value in raw]
    return texts


def iso_texts(array: pa.Array) -> pa.Array:
    """Write dates or instants as ISO 8601, with an offset where the column has a zone."""
    # Arrow's own formatting knows nanoseconds and the years that Python cannot hold; it writes UTC with a Z for columns with a zone.
    if pa.types.is_date(array.type):
        return array.cast(pa.string())
    zone, unit = array.type.tz, array.type.unit
    utc = array.cast(pa.timestamp(unit, "UTC")) if zone else array
    return _iso(utc.cast(pa.timestamp(unit)), "+00:00" if zone else "")


def _iso(naive: pa.Array, zone: str) -> pa.Array:
    """Write instants. A cast takes a tenth of the time of `strftime`, and knows the years of four digits only."""
    ticks = pc.min_max(naive.cast(pa.int64()))
    seconds = [bound.as_py() for bound in ticks.values()] if naive.null_count < len(naive) else [0, 0]
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[naive.type.unit]
    if _FIRST * per_second <= seconds[0] and seconds[1] < _END * per_second:
        texts = pc.replace_substring(naive.cast(pa.string()), " ", "T", max_replacements=1)
    else:
        texts = pc.strftime(naive, "%Y-%m-%dT%H:%M:%S")
    return pc.binary_join_element_wise(texts, pa.scalar(zone), pa.scalar("")) if zone else texts


def _ticks(array: pa.Array) -> list[str | None]:
    # Python's timedelta and time stop at microseconds; nanoseconds are written out here.
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
    digits = len(str(per_second)) - 1
    clock = pa.types.is_time64(array.type)
    texts: list[str | None] = []
    for value in array.cast(pa.int64()).to_pylist():
        if value is None:
            texts.append(None)
            continue
        seconds, rest = divmod(abs(value), per_second)
        fraction = f".{rest:0{digits}d}" if rest else ""
        if clock:
            texts.append(f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}")
        else:
            texts.append(f"{'-' if value < 0 else ''}PT{seconds}{fraction}S")
    return texts


def _structs(array: pa.Array) -> list[Any]:
    names = [field.name for field in array.type]
    parts = [plain(array.field(position)) for position in range(len(names))]
    present = array.is_valid().to_pylist()
    rows = zip(*parts, strict=True) if parts else ((),) * len(array)
    return [dict(zip(names, row, strict=True)) if there else None for row, there in zip(rows, present, strict=True)]


def _bounds(array: pa.Array) -> tuple[list[int], list[int], list[bool]]:
    present = array.is_valid().to_pylist()
    lengths = [length or 0 for length in pc.list_value_length(array).to_pylist()]
    starts, at = [], 0
    for length in lengths:
        starts.append(at)
        at += length
    return starts, lengths, present


def _lists(array: pa.Array) -> list[Any]:
    values = plain(array.flatten())  # flatten() leaves out what null lists point at
    starts, lengths, present = _bounds(array)
    return [values[at : at + n] if there else None for at, n, there in zip(starts, lengths, present, strict=True)]


def _maps(array: pa.Array) -> list[Any]:
    as_lists = array.cast(pa.list_(pa.struct([array.type.key_field.with_name("key"), array.type.item_field.with_name("value")])))
    textual = is_text(array.type.key_type)
    rows: list[Any] = []
    for entries in _lists(as_lists):
        if entries is None:
            rows.append(None)
            continue
        pairs = [[entry["key"], entry["value"]] for entry in entries]
        # A map may hold a key twice (DuckDB's may not, Parquet's may): an object would lose one.
        rows.append(dict(pairs) if textual and len({key for key, _ in pairs}) == len(pairs) else pairs)
    return rows
