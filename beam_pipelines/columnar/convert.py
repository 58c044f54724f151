"""One column from one Arrow type to another, exactly or not at all: which pairs there are and what each accepts.

Arrow's own casts wrap, round or relabel for some pairs (2 becomes true, 5 becomes a microsecond of 1970, 0.125 becomes 0.12); here a value
that the target cannot hold is refused. Allowed to lose: decimals and 64-bit floats read as floats are rounded to the nearest, nanoseconds
cut (towards the past) to microseconds. A time without a zone is UTC, in both directions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import interval
from beam_pipelines.columnar import text_values as text
from beam_pipelines.columnar.kinds import is_bytes, is_list, is_odd_decimal, is_text, is_uuid, storage
from beam_pipelines.columnar.plain import plain

__all__ = ["converter", "decoded", "family", "hopeless"]

# Far above what a float64 loses in one conversion, far below what matters.
_MARGIN = 1e-9
Converter = Callable[[pa.Array, pa.DataType], pa.Array]


def family(kind: pa.DataType) -> str:
    """What a type means, whatever its width or layout."""
    if is_uuid(kind):
        return "uuid"
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.json":
            return "json"
        # What ADBC knows no type for comes in PostgreSQL's binary form: bytes that must not pass for the value's text.
        return "other" if kind.extension_name == "arrow.opaque" and not is_text(kind.storage_type) else family(kind.storage_type)
    for name, tests in _FAMILIES:
        if any(test(kind) for test in tests):
            return name
    return "other"


_FAMILIES: tuple[tuple[str, tuple[Callable[[pa.DataType], bool], ...]], ...] = (
    ("null", (pa.types.is_null,)),
    ("bool", (pa.types.is_boolean,)),
    ("int", (pa.types.is_integer,)),
    ("float", (pa.types.is_floating,)),
    ("decimal", (pa.types.is_decimal,)),
    ("text", (is_text,)),
    ("bytes", (is_bytes,)),
    ("date", (pa.types.is_date,)),
    ("timestamp", (pa.types.is_timestamp,)),
    ("time", (pa.types.is_time,)),
    ("duration", (pa.types.is_duration,)),
    ("interval", (pa.types.is_interval,)),
    ("map", (pa.types.is_map,)),
    ("struct", (pa.types.is_struct,)),
    ("list", (is_list,)),
)


def decoded(array: pa.Array) -> pa.Array:
    """The values themselves, of types that Arrow computes with.

    Dictionaries and runs are written out, unknown extension types are what they are stored as, views of text are text, and decimals have
    128 bits at least and no scale below 0. ADBC gives PostgreSQL's NUMERIC as text in an `arrow.opaque` extension type.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return decoded(array.dictionary.take(array.indices))
    if pa.types.is_run_end_encoded(kind):
        return decoded(pc.run_end_decode(array))
    if isinstance(array, pa.ExtensionArray) and family(kind) not in ("uuid", "json", "other"):
        return decoded(array.storage)
    if pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    if is_odd_decimal(kind):
        digits, scale = kind.precision - min(kind.scale, 0), max(kind.scale, 0)
        return array.cast(pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale))
    return array


def converter(source: pa.DataType, target: pa.DataType) -> Converter | None:
    """How values get from one type to the other; None when they do not.

    Nested types that are converted by their parts (list to list, struct to struct, map to map) are the caller's.

    Returns:
        A function of an array (of `source`, `decoded`) and the target type, which raises `pyarrow.ArrowInvalid` when any value does not
        fit.
    """
    return _CONVERTERS.get((family(source), family(target)))


def hopeless(array: pa.Array, target: pa.DataType) -> pa.BooleanArray | None:
    """Values that certainly do not fit, found for the whole column at once where that is possible.

    Returns:
        True where a value is bad, false where it may still be, null for null; None when nothing can be told without converting.
    """
    source = family(array.type)
    if source == "text":
        return text.hopeless(array, target)
    if source == "int" and pa.types.is_boolean(target):
        return _neither_0_nor_1(array)
    if source in ("int", "float", "decimal") and family(target) in ("int", "decimal"):
        return _out_of_range(array, target)
    return None


