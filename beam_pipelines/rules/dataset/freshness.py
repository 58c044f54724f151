"""How old the newest row is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.plain import plain
from beam_pipelines.rules.dataset.rule import Verdict
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.spec.rule.freshness import Freshness

__all__ = ["Newest"]

_INSTANT = pa.timestamp("us", "UTC")
_START = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FAMILIES = ("date", "timestamp", "text", "null")


@dataclass(frozen=True)
class _State:
    rows: int = 0
    instants: int = 0
    newest: int | None = None  # microseconds since 1970, UTC


class Newest:
    """The newest date or time of a field is young enough: a time without a zone is UTC, a date is its midnight, text is read as a time.

    Data without any is not fresh.
    """

    def __init__(self, model: Freshness, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        if family(self._field.type) not in _FAMILIES:
            raise RuleMisfit(f"expected a field of dates, times or text, got {model.field!r} of type {self._field.type}", "field")
        self._most = model.max_age
        self._message = f"expected the newest {model.field} to be at most {_worded(model.max_age)} old"

    def nothing(self) -> _State:
        return _State()

    def measure(self, batch: pa.RecordBatch) -> _State:
        instants, _ = convert_column(self._field.read(batch), _INSTANT)
        newest = pc.max(instants.cast(pa.int64())).as_py()
        return _State(batch.num_rows, batch.num_rows - instants.null_count, newest)

    def merge(self, one: _State, other: _State) -> _State:
        newest = max((state.newest for state in (one, other) if state.newest is not None), default=None)
        return _State(one.rows + other.rows, one.instants + other.instants, newest)

    def judge(self, state: _State, now: datetime) -> Verdict:
        unevaluated = state.rows - state.instants
        if state.newest is None:
            return Verdict(False, None, f"{self._message}, got no date or time", unevaluated)
        # In microseconds: a timestamp may be of a year that Python's dates do not reach.
        age = (now - _START) // timedelta(microseconds=1) - state.newest
        newest = plain(pa.array([state.newest], pa.int64()).cast(_INSTANT))[0]
        return Verdict(
            age <= self._most // timedelta(microseconds=1), age / 1e6, self._message, unevaluated, {"newest": newest, "unit": "s"}
        )


def _worded(age: timedelta) -> str:
    """Return a duration as a definition has it."""
    milliseconds = age // timedelta(milliseconds=1)
    for name, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{name}"
    return f"{milliseconds}ms"
