"""A service of two tables: each is committed by itself, so a run may die with one loaded and the other not."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from beam_pipelines.testing.faults import KINDS, Ended, Fault, Kind, can_fail, changes, once, recovers

SYSTEMS = ("duckdb", "postgresql")


def commits(calls: tuple[str, ...]) -> list[str]:
    """The calls that end the transactions of the two commits, in their order."""
    return [call for call in calls if call.startswith("target.commit:") and call.lower().partition("#")[0].endswith(".commit")]


def after_read(traced: Ended) -> list[str]:
    """The calls from the first commit on that change anything."""
    first = next(index for index, call in enumerate(traced.calls) if call.startswith("target.commit:"))
    return [call for call in traced.calls[first:] if changes(call, traced)]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_that_dies_between_two_commits_has_loaded_one_table_and_the_next_run_loads_the_other(drills: Any, system: str) -> None:
    (drill,) = drills(system, "tables", 1)
    world = drill.world
    one, two = commits(drill.trace().calls)
    assert one != two

    def between(_: bool) -> None:
        assert [status for (status,) in world.target("SELECT status FROM _beam_pipelines_loads WHERE generation = 1 ORDER BY load")] == [
            "committed",
            "prepared",
        ]
        assert world.rows("customers") == world.source_rows("customers")
        assert len(world.rows("orders")) == 58

    recovers(drill, Fault(one, "die-after"), look=between)
    with world.store() as store:
        _, died, last = sorted(store.executions("customers"), key=lambda run: run.started_at)
        assert (died.status, last.status) == ("lost", "success")
        assert (died.metrics.records_extracted, died.metrics.records_loaded, died.metrics.records_dead_lettered) == (20, 19, 1)
        assert (last.metrics.records_extracted, last.metrics.records_loaded, last.metrics.records_dead_lettered) == (20, 19, 1)
        # It did not succeed, so it costs nothing, whatever it loaded.
        assert store.charges(run=died.run) == []
        assert [charge.amount for charge in store.charges(run=last.run)] == [Decimal("0.1")]
        assert Counter(event.type for event in store.events("customers") if event.run == died.run) == {
            "ServiceRequest.created": 1,
            "ServiceRequest.fail": 1,
        }
        assert [(found.table, found.count) for found in store.failed_records(run=died.run)] == [("customers", 1)]
        assert [(found.table, found.count) for found in store.failed_records(run=last.run)] == [("orders", 1)]
        assert {mark.table: mark.generation for mark in store.watermarks("customers")} == {"customers": 3, "orders": 2}
    letters = {run.run: [one["record"]["id"] for one in world.letters() if one["runId"] == run.run] for run in (died, last)}
    assert letters == {died.run: [63], last.run: [1063]}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", [pytest.param("duckdb", marks=pytest.mark.soak), "postgresql"])
def test_whatever_call_a_run_of_two_tables_dies_at_the_next_run_doubles_nothing(drills: Any, survives: Any, system: str) -> None:
    made = drills(system, "tables")
    traced = made[0].trace()
    points = after_read(traced)
    # What fails in one of the commits does not hold up the other one.
    within = [call for call in points if call.startswith(("target.commit:", "ledger.")) and can_fail(call)]
    survives(made, [Fault(call, "die-after") for call in once(points)] + [Fault(call, "fail-before") for call in within[::3]])


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hang-before"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_call_of_a_run_of_two_tables(drills: Any, survives: Any, system: str, kind: Kind) -> None:
    made = drills(system, "tables")
    survives(made, [Fault(call, kind) for call in made[0].trace().calls if can_fail(call) or not kind.startswith("fail")])