def _out_of_range(array: pa.Array, target: pa.DataType) -> pa.BooleanArray:
    if pa.types.is_integer(target):
        bits = target.bit_width
        low, high, scale = (-(2 ** (bits - 1)), 2 ** (bits - 1), 0) if pa.types.is_signed_integer(target) else (0, 2**bits, 0)
    else:
        high, scale = 10 ** max(target.precision - target.scale, 0), target.scale
        low = -high
    # Compared as floats, with a margin: what is near the bounds, or near a number of that scale, is left to the conversion.
    numbers = array.cast(pa.float64(), safe=False)
    outside = pc.or_(pc.less(numbers, low * (1 + _MARGIN) - 1), pc.greater(numbers, high * (1 + _MARGIN) + 1))
    if pa.types.is_floating(array.type):
        outside = pc.or_(outside, pc.invert(pc.is_finite(array)))
    if pa.types.is_integer(array.type) or not 0 <= scale <= 9:
        return outside
    # The finite ones alone: rounding infinity is an error.
    numbers = pc.if_else(pc.or_(outside, pc.greater(pc.abs(numbers), 1e15)), 0.0, numbers)
    rest = pc.abs(pc.subtract(numbers, pc.round(numbers, ndigits=scale)))
    return pc.or_(outside, pc.greater(rest, pc.add(pc.multiply(pc.abs(numbers), _MARGIN), _MARGIN * 10.0**-scale)))


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    return storage(array).cast(target)


def _refuse(wrong: pa.Array) -> None:
    if pc.any(wrong).as_py():
        raise pa.ArrowInvalid("a value does not fit")


def _neither_0_nor_1(array: pa.Array) -> pa.BooleanArray:
    return pc.invert(pc.is_in(array, value_set=pa.array([0, 1, None], array.type)))


def _int_to_bool(array: pa.Array, target: pa.DataType) -> pa.Array:
    _refuse(_neither_0_nor_1(array))
    return array.cast(target)


def _whole_to_bool(array: pa.Array, target: pa.DataType) -> pa.Array:
    return _int_to_bool(array.cast(pa.int64()), target)


def _int_to_decimal(array: pa.Array, target: pa.DataType) -> pa.Array:
    # Arrow wants room for every value of the type, not for those that are there: through the widest decimal of that scale there is room.
    wide = pa.decimal128(38, target.scale) if target.scale <= 18 else pa.decimal256(76, target.scale)
    return array.cast(wide).cast(target)


def _int_to_float(array: pa.Array, target: pa.DataType) -> pa.Array:
    with contextlib.suppress(pa.ArrowInvalid):
        return array.cast(target)
    # Arrow refuses whatever has more bits than a float, also what a float holds all the same: 2^60.
    floats = array.cast(target, safe=False)
    values = np.asarray(pc.fill_null(array, 0))
    numbers = np.asarray(pc.fill_null(floats, 0)).astype(np.float64)
    inside = numbers < 2.0 ** (64 if pa.types.is_uint64(array.type) else 63)
    _refuse(pa.array(~inside | (np.where(inside, numbers, 0.0).astype(values.dtype) != values)))
    return floats


def _bool_to_decimal(array: pa.Array, target: pa.DataType) -> pa.Array:
    return _int_to_decimal(array.cast(pa.int8()), target)


def _float_to_float(array: pa.Array, target: pa.DataType) -> pa.Array:
    narrowed = array.cast(target)
    _refuse(pc.and_(pc.is_inf(narrowed), pc.is_finite(array)))
    return narrowed


def _to_float(array: pa.Array, target: pa.DataType) -> pa.Array:
    return _float_to_float(_nearest(array) if pa.types.is_decimal(array.type) else array.cast(pa.float64()), target)


def _nearest(array: pa.Array) -> pa.Array:
    """The float nearest to each decimal, by its text: Arrow's own cast multiplies by an inexact power, 7.89 becomes 7.890000000000001."""
    return array.cast(pa.string()).cast(pa.float64())


