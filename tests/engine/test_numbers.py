from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar.numbering import first_of
from beam_pipelines.engine.numbers import Numbers
from beam_pipelines.io.connector import LedgerRow
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.window import Range, Window


def row(counted: dict[int, int], *parts: tuple[str, int]) -> LedgerRow:
    """What a run read: of each range its file, and the byte that it begins at, none of a whole file."""
    numbers: dict[str, int] = {}
    ranges = []
    for index, (label, start) in enumerate(parts):
        part = numbers[label] = numbers.get(label, -1) + 1
        ranges.append(Range("l", "t", index, {"label": label, "part": part, "start": start} if start >= 0 else {"label": label}))
    window = Window("s", "l", "t", "r", 0, ranges=tuple(ranges))
    tally = Tally("l", 0, 0, 0, None, (), (), 0, 0, (), counted=tuple(counted.items()))
    return LedgerRow("r", "l", "committed", window, LoadCounts(tally, Merged()), "", "")


@pytest.fixture
def numbers() -> Numbers:
    found = Numbers.of(row({0: 10, 1: 20, 3: 7, 5: 3}, ("a", 0), ("a", 100), ("a", 200), ('"b"', 0), ('"b"', 50), ('"b"', 90), ("c", -1)))
    assert found is not None
    return found


PLACES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"source": "a", "line": 5}, {"source": "a", "line": 5}),
    ({"source": "a", "line": first_of(1) + 5}, {"source": "a", "line": 15}),
    ({"source": "a", "line": first_of(2) + 1}, {"source": "a", "line": 31}),
    ({"source": '"b"', "row": first_of(1)}, {"source": '"b"', "row": 7}),
    # The part before was not read to its end: nobody has counted it.
    ({"source": '"b"', "row": first_of(2) + 4}, {"source": '"b"', "row": 4, "from": 90}),
    ({"source": "c", "line": 3}, {"source": "c", "line": 3}),
    ({"source": "table", "key": {"id": first_of(1)}}, {"source": "table", "key": {"id": first_of(1)}}),
    ({"source": "elsewhere", "line": first_of(1)}, {"source": "elsewhere", "line": first_of(1)}),
    ({}, {}),
]


def test_numbers_in_later_parts_are_counted_on(numbers: Numbers) -> None:
    assert [numbers.place(place) for place, _ in PLACES] == [told for _, told in PLACES]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_those_of_many_rows_at_once_come_to_the_same(numbers: Numbers, kind: pa.DataType) -> None:
    texts = pa.array([json.dumps(place, separators=(",", ":")) for place, _ in PLACES] + [None], pa.string()).cast(kind)
    told = numbers.texts(texts)
    assert told.type == kind
    assert [text and json.loads(text) for text in told.cast(pa.string()).to_pylist()] == [*(told for _, told in PLACES), None]


def test_a_column_of_numbers_goes_by_the_origins(numbers: Numbers) -> None:
    origins = pa.array(['{"source":"a","row":15}', '{"source":"a","row":3}', '{"source":"t","key":{"id":1}}'])
    assert numbers.column(pa.array([first_of(1) + 5, 3, None], pa.int64()), origins).to_pylist() == [15, 3, None]


def test_where_no_file_was_read_in_parts_there_is_nothing_to_count() -> None:
    assert Numbers.of(row({}, ("a", -1), ("b", -1))) is None
