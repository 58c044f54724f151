"""Whole-table replace by a new table that is renamed into place: whoever reads the target meets the old rows or the new ones, all of them.

The run hangs after each call of its commit; somebody reads meanwhile; it is killed there, and somebody reads again before the next run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import psycopg
import pytest

from beam_pipelines.testing.faults import KINDS, Fault, Kind, can_fail, explore, recovers

SYSTEMS = ("duckdb", "postgresql", "sqlite")
READS = {"SELECT", "WITH", "SET", "SHOW", "PRAGMA", "connect", "set_autocommit"}  # what changes nothing, neither for us nor for readers
ROWS = "SELECT id, name, email, age, amount FROM customers ORDER BY id"
PATIENCE = 0.25  # seconds that a reader waits for a run that holds the table for itself; a run that was killed is waited for longer


def read(world: Any, seconds: float) -> list[tuple[Any, ...]] | None:
    """The rows as somebody else reads them, None where it is held off: by a lock, or as DuckDB's file is open elsewhere."""
    if world.system == "duckdb":
        try:
            connection = duckdb.connect(str(world.folder / "target.duckdb"), read_only=True)
        except duckdb.IOException:
            return None
        with connection:
            return connection.execute(ROWS).fetchall()
    if world.system == "sqlite":
        reader = sqlite3.connect(f"file:{world.folder / 'target.db'}?mode=ro", uri=True, timeout=seconds)
        try:
            return reader.execute(ROWS).fetchall()
        except sqlite3.OperationalError as busy:
            if "locked" not in str(busy):
                raise
            return None
        finally:
            reader.close()
    with psycopg.connect(world.url, options=f"-c lock_timeout={int(seconds * 1000)}") as server:
        try:
            return server.execute(ROWS).fetchall()
        except psycopg.errors.LockNotAvailable:
            return None


def swaps(seen: dict[str, str]) -> Callable[[Any, Fault], None]:
    """A scenario that notes what a reader met while the run hung: `old`, `new`, or `nothing` when it was held off."""

    def scenario(drill: Any, fault: Fault) -> None:
        drill.reset()
        world, names = drill.world, drill.catalog()
        old, new = world.rows(), world.source_rows()
        assert len(old) == 58
        assert len(new) == 63

        def look(hangs: bool) -> None:
            rows = read(world, PATIENCE if hangs else 10.0)
            if hangs:
                seen[fault.point] = "nothing" if rows is None else "old" if rows == old else "new"
            assert rows in (old, new) or (hangs and rows is None), f"a reader meets {len(rows or [])} rows"

        recovers(drill, fault, look=look)
        assert drill.catalog() == names

    return scenario


def commit_of(calls: Sequence[str]) -> list[str]:
    """The calls of the commit's transaction that change anything for somebody, the last one of which ends it."""
    first = next(index for index, call in enumerate(calls) if call.startswith("target.commit:"))
    last = next(index for index, call in enumerate(calls) if index > first and call.lower().partition("#")[0].endswith(".commit"))
    inside = [call for call in calls[first : last + 1] if call.startswith(("target.", "ledger."))]
    return [call for call in inside if call.partition("#")[0].rpartition(".")[2] not in READS]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", ["duckdb", "postgresql", pytest.param("sqlite", marks=pytest.mark.soak)])
def test_nobody_meets_a_table_that_is_missing_or_empty(drills: Any, system: str) -> None:
    made = drills(system, "swap")
    points = commit_of(made[0].trace().calls)
    seen: dict[str, str] = {}
    faults = [Fault(call, "hang-after") for call in points]
    faults += [Fault(call, "fail-after") for call in points[::-3]]
    broken = explore(made, faults, swaps(seen))
    assert not broken, f"{len(broken)} of {len(faults)} faults:\n" + "\n".join(broken)
    assert seen[points[-1]] in ("new", "nothing")
    if system == "postgresql":
        # Readers wait from the last lock on, which is taken when the rows are in, and for nothing before.
        met = [seen[call] for call in points]
        assert seen[next(call for call in points if call.startswith("target.") and ".INSERT#" in call)] == "old"
        alone = points.index(next(call for call in reversed(points) if ".LOCK#" in call))
        assert met == ["old"] * alone + ["nothing"] * (len(points) - 1 - alone) + ["new"]


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hang-before"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_call_of_a_swap(drills: Any, system: str, kind: Kind) -> None:
    made = drills(system, "swap")
    faults = [Fault(call, kind) for call in made[0].trace().calls if can_fail(call) or not kind.startswith("fail")]
    broken = explore(made, faults, swaps({}))
    assert not broken, f"{len(broken)} of {len(faults)} faults:\n" + "\n".join(broken)
