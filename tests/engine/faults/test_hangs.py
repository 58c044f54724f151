"""A run that is paused in its commit, while another one of the same service, with a state store of its own, tries to commit.

Whoever comes first, the rows of the source are in the target once, and each record says what became of its run. Three ends: the paused run
wakes, or is killed, or wakes before the successor has begun.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from beam_pipelines.testing.faults import Fault, Kind, explore, once, verb

# Limits of the real house, cut to what a test can wait for: how long PostgreSQL lets a session sleep in its transaction, how long DuckDB's
# file is waited for, and how often a commit is tried.
PATCHES = {
    "duckdb": {"beam_pipelines.io.duckdb.session:LOCK_WAIT": 0.4, "beam_pipelines.io.sql.ledger_target:LedgerTarget.retries": 1},
    "postgresql": {"beam_pipelines.io.postgres.target:IDLE_MS": 400, "beam_pipelines.io.sql.ledger_target:LedgerTarget.retries": 2},
}

SETS, READS = {"SET", "set_autocommit"}, {"SELECT", "WITH", "BEGIN", "connect"}
NEWER = 6  # rows that are added to the source while a run that replaces the table is paused


def commit_of(calls: tuple[str, ...]) -> list[str]:
    """The calls of the commit's transaction, from its connection to the end of it."""
    first = next(index for index, call in enumerate(calls) if call.startswith("target.commit:"))
    inside = calls[first:]
    end = next(index for index, call in enumerate(inside) if ".commit#" in call or ".COMMIT#" in call)
    return [call for call in inside[: end + 3] if call.startswith(("target.", "ledger."))]


def hang(drill: Any, fault: Fault, *, woken: bool) -> None:
    world = drill.world
    other = f"sqlite:///{world.folder / 'other' / 'state.db'}"
    patches = PATCHES[world.system]
    drill.reset()
    paused = drill.start(fault, patches=patches)
    assert paused.hung(), "it does not hang"
    if drill.whole:
        # What the paused run has read is old: it must not take the place of what its successor reads.
        world.more(500, 500 + NEWER - 1)
    successor = drill.start(state=other, patches=patches).wait()
    if woken:
        paused.wake()
    else:
        paused.kill()
    first = paused.wait()
    told = f"the paused run ended with {first.exit_code} ({first.error}), its successor with {successor.exit_code} ({successor.error})"
    # A file that somebody holds is the one reason to come to nothing; PostgreSQL lets nobody wait for a sleeper.
    assert successor.exit_code == 0 or "is held by process" in str(successor.error), told
    assert world.system == "duckdb" or successor.exit_code == 0, told
    assert first.exit_code == 0 or not woken or successor.exit_code == 0, told
    assert not drill.whole or successor.exit_code != 0 or world.rows() == world.source_rows(), f"{told}; the rows are not the successor's"
    for state in (None, other, None):
        after = drill.start(**({"state": state} if state else {})).wait()
        assert after.exit_code == 0, f"{told}; then {after.exit_code}: {after.error}"
    try:
        check(drill, other)
    except AssertionError as wrong:
        raise AssertionError(f"{told}; {wrong}") from wrong


def check(drill: Any, other: str) -> None:
    world = drill.world
    assert world.rows() == world.source_rows()
    assert world.leftovers() == []
    succeeded, loads = [], []
    for store in (world.store(), world.store(other)):
        with store:
            executions = store.executions("customers")
            assert {one.status for one in executions} <= {"success", "failed", "lost"}
            mine = [one.run for one in executions if one.status == "success"]
            assert sorted(charge.run for charge in store.charges("customers")) == sorted(mine)
            assert Counter(event.run for event in store.events("customers", type="ServiceResult.deliver")) == Counter(mine)
            loads += [one.metrics.records_loaded for one in executions if one.status == "success"]
            succeeded += mine
    committed = world.target("SELECT run FROM _beam_pipelines_loads WHERE status = 'committed'")
    assert sorted(succeeded) == sorted(run for (run,) in committed)
    if drill.whole:
        # The run before all this loaded 58 rows; the paused one, if it came to that, the source as it was, and all others what it is now.
        others = [drill.loaded + NEWER] * (len(succeeded) - 1)
        assert sorted(loads) in ([58, *others], [58, drill.loaded, *others[1:]])
    else:
        assert sum(loads) == drill.loaded
    letters = sorted(letter["record"]["id"] for letter in world.letters() if letter["runId"] in succeeded)
    assert letters == sorted(drill.dead * (len(succeeded) if drill.whole else 1))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("system", "path"), [("duckdb", "full"), ("postgresql", "replace")])
