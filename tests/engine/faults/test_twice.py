"""Two faults in a row: a run dies at a commit point, and the one that recovers dies as well, at each of its calls that changes anything.

The third makes all of it right. `make test` goes by the transactions of the target, which leave the most to recover, and by what the second
run does before it begins a load of its own.
"""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.testing.faults import Ended, Fault, changes

SYSTEMS = ("duckdb", "postgresql")
FIRST = {"duckdb": ("target.commit:",), "postgresql": ("target.prepare:", "target.commit:")}  # where the first run dies


def commit_points(traced: Ended) -> list[str]:
    """The calls that make something durable: the end of a transaction, or a file under its name."""
    ends = ("commit", "COMMIT", "replace")
    return [call for call in traced.calls if call.partition("#")[0].rpartition(".")[2] in ends and changes(call, traced)]


def recovery(traced: Ended) -> list[str]:
    """What a run does for those before it, up to the record that says that it has begun itself."""
    begun = max(index for index, call in enumerate(traced.calls) if call.startswith("state.begin:"))
    return [call for call in traced.calls[: begun + 1] if changes(call, traced)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_that_dies_while_it_recovers_from_one_that_died_is_recovered_from(drills: Any, survives: Any, system: str) -> None:
    (first,) = drills(system, "increment", 1)
    points = [call for call in commit_points(first.trace()) if call.startswith(FIRST[system])]
    committed = []
    for point in points:
        made = drills(system, "increment")
        for drill in made:
            drill.go_wrong(Fault(point, "die-after"))
        committed.append(made[0].world.rows() == made[0].world.source_rows())
        traced = made[0].trace()
        assert [call for call in traced.calls if call.startswith("letters.export:")] or not committed[-1]
        survives(made, [Fault(call, "die-after") for call in recovery(traced)])
    assert committed == [False, True][-len(FIRST[system]) :]


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_call_of_a_run_that_recovers_from_any_commit_point(drills: Any, survives: Any, system: str) -> None:
    (first,) = drills(system, "increment", 1)
    for point in commit_points(first.trace()):
        made = drills(system, "increment")
        for drill in made:
            drill.go_wrong(Fault(point, "die-after"))
        traced = made[0].trace()
        survives(made, [Fault(call, "die-after") for call in traced.calls if changes(call, traced)])
