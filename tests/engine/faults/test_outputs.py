"""SIGKILL while a run writes rejected rows and violations: each is there once when the next run has ended, whatever call it dies at."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import duckdb
import pytest

from beam_pipelines.testing.faults import KINDS, Ended, Fault, can_fail, changes, explore, strikes

STEP = {
    "id": "check",
    "type": "validate",
    "rules": [
        {"id": "low", "type": "numeric-range", "field": "id", "max": 50},
        {"id": "even", "type": "expression", "condition": "id % 2 = 0", "severity": "info"},
    ],
    "rejected": {"type": "file", "path": "found", "format": "parquet"},
    "violations": {"type": "database", "connection": "target", "table": "violations"},
}


def with_outputs(made: list[Any]) -> list[Any]:
    """The same drills, of a service of rules; two of its sixty customers are spoilt."""
    for drill in made:
        drill.world.change(("pipeline", "transformations"), [STEP])
        drill.world.save()
    return made


def read(world: Any, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(query.format(files=f"read_parquet('{world.folder / 'found' / '*.parquet'}')")).fetchall()


def recovers(drill: Any, fault: Fault) -> None:
    """The scenario. After the run that dies 10 customers are new, so that it is seen of which run a row is."""
    drill.reset()
    world = drill.world
    strikes(drill, fault)
    world.more(101, 110)
    ended = drill.start().wait(120.0)
    assert ended.exit_code == 0, ended
    good = [i for i in range(1, 61) if i not in drill.dead]
    with world.store() as store:
        runs = {one.run: one.status for one in store.executions("customers")}
    committed = {run for run, status in runs.items() if status == "success"}
    assert set(runs.values()) <= {"success", "lost"}
    assert [i for i, *_ in world.rows()] == [i for i in good if i <= 50]
    bad = [i for i in [*good, *range(101, 111)] if i > 50]
    assert read(world, "SELECT id FROM {files} ORDER BY id") == [(i,) for i in bad]
    assert {run for (run,) in read(world, "SELECT DISTINCT _run FROM {files}")} <= committed
    told = Counter((json.loads(record)["id"], rule) for record, rule in world.target("SELECT record, rule FROM violations"))
    assert told == Counter([*((i, "low") for i in bad), *((i, "even") for i in [*good, *range(101, 111)] if i % 2)])
    assert sorted(letter["record"]["id"] for letter in world.letters() if letter["code"] == "rule-violated") == bad
    assert world.leftovers() == []
    assert not list((world.folder / "found").glob(".bp_staging/*"))


def writing(traced: Ended) -> list[str]:
    """The calls from the dead letters on, to the record."""
    begun = next(index for index, call in enumerate(traced.calls) if call.startswith("letters.export:"))
    ended = max(index for index, call in enumerate(traced.calls) if call.startswith("state.finish:"))
    return [call for call in traced.calls[begun : ended + 1] if changes(call, traced)]


@pytest.mark.timeout(900)
def test_whatever_commit_of_an_output_a_run_dies_after_each_row_is_there_once(drills: Any) -> None:
    made = with_outputs(drills("duckdb", "full"))
    points = [call for call in writing(made[0].trace()) if call.startswith("target.") and ("COMMIT" in call or "replace" in call)]
    assert len(points) == 7  # each output is prepared and committed; the file is moved to its place, and before and after that is noted
    broken = explore(made, [Fault(call, "die-after") for call in points], recovers)
    assert not broken, f"{len(broken)} of {len(points)} faults:\n" + "\n".join(broken)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("system", ["duckdb", "postgresql", "sqlite"])
def test_every_call_of_a_run_that_writes_outputs(drills: Any, system: str) -> None:
    made = with_outputs(drills(system, "full"))
    points = writing(made[0].trace())
    faults = [Fault(call, kind) for call in points for kind in KINDS if kind != "hang-before" and (can_fail(call) or kind[:4] != "fail")]
    broken = explore(made, faults, recovers)
    assert not broken, f"{len(broken)} of {len(faults)} faults:\n" + "\n".join(broken)
