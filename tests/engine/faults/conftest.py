"""What is done to runs, and what must be true afterwards, counted by other means than the product's."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from beam_pipelines.io.postgres.ranges import cuts
from beam_pipelines.testing.faults import Always, Child, Ended, Fault, explore

World = Any


@dataclass
class Drill:
    """A world at the moment before the run that something happens to.

    Args:
        world: Where.
        path: `full`, `increment`, `replace`, `replace-by-keys`; of PostgreSQL also `copy`, `bulk-copy`, which
            goes by ADBC, and `full-with-server-state`.
        first: First id of the customers: another one makes other data of it.
        loaded: Row versions that committed runs load in all; of whole replaces, what each loads.
        dead: Ids of the rows that become dead letters, once for each time that they are read.
        runs: Runs that came before.
        patches: Set in the processes of its runs.
        state: URL of the state store, None: the one beside the definition.
    """

    world: World
    path: str
    first: int = 1
    loaded: int = 0
    dead: list[int] = field(default_factory=list)
    runs: int = 0
    patches: dict[str, Any] = field(default_factory=dict)
    state: str | None = None

    def __post_init__(self) -> None:
        getattr(self, f"_{self.path.replace('-', '_')}")()
        self.world.save()

    def _customers(self) -> None:
        """60 customers, of whom two have an age that is no number."""
        self.world.fresh()
        self.world.crm("DELETE FROM customers")
        self.world.fill(self.first, self.first + 59)
        self._spoil(self.first + 6, self.first + 7)
        self.loaded = 58

    def _spoil(self, *ids: int) -> None:
        for number in ids:
            self.world.crm("UPDATE customers SET age = 'unknown' WHERE id = ?", (number,))
        self.dead += ids

    def _run(self) -> None:
        ended = self.start().wait()
        assert ended.exit_code == 0, ended
        self.runs += 1

    def _full(self) -> None:
        """A first load, mode insert without keys."""
        self.world.write("insert")
        self._customers()

    def _increment(self) -> None:
        """The second run of the same service: 20 new customers, one of them spoilt."""
        self._full()
        self._run()
        self.world.more(self.first + 60, self.first + 79)
        self._spoil(self.first + 62)
        self.loaded += 19

    def _replace(self) -> None:
        """The second run of a service that replaces the table: 5 customers are gone, 10 are new."""
        self.world.write("replace")
        self.world.change(("pipeline", "source"), {"type": "database", "connection": "crm", "table": "customers"})
        self._customers()
        self._run()
        self.world.crm("DELETE FROM customers WHERE id BETWEEN ? AND ?", (self.first + 10, self.first + 14))
        self.world.more(self.first + 60, self.first + 69)
        self.loaded += 5

    def _replace_by_keys(self) -> None:
        """The second run of a service that replaces rows by their key: 5 customers have changed, 20 are new, one of them spoilt."""
        self.world.write("replace", keyFields=["id"])
        self._customers()
        self._run()
        self.world.more(self.first + 60, self.first + 79)
        self._spoil(self.first + 62)
        self.world.crm(
            "UPDATE customers SET name = 'changed', updated_at = datetime('now', '-100 seconds') WHERE id BETWEEN ? AND ?",
            (self.first + 20, self.first + 24),
        )
        self.loaded += 19 + 5

    def _copy(self) -> None:
        """The second run of a service that copies within a server: 20 rows are new."""
        world = self.world
        world.write("insert")
        cursor = {"column": "updated_at"}
        world.change(("pipeline", "source"), {"type": "database", "connection": "target", "table": "crm.customers", "cursor": cursor})
        world.fresh()
        world.target("DROP SCHEMA IF EXISTS crm CASCADE")
        world.target("CREATE SCHEMA crm")
        world.target(
            "CREATE TABLE crm.customers (id BIGINT PRIMARY KEY, name TEXT, email TEXT, age BIGINT, amount DOUBLE PRECISION,"
            " updated_at TIMESTAMPTZ NOT NULL)"
        )
        insert = "INSERT INTO crm.customers SELECT i, 'name ' || i, i || '@example.com', i, i, now() - interval '{} minutes'"
        world.target(f"{insert.format(9)} FROM generate_series(1, 60) AS i")
        self._run()
        world.target(f"{insert.format(5)} FROM generate_series(61, 80) AS i")
        self.loaded = 80

    def _bulk_copy(self) -> None:
        """The same as for millions of rows: two ranges of one snapshot, read and staged by ADBC."""
        self.patches |= {
            "beam_pipelines.io.postgres.stage:SMALL_ROWS": 10,
            "beam_pipelines.io.postgres.source:PostgresSource._cuts": Always(cuts("id", "bigint", ["30", "70"], 2)),
        }
        self._copy()

    def _full_with_server_state(self) -> None:
        """A first load, with the state store in the target's database."""
        self._full()
        self.state = self.world.url

    @property
    def copies(self) -> bool:
        return self.path.endswith("copy")

    # The subject of `explore`.

    def reset(self) -> None:
        self.world.restore()
        if self.state:
            self.world.target("DROP SCHEMA IF EXISTS beam_pipelines CASCADE")
            self.world.store(self.state).close()  # making it is tested elsewhere

    def start(self, fault: Fault | None = None, **run: Any) -> Child:
        if self.state:
            run.setdefault("state", self.state)
        return self.world.start(fault, patches={**self.patches, **run.pop("patches", {})}, **run)

    def trace(self) -> Ended:
        """A run to which nothing happens, watched."""
        self.reset()
        ended = self.start(watched=self.world.folder).wait()
        assert ended.exit_code == 0, ended
        return ended

    def check(self) -> None:
        """The state once the dust has settled: the service has run again, and nothing is under way."""
        world = self.world
        source = world.rows("crm.customers") if self.copies else world.source_rows()
        assert world.rows() == source
        assert world.leftovers() == []
        assert [path.name for path in world.folder.rglob("*.part")] == []
        with world.store(self.state) as store:
            executions = store.executions("customers")
            assert {one.status for one in executions} <= {"success", "failed", "lost", "cancelled"}
            assert len(executions) <= self.runs + 2
            assert len(store.metrics("customers")) == len(executions)
            succeeded = [one for one in executions if one.status == "success"]
            self._balanced(succeeded)
            charged = {charge.run: charge.amount for charge in store.charges("customers")}
            assert len(store.charges("customers")) == len(charged)
            assert charged == {one.run: Decimal("0.1") for one in succeeded}
            self._told(store, executions)
            indexed = sum(record.count for one in succeeded for record in store.failed_records(run=one.run))
        self._letters([one.run for one in succeeded], indexed)
        self._marked()

    def _balanced(self, succeeded: list[Any]) -> None:
        counts = [one.metrics for one in succeeded]
        for one in counts:
            away = one.records_filtered + one.records_rejected + one.records_dead_lettered
            assert one.records_extracted == one.records_loaded + away
        if self.path == "replace":
            assert [one.records_loaded for one in counts] == [self.loaded] * (len(counts) - self.runs) + [58] * self.runs
        else:
            assert sum(one.records_loaded for one in counts) == self.loaded
            assert sum(one.records_dead_lettered for one in counts) == len(self.dead)

    def _told(self, store: Any, executions: list[Any]) -> None:
        """Each run is told of once: that it began, how it ended, and what it costs when it costs something."""
        told = Counter((event.run, event.type) for event in store.events("customers"))
        wanted: Counter[tuple[str, str]] = Counter()
        for one in executions:
            wanted[one.run, "ServiceRequest.created"] = 1
            wanted[one.run, "ServiceResult.deliver" if one.status == "success" else "ServiceRequest.fail"] = 1
            if one.status == "success":
                wanted[one.run, "Payment.charge"] = 1
        assert told == wanted

    def _letters(self, succeeded: list[str], indexed: int) -> None:
        ids = sorted(letter["record"]["id"] for letter in self.world.letters() if letter["runId"] in succeeded)
        wanted = sorted(self.dead * len(succeeded) if self.path == "replace" else self.dead)
        assert ids == wanted
        assert indexed == len(wanted)

    def _marked(self) -> None:
        """The watermark is the newest value that was read; of a service without a cursor there is none."""
        world, state = self.world, self.world.folder / ".beam_pipelines" / "state.db"
        heads = "SELECT mark FROM _beam_pipelines_heads"
        found = world.sqlite(state, heads) if world.system == "parquet" else world.target(heads)
        if self.copies:
            newest = world.target("SELECT to_char(max(updated_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM crm.customers")[0][0]
        else:
            newest = None if self.path == "replace" else world.crm("SELECT max(updated_at) FROM customers")[0][0]
        assert [json.loads(mark)["text"].replace("T", " ")[:19] if mark else None for (mark,) in found] == [newest]
        if world.system == "parquet":
            assert world.sqlite(state, "SELECT * FROM _beam_pipelines_moves") == []


@pytest.fixture
def drills(worlds: Any) -> Callable[..., list[Drill]]:
    """Make the same drill in as many worlds as there are processors, so that as many runs go at a time."""

    made: dict[tuple[str, int], World] = {}

    def make(system: str, path: str, number: int | None = None, *, first: int = 1) -> list[Drill]:
        places = [(system, index) for index in range(number or min(os.cpu_count() or 1, 4))]
        made.update({place: worlds(*place) for place in places if place not in made})
        return [Drill(made[place], path, first) for place in places]

    return make


@pytest.fixture
def survives(drills: Callable[..., list[Drill]]) -> Callable[[list[Drill], list[Fault]], None]:
    """Let each of many faults happen, and fail with all that went wrong."""

    def survive(made: list[Drill], faults: list[Fault]) -> None:
        broken = explore(made, faults)
        assert not broken, f"{len(broken)} of {len(faults)} faults:\n" + "\n".join(broken)

    return survive
