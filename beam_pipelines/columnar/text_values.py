"""Text read as values, by one grammar for every connector and free of locale; columns at a time.

numbers   digits with an optional sign; floats and decimals also `.5`, `5.` and an exponent; floats also NaN, inf and infinity
booleans  true false t f yes no y n on off 1 0, in any case (PostgreSQL's words)
dates     YYYY-MM-DD; a timestamp when it is midnight
times     hh:mm[:ss[.fraction]]
timestamps YYYY-MM-DD[(T or space)hh:mm[:ss[.fraction]]][Z or +hh[[:]mm]]; without a zone the text is UTC, digits beyond the microsecond
are cut UUIDs     32 hexadecimal digits, with hyphens and braces or without

Blanks around a value are ignored. Empty text is no value. Neither hexadecimal nor digit groups (`0x10`, `1_000`) are numbers.
Each function raises `pyarrow.ArrowInvalid` when any of the texts is not such a value, and gives null for null.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, InvalidOperation

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.text_data import has_any

__all__ = ["hopeless", "to_bool", "to_date", "to_decimal", "to_float", "to_int", "to_json", "to_time", "to_timestamp", "to_uuid"]

_INT = r"^[+-]?[0-9]+$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_SPECIAL = r"^[+-]?(?i:nan|inf|infinity)$"
_DAY = r"^[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?"
_ZONE = r"([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?"
_MIDNIGHT = r"[T ]00:00(:00(\.0*)?)?([Zz]|[+-]00(:?00)?)?$"
_ZONED = r":[0-9.]+([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$"
_UUID = r"^\{?[0-9A-Fa-f]{8}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{12}\}?$"
_DECIMAL_DIGITS = 38
_TRUE = ("true", "t", "yes", "y", "on", "1")
_FALSE = ("false", "f", "no", "n", "off", "0")


def hopeless(array: pa.Array, target: pa.DataType) -> pa.BooleanArray | None:
    """Texts that cannot be such a value, told by their looks alone: a whole column of them is found at once.

    Returns:
        True where a text is certainly bad, null for null; the others may still be bad (the 29th of February). None when looks say nothing.
    """
    pattern = _pattern(target)
    return None if pattern is None else pc.invert(pc.match_substring_regex(pc.ascii_trim_whitespace(array), pattern))


def _pattern(target: pa.DataType) -> str | None:
    if pa.types.is_boolean(target):
        return f"^(?i:{'|'.join([*_TRUE, *_FALSE])})$"
    if pa.types.is_integer(target):
        return r"^[+-]?0*[0-9]{1,20}$"
    if pa.types.is_floating(target):
        return f"{_NUMBER}|{_SPECIAL}"
    if pa.types.is_decimal(target):
        whole, places = max(target.precision - target.scale, 0), max(target.scale, 0)
        return rf"^[+-]?(0*[0-9]{{0,{whole}}}(\.[0-9]{{0,{places}}}0*)?|.*[eE].*)$"
    if pa.types.is_date(target):
        return rf"{_DAY}({_MIDNIGHT[:-1]})?$"
    if pa.types.is_timestamp(target):
        return rf"{_DAY}([T ]({_CLOCK}|[0-9]{{2}}){_ZONE})?$"
    if pa.types.is_time(target):
        return rf"^{_CLOCK}$"
    return None


def to_int(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Whole numbers in decimal digits."""
    try:
        # Arrow takes hexadecimal for a number; a column without an x has none.
        if not has_any(array, b"xX") or not pc.any(pc.match_substring(array, "x", ignore_case=True)).as_py():
            return array.cast(target)
    except pa.ArrowInvalid:
        pass  # perhaps blanks or a plus sign
    return _unsigned(_require(pc.ascii_trim_whitespace(array), _INT)).cast(target)


def to_float(array: pa.Array, target: pa.DataType) -> pa.Array:
    """The nearest float; a number beyond the largest is refused, one below the smallest is zero."""
    try:
        numbers = array.cast(target)
    except pa.ArrowInvalid:
        array = pc.ascii_trim_whitespace(array)
        numbers = _unsigned(_require(array, rf"{_NUMBER}|{_SPECIAL}")).cast(target)
    odd = pc.invert(pc.is_finite(numbers))
    if pc.any(odd).as_py():
        # Arrow reads 1e400 as infinity; only the words mean that.
        _require(pc.ascii_trim_whitespace(array.filter(odd)), _SPECIAL)
    return numbers


