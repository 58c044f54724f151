"""The list of a run's calls, which the faults go through: whole, stable, and of every room."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.testing.rooms import ROOMS

# What each target does its work by.
DRIVERS = {
    "duckdb": {"duckdb", "arrow", "file"},
    "postgresql": {"postgres", "file"},
    "sqlite": {"sqlite", "arrow", "file"},
    "parquet": {"parquet", "arrow", "file", "sqlite"},
    "portable": {"sqlite", "file"},
}


@pytest.mark.parametrize("system", list(DRIVERS))
def test_every_room_is_among_the_calls_and_nothing_reaches_the_disk_by_another_way(drills: Any, system: str) -> None:
    (drill,) = drills(system, "increment", 1)
    traced = drill.trace()
    drill.reset()
    again = drill.start().wait()
    assert sorted(again.calls) == sorted(traced.calls)
    assert len(set(traced.calls)) == len(traced.calls)
    # Keepers are of PostgreSQL, and nothing is old here; the calls for a snapshot and for retention are listed in the tests of these.
    assert {call.partition(".")[0] for call in traced.calls} - {"keeper"} == {*ROOMS} - {"keeper", "retention"}
    assert {call.partition(":")[2].partition(".")[0] for call in traced.calls} >= DRIVERS[system] | {"sqlite"}
    assert [call for call in traced.calls if call.startswith("source.read:sqlite.fetchmany")]
    assert traced.elsewhere == ()
    assert traced.unseen == ()
    # What died before and what died after a call that changed nothing are one and the same.
    assert 5 < len(traced.effects) < len(traced.calls)


def test_the_reads_and_the_snapshot_of_a_server_are_among_the_calls(drills: Any) -> None:
    (small,), (bulk,) = drills("postgresql", "copy", 1), drills("postgresql", "bulk-copy", 1)
    calls = small.trace().calls
    assert {call.partition(".")[0] for call in calls} == {*ROOMS} - {"letters", "retention"}
    assert [call for call in calls if call.startswith("source.read:postgres.fetch")]
    assert not [call for call in calls if ":adbc." in call]
    calls = bulk.trace().calls
    assert {call.partition(".")[0] for call in calls} == {*ROOMS} - {"letters", "retention"}
    assert [call for call in calls if call.startswith("source.read:adbc.")]
    assert [call for call in calls if call.startswith("staging._work:adbc.adbc_ingest@stage")]
    assert [call for call in calls if call.startswith("staging.finish") and ":adbc.commit" in call]
    assert [call for call in calls if call.startswith("keeper.hold")]
