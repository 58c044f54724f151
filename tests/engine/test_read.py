"""The read's DoFn by hand: what it notes of every batch, and which rows it will not let pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.columnar import dead, origin
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.read import _RangesFn, _ReadFn
from beam_pipelines.io.connector import CursorSpec
from beam_pipelines.runs.facts import ReadFact, Staged
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window

RUN = "00000000000a"
PLANNED = pa.schema([("id", pa.int64()), ("name", pa.string()), ("at", pa.timestamp("us", "UTC"))])


def moment(second: int | None) -> datetime | None:
    return None if second is None else datetime(2026, 1, 1, 0, 0, second, tzinfo=timezone.utc)


def batch(ids: list[Any], names: list[Any] | None = None, seconds: list[int | None] | None = None) -> pa.RecordBatch:
    stamps = pa.array([moment(one) for one in seconds or [0] * len(ids)], pa.timestamp("us", "UTC"))
    made = pa.record_batch({"id": ids, "name": names or ["x"] * len(ids), "at": stamps})
    return origin.attach(made, "crm.customers", key=["id"])


@dataclass
class Pages:
    """A source that reads out what it is given, range by range."""

    ranges: list[list[pa.RecordBatch]]
    cursor: CursorSpec | None = field(default_factory=lambda: CursorSpec("at"))
    opened: int = 0
    closed: int = 0

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch]:
        yield from self.ranges[part.index]

    def close(self) -> None:
        self.closed += 1


@dataclass
class Shelf:
    letters: list[dict[str, Any]] = field(default_factory=list)

    def stager(self, name: str, schema: pa.Schema, order: int) -> Any:
        assert schema == dead.SCHEMA
        self._name, self._rows = name, 0
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        self.letters += batch.to_pylist()
        self._rows += batch.num_rows

    def finish(self) -> Staged:
        return Staged(self._name, self._rows)

    def abort(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def read(job_of: Any, shelf: Shelf) -> Any:
    """Reads every range in one bundle: gives the rows that passed, and facts."""

    def read(pages: Pages, bounds: dict[str, Any] | None = None, **more: Any) -> tuple[list[pa.RecordBatch], list[ReadFact]]:
        ranges = tuple(Range("customers", "customers", index, bounds or {}, 10) for index in range(len(pages.ranges)))
        texts = {
            "customers": replace(Window("customers", "customers", "customers", RUN, 0), ranges=ranges).with_schema("", PLANNED).to_text()
        }
        fn = _ReadFn(job_of(pages, shelf, table="customers", **more))
        fn.setup()
        fn.start_bundle()
        rows = []
        for key, part in _RangesFn().process(texts):
            rows += list(fn.process((key, [part]), texts))
        facts = []
        for told in fn.finish_bundle():
            assert isinstance(told, TaggedOutput)
            assert told.tag == FACTS
            facts.append(told.value.value)
        fn.teardown()
        return rows, facts

    return read


def test_every_range_is_read_once_and_its_rows_are_labelled_with_load_and_range(read: Any) -> None:
    pages = Pages([[batch([1, 2]), batch([3])], [batch([4])]])
    rows, (fact,) = read(pages)
    assert [one.column("id").to_pylist() for one in rows] == [[1, 2], [3], [4]]
    assert [(origin.load_of(one), one.schema.metadata[b"bp:part"]) for one in rows] == [("customers", b"0")] * 2 + [("customers", b"1")]
    assert (fact.load, fact.rows, fact.dead, fact.out) == ("customers", 4, 0, 4)
    assert (pages.opened, pages.closed) == (1, 1)


def test_ranges_have_keys_of_their_own_so_that_they_may_go_to_any_worker(shelf: Shelf) -> None:
    ranges = tuple(Range(load, load, index) for load in "ab" for index in range(2))
    texts = {load: replace(Window("s", load, load, RUN, 0), ranges=tuple(r for r in ranges if r.load == load)).to_text() for load in "ab"}
    keyed = list(_RangesFn().process(texts))
    assert sorted(part for _, part in keyed) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert len({key for key, _ in keyed}) == 4


def test_the_newest_cursor_value_is_noted_whatever_is_wrong_with_its_row(read: Any) -> None:
    _, (fact,) = read(Pages([[batch(["1", "no number"], seconds=[5, 30])], [batch([3, 4], seconds=[20, None])]]))
    assert fact.newest == Mark.of(moment(30))
    assert fact.dead == 1


def test_without_a_cursor_or_a_value_nothing_is_noted(read: Any) -> None:
    assert read(Pages([[batch([1])]], cursor=None))[1][0].newest is None
    assert read(Pages([[batch([1], seconds=[None])]]))[1][0].newest is None


def test_a_cursor_is_found_whatever_its_case(read: Any) -> None:
    _, (fact,) = read(Pages([[batch([1], seconds=[7])]], cursor=CursorSpec("AT")))
    assert fact.newest == Mark.of(moment(7))


def test_a_row_that_does_not_fit_the_plan_is_a_dead_letter_with_its_origin(read: Any, shelf: Shelf) -> None:
    rows, (fact,) = read(Pages([[batch(["1", "two", "3"])]]))
    assert [one.column("id").to_pylist() for one in rows] == [[1, 3]]
    assert (fact.rows, fact.dead, [letter.codes for letter in fact.letters]) == (3, 1, [{"cast-failed": 1}])
    (letter,) = shelf.letters
    assert (letter["step"], letter["code"], json.loads(letter["origin"])) == (
        "extract",
        "cast-failed",
        {"source": "crm.customers", "key": {"id": "two"}},
    )
    assert json.loads(letter["payload"])["id"] == "two"


def test_a_batch_of_nothing_but_dead_rows_gives_nothing(read: Any) -> None:
    rows, (fact,) = read(Pages([[batch(["one", "two"])]]))
    assert (rows, fact.rows, fact.dead) == ([], 2, 2)


def test_a_cell_above_the_limit_is_a_dead_letter_and_billed_all_the_same(read: Any, shelf: Shelf) -> None:
    rows, (fact,) = read(Pages([[batch([1, 2, 3], names=["a", "b" * 2000, "c"])]]), maxCellBytes=1000)
    assert [one.column("id").to_pylist() for one in rows] == [[1, 3]]
    assert (fact.rows, fact.dead) == (3, 1)
    assert fact.bytes == 3 * (8 + 8) + 1 + 2000 + 1  # int64 and timestamp, and the text by its UTF-8
    (letter,) = shelf.letters
    assert (letter["code"], letter["message"]) == ("cell-too-large", "a cell is larger than maxCellBytes (1000 bytes)")


def test_of_files_the_object_s_bytes_are_billed_once_a_range(read: Any) -> None:
    _, (fact,) = read(Pages([[batch([1]), batch([2])], [batch([3])]]), bounds={"billed": 5000})
    assert (fact.rows, fact.bytes) == (3, 10_000)


def test_a_range_of_a_file_that_holds_no_row_is_billed_too(read: Any) -> None:
    rows, (fact,) = read(Pages([[]]), bounds={"billed": 700})
    assert (rows, fact.rows, fact.bytes) == ([], 0, 700)
