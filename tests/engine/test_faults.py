"""What a run does when its process ends, fails or hangs at any of its calls: recover, then count both sides and the record.

`make test` goes through every call of a full load with the process dying after it, and through a part of the rest; `make soak` through all of it.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from beam_pipelines.testing.faults import KINDS, Fault, Kind

World = Any


def steady(world: World, faulted: list[str], *, runs: int) -> None:
    """What is true once the dust has settled: rows once, one record and one charge a run, dead letters once, nothing left behind."""
    assert world.source_rows() == world.rows()
    assert [] == world.leftovers()
    with world.store() as store:
        executions = store.executions("customers")
        assert {"success", "failed", "lost", "cancelled"} >= {one.status for one in executions}
        succeeded = [one for one in executions if one.status == "success"]
        charges, metrics = store.charges("customers"), store.metrics("customers")
        assert sorted(one.run for one in succeeded) == sorted(charge.run for charge in charges)
        assert len(executions) == len(metrics)
        delivered = store.events("customers", type="ServiceResult.deliver")
        failed = store.events("customers", type="ServiceRequest.fail")
        assert len(succeeded) == len(delivered)
        assert len(executions) - len(succeeded) == len(failed)
        loaded = sum(one.metrics.records_loaded for one in succeeded)
        dead = sum(one.metrics.records_dead_lettered for one in succeeded)
        indexed = sum(record.count for one in succeeded for record in store.failed_records(run=one.run))
    wrong = world.crm("SELECT count(*) FROM customers WHERE typeof(age) <> 'integer'")[0][0]
    assert len(world.source_rows()) == loaded
    assert (wrong, wrong) == (dead, indexed)
    succeeded_runs = {one.run for one in succeeded}
    assert wrong == sum(1 for letter in world.letters() if letter["runId"] in succeeded_runs)
    assert runs >= len(executions)


def full(world: World) -> None:
    """A first load, mode insert without keys, with dead letters."""
    world.write("insert")
    if not world.crm("SELECT 1 FROM customers LIMIT 1"):
        world.fill(1, 60)
        world.crm("UPDATE customers SET age = 'unknown' WHERE id IN (7, 8)")


def increment(world: World) -> None:
    """The second run of an insert service: an increment."""
    full(world)
    assert 0 == world.start().wait().exit_code
    highest = world.crm("SELECT max(id) FROM customers")[0][0]
    world.fill(highest + 1, highest + 20, seconds_ago=300)
    world.crm("UPDATE customers SET age = 'unknown' WHERE id = ?", (highest + 3,))


PATHS = {"full": full, "increment": increment}


def explore(world: World, path: str, faults: list[Fault]) -> None:
    for fault in faults:
        world.fresh()
        PATHS[path](world)
        first = world.start(fault).wait()
        after = world.start().wait()
        assert 0 == after.exit_code, (fault, first, after)
        try:
            steady(world, [], runs=3)
        except AssertionError as broken:
            raise AssertionError(f"after {fault} (the run ended with {first.exit_code}: {first.error}): {broken}") from broken


def calls(world: World, path: str) -> list[str]:
    world.fresh()
    PATHS[path](world)
    ended = world.start().wait()
    assert 0 == ended.exit_code, ended
    return list(ended.calls)


@pytest.mark.timeout(900)
def test_a_first_load_that_dies_after_any_of_its_calls_is_complete_after_the_next_run(world: World) -> None:
    points = calls(world, "full")
    assert len(points) > 20
    explore(world, "full", [Fault(point, "die-after") for point in points])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["fail-before", "fail-after"])
def test_an_increment_whose_calls_fail_is_complete_after_the_next_run(world: World, kind: Kind) -> None:
    points = calls(world, "increment")
    explore(world, "increment", [Fault(point, kind) for point in points[:: max(1, len(points) // 12)]])


@pytest.mark.timeout(900)
def test_a_run_that_was_paused_and_wakes_after_its_successor_committed_is_refused(world: World) -> None:
    commit = [point for point in calls(world, "full") if point.startswith(world.system.replace("postgresql", "postgres"))]
    for point in commit[len(commit) // 2 :: 3]:
        world.fresh()
        full(world)
        paused = world.start(Fault(point, "hang-before"))
        assert paused.hung(), point
        # Its lease is taken over: to the store it looks dead. (A second laptop with a store of its own would not even see the lease.)
        successor = world.start(state=f"sqlite:///{world.folder / 'other.db'}").wait()
        paused.wake()
        woken = paused.wait()
        again = world.start(state=f"sqlite:///{world.folder / 'other.db'}", keep_watermark=True).wait()
        assert (successor.exit_code, again.exit_code) != (1, 1), (point, successor, woken, again)
        assert world.source_rows() == world.rows(), (point, successor, woken, again)
        assert 0 in (successor.exit_code, woken.exit_code), (point, successor, woken)
        (world.folder / "other.db").unlink()


@pytest.mark.timeout(900)
def test_kill_9_at_random_moments(world: World) -> None:
    """Random in time rather than by call: whatever the seams do not cover."""
    chance = random.Random(7)
    full(world)
    world.fill(100, 3000)
    for round_ in range(6):
        child = world.start()
        child.kill_after(chance.uniform(0.05, 0.6))
        child.wait()
        world.fill(10_000 + round_ * 10, 10_005 + round_ * 10, seconds_ago=400)
    assert 0 == world.start().wait().exit_code
    steady(world, [], runs=7)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("hang")])
def test_every_call_of_every_path(world: World, path: str, kind: Kind) -> None:
    explore(world, path, [Fault(point, kind) for point in calls(world, path)])
