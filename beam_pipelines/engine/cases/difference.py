"""What differs between the rows that were expected and those that came, as a person and a program can read it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from beam_pipelines.engine.cases.alignment import Pair, Place, Record, Within

__all__ = ["Difference"]

_WIDEST = 40  # characters of a value in a report
_BEFORE = 12  # characters kept before the first one that differs, where a value is cut
_LINES = 30  # of one table: what a person reads


@dataclass(frozen=True)
class Difference:
    """What differs in one thing that was expected of a step.

    Args:
        step: Its id, or `output`.
        what: `rows`, `dead` or `filtered`.
        expected: Rows that were expected; of `filtered` one, whose place is the empty one.
        got: Rows that came.
        pairs: Which is which, those that fit included.
        keys: Places that tell rows apart.
        columns: Columns that the step gives.
    """

    step: str
    what: str
    expected: tuple[Record, ...]
    got: tuple[Record, ...]
    pairs: tuple[Pair, ...]
    keys: tuple[Place, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """What differs, in a line."""
        if self.what == "filtered":
            return f"{self.step}: rows dropped"
        name = "rows" if self.what == "rows" else "dead letters"
        differing = sum(not pair.fits for pair in self.pairs)
        return f"{self.step}: {differing:,} {name} differ ({len(self.expected):,} expected, {len(self.got):,} came)"

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield what differs, value by value: `row`, `column`, `expected`, `got`; of a row that is missing or too many `column` is None."""
        for pair in self.pairs:
            if pair.expected is None and pair.got is not None:
                yield {"row": self._label(pair), "column": None, "got": self._short(self.got[pair.got])}
            elif pair.got is None and pair.expected is not None:
                yield {"row": self._label(pair), "column": None, "expected": _nested(_told_as(self.expected[pair.expected]))}
            elif pair.expected is not None and pair.got is not None:
                ours, theirs = _told_as(self.expected[pair.expected]), _told_as(self.got[pair.got])
                for place in pair.places:
                    there = {"got": theirs[place]} if place in theirs else {}
                    yield {"row": self._label(pair), "column": ".".join(place), "expected": ours[place], **there}

    def lines(self) -> Iterator[str]:
        """Yield the differences as a table for people."""
        entries = list(self.entries())
        rows = [("row", "column", "expected", "got")]
        for entry in entries[:_LINES]:
            expected, got = (_told(entry[key]) if key in entry else None for key in ("expected", "got"))
            no = "no such row" if entry["column"] is None else f"no such column; there are {', '.join(self.columns)}"
            rows.append((entry["row"], entry["column"] or "", *_cut(expected, got, no)))
        shown = range(2, 4) if self.what == "filtered" else range(4)  # a count is of no row and no column
        widths = [max(len(row[column]) for row in rows) for column in shown]
        for row in rows:
            yield "  ".join(row[column].ljust(width) for column, width in zip(shown, widths, strict=True)).rstrip()
        if len(entries) > _LINES:
            yield f"... and {len(entries) - _LINES:,} more"

    def _label(self, pair: Pair) -> str:
        if self.what == "filtered":
            return ""
        if self.keys:
            row = self.got[pair.got] if pair.expected is None and pair.got is not None else self.expected[pair.expected or 0]
            return ", ".join(f"{place[-1]}={_told(row.get(place))}" for place in self.keys)
        if pair.expected is None:
            return f"row {(pair.got or 0) + 1} that came"
        return f"row {pair.expected + 1}"

    def _short(self, row: Record) -> dict[str, Any]:
        """A row with the places that anybody asked about; all of them where nobody did."""
        asked = {place for one in self.expected for place in one} or set(row)
        return _nested(_told_as({place: value for place, value in row.items() if place in asked}))


def _told_as(row: Record) -> Record:
    """A row as JSON can hold it."""
    return {place: _plain(value) for place, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return str(value) if isinstance(value, (Within, Decimal)) else value


def _nested(row: Record) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for place, value in row.items():
        inner = result
        for part in place[:-1]:
            inner = inner.setdefault(part, {})
        inner[place[-1]] = value
    return result


def _told(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if text.isprintable() else json.dumps(value, default=str)  # nothing that a terminal would obey


def _cut(expected: str | None, got: str | None, no: str) -> tuple[str, str]:
    """Cut two texts to what shows where they differ."""
    shared = 0
    if expected is not None and got is not None:
        shared = next((at for at, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), min(len(expected), len(got)))
    return (
        _window(expected, shared) if expected is not None else no,
        _window(got, shared) if got is not None else no,
    )


def _window(text: str, at: int) -> str:
    if len(text) <= _WIDEST:
        return text
    last = len(text) - _WIDEST + 3  # from here on the rest is shown whole
    begin = max(0, min(at - _BEFORE, last))
    end = len(text) if begin == last else begin + _WIDEST - (6 if begin else 3)
    return ("..." if begin else "") + text[begin:end] + ("..." if end < len(text) else "")
