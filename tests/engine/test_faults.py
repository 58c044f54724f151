"""What a run does when its process ends, fails or hangs at any of its calls: recover, then count both sides and the record.

`make test` goes through every call of a full load with the process dying after it, and through a part of the rest; `make soak` through
all of it.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from beam_pipelines.testing.faults import KINDS, Fault, Kind

World = Any


def steady(world: World, *, runs: int) -> None:
    """What is true once the dust has settled: rows once, one record and one charge a run, dead letters once, nothing left behind."""
    assert world.source_rows() == world.rows()
    assert world.leftovers() == []
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
    assert world.start().wait().exit_code == 0
    highest = world.crm("SELECT max(id) FROM customers")[0][0]
    world.more(highest + 1, highest + 20)
    world.crm("UPDATE customers SET age = 'unknown' WHERE id = ?", (highest + 3,))


def replacing(world: World) -> None:
    """A whole-table replace over what a first run loaded."""
    full(world)
    world.write("replace")
    world.change(("pipeline", "source"), {"type": "database", "connection": "crm", "table": "customers"})
    assert world.start().wait().exit_code == 0


PATHS = {"full": full, "increment": increment, "replace": replacing}


def explore(world: World, path: str, faults: list[Fault]) -> None:
    for fault in faults:
        world.fresh()
        PATHS[path](world)
        first = world.start(fault).wait()
        after = world.start().wait()
        assert after.exit_code == 0, (fault, first, after)
        try:
            steady(world, runs=3)
        except AssertionError as broken:
            raise AssertionError(f"after {fault} (the run ended with {first.exit_code}: {first.error}): {broken}") from broken


def calls(world: World, path: str) -> list[str]:
    world.fresh()
    PATHS[path](world)
    ended = world.start().wait()
    assert ended.exit_code == 0, ended
    return list(ended.calls)


def thinned(points: list[str], every: int) -> list[str]:
    """All calls to target and files, and one in `every` of the store's."""
    stated = [point for point in points if point.startswith("state")]
    return [point for point in points if not point.startswith("state")] + stated[::every]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_a_first_load_that_dies_after_any_of_its_calls_is_complete_after_the_next_run(worlds: Any, system: str) -> None:
    world = worlds(system)
    points = calls(world, "full")
    assert len(points) > 20
    explore(world, "full", [Fault(point, "die-after") for point in thinned(points, 4)])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("system", "kind"), [("duckdb", "fail-after"), ("postgresql", "fail-before"), ("sqlite", "die-before")])
def test_an_increment_whose_calls_fail_is_complete_after_the_next_run(worlds: Any, system: str, kind: Kind) -> None:
    world = worlds(system)
    points = calls(world, "increment")
    explore(world, "increment", [Fault(point, kind) for point in thinned(points, 8)[::3]])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_a_run_that_was_paused_and_wakes_after_its_successor_committed_is_refused(worlds: Any, system: str) -> None:
    """Paused before it writes in Commit. The successor is a second laptop: a state store of its own, so no lease stands in its way."""
    world = worlds(system)
    other = f"sqlite:///{world.folder / 'other.db'}"
    paused = world.start(Fault(last_of_staging(world), "hang-after"))
    assert paused.hung()
    successor = world.start(state=other).wait()
    assert successor.exit_code == 0, successor
    assert world.source_rows() == world.rows()
    paused.wake()
    woken = paused.wait()
    assert woken.exit_code == 1
    assert "commits nothing" in str(woken.error)
    assert world.source_rows() == world.rows()
    assert world.start(state=other).wait().exit_code == 0
    assert world.source_rows() == world.rows()
    assert world.leftovers() == []


