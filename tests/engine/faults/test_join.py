"""A service that holds rows against rules, joins two tables and sums up behind it, killed around each call that makes something last.

Both sides are read again by the run that comes next, so no row may meet twice, none may be missing from its total, and what was rejected is
kept once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from beam_pipelines.testing.faults import KINDS, Child, Ended, Fault, Kind, can_fail, changes, explore

World = Any
# Bytes: every right side and reference is too large for a worker.
FAR = {"beam_pipelines.engine.join:NEAR": -1, "beam_pipelines.engine.validate:NEAR": -1}
GREATEST = 63  # id that is not rejected
CHECK = {
    "id": "check",
    "type": "validate",
    "rules": [
        {"id": "once", "type": "unique", "field": "id"},
        {"id": "low", "type": "numeric-range", "field": "id", "max": GREATEST},
        {
            "id": "planned",
            "type": "foreign-key",
            "field": "decade",
            "reference": {"connection": "crm", "table": "plans", "field": "decade"},
            "action": "log",
        },
    ],
}
PRICED = {
    "id": "priced",
    "type": "join",
    "how": "left",
    "on": {"decade": "decade"},
    "source": {
        "type": "database",
        "connection": "crm",
        "table": "plans",
        "transformations": [{"id": "sold", "type": "filter", "condition": "price > 0"}],
    },
}
STEPS = [
    {"id": "tens", "type": "map", "unmapped": "keep", "mappings": {"decade": {"expression": "id // 10"}}},
    CHECK,
    PRICED,
    {"id": "worth", "type": "map", "unmapped": "keep", "mappings": {"worth": {"expression": "amount * price"}}},
    {"id": "totals", "type": "aggregate", "groupBy": ["plan"], "aggregations": {"*": "count", "worth": "sum", "id": ["collect"]}},
]
# Of each decade two plans, of which one is not sold any more; the fourth has none at all, and the price of the fifth is no number.
PLANS = [(10 * decade + sold, f"plan {decade}", decade, decade * sold) for decade in range(1, 7) if decade != 4 for sold in (0, 1)]
UNREAD = 51


@dataclass
class Priced:
    """A world at the moment before the second run of a service that replaces the worth of plans; customers and plans have changed.

    Args:
        world: Where.
        far: Both sides are sent to shards.
    """

    world: World
    far: bool = False

    def __post_init__(self) -> None:
        world = self.world
        world.write("replace", STEPS, price=False, table="worth")
        world.change(("pipeline", "source"), {"type": "database", "connection": "crm", "table": "customers"})
        world.fresh()
        world.crm("DELETE FROM customers")
        world.fill(1, 50)
        world.crm("DROP TABLE IF EXISTS plans")
        world.crm("CREATE TABLE plans (number INTEGER PRIMARY KEY, plan TEXT, decade INTEGER, price INTEGER)")
        for plan in PLANS[:-2]:
            world.crm("INSERT INTO plans VALUES (?, ?, ?, ?)", plan)
        assert self.start().wait().exit_code == 0
        world.more(51, 65)
        for plan in PLANS[-2:]:
            world.crm("INSERT INTO plans VALUES (?, ?, ?, ?)", plan)
        world.crm("UPDATE plans SET price = 7 WHERE decade = 2 AND price > 0")
        world.crm("UPDATE plans SET price = 'unknown' WHERE number = ?", (UNREAD,))
        world.save()

    def reset(self) -> None:
        self.world.restore()

    def start(self, fault: Fault | None = None, **run: Any) -> Child:
        patches = {**(FAR if self.far else {}), **run.pop("patches", {})}
        child: Child = self.world.start(fault, patches=patches, **run)
        return child

    def trace(self) -> Ended:
        self.reset()
        ended = self.start(watched=self.world.folder).wait()
        assert ended.exit_code == 0, ended
        return ended

    def check(self) -> None:
        world = self.world
        wanted = world.crm(
            "SELECT plan, count(*), sum(amount * price), group_concat(id) FROM"
            " (SELECT p.plan, p.price, c.* FROM customers c LEFT JOIN plans p"
            "  ON p.decade = c.id / 10 AND p.price > 0 AND typeof(p.price) = 'integer'"
            f"  WHERE c.id <= {GREATEST} ORDER BY c.id)"
            " GROUP BY plan"
        )
        found = world.target("SELECT plan, count, sum_worth, collect_id FROM worth")
        assert {plan: (count, worth, sorted(ids)) for plan, count, worth, ids in found} == {
            plan: (count, worth, sorted(map(int, ids.split(",")))) for plan, count, worth, ids in wanted
        }
        assert len(found) == len(wanted) == 5
        assert world.leftovers() == []
        with world.store() as store:
            succeeded = [one for one in store.executions("customers") if one.status == "success"]
        # The first run found 50 customers.
        assert {one.metrics.records_extracted for one in succeeded} == {50, 65}
        letters = [(letter["runId"], letter["origin"]) for letter in world.letters()]
        later = [one.run for one in succeeded if one.metrics.records_extracted == 65]
        kept = sorted(((run, origin) for run, origin in letters if run in later), key=str)
        # The plan whose price is no number is read twice: to join with, and for the foreign key.
        lost = [("plans", "number", UNREAD)] * 2 + [("customers", "id", number) for number in range(GREATEST + 1, 66)]
        wanted_letters = [(run, {"source": table, "key": {name: key}}) for run in later for table, name, key in lost]
        assert kept == sorted(wanted_letters, key=str)


def lasting(traced: Ended) -> list[str]:
    """The calls that leave something behind. What a server does is not seen, and is taken to."""
    calls = [call for call in traced.calls if changes(call, traced)]
    assert len(calls) > 10
    assert any(call.startswith("target.commit") for call in calls)
    return calls


def survives(made: list[Priced], faults: list[Fault]) -> None:
    broken = explore(made, faults)
    assert not broken, f"{len(broken)} of {len(faults)} faults:\n" + "\n".join(broken)


@pytest.mark.timeout(900)
def test_killed_after_each_call_that_makes_rows_last(worlds: Any) -> None:
    made = [Priced(worlds("duckdb"), far=True)]
    ends = ("commit", "COMMIT", "replace")
    calls = [call for call in lasting(made[0].trace()) if call.partition("#")[0].rpartition(".")[2] in ends]
    points = [call for call in calls if not call.startswith("state.")] + [call for call in calls if call.startswith("state.finish")]
    assert {call.partition(".")[0] for call in points} == {"target", "staging", "letters", "state"}
    survives(made, [Fault(call, "die-after") for call in points])


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("hang")])
@pytest.mark.parametrize("far", [True, False], ids=["far", "near"])
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_every_call_of_a_run_that_joins(worlds: Any, system: str, far: bool, kind: Kind) -> None:
    made = [Priced(worlds(system, number), far) for number in range(2)]
    calls = [call for call in made[0].trace().calls if can_fail(call) or not kind.startswith("fail")]
    survives(made, [Fault(call, kind) for call in calls])
