"""Cursor values (watermarks) that survive JSON, databases and processes without losing their type."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.runs.offsets import Offsets

__all__ = ["Mark"]

Value = int | float | str | Decimal | dt.datetime | dt.date


@dataclass(frozen=True)
class Mark:
    """One value of a cursor column: a watermark, a ceiling or a bound of a range.

    Args:
        type: What the value is: `timestamp` (naive), `timestamptz` (with offset), `date`, `int`, `decimal`, `float`, `text`
            or `offsets` (of a topic, `runs.offsets`).
        text: The value as ISO 8601 (microseconds), digits or JSON; what the ledger and the state store keep.
    """

    type: str
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def value(self) -> Any:
        """The value as Python knows it: datetime, date, int, Decimal, float or str; of offsets what their JSON holds."""
        if self.type in ("timestamp", "timestamptz"):
            return dt.datetime.fromisoformat(self.text)
        if self.type == "date":
            return dt.date.fromisoformat(self.text)
        if self.type == "offsets":
            return json.loads(self.text)
        return {"int": int, "decimal": Decimal, "float": float, "text": str}[self.type](self.text)

    @classmethod
    def of(cls, value: Value | pa.Scalar) -> Mark:
        """Wrap a Python value or an Arrow scalar (nanoseconds are cut to microseconds, as the databases keep them).

        Raises:
            TypeError: The value is of a type no cursor can have, or null.
        """
        if isinstance(value, pa.Scalar):
            if pa.types.is_timestamp(value.type):
                value = value.cast(pa.timestamp("us", tz=value.type.tz), safe=False).as_py()
            else:
                value = value.as_py()
        if isinstance(value, bool) or value is None:
            raise TypeError(f"expected a timestamp, date, number or text as a cursor value, got {value!r}")
        if isinstance(value, dt.datetime):
            if value.tzinfo is None:
                return cls("timestamp", value.isoformat(timespec="microseconds"))
            return cls("timestamptz", value.astimezone(dt.timezone.utc).isoformat(timespec="microseconds"))
        if isinstance(value, dt.date):
            return cls("date", value.isoformat())
        for kind, name in ((int, "int"), (Decimal, "decimal"), (float, "float"), (str, "text")):
            if isinstance(value, kind):
                return cls(name, repr(value) if name == "float" else str(value))
        raise TypeError(f"expected a timestamp, date, number or text as a cursor value, got {type(value).__name__}")

    @classmethod
    def parse(cls, text: str, kind: str) -> Mark:
        """Read a watermark that a person typed (`state set`), as the type the stored one has.

        Raises:
            SpecError: The text is not of that type.
        """
        try:
            mark = _offsets(cls(kind, text)).to_mark() if kind == "offsets" else cls.of(cls(kind, text.strip()).value)
        except (ValueError, KeyError, ArithmeticError) as bad:
            raise SpecError(f"expected a watermark of type {kind}, got {text!r}", code="option-invalid") from bad
        if mark.type != kind:
            raise SpecError(f"expected a watermark of type {kind}, got {text!r} of type {mark.type}", code="option-invalid")
        return mark

    def later(self, other: Mark | None) -> Mark:
        """The later of the two, of offsets the later of each partition; `self` when there is no other.

        Raises:
            TypeError: The two are of different types.
        """
        if other is None:
            return self
        if self.type != other.type:
            raise TypeError(f"cannot compare a watermark of type {self.type} with one of type {other.type}")
        if self.type == "offsets":
            return _offsets(self).merged(_offsets(other)).to_mark()
        return self if self.value >= other.value else other

    def to_json(self) -> dict[str, str]:
        return {"type": self.type, "text": self.text}

    @classmethod
    def from_json(cls, data: dict[str, str] | None) -> Mark | None:
        return cls(data["type"], data["text"]) if data else None


def _offsets(mark: Mark) -> Offsets:
    from beam_pipelines.runs.offsets import Offsets  # which gives marks

    return Offsets.of(mark)
