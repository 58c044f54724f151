"""When events happened: a column of any usual kind made into ms since the epoch, UTC, and how far each is behind its partition."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.errors import PlanError

__all__ = ["FIRST", "LAST", "EventTime", "behind"]

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
# 0001-01-01T00:00:00Z, and the last millisecond of 9999: the years that every system of dates holds.
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999
_PER_MS = {"us": 1_000, "ns": 1_000_000}
_ZONED = r"(?i)([0-9]|\s)(z|[+-][0-9]{2}(:?[0-9]{2})?)\s*$"
_TIME_OF_DAY = r"^\s*[0-9]{4,}-[0-9]{2}-[0-9]{2}[Tt ]"


class EventTime:
    """Reads the event time of rows.

    Args:
        column: Its name.
        kind: Its planned type: whole or other numbers, text, or timestamps.
        unit: What a number counts since 1970, UTC: `s`, `ms`, `us` or `ns`.
        zone: Zone of what has none, IANA; None: a text without one is no time.

    Raises:
        PlanError: No times can be read from the type (`cursor-invalid`).
    """

    def __init__(self, column: str, kind: pa.DataType, unit: str, zone: str | None) -> None:
        self.column, self._unit, self._zone = column, unit, zone
        self._what = family(kind)
        if self._what not in ("int", "float", "text", "timestamp"):
            self._refuse(f"expected numbers, texts of ISO 8601 or timestamps, got {kind}")
        if self._what == "timestamp" and kind.tz is None and zone is None:
            self._refuse(f"expected timestamps with a zone, got {kind}: say which one it is (timestampZone: Europe/Berlin, or UTC)")

    def _refuse(self, what: str) -> NoReturn:
        raise PlanError(f"the event time {self.column!r}: {what}", code="cursor-invalid", details={"sourceKey": "timestampField"})

    def read(self, values: pa.Array) -> tuple[Times, dict[int, str]]:
        """Read the times of a column.

        Returns:
            ms since the epoch; and of those that have none, their positions and why.
        """
        times, known = getattr(self, f"_of_{self._what}")(values)
        if known.all() and (not len(times) or (times.min() >= FIRST and times.max() <= LAST)):
            return times, {}
        within = (times >= FIRST) & (times <= LAST)
        missing = np.asarray(values.is_null())
        bad = {}
        for place in np.flatnonzero(~known | ~within).tolist():
            bad[place] = self._why(missing=bool(missing[place]), known=bool(known[place]))
        return times, bad

    def _why(self, *, missing: bool, known: bool) -> str:
        where = f"column {self.column!r}: expected the time of the event"
        if missing:
            return f"{where}, got null"
        if known:
            return f"{where}, got one that is not in the years 0001 to 9999 (a number counts {self._unit} since 1970)"
        if self._what == "text":
            zone = "" if self._zone else " and a zone, or timestampZone in the definition"
            return f"{where}, got text that is no ISO 8601 with a time of day{zone}"
        return f"{where}, got a number that is none"

    def _of_int(self, values: pa.Array) -> tuple[Times, Mask]:
        known = np.asarray(values.is_valid())
        filled = pc.fill_null(values, 0) if values.null_count else values
        if filled.type == pa.uint64():
            filled = pc.min_element_wise(filled, pa.scalar(2**63 - 1, pa.uint64())).cast(pa.int64())
        numbers = np.asarray(filled.cast(pa.int64()))
        if self._unit == "s":
            # Beyond the years there are it is no matter how far.
            return np.clip(numbers, -(10**14), 10**14) * 1000, known
        return (numbers if self._unit == "ms" else numbers // _PER_MS[self._unit]), known

    def _of_float(self, values: pa.Array) -> tuple[Times, Mask]:
        numbers = np.asarray(pc.fill_null(values.cast(pa.float64()), float("nan")))
        known = ~np.isnan(numbers)
        factor = 1000.0 if self._unit == "s" else 1.0 / _PER_MS.get(self._unit, 1)
        # Rounded before it is cut: 1700000000.123 s times 1000 is a little less than 1700000000123.
        ms = np.floor(np.round(np.where(known, numbers, 0.0) * factor, 3))
        return np.clip(ms, -1e17, 1e17).astype(np.int64), known

    def _of_text(self, values: pa.Array) -> tuple[Times, Mask]:
        values = values.cast(pa.string())
        whole = pc.match_substring_regex(values, _TIME_OF_DAY)
        zoned = pc.match_substring_regex(values, _ZONED)
        nothing = pa.scalar(None, pa.string())
        found, _ = convert_column(pc.if_else(pc.and_(whole, zoned), values, nothing), pa.timestamp("us", "UTC"))
        times = found.cast(pa.int64())
        if self._zone is not None and not pc.all(pc.fill_null(zoned, True)).as_py():
            local, _ = convert_column(pc.if_else(pc.and_(whole, pc.invert(zoned)), values, nothing), pa.timestamp("us"))
            times = pc.coalesce(times, self._in_zone(local).cast(pa.int64()))
        return np.asarray(pc.fill_null(times, 0)) // 1000, np.asarray(times.is_valid())

    def _of_timestamp(self, values: pa.Array) -> tuple[Times, Mask]:
        if values.type.tz is None:
            values = self._in_zone(values)
        per_ms = {"s": 0, "ms": 1, **_PER_MS}[values.type.unit]
        numbers = np.asarray(pc.fill_null(values.cast(pa.int64()), 0))
        known = np.asarray(values.is_valid())
        return (np.clip(numbers, -(10**14), 10**14) * 1000 if not per_ms else numbers // per_ms), known

    def _in_zone(self, local: pa.Array) -> pa.Array:
        """Of an hour that comes twice the first; of one that a change of clocks leaves out the moment of the change."""
        inside = pc.and_(
            pc.greater_equal(local.cast(pa.timestamp("s"), safe=False).cast(pa.int64()), FIRST // 1000),
            pc.less_equal(local.cast(pa.timestamp("s"), safe=False).cast(pa.int64()), LAST // 1000),
        )
        local = pc.if_else(inside, local, pa.scalar(None, local.type))
        return pc.assume_timezone(local, self._zone, ambiguous="earliest", nonexistent="latest")


def behind(times: Times, newest: int | None, out_of_orderness: int) -> tuple[pa.Array, int | None]:
    """Say of each row what had come in its partition before it.

    Args:
        times: Of the rows of one partition, in order.
        newest: The greatest of those before them; None: there were none.
        out_of_orderness: What is taken off, ms.

    Returns:
        The greatest time before each row less `out_of_orderness`, null where nothing came before; and the greatest after all.
    """
    if not len(times):
        return pa.array([], pa.int64()), newest
    so_far = np.maximum.accumulate(times)
    if newest is not None:
        so_far = np.maximum(so_far, newest)
    before = np.empty_like(so_far)
    before[1:] = so_far[:-1]
    before[0] = newest or 0
    mask = None
    if newest is None:
        mask = np.zeros(len(times), bool)
        mask[0] = True
    return pa.array(before - out_of_orderness, pa.int64(), mask=mask), int(so_far[-1])
