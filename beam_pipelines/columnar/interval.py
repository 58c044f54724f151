"""Intervals of months, days and nanoseconds, which PostgreSQL and DuckDB have, and durations, which only count time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["from_duration", "parts", "to_duration", "to_text"]

_TYPE = pa.month_day_nano_interval()
_LAYOUT = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
_DAY = 86_400 * 10**9
_SECOND = 10**9


def parts(array: pa.Array) -> npt.NDArray[np.void]:
    """The intervals as a structured array (months, days, nanoseconds); what stands under a null is arbitrary."""
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(len(array), dtype=_LAYOUT)
    return np.frombuffer(buffer, dtype=_LAYOUT, count=array.offset + len(array))[array.offset :]


def to_duration(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Time alone, a day being 24 hours.

    Raises:
        pyarrow.ArrowInvalid: A month is in it, which has no length, or the unit or its 64 bits cannot hold the time.
    """
    given = parts(array)
    absent = np.asarray(array.is_null())
    days, rest = given["days"].astype(np.int64), given["nanoseconds"]
    total = days.astype(np.float64) * _DAY + rest
    if bool(((given["months"] != 0) & ~absent).any()) or bool(((np.abs(total) > 9.2e18) & ~absent).any()):
        raise pa.ArrowInvalid("an interval is no duration")
    with np.errstate(over="ignore"):
        nanoseconds = days * _DAY + rest
    return pa.array(np.where(absent, 0, nanoseconds), pa.int64(), mask=absent).cast(pa.duration("ns")).cast(target)


def from_duration(array: pa.Array, target: pa.DataType) -> pa.Array:
    """An interval without months and days.

    Raises:
        pyarrow.ArrowInvalid: It is longer than 64 bits of nanoseconds (292 years).
    """
    nanoseconds = array.cast(pa.duration("ns")).cast(pa.int64())
    made = np.zeros(len(array), dtype=_LAYOUT)
    made["nanoseconds"] = np.asarray(nanoseconds.fill_null(0))
    validity = pa.array(np.asarray(array.is_valid())).buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(target, len(array), [validity, pa.py_buffer(made.tobytes())])


def to_text(array: pa.Array) -> list[str | None]:
    """ISO 8601: `P1M-2DT3.5S`, months and days and seconds each with their own sign; `PT0S` for nothing."""
    rows = zip(parts(array).tolist(), array.is_valid().to_pylist(), strict=True)
    return [_iso(*interval) if there else None for interval, there in rows]


def _iso(months: int, days: int, nanoseconds: int) -> str:
    seconds, fraction = divmod(abs(nanoseconds), _SECOND)
    time = f"T{'-' if nanoseconds < 0 else ''}{seconds}" + (f".{fraction:09d}".rstrip("0") if fraction else "") + "S" if nanoseconds else ""
    text = (f"{months}M" if months else "") + (f"{days}D" if days else "") + time
    return f"P{text or 'T0S'}"