@pytest.mark.timeout(900)
def test_a_run_paused_inside_its_commit_does_not_block_its_successor_for_ever(worlds: Any) -> None:
    """PostgreSQL ends the paused transaction, and the zombie fails when it wakes.

    DuckDB and SQLite lock the file instead: a successor waits, and says who holds it.
    """
    world = worlds("postgresql")
    other = f"sqlite:///{world.folder / 'other.db'}"
    inside = [point for point in calls(world, "full") if point.startswith("postgres#")]
    world.fresh()
    full(world)
    # The last call but a few: the merge is done, the commit is not.
    paused = world.start(Fault(merging(world, inside), "hang-before"))
    assert paused.hung()
    successor = world.start(state=other).wait(180)
    assert successor.exit_code == 0, successor
    paused.wake()
    woken = paused.wait()
    assert woken.exit_code != 0
    assert world.source_rows() == world.rows()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_a_run_that_was_given_up_as_lost_is_refused_when_it_wakes_before_its_successor_commits(worlds: Any, system: str) -> None:
    """The record says lost: so it must stay, or its rows would be in the target and never be charged."""
    world = worlds(system)
    paused = world.start(Fault(last_of_staging(world), "hang-after"))
    assert paused.hung()
    world.expire_lease()
    # The successor ends as soon as it has settled what it found: its query is not understood any more.
    world.change(("pipeline", "source", "query"), "SELECT * FROM customers WHERE updated_at > ? AND id < 1000")
    world.change(("pipeline", "destination", "schema"), "freeze")
    world.crm("ALTER TABLE customers ADD COLUMN city TEXT")
    world.start().wait()
    paused.wake()
    woken = paused.wait()
    with world.store() as store:
        statuses = {one.run: one.status for one in store.executions("customers")}
        charged = {charge.run for charge in store.charges("customers")}
    loaded = len(world.rows())
    # Refused by the ledger, or before that because what it had staged is gone.
    assert woken.exit_code == 1
    assert charged == {run for run, status in statuses.items() if status == "success"}
    assert loaded == 0 or charged


def last_of_staging(world: World) -> str:
    """The call that makes the staged rows durable: Commit comes next."""
    points = calls(world, "full")
    world.fresh()
    full(world)
    written = max(index for index, point in enumerate(points) if point.startswith("stage@"))
    return next(point for point in points[written:] if point.startswith("stage#"))


def merging(world: World, inside: list[str]) -> str:
    """The call that writes the counters into the ledger row: everything is done but the commit."""
    world.fresh()
    full(world)
    with world.recorded_sql() as statements:
        assert world.service.run().exit_code == 0
    world.fresh()
    full(world)
    return next(point for point, sql in zip(inside, statements, strict=False) if "SET counts" in sql)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_kill_9_at_random_moments(worlds: Any, system: str) -> None:
    """Random in time rather than by call: whatever the seams do not cover."""
    killed_at_random(worlds(system), rounds=20)


def killed_at_random(world: World, rounds: int) -> None:
    chance = random.Random(7)
    full(world)
    world.fill(100, 3000)
    for round_ in range(rounds):
        child = world.start()
        child.kill_after(chance.uniform(0.02, 0.8))
        child.wait()
        world.more(10_000 + round_ * 10, 10_005 + round_ * 10)
    assert world.start().wait().exit_code == 0
    steady(world, runs=rounds + 1)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("system", ["duckdb", "postgresql", "sqlite"])
@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("hang")])
def test_every_call_of_every_path(worlds: Any, system: str, path: str, kind: Kind) -> None:
    world = worlds(system)
    explore(world, path, [Fault(point, kind) for point in calls(world, path)])


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["hang-before", "hang-after"])
def test_a_run_that_hangs_at_any_call_of_its_commit_never_doubles_or_loses_a_row(worlds: Any, kind: Kind) -> None:
    world = worlds("postgresql")
    other = world.folder / "other.db"
    points = calls(world, "full")
    for point in points[points.index(last_of_staging(world)) :]:
        world.fresh()
        full(world)
        other.unlink(missing_ok=True)
        paused = world.start(Fault(point, kind))
        if not paused.hung():
            continue
        successor = world.start(state=f"sqlite:///{other}").wait(180)
        paused.wake()
        woken = paused.wait()
        assert 0 in (successor.exit_code, woken.exit_code), (point, successor, woken)
        assert world.source_rows() == world.rows(), (point, successor, woken)