def _float_to_decimal(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Exact in the sense of the shortest text: 0.1 fits scale 1, although no float is a tenth; 0.125 does not fit scale 2."""
    rounded = array.cast(target)
    back = _nearest(rounded).cast(array.type)
    _refuse(pc.not_equal(back, array))
    return rounded


def _decimal_to_text(array: pa.Array, target: pa.DataType) -> pa.Array:
    texts = array.cast(target)
    if not pc.any(pc.match_substring(array.cast(pa.string()), "E")).as_py():
        return texts
    return pa.array(plain(array), target)


def _float_to_text(array: pa.Array, target: pa.DataType) -> pa.Array:
    texts = array.cast(target)
    if pc.all(pc.is_finite(array)).as_py() is not False:
        return texts
    texts = pc.if_else(pc.is_nan(array), pa.scalar("NaN", target), texts)
    infinite = pc.if_else(pc.greater(array, 0), pa.scalar("Infinity", target), pa.scalar("-Infinity", target))
    return pc.if_else(pc.is_inf(array), infinite, texts)


def _timestamp_to_text(array: pa.Array, target: pa.DataType) -> pa.Array:
    return (array.cast(pa.timestamp(array.type.unit, "UTC")) if array.type.tz else array).cast(target)


def _timestamp_to_timestamp(array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type.unit == "ns" and target.unit != "ns":
        array = _cut_nanoseconds(array)
    return array.cast(target)


def _cut_nanoseconds(array: pa.Array) -> pa.Array:
    nanoseconds = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    mask = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    return pa.array(np.floor_divide(nanoseconds, 1000), pa.int64(), mask=mask).cast(pa.timestamp("us", array.type.tz))


def _timestamp_to_date(array: pa.Array, target: pa.DataType) -> pa.Array:
    utc = array.cast(pa.timestamp(array.type.unit))
    days = utc.cast(pa.date32())
    _refuse(pc.not_equal(days.cast(pa.timestamp("s")).cast(pa.int64()), utc.cast(pa.timestamp("s"), safe=False).cast(pa.int64())))
    # Whole seconds are equal; a fraction of the first second of a day would still be lost.
    utc.cast(pa.timestamp("s"))
    return days.cast(target)


def _date_to_timestamp(array: pa.Array, target: pa.DataType) -> pa.Array:
    return array.cast(pa.date32()).cast(pa.timestamp("s")).cast(pa.timestamp(target.unit)).cast(target)


def _to_json_text(array: pa.Array, target: pa.DataType) -> pa.Array:
    return pa.array([None if value is None else orjson.dumps(value).decode() for value in plain(array)], target)


def _to_json(array: pa.Array, target: pa.DataType) -> pa.Array:
    return pa.ExtensionArray.from_storage(target, _to_json_text(array, target.storage_type))


def _json_to_json(array: pa.Array, target: pa.DataType) -> pa.Array:
    return pa.ExtensionArray.from_storage(target, storage(array).cast(target.storage_type))


def _bytes_to_uuid(array: pa.Array, target: pa.DataType) -> pa.Array:
    return pa.ExtensionArray.from_storage(target, array.cast(pa.binary()).cast(pa.binary(16)))


def _plain_text(array: pa.Array, target: pa.DataType) -> pa.Array:
    return pa.array(plain(array), target)


_CONVERTERS: dict[tuple[str, str], Converter] = {
    ("bool", "bool"): _cast,
    ("int", "bool"): _int_to_bool,
    ("float", "bool"): _whole_to_bool,
    ("decimal", "bool"): _whole_to_bool,
    ("text", "bool"): text.to_bool,
    ("bool", "int"): _cast,
    ("int", "int"): _cast,
    ("float", "int"): _cast,
    ("decimal", "int"): _cast,
    ("text", "int"): text.to_int,
    ("bool", "float"): _to_float,
    ("int", "float"): _int_to_float,
    ("float", "float"): _float_to_float,
    ("decimal", "float"): _to_float,
    ("text", "float"): text.to_float,
    ("bool", "decimal"): _bool_to_decimal,
    ("int", "decimal"): _int_to_decimal,
    ("float", "decimal"): _float_to_decimal,
    ("decimal", "decimal"): _cast,
    ("text", "decimal"): text.to_decimal,
    ("bool", "text"): _cast,
    ("int", "text"): _cast,
    ("float", "text"): _float_to_text,
    ("decimal", "text"): _decimal_to_text,
    ("text", "text"): _cast,
    ("bytes", "text"): _cast,
    ("date", "text"): _cast,
    ("timestamp", "text"): _timestamp_to_text,
    ("time", "text"): _cast,
    ("duration", "text"): _plain_text,
    ("uuid", "text"): _plain_text,
    ("json", "text"): _cast,
    ("list", "text"): _to_json_text,
    ("struct", "text"): _to_json_text,
    ("map", "text"): _to_json_text,
    ("text", "bytes"): _cast,
    ("bytes", "bytes"): _cast,
    ("uuid", "bytes"): _cast,
    ("text", "date"): text.to_date,
    ("date", "date"): _cast,
    ("timestamp", "date"): _timestamp_to_date,
    ("text", "timestamp"): text.to_timestamp,
    ("date", "timestamp"): _date_to_timestamp,
    ("timestamp", "timestamp"): _timestamp_to_timestamp,
    ("text", "time"): text.to_time,
    ("time", "time"): _cast,
    ("duration", "duration"): _cast,
    ("duration", "int"): _cast,
    ("duration", "interval"): interval.from_duration,
    ("interval", "duration"): interval.to_duration,
    ("interval", "text"): _plain_text,
    ("text", "uuid"): text.to_uuid,
    ("bytes", "uuid"): _bytes_to_uuid,
    ("text", "json"): text.to_json,
    ("json", "json"): _json_to_json,
    ("list", "json"): _to_json,
    ("struct", "json"): _to_json,
    ("map", "json"): _to_json,
}
