"""A service whose rows are groups, killed around each call that makes something last: no total is lost, doubled or half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from beam_pipelines.testing.faults import KINDS, Child, Ended, Fault, Kind, can_fail, explore, once

World = Any
STEPS = [
    {"id": "known", "type": "filter", "condition": "id <> 17"},
    {
        "id": "totals",
        "type": "aggregate",
        "groupBy": ["decade"],
        "aggregations": {"*": "count", "amount": "sum", "id": ["collect"], "most": [{"function": "sum", "as": "most"}]},
    },
]
TENS = {
    "id": "tens",
    "type": "map",
    "unmapped": "keep",
    "mappings": {
        "decade": {"expression": "id // 10"},
        # Of customer 5, as much as an integer can hold: the sum of its group does not fit.
        "most": {"expression": "CASE WHEN id < 7 THEN 9223372036854775807 ELSE 1 END"},
    },
}


@dataclass
class Totals:
    """A world at the moment before the second run of a service that replaces totals of customers 1 to 60."""

    world: World

    def __post_init__(self) -> None:
        world = self.world
        world.write("replace", [STEPS[0], TENS, STEPS[1]], price=False, table="totals")
        world.change(("pipeline", "source"), {"type": "database", "connection": "crm", "table": "customers"})
        world.fresh()
        world.crm("DELETE FROM customers")
        world.fill(1, 50)
        assert self.start().wait().exit_code == 0
        world.more(51, 60)
        world.save()

    def reset(self) -> None:
        self.world.restore()

    def start(self, fault: Fault | None = None, **run: Any) -> Child:
        child: Child = self.world.start(fault, **run)
        return child

    def trace(self) -> Ended:
        self.reset()
        ended = self.start(watched=self.world.folder).wait()
        assert ended.exit_code == 0, ended
        return ended

    def check(self) -> None:
        wanted = []
        for decade in range(1, 7):
            ids = [number for number in range(1, 61) if number // 10 == decade and number != 17]
            wanted.append((decade, len(ids), sum(ids) * 1.25, ids))
        world = self.world
        assert world.target("SELECT decade, count, sum_amount, collect_id FROM totals ORDER BY decade") == wanted
        assert world.leftovers() == []
        with world.store() as store:
            succeeded = [one.run for one in store.executions("customers") if one.status == "success"]
        origins = [letter["origin"] for letter in world.letters() if letter["runId"] in succeeded]
        assert origins == [{"source": "totals", "key": {"decade": 0}}] * len(succeeded)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", [pytest.param("duckdb", marks=pytest.mark.soak), "postgresql"])
def test_killed_at_each_call_that_makes_something_last(worlds: Any, system: str) -> None:
    made = [Totals(worlds(system, number)) for number in range(2)]
    traced = made[0].trace()
    # What a server does is not among the effects, which are those on this machine's disk.
    calls = [call for call in traced.calls if call in traced.effects or call.partition("#")[0].lower().endswith((".commit", ".copy"))]
    assert len(calls) > 10
    assert any(call.startswith("target.commit") for call in calls)
    # State store and dead letters are what they are for any service. Before one of the others is after the one before it.
    calls = [call for call in calls if not call.startswith(("state.", "letters.")) or call.startswith("state.finish")]
    broken = explore(made, [Fault(calls[0], "die-before"), *(Fault(call, "die-after") for call in once(calls))])
    assert not broken, "\n".join(broken)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("hang")])
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_every_call_of_a_run_that_sums_up(worlds: Any, system: str, kind: Kind) -> None:
    made = [Totals(worlds(system, number)) for number in range(2)]
    calls = [call for call in made[0].trace().calls if can_fail(call) or not kind.startswith("fail")]
    broken = explore(made, [Fault(call, kind) for call in calls])
    assert not broken, "\n".join(broken)
