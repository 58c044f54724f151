"""A run that dies or fails while it deletes what is too old by `retention`: nothing younger goes, and the next run deletes the rest."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.testing.faults import KINDS, Ended, Fault, Kind, can_fail, changes, explore, recovers

OLD, NEW = {"aaaaaaaaaaaa.jsonl", "bbbbbbbbbbbb.part"}, {"cccccccccccc.jsonl"}  # files that no index names


def files(world: Any) -> set[str]:
    return {path.name for path in world.folder.rglob("dead-letters/*/*")}


def prunes(drill: Any, fault: Fault) -> None:
    """The scenario."""
    drill.reset()
    world = drill.world
    with world.store() as store:
        young, old = (run.run for run in store.executions("customers"))
        kept = [event.id for event in store.events("customers") if event.run == young]
    assert len(kept) == 3
    assert files(world) == {f"{old}.jsonl", f"{young}.jsonl", *OLD, *NEW}

    def holds(_: bool = False) -> None:
        with world.store() as store:
            assert [(one.run, one.count) for one in store.failed_records(run=young)] == [(young, 1)]
            assert {event.id for event in store.events("customers")} >= {*kept}
            assert {old, young} <= {run.run for run in store.executions("customers")}
            assert {charge.run for charge in store.charges("customers")} >= {old, young}
        assert files(world) >= {f"{young}.jsonl", *NEW}
        assert [one["record"]["id"] for one in world.letters() if one["runId"] == young] == [63]

    recovers(drill, fault, look=holds)
    holds()
    with world.store() as store:
        assert store.failed_records(run=old) == []
        assert [event for event in store.events("customers") if event.run == old] == []
    assert not files(world) & {f"{old}.jsonl", *OLD}


def deleting(traced: Ended) -> list[str]:
    """The calls of the deletion, all of which come after the run's own record."""
    begun = next(index for index, call in enumerate(traced.calls) if call.startswith("state.letters_older_than:"))
    ended = max(index for index, call in enumerate(traced.calls) if call.startswith("state.forget_events:"))
    return list(traced.calls[begun : ended + 1])


@pytest.mark.timeout(900)
def test_whatever_call_of_the_deletion_a_run_dies_at_nothing_young_goes_and_the_rest_is_deleted_later(drills: Any) -> None:
    made = drills("duckdb", "retention")
    traced = made[0].trace()
    calls = deleting(traced)
    assert len([call for call in calls if call.startswith("retention.keep_to:file.unlink")]) == len(OLD) + 1
    assert (traced.elsewhere, traced.unseen) == ((), ())
    points = [call for call in calls if changes(call, traced)]
    faults = [Fault(calls[0], "die-before"), *(Fault(call, kind) for call in points for kind in ("die-after", "fail-before"))]
    assert len(points) == len(OLD) + 1 + 2  # the index and the outbox have a transaction each
    broken = explore(made, faults, prunes)
    assert not broken, f"{len(broken)} of {len(faults)} faults:\n" + "\n".join(broken)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hang-before"])
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_every_call_of_a_run_that_deletes(drills: Any, system: str, kind: Kind) -> None:
    made = drills(system, "retention")
    faults = [Fault(call, kind) for call in made[0].trace().calls if can_fail(call) or not kind.startswith("fail")]
    broken = explore(made, faults, prunes)
    assert not broken, f"{len(broken)} of {len(faults)} faults:\n" + "\n".join(broken)