def test_a_run_paused_at_any_call_of_its_commit_never_doubles_or_loses_a_row(drills: Any, system: str, path: str) -> None:
    made = drills(system, path, 4)  # they sleep more than they work
    # Before one that sets something up or reads is as before the next; `make soak` goes through all.
    points = once(call for call in commit_of(made[0].trace().calls) if verb(call) not in SETS | READS)
    assert {point.partition(":")[0] for point in points} >= {"ledger.claim", "ledger.fence", "ledger.complete", "target.commit"}
    faults = [Fault(point, "hang-before") for point in points] + [Fault(points[-1], "hang-after")]
    broken = explore(made, faults, lambda drill, fault: hang(drill, fault, woken=faults.index(fault) % 4 != 3))
    assert not broken, "\n".join(broken)


def first_of_commit(drill: Any) -> str:
    return commit_of(drill.trace().calls)[0]


@pytest.mark.parametrize("system", list(PATCHES))
def test_a_run_that_wakes_after_its_successor_committed_is_refused_and_says_why(drills: Any, system: str) -> None:
    (drill,) = drills(system, "full", 1)
    other = f"sqlite:///{drill.world.folder / 'other' / 'state.db'}"
    point = first_of_commit(drill)
    drill.reset()
    paused = drill.start(Fault(point, "hang-before"))
    assert paused.hung()
    assert drill.start(state=other).wait().exit_code == 0
    paused.wake()
    woken = paused.wait()
    assert woken.exit_code == 1
    assert "commits nothing" in str(woken.error)
    assert drill.world.rows() == drill.world.source_rows()


@pytest.mark.parametrize("system", list(PATCHES))
def test_a_run_that_was_given_up_as_lost_is_refused_when_it_wakes_before_its_successor_commits(drills: Any, system: str) -> None:
    """The record says lost: so it must stay, or its rows would be in the target and never be charged."""
    (drill,) = drills(system, "full", 1)
    world, point = drill.world, first_of_commit(drill)
    drill.reset()
    paused = drill.start(Fault(point, "hang-before"))
    assert paused.hung()
    world.expire_lease()
    # The successor ends as soon as it has settled what it found: the target lacks a column, and may not get it.
    world.change(("pipeline", "destination", "schema"), "freeze")
    world.target("CREATE TABLE customers (id BIGINT)")
    assert drill.start().wait().exit_code == 2
    paused.wake()
    assert paused.wait().exit_code == 1
    with world.store() as store:
        assert sorted(one.status for one in store.executions("customers")) == ["failed", "lost"]
        assert store.charges("customers") == []
    assert world.target("SELECT count(*) FROM customers") == [(0,)]


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("woken", [True, False])
@pytest.mark.parametrize("kind", ["hang-before", "hang-after"])
@pytest.mark.parametrize("path", ["full", "increment", "replace"])
@pytest.mark.parametrize("system", list(PATCHES))
def test_a_run_paused_at_any_call_after_prepare(drills: Any, system: str, path: str, kind: Kind, woken: bool) -> None:
    made = drills(system, path, 4)
    calls = made[0].trace().calls
    begun = next(index for index, call in enumerate(calls) if call.startswith(("staging.stager", "source.read")))
    # Once the state store is being written to, its lock is the paused run's: a second laptop has another store, but not another record.
    faults = [Fault(call, kind) for call in calls[begun:] if not call.startswith("state.")]
    broken = explore(made, faults, lambda drill, fault: hang(drill, fault, woken=woken))
    assert not broken, "\n".join(broken)
