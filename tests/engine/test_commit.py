"""Commit's DoFn by hand: every load has its own transaction, and the facts of a run decide."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import memory
from beam_pipelines.engine.commit import _CommitFn
from beam_pipelines.engine.prepare import TARGET
from beam_pipelines.errors import BeamPipelinesError, FencedError, TransientError
from beam_pipelines.io.connector import Policy, TargetTraits
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import ReadFact, Staged, StagedFact, StepFact
from beam_pipelines.runs.window import Window

RUN = "00000000000a"


@dataclass
class Table:
    """A target that notes what it is asked to commit."""

    errors: dict[str, Exception] = field(default_factory=dict)
    traits: TargetTraits = field(default_factory=lambda: TargetTraits("table"))
    asked: list[tuple[Window, Policy, pa.Schema, Tally]] = field(default_factory=list)
    closed: bool = False

    def commit(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> LoadCounts:
        self.asked.append((window, policy, schema, tally))
        if window.load in self.errors:
            raise self.errors[window.load]
        return LoadCounts(tally, Merged(inserted=tally.staged_rows))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def committed(job_of: Any) -> Any:
    """Commits loads of a target by the facts of a run: gives the counts of each."""

    def committed(table: Table, facts: list[Any], *loads: str) -> list[tuple[str, LoadCounts]]:
        steps = [{"id": "adults", "type": "filter", "condition": "age >= 18"}]
        job = job_of(target=table, steps=steps, into={"mode": "upsert", "keyFields": ["id"]})
        schema = pa.schema([("id", pa.int64())])
        texts = {load: Window("customers", load, load, RUN, 0).with_schema(TARGET, schema).to_text() for load in loads}
        return list(_CommitFn(job).process(b"", iter(facts), texts))

    return committed


def facts(load: str, rows: int) -> list[Any]:
    return [ReadFact(load, rows), StepFact(load, "adults", rows, rows), StagedFact(load, rows, (Staged(f"{load}{rows}", rows),))]


def test_each_load_is_committed_with_the_facts_that_are_its_own(committed: Any) -> None:
    table = Table()
    found = committed(table, [*facts("a", 3), *facts("b", 10), *facts("a", 4)], "a", "b")
    assert {load: (counts.tally.read, counts.merged.inserted) for load, counts in found} == {"a": (7, 7), "b": (10, 10)}
    window, policy, schema, tally = table.asked[0]
    assert (window.load, policy.mode, schema.names) == ("a", "upsert", ["id"])
    assert [part.name for part in tally.staged] == ["a3", "a4"]
    assert table.closed


@pytest.mark.parametrize("in_process", [True, False])
def test_a_database_in_this_process_gets_the_memory_that_batches_had(
    in_process: bool, committed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(traits=TargetTraits("table", in_process=in_process))
    commits_before: list[int] = []
    monkeypatch.setattr(memory, "give_back", lambda: commits_before.append(len(table.asked)))
    committed(table, [*facts("a", 1), *facts("b", 1)], "a", "b")
    assert commits_before == ([0] if in_process else [])


def test_with_nothing_staged_it_commits_all_the_same(committed: Any) -> None:
    table = Table()
    ((load, counts),) = committed(table, [], "a")
    assert (load, counts.tally.read, counts.tally.staged) == ("a", 0, ())
    assert [step.step for step in counts.tally.steps] == ["adults"]  # with zeros, as of a run that read nothing


def test_a_load_that_fails_does_not_hold_up_the_others(committed: Any, caplog: pytest.LogCaptureFixture) -> None:
    table = Table({"b": FencedError("overtaken"), "c": TransientError("away")})
    with caplog.at_level(logging.ERROR), pytest.raises(FencedError, match="overtaken"):
        committed(table, [], "a", "b", "c", "d")
    assert [window.load for window, *_ in table.asked] == ["a", "b", "c", "d"]
    assert [record.getMessage() for record in caplog.records] == ["the load of b failed: overtaken", "the load of c failed: away"]
    assert table.closed


def test_a_load_alone_fails_without_being_told_twice(committed: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(BeamPipelinesError, match="away"):
        committed(Table({"a": TransientError("away")}), [], "a")
    assert caplog.records == []


def test_a_bug_stops_at_once_and_closes_the_target(committed: Any) -> None:
    table = Table({"a": ZeroDivisionError()})
    with pytest.raises(ZeroDivisionError):
        committed(table, [], "a", "b")
    assert ([window.load for window, *_ in table.asked], table.closed) == (["a"], True)
