"""Values of JSON made into text in the shape of their column, for the read step to cast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.kinds import is_list
from beam_pipelines.io.files.text.json_text import LineError, Number, refuse_twice, text, word

__all__ = ["OTHER_KEY", "ShapeError", "taken_row", "taker"]

OTHER_KEY = "expected the keys that the sample has, got another: declare it in `columns`, or raise sampleRows"


class ShapeError(ValueError):
    """A value that is not of its column's type."""


def taker(kind: pa.DataType, *, strict: bool, others: bool = False) -> Callable[[Any], Any]:
    """What makes a value (never null) of a column into text in the column's shape, for the read step to cast.

    Args:
        kind: Planned.
        strict: Only numbers are numbers, and only booleans booleans: no text that reads as one.
        others: Keys that are no field are left out; else they are refused.

    The function raises `ShapeError` when the value is of another shape, or `LineError` for a key that is no field.
    """
    if is_list(kind):
        item = taker(kind.value_type, strict=strict, others=others)
        return lambda value: [None if one is None else item(one) for one in _expect(value, list, kind)]
    if pa.types.is_map(kind):
        item = taker(kind.item_type, strict=strict, others=others)
        return lambda value: [(key, None if one is None else item(one)) for key, one in _once(value, kind).items()]
    if pa.types.is_struct(kind):
        return _Struct({field.name: taker(field.type, strict=strict, others=others) for field in kind}, kind, others)
    what = family(kind)
    if what == "json":
        return text
    if what == "text":
        return lambda value: value if type(value) is str else text(value)
    return _Scalar(kind, what, strict)


def taken_row(found: Mapping[str, Any], takers: Mapping[str, Callable[[Any], Any]]) -> list[Any]:
    """Return the values of a row, column by column; null where a key is missing.

    Raises:
        ShapeError: One is not of its column's type; names the column.
    """
    row = []
    for name, taken in takers.items():
        value = found.get(name)
        try:
            row.append(None if value is None else taken(value))
        except ShapeError as no:
            raise ShapeError(f"column {name!r}: {no}") from None
    return row


def _expect(value: Any, shape: type, kind: pa.DataType) -> Any:
    if not isinstance(value, shape):
        raise ShapeError(f"expected {kind}, got {word(value)}")
    return value


def _once(value: Any, kind: pa.DataType) -> dict[str, Any]:
    found: dict[str, Any] = _expect(value, dict, kind)
    refuse_twice(found)
    return found


@dataclass(frozen=True)
class _Struct:
    fields: dict[str, Callable[[Any], Any]]
    kind: pa.DataType
    others: bool

    def __call__(self, value: Any) -> dict[str, Any]:
        _expect(value, dict, self.kind)
        if not self.others and not value.keys() <= self.fields.keys():
            raise LineError(OTHER_KEY)
        refuse_twice(value, self.fields)
        return {name: taken(value[name]) for name, taken in self.fields.items() if value.get(name) is not None}


@dataclass(frozen=True)
class _Scalar:
    kind: pa.DataType
    what: str
    strict: bool

    def __call__(self, value: Any) -> str:
        own = isinstance(value, bool) if self.what == "bool" else isinstance(value, Number)
        if isinstance(value, (list, dict)) or (self.strict and not own):
            raise ShapeError(f"expected {self.kind}, got {word(value)}")
        return text(value) if isinstance(value, bool) else str(value)
