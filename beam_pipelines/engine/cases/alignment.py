"""Which row was expected as which, and where the two differ."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Pair", "Place", "Record", "Within", "align", "same"]

Place = tuple[str, ...]  # of a value in a row: its column; of a dead letter `code`, `message`, or `row` and a column
Record = Mapping[Place, Any]

_CLOSE = 1e-9  # two doubles as near as this, of the greater one, are the same: sums differ in their last digits from run to run
_MANY = 200  # rows without a match on either side, above which they are not searched for the most alike


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
