"""The reader of one file: chunks, what it counts, and a file that fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.engine.by_file import FILE, FileReader
from beam_pipelines.errors import FatalError
from beam_pipelines.io.connector import Unread
from beam_pipelines.runs.window import Range, Window

PART = Range("out", "in", 3, {"label": "a.csv", "size": 90, "tag": "7", "billed": 90})
WINDOW = Window("svc", "out", "in", "r" * 12, 0, ranges=(PART,), by_file=True)


def rows(first: int, count: int) -> pa.RecordBatch:
    made = pa.record_batch({"n": pa.array(range(first, first + count), pa.int64())})
    return origin.attach(made, "a.csv", first_row=first)


class Pages:
    """A source that gives what it is told, and fails in the end if it is told so."""

    cursor = None

    def __init__(self, *given: Any) -> None:
        self._given = given

    def read(self, part: Range, window: Window, cursor: Any) -> Iterator[Any]:
        for one in self._given:
            if isinstance(one, BaseException):
                raise one
            yield one


def reader(*given: Any, goes_on: bool = True, rows: int = 10, part: Range = PART) -> FileReader:
    return FileReader(Pages(*given), WINDOW, part, goes_on=goes_on, rows=rows)  # type: ignore[arg-type]


def bad(count: int) -> Unread:
    return Unread(rows(0, count), ["row-invalid"] * count, ["expected a row"] * count)


def test_rows_come_in_chunks_of_the_size_that_is_asked_for():
    made = reader(rows(0, 3), rows(3, 4), rows(7, 25), rows(32, 1))
    batches = list(made)
    sizes = [batch.num_rows for batch in batches if isinstance(batch, pa.RecordBatch)]
    assert max(sizes) == 10
    assert len(sizes) == 4  # the small ones at either side are put together
    assert [value for batch in batches for value in batch.column("n").to_pylist()] == list(range(33))
    assert (made.fact.part, made.fact.rows, made.fact.error) == (3, 33, "")


def test_what_is_no_row_is_given_on_and_counted():
    made = reader(rows(0, 3), bad(2), rows(3, 4))
    given = list(made)
    assert sum(one.batch.num_rows for one in given if isinstance(one, Unread)) == 2
    assert made.fact.rows == 9


def test_a_file_that_fails_is_one_letter_behind_the_rows_before_it():
    made = reader(rows(0, 10), rows(10, 10), FatalError("'a.csv' cannot be read: cut off", code="read-failed"))
    given = list(made)
    letter = given[-1]
    assert isinstance(letter, Unread)
    assert (letter.codes, letter.messages) == (["file-unreadable"], ["'a.csv' cannot be read: cut off"])
    assert letter.batch.column(FILE).to_pylist() == ["a.csv"]
    assert origin.describe(letter.batch, [0])[0]["source"] == "a.csv"
    assert (made.fact.error, made.fact.passing) == ("'a.csv' cannot be read: cut off", False)


def test_a_file_that_is_another_by_now_is_not_to_blame():
    made = reader(FatalError("'a.csv' changed", code="read-failed", details={"passing": True}))
    list(made)
    assert made.fact.passing


def test_a_file_that_could_not_be_looked_at_is_not_read():
    broken = Range("out", "in", 3, {**PART.bounds, "broken": "no Parquet file"})
    made = reader(AssertionError("it is read"), part=broken)
    (letter,) = made
    assert isinstance(letter, Unread)
    assert letter.messages == ["no Parquet file"]


@pytest.mark.parametrize(("goes_on", "code"), [(False, "read-failed"), (True, "authentication-failed")])
def test_what_is_no_matter_of_the_file_stops_the_run(goes_on: bool, code: Any) -> None:
    made = reader(rows(0, 1), FatalError("no", code=code), goes_on=goes_on)
    with pytest.raises(FatalError, match="no"):
        list(made)
