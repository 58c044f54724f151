"""What differs between the rows that were expected and those that came: which row is which, and in which columns they differ."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["Difference", "Pair", "Place", "Record", "Within", "align", "same"]

Place = tuple[str, ...]  # of a value in a row: its column; of a dead letter `code`, `message`, or `row` and a column
Record = Mapping[Place, Any]

_CLOSE = 1e-9  # two doubles as near as this, of the greater one, are the same: sums differ in their last digits from run to run
_WIDEST = 40  # characters of a value in a report
_BEFORE = 12  # characters kept before the first one that differs, where a value is cut
_MANY = 200  # rows without a match on either side, above which they are not searched for the most alike
_LINES = 30  # of one table: what a person reads


@dataclass(frozen=True)
class Within:
    """A text that is expected to be a part of the one that comes."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Pair:
    """One row that was expected, and the one that came for it.

    Args:
        expected: Its position among those that were expected; None: nobody expected it.
        got: Its position among those that came; None: it did not come.
        places: Where the two differ.
    """

    expected: int | None
    got: int | None
    places: tuple[Place, ...] = ()

    @property
    def fits(self) -> bool:
        return self.expected is not None and self.got is not None and not self.places


def same(expected: Any, got: Any) -> bool:
    """Whether two values, as `columnar.plain` gives them, are the same.

    NaN is NaN, -0.0 is 0.0, and doubles may differ by 1e-9 of themselves.
    """
    if isinstance(expected, Within):
        return expected.text in str(got)
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(same(value, got[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(map(same, expected, got))
    if isinstance(expected, float) and isinstance(got, float):
        return math.isclose(expected, got, rel_tol=_CLOSE)
    return bool(expected == got) and isinstance(expected, bool) == isinstance(got, bool)


def align(expected: Sequence[Record], got: Sequence[Record], *, ordered: bool = False, keys: Sequence[Place] = ()) -> list[Pair]:
    """Find out which row was expected as which.

    Args:
        expected: Rows; of each the places that it has are compared.
        got: Rows as they came.
        ordered: They come in this order.
        keys: Places that tell which row is meant; without them, and without an order, rows that fit are matched, and of the others those
            that are alike in half of their columns or more, and the last one of either side.

    Returns:
        A pair for each row of either side; those that were expected in their order, then the others, but ordered rows as they come.
    """
    if ordered:
        pairs = list(_in_order(expected, got))
    elif keys:
        pairs = list(_by_key(expected, got, keys))
    else:
        pairs = _by_likeness(expected, got)
    return [_judged(pair, expected, got) for pair in pairs]


def _judged(pair: Pair, expected: Sequence[Record], got: Sequence[Record]) -> Pair:
    if pair.expected is None or pair.got is None:
        return pair
    ours, theirs = expected[pair.expected], got[pair.got]
    return Pair(
        pair.expected, pair.got, tuple(place for place, value in ours.items() if place not in theirs or not same(value, theirs[place]))
    )


def _fit(expected: Record, got: Record) -> bool:
    return all(place in got and same(value, got[place]) for place, value in expected.items())


def _in_order(expected: Sequence[Record], got: Sequence[Record]) -> Iterator[Pair]:
    if len(expected) == len(got):
        yield from (Pair(position, position) for position in range(len(expected)))
        return
    places = dict.fromkeys(place for row in expected for place in row)
    ours, theirs = ([_written(row, list(places)) for row in rows] for rows in (expected, got))
    for _, begin, end, first, last in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        for step in range(max(end - begin, last - first)):
            yield Pair(begin + step if begin + step < end else None, first + step if first + step < last else None)


def _by_key(expected: Sequence[Record], got: Sequence[Record], keys: Sequence[Place]) -> Iterator[Pair]:
    waiting: dict[str, list[int]] = {}
    for position, row in enumerate(got):
        waiting.setdefault(_written(row, keys), []).append(position)
    for position, row in enumerate(expected):
        there = waiting.get(_written(row, keys))
        yield Pair(position, there.pop(0) if there else None)
    yield from (Pair(None, position) for position in sorted(position for there in waiting.values() for position in there))


def _by_likeness(expected: Sequence[Record], got: Sequence[Record]) -> list[Pair]:
    met = _matched(expected, got)
    left = [position for position in range(len(expected)) if position not in met]
    taken = set(met.values())
    over = [position for position in range(len(got)) if position not in taken]
    if len(left) <= _MANY and len(over) <= _MANY:
        alike = sorted((-_likeness(expected[a], got[b]), abs(a - b), a, b) for a in left for b in over)
        for minus, _, a, b in alike:
            if (-minus >= 0.5 or len(alike) == 1) and a not in met and b in over:
                met[a] = b
                over.remove(b)
    return [Pair(position, met.get(position)) for position in range(len(expected))] + [Pair(None, position) for position in over]


def _likeness(expected: Record, got: Record) -> float:
    """The share of columns in which two rows are the same, of those that there are."""
    there = [same(value, got[place]) for place, value in expected.items() if place in got]
    return sum(there) / max(len(there), 1)


def _matched(expected: Sequence[Record], got: Sequence[Record]) -> dict[int, int]:
    """As many rows as can be matched with one that fits; a row that names few columns does not take one that another needs.

    Augmenting paths (Kuhn's algorithm) in the graph of rows that fit, beginning with those that are found at once.
    """
    met = _found(expected, got)
    taken = {other: row for row, other in met.items()}
    for start in [position for position in range(len(expected)) if position not in met]:
        # Breadth first: from a row to those that fit it, and from these to the rows that have taken them.
        came: dict[int, int] = {}
        waiting: list[int] = [start]
        free: int | None = None
        while waiting and free is None:
            asking = waiting.pop(0)
            for other in range(len(got)):
                if other not in came and _fit(expected[asking], got[other]):
                    came[other] = asking
                    if other not in taken:
                        free = other
                        break
                    waiting.append(taken[other])
        while free is not None:
            owner = came[free]
            before = met.get(owner)
            met[owner], taken[free] = free, owner
            free = None if owner == start else before
    return met


def _found(expected: Sequence[Record], got: Sequence[Record]) -> dict[int, int]:
    """Rows that fit the one at the same position, or one whose values are written alike: nearly all, and without trying each with each."""
    met = {position: position for position, row in enumerate(expected[: len(got)]) if _fit(row, got[position])}
    taken = set(met)
    alike: dict[tuple[Place, ...], dict[str, list[int]]] = {}
    for position, row in enumerate(expected):
        places = tuple(row)
        if places not in alike:
            alike[places] = {}
            for other, candidate in enumerate(got):
                if candidate.keys() >= row.keys():
                    alike[places].setdefault(_written(candidate, places), []).append(other)
        if position not in met:
            there = alike[places].get(_written(row, places), [])
            while there and there[-1] in taken:
                there.pop()
            if there:
                met[position] = there[-1]
                taken.add(there.pop())
    return met


def _written(row: Record, places: Sequence[Place]) -> str:
    return json.dumps([row.get(place) for place in places], default=str)


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
    return json.dumps(value, ensure_ascii=False, default=str)


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