def to_decimal(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Decimals, exactly: no digit may be lost."""
    # Arrow reads 0.00...04 with 42 places as 0 (pyarrow 25): what is longer than any decimal, or has an exponent, Python reads.
    odd = pc.greater(pc.binary_length(array), _DECIMAL_DIGITS)
    if has_any(array, b"eE"):
        odd = pc.or_(odd, pc.match_substring(array, "e", ignore_case=True))
    if pc.any(odd).as_py():
        odd = pc.fill_null(odd, False)
        array = pc.replace_with_mask(array, odd, pa.array([_digits(text, target) for text in array.filter(odd).to_pylist()], array.type))
    try:
        return array.cast(target)
    except pa.ArrowInvalid:
        return _require(pc.ascii_trim_whitespace(array), _NUMBER).cast(target)


def _digits(text: str, target: pa.DataType) -> str:
    """The number in the digits that the target has, without an exponent."""
    stripped = text.strip()
    if not re.fullmatch(_NUMBER, stripped):
        raise pa.ArrowInvalid("a text is no number")
    try:
        number = Decimal(stripped)
        if number and number.adjusted() >= target.precision - target.scale:
            raise pa.ArrowInvalid("a number is too large")
        rounded = number.quantize(Decimal(1).scaleb(-target.scale), context=Context(prec=target.precision + len(stripped) + 1))
    except InvalidOperation as bad:
        raise pa.ArrowInvalid("an exponent is too large") from bad
    if rounded != number:
        raise pa.ArrowInvalid("a number has more places")
    return format(rounded, "f")


def to_bool(array: pa.Array, target: pa.DataType) -> pa.Array:
    """PostgreSQL's words for true and false."""
    words = pc.ascii_lower(pc.ascii_trim_whitespace(array))
    place = pc.index_in(words, value_set=pa.array([*_TRUE, *_FALSE], words.type))
    if place.null_count != array.null_count:
        raise pa.ArrowInvalid("a text is no boolean")
    return pc.less(place, len(_TRUE)).cast(target)


def to_date(array: pa.Array, target: pa.DataType) -> pa.Array:
    """ISO dates, and timestamps that are midnight."""
    try:
        return array.cast(target)
    except pa.ArrowInvalid:
        trimmed = pc.ascii_trim_whitespace(array)
        return pc.replace_substring_regex(trimmed, _MIDNIGHT, "").cast(target)


def to_time(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Times of the day."""
    # Arrow parses no times, but it parses timestamps: those of the first day are times.
    clocks = _require(pc.ascii_trim_whitespace(array), rf"^{_CLOCK}$")
    stamps = pc.binary_join_element_wise(pa.scalar("1970-01-01", clocks.type), clocks, pa.scalar(" ", clocks.type))
    unit = target.unit if pa.types.is_time64(target) else "us"
    ticks = _cut(stamps, unit).cast(pa.timestamp(unit)).cast(pa.int64())
    return ticks.cast(pa.time64(unit)).cast(target)


def to_timestamp(array: pa.Array, target: pa.DataType) -> pa.Array:
    """ISO timestamps, as UTC where they name no zone."""
    # Arrow wants a zone in each text of a column or in none, as most columns have it; a failed cast costs 30 times a good one, so the first
    # value is asked which it is.
    first = pc.first(array).as_py() or ""
    zone = "UTC" if re.search(_ZONED, first.strip()) else None
    try:
        return array.cast(pa.timestamp(target.unit, zone)).cast(target)
    except pa.ArrowInvalid:
        pass  # blanks, more digits than the unit holds, or some with a zone and some without
    unit = "ns" if target.unit == "ns" else "us"
    texts = _cut(pc.ascii_trim_whitespace(array), unit)
    zoned = pc.match_substring_regex(texts, _ZONED)
    nothing = pa.scalar(None, texts.type)
    with_zone = pc.if_else(zoned, pc.ascii_upper(texts), nothing).cast(pa.timestamp(unit, "UTC"))
    without = pc.if_else(zoned, nothing, texts).cast(pa.timestamp(unit))
    instants = pc.coalesce(with_zone.cast(pa.int64()), without.cast(pa.int64()))
    return instants.cast(pa.timestamp(unit, target.tz)).cast(target)


def to_uuid(array: pa.Array, target: pa.DataType) -> pa.Array:
    """UUIDs as PostgreSQL reads them."""
    trimmed = _require(pc.ascii_trim_whitespace(array), _UUID)
    digits = pc.replace_substring_regex(trimmed, r"[{}-]", "")
    absent = digits.is_null().to_numpy(zero_copy_only=False)
    rows = np.zeros((len(array), 16), dtype=np.uint8)
    rows[~absent] = np.frombuffer(bytes.fromhex("".join(digits.drop_null().to_pylist())), dtype=np.uint8).reshape(-1, 16)
    validity = pa.array(~absent).buffers()[1]
    stored = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(array), [validity, pa.py_buffer(rows.tobytes())])
    return pa.ExtensionArray.from_storage(target, stored)


def to_json(array: pa.Array, target: pa.DataType) -> pa.Array:
    """JSON, checked but otherwise as written."""
    for text in array.to_pylist():
        if text is not None:
            try:
                orjson.loads(text)
            except orjson.JSONDecodeError as bad:
                raise pa.ArrowInvalid("a text is no JSON") from bad
    return pa.ExtensionArray.from_storage(target, array.cast(target.storage_type))


def _require(texts: pa.Array, pattern: str) -> pa.Array:
    if pc.all(pc.match_substring_regex(texts, pattern)).as_py() is False:
        raise pa.ArrowInvalid("a text is no such value")
    return texts


def _unsigned(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, r"^\+", "")


def _cut(texts: pa.Array, unit: str) -> pa.Array:
    """Fractions of a second without the digits that the unit cannot hold: databases keep microseconds, some clocks give nanoseconds."""
    digits = 9 if unit == "ns" else 6
    return pc.replace_substring_regex(texts, rf"(\.[0-9]{{{digits}}})[0-9]+", r"\1")
