"""The stage's DoFn by hand: what it writes, what it will not take, and what a bundle that failed leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import dead, origin
from beam_pipelines.engine.prepare import TARGET
from beam_pipelines.engine.stage import _StageFn
from beam_pipelines.errors import DataError, FatalError
from beam_pipelines.runs.facts import Staged, StagedFact
from beam_pipelines.runs.names import StagingName
from beam_pipelines.runs.window import Window

RUN = "00000000000a"
SOURCE = pa.schema([("id", pa.int64()), ("Name", pa.string())])
STORED = pa.schema([("id", pa.int32()), ("name", pa.string())])


@dataclass
class Box:
    """A stager that keeps what it is given, and refuses what it is told to refuse."""

    name: str
    schema: pa.Schema
    order: int
    refuses: set[Any]
    breaks: Exception | None
    batches: list[pa.RecordBatch] = field(default_factory=list)
    state: str = "open"
    thread: str = ""

    def write(self, batch: pa.RecordBatch) -> None:
        self.thread = threading.current_thread().name
        if self.breaks is not None and self.schema != dead.SCHEMA:
            raise self.breaks
        assert batch.schema.equals(self.schema)
        bad = [row for row, value in enumerate(batch.column(0).to_pylist()) if value in self.refuses]
        if bad:
            raise DataError("no room for it", details={"rows": bad})
        self.batches.append(batch)

    def finish(self) -> Staged:
        self.state = "closed"
        return Staged(self.name, self.rows, order=self.order)

    def abort(self) -> None:
        self.state = "aborted"

    @property
    def rows(self) -> int:
        return sum(batch.num_rows for batch in self.batches)

    @property
    def ids(self) -> list[int]:
        return [value for batch in self.batches for value in batch.column(0).to_pylist()]


@dataclass
class Shelf:
    """A target as far as the stage sees it."""

    boxes: list[Box] = field(default_factory=list)
    refuses: set[Any] = field(default_factory=set)
    breaks: Exception | None = None
    closed: bool = False

    def stager(self, name: str, schema: pa.Schema, order: int) -> Box:
        self.boxes.append(Box(name, schema, order, self.refuses, self.breaks))
        return self.boxes[-1]

    def close(self) -> None:
        self.closed = True

    @property
    def rows(self) -> list[Box]:
        return [box for box in self.boxes if box.schema != dead.SCHEMA]

    @property
    def letters(self) -> list[dict[str, Any]]:
        return [letter for box in self.boxes if box.schema == dead.SCHEMA for batch in box.batches for letter in batch.to_pylist()]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def stage(shelf: Shelf, job_of: Any) -> Iterator[_StageFn]:
    stage = _StageFn(job_of(target=shelf))
    stage.setup()
    yield stage
    stage.teardown()


def window(load: str = "customers", keys: tuple[str, ...] = ()) -> str:
    made = Window("customers", load, load, RUN, 0, key_fields=keys).with_schema("", SOURCE).with_schema(TARGET, STORED)
    return made.to_text()


def batch(ids: list[int | None], load: str = "customers", part: int = 0) -> pa.RecordBatch:
    made = pa.record_batch({"id": pa.array(ids, pa.int64()), "Name": [f"n{one}" for one in ids]})
    labelled = origin.with_load(origin.attach(made, "crm.customers", first_row=0), load)
    return labelled.replace_schema_metadata({**(labelled.schema.metadata or {}), b"bp:part": str(part).encode()})


def staged(stage: _StageFn, batches: list[pa.RecordBatch], texts: dict[str, str] | None = None) -> list[StagedFact]:
    """One bundle, and its facts."""
    stage.start_bundle()
    for one in batches:
        assert list(stage.process(one, texts or {"customers": window()})) == []
    return [found.value for found in stage.finish_bundle()]


def test_rows_are_staged_in_the_target_s_schema_under_a_name_of_the_attempt(stage: _StageFn, shelf: Shelf) -> None:
    (fact,) = staged(stage, [batch([1, 2, 3]), batch([4])])
    (box,) = shelf.rows
    assert (box.state, box.ids, box.schema.names) == ("closed", [1, 2, 3, 4], ["id", "name"])
    name = StagingName.parse(box.name)
    assert name is not None
    assert name.run == RUN
    assert (fact.load, fact.rows_in, fact.dead, fact.letters) == ("customers", 4, 0, ())
    assert fact.staged == (Staged(box.name, 4),)
    assert fact.seconds > 0


def test_every_attempt_has_a_name_of_its_own(stage: _StageFn, shelf: Shelf) -> None:
    staged(stage, [batch([1])])
    staged(stage, [batch([1])])
    assert len({box.name for box in shelf.rows}) == 2


def test_each_load_is_staged_apart_and_told_apart(stage: _StageFn, shelf: Shelf) -> None:
    texts = {"a": window("a"), "b": window("b")}
    facts = staged(stage, [batch([1], "a", 2), batch([2, 3], "b"), batch([4], "a", 3)], texts)
    assert {fact.load: fact.rows_in for fact in facts} == {"a": 2, "b": 2}
    assert [(box.ids, box.order) for box in shelf.rows] == [([1, 4], 2), ([2, 3], 0)]


def test_rows_are_written_by_another_thread_while_the_next_are_read(stage: _StageFn, shelf: Shelf) -> None:
    staged(stage, [batch([1]), batch([2])])
    assert shelf.rows[0].thread == "stage"
    assert not [thread for thread in threading.enumerate() if thread.name == "stage"]


def test_rows_that_are_all_in_one_batch_are_written_without_another_thread(stage: _StageFn, shelf: Shelf) -> None:
    (fact,) = staged(stage, [batch([1, 2])])
    assert (shelf.rows[0].thread, shelf.rows[0].ids, fact.staged[0].rows) == (threading.current_thread().name, [1, 2], 2)


def test_an_empty_bundle_tells_nothing(stage: _StageFn, shelf: Shelf) -> None:
    assert staged(stage, []) == []
    assert shelf.boxes == []


# Rows that are not taken.


def test_a_row_without_its_key_is_a_dead_letter(stage: _StageFn, shelf: Shelf) -> None:
    (fact,) = staged(stage, [batch([1, None, 3, None])], {"customers": window(keys=("id",))})
    assert (fact.rows_in, fact.dead, [part.rows for part in fact.staged]) == (4, 2, [2])
    assert [(one["code"], one["message"], one["step"]) for one in shelf.letters] == [("key-null", "key column 'id' is null", "load")] * 2
    assert [letter.codes for letter in fact.letters] == [{"key-null": 2}]
    assert '"row":1' in shelf.letters[0]["origin"]


def test_a_null_that_is_no_key_is_a_value(stage: _StageFn, shelf: Shelf) -> None:
    (fact,) = staged(stage, [batch([1, None])])
    assert (fact.dead, shelf.rows[0].ids) == (0, [1, None])


def test_a_value_that_the_target_s_type_cannot_hold_is_a_dead_letter(stage: _StageFn, shelf: Shelf) -> None:
    (fact,) = staged(stage, [batch([1, 2**40, 3])])
    assert (fact.rows_in, fact.dead, shelf.rows[0].ids) == (3, 1, [1, 3])
    (letter,) = shelf.letters
    assert (letter["code"], letter["load"]) == ("cast-failed", "customers")
    assert str(2**40) in letter["payload"]
    assert str(2**40) not in letter["message"]


def test_rows_that_the_staging_refuses_are_dead_letters_and_the_others_are_written(stage: _StageFn, shelf: Shelf) -> None:
    shelf.refuses = {2, 5}
    (fact,) = staged(stage, [batch([1, 2, 3]), batch([4, 5])])
    assert (fact.rows_in, fact.dead, shelf.rows[0].ids) == (5, 2, [1, 3, 4])
    assert [(one["code"], one["message"]) for one in shelf.letters] == [("target-refused", "no room for it")] * 2
    assert [letter.codes for letter in fact.letters] == [{"target-refused": 2}]


def test_of_a_batch_that_is_refused_whole_nothing_is_written(stage: _StageFn, shelf: Shelf) -> None:
    shelf.refuses = {1, 2}
    (fact,) = staged(stage, [batch([1, 2])])
    assert (fact.rows_in, fact.dead, shelf.rows[0].ids) == (2, 2, [])


def test_what_came_is_what_was_staged_and_what_died(stage: _StageFn, shelf: Shelf) -> None:
    shelf.refuses = {7}
    (fact,) = staged(stage, [batch([1, None, 2**40, 7, 8])], {"customers": window(keys=("id",))})
    assert fact.rows_in == sum(part.rows for part in fact.staged) + fact.dead == 5
    assert sum(sum(letter.codes.values()) for letter in fact.letters) == fact.dead == 3


# Failures.


def test_a_write_that_fails_fails_the_bundle_at_its_end_or_before(stage: _StageFn, shelf: Shelf) -> None:
    shelf.breaks = FatalError("the disk is full", code="stage-failed")
    with pytest.raises(FatalError, match="the disk is full"):
        staged(stage, [batch([number]) for number in range(20)])


def test_what_a_failed_bundle_left_behind_is_dropped_by_the_next(stage: _StageFn, shelf: Shelf) -> None:
    stage.start_bundle()
    list(stage.process(batch([1, 2**40]), {"customers": window()}))
    # Another DoFn of the bundle fails: finish_bundle is never called.
    (fact,) = staged(stage, [batch([1])])
    assert [box.state for box in shelf.rows] == ["aborted", "closed"]
    assert [box.state for box in shelf.boxes if box not in shelf.rows] == ["aborted"]
    assert fact.staged == (Staged(shelf.rows[1].name, 1),)
    assert not [thread for thread in threading.enumerate() if thread.name == "stage"]


def test_a_worker_that_ends_drops_what_is_open_and_closes_its_target(stage: _StageFn, shelf: Shelf) -> None:
    stage.start_bundle()
    list(stage.process(batch([1]), {"customers": window()}))
    stage.teardown()
    assert ([box.state for box in shelf.rows], shelf.closed) == (["aborted"], True)
    stage.teardown()
