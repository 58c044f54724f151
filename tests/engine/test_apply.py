"""The steps' DoFn by hand: each row is counted once, and a bundle that failed leaves nothing open."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import dead, origin
from beam_pipelines.engine.apply import _ApplyFn
from beam_pipelines.engine.job import Job
from beam_pipelines.runs.context import VARIABLE, RunContext
from beam_pipelines.runs.facts import Staged, StepFact
from beam_pipelines.runs.window import Window
from beam_pipelines.spec import parse

SOURCE = pa.schema([("id", pa.int64()), ("age", pa.int64())])
FUNCTIONS = '''
import pathlib

LOG = pathlib.Path(__file__).with_name("log")


class Halves:
    """By row; notes when it is entered and left."""

    def __enter__(self):
        self.note("in")

    def __exit__(self, *error):
        self.note("out")

    def note(self, word):
        LOG.write_text((LOG.read_text() if LOG.exists() else "") + word + " ")

    def __call__(self, row: dict):
        if row["age"] is None:
            return None
        if row["age"] < 0:
            raise ValueError("no such age")
        if row["age"] == 1000:
            return {"id": row["id"], "half": "too much"}
        return [{"id": row["id"], "half": row["age"] / 2}] * (2 if row["age"] == 2 else 1)


halves = Halves
'''


@dataclass
class Shelf:
    letters: list[dict[str, Any]] = field(default_factory=list)

    def stager(self, name: str, schema: pa.Schema, order: int) -> Any:
        assert schema == dead.SCHEMA
        self._staged = Staged(name, 0)
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        self.letters += batch.to_pylist()

    def finish(self) -> Staged:
        return self._staged

    def abort(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Desk(Job):
    shelf: Any = None

    def open_target(self, context: RunContext | None) -> Any:
        return self.shelf


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def fused(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> _ApplyFn:
    """A filter and a map as one."""
    monkeypatch.setenv(VARIABLE, RunContext("00000000000a", "2026-01-01T00:00:00+00:00", folder=str(tmp_path)).to_text())
    pipeline = {
        "source": {"type": "database", "connection": "crm", "table": "customers"},
        "transformations": [
            {"id": "some", "type": "filter", "condition": "id > 1"},
            {
                "id": "halves",
                "type": "map",
                "mappings": {"id": {"source": "id"}, "half": {"expression": "factorial(CAST(age AS INT)) * 1.0e0"}},
            },
        ],
        "destination": {"type": "database", "connection": "target", "table": "{table}"},
    }
    made = Desk(Job.of(parse({"name": "Customers", "pipeline": pipeline}).definition).text, str(tmp_path), shelf=shelf)
    fn = _ApplyFn(made, range(2))
    fn.setup()
    return fn


@pytest.fixture
def halves(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> _ApplyFn:
    monkeypatch.setenv(VARIABLE, RunContext("00000000000a", "2026-01-01T00:00:00+00:00", folder=str(tmp_path)).to_text())
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    pipeline = {
        "source": {"type": "database", "connection": "crm", "table": "customers"},
        "transformations": [
            {"id": "some", "type": "filter", "condition": "id > 1"},
            {"id": "halves", "type": "function", "output": {"id": "bigint", "half": "double"}},
        ],
        "destination": {"type": "database", "connection": "target", "table": "{table}"},
    }
    made = Desk(Job.of(parse({"name": "Customers", "pipeline": pipeline}).definition).text, str(tmp_path), shelf=shelf)
    fn = _ApplyFn(made, range(1, 2))
    fn.setup()
    return fn


def window(load: str) -> str:
    out = pa.schema([("id", pa.int64()), ("half", pa.float64())])
    made = Window("customers", load, load, "00000000000a", 0, started_at="2026-01-01T00:00:00+00:00")
    return made.with_schema("", SOURCE).with_schema("some", SOURCE).with_schema("halves", out).to_text()


TEXTS = {load: window(load) for load in ("customers", "orders")}


def batch(ages: list[int | None], load: str = "customers") -> pa.RecordBatch:
    made = pa.record_batch({"id": list(range(len(ages))), "age": pa.array(ages, pa.int64())})
    return origin.with_load(origin.attach(made, "crm.customers", key=["id"]), load)


def applied(fn: _ApplyFn, *batches: pa.RecordBatch) -> tuple[list[pa.RecordBatch], list[StepFact]]:
    fn.start_bundle()
    out = [made for one in batches for made in fn.process(one, TEXTS)]
    return out, [told.value.value for told in fn.finish_bundle()]


def test_every_row_is_counted_once(halves: _ApplyFn, shelf: Shelf) -> None:
    out, (fact,) = applied(halves, batch([10, 2, None, -1, 1000]), batch([30]))
    assert [row for one in out for row in one.column("half").to_pylist()] == [5.0, 1.0, 1.0, 15.0]
    assert (fact.load, fact.step, fact.records_in, fact.records_out, fact.filtered, fact.dead, fact.made) == (
        "customers",
        "halves",
        6,
        4,
        1,
        2,
        1,
    )
    assert fact.records_in + fact.made == fact.records_out + fact.filtered + fact.rejected + fact.dead
    assert fact.seconds > 0


def test_rows_that_fail_are_dead_letters_and_the_first_reason_is_the_step_s(halves: _ApplyFn, shelf: Shelf) -> None:
    _, (fact,) = applied(halves, batch([-1, -2, 8]))
    assert [(one["step"], one["code"], json.loads(one["origin"])["key"]) for one in shelf.letters] == [
        ("halves", "function-failed", {"id": 0}),
        ("halves", "function-failed", {"id": 1}),
    ]
    assert [letter.codes for letter in fact.letters] == [{"function-failed": 2}]
    assert (fact.error or "").startswith("function-failed: ")
    assert "no such age" in (fact.error or "")


def test_origin_and_load_go_on_with_the_rows(halves: _ApplyFn) -> None:
    ((out,), _) = applied(halves, batch([None, 8]))
    assert origin.load_of(out) == "customers"
    assert origin.describe(out, [0]) == [{"source": "crm.customers", "key": {"id": 1}}]


def test_each_load_is_counted_apart(halves: _ApplyFn) -> None:
    _, facts = applied(halves, batch([1, 3]), batch([5], "orders"), batch([7]))
    assert {fact.load: fact.records_in for fact in facts} == {"customers": 3, "orders": 1}


def test_code_that_needs_set_up_is_entered_once_a_bundle_and_load_and_left(halves: _ApplyFn, tmp_path: Path) -> None:
    applied(halves, batch([1]), batch([2]), batch([3]))
    assert (tmp_path / "log").read_text() == "in out "
    applied(halves, batch([1]))
    assert (tmp_path / "log").read_text() == "in out in out "


def test_what_a_failed_bundle_left_open_is_left_before_the_next(halves: _ApplyFn, tmp_path: Path) -> None:
    halves.start_bundle()
    list(halves.process(batch([1]), TEXTS))
    # Another DoFn of the bundle fails: finish_bundle is never called.
    applied(halves, batch([1]))
    assert (tmp_path / "log").read_text() == "in out in out "
    halves.start_bundle()
    list(halves.process(batch([1]), TEXTS))
    halves.teardown()
    assert (tmp_path / "log").read_text() == "in out " * 3


def test_steps_that_run_as_one_count_for_themselves_and_share_their_time(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, (some, halves) = applied(fused(tmp_path, shelf, monkeypatch), batch([1, 2, 3, 10**18, 4]), batch([5, 6, 3]))
    assert [row for one in out for row in one.column("half").to_pylist()] == [6.0, 24.0, 6.0]
    assert (some.step, some.records_in, some.records_out, some.filtered, some.dead) == ("some", 8, 4, 4, 0)
    assert (halves.step, halves.records_in, halves.records_out, halves.filtered, halves.dead) == ("halves", 4, 3, 0, 1)
    assert (some.fused_with, halves.fused_with) == (("halves",), ("some",))
    assert some.seconds == halves.seconds > 0
    assert (some.letters, [letter.codes for letter in halves.letters]) == ((), [{"expression-failed": 1}])
    (letter,) = shelf.letters
    assert (letter["step"], json.loads(letter["payload"]), json.loads(letter["origin"])["key"]) == (
        "halves",
        {"id": 3, "age": 10**18},
        {"id": 3},
    )


def test_a_run_of_a_function_is_fused_with_nothing(halves: _ApplyFn) -> None:
    _, (fact,) = applied(halves, batch([1]))
    assert fact.fused_with == ()
