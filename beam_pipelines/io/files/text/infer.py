"""Types of columns of text, by a sample of their values: careful ones, so that what may be a name or a code stays text.

integer    every value is a whole number as a computer writes it, of at most 18 digits: no sign but `-`, no zero before others
double     every value is such a number or one with a point, of at most 15 digits, so that a double holds it exactly; no exponent
boolean    every value is true or false, in any case
date       every value is YYYY-MM-DD
timestamp  every value is a date and a time, all without a zone; with one each: timestamp in UTC
text       anything else, and a column without values

Values that are null or empty are not asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column

__all__ = ["altered", "column_type"]

_WHOLE = r"(?:0|-?[1-9][0-9]*)"
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
_RULES: tuple[tuple[str, pa.DataType], ...] = (
    (r"^(?:0|-?[1-9][0-9]{0,17})$", pa.int64()),
    (rf"^(?:{_WHOLE}|-?(?:0|[1-9][0-9]*)\.[0-9]+)$", pa.float64()),
    (r"^(?i:true|false)$", pa.bool_()),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", pa.date32()),
    (rf"{_MOMENT}$", pa.timestamp("us")),
    (rf"{_MOMENT}(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})$", pa.timestamp("us", "UTC")),
)
_EXACT_DIGITS = 15
_ZERO, _NINE, _MINUS, _PLUS = b"09-+"


def column_type(samples: Sequence[pa.Array]) -> pa.DataType:
    """The type of a column.

    Args:
        samples: Texts, of each file some.
    """
    texts = pa.concat_arrays([sample.cast(pa.string()) for sample in samples]).drop_null() if samples else pa.array([], pa.string())
    texts = texts.filter(pc.greater(pc.binary_length(texts), 0))
    if not len(texts):
        return pa.string()
    for pattern, kind in _RULES:
        if pc.all(pc.match_substring_regex(texts, pattern)).as_py() and _holds(texts, kind):
            return kind
    return pa.string()


def _holds(texts: pa.Array, kind: pa.DataType) -> bool:
    if pa.types.is_floating(kind):
        digits = pc.utf8_length(pc.replace_substring_regex(texts, r"[.-]", ""))
        return bool(pc.max(digits).as_py() <= _EXACT_DIGITS)
    return convert_column(texts, kind)[1] is None  # 2026-02-30 looks like a date


def altered(texts: pa.Array, kind: pa.DataType) -> npt.NDArray[np.bool_] | None:
    """Texts that read as a value, but are written as none of the sample is: a zero before others, a plus sign, `yes`.

    Args:
        texts: `pa.string()`.
        kind: The inferred type.

    Returns:
        True where a text is one; None where none is.
    """
    if texts.null_count == len(texts):
        return None
    if pa.types.is_boolean(kind):
        lengths = np.asarray(pc.fill_null(pc.binary_length(texts), 4))
        odd: npt.NDArray[np.bool_] = (lengths != 4) & (lengths != 5)  # neither true nor false
        return odd if odd.any() else None
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    starts, lengths, top = ends[:-1], np.diff(ends), max(len(raw) - 1, 0)
    first = raw[np.minimum(starts, top)]
    if not ((first == _MINUS) | (first == _PLUS) | ((first == _ZERO) & (lengths > 1))).any():
        return None  # as a rule
    signed = (first == _MINUS) & (lengths > 1)
    at = starts + signed
    one, other = raw[np.minimum(at, top)], raw[np.minimum(at + 1, top)]
    zero = (one == _ZERO) & (lengths - signed > 1) & (other >= _ZERO) & (other <= _NINE)
    found = (lengths > 0) & (zero | (first == _PLUS))
    if texts.null_count:
        found &= np.asarray(texts.is_valid())
    return found if found.any() else None
