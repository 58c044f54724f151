"""Every point of every path, one at a time: the run dies there, or the call fails, and the next run makes all of it right.

`make test` lets the run die at each call that changes anything, in every world and path. It lets each other call fail in first loads into
DuckDB and PostgreSQL (those to source and state store, which are the same, in SQLite's), and a part of them elsewhere. `make soak` does
everything at every call.
"""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from beam_pipelines.testing.faults import KINDS, Ended, Fault, Kind, can_fail

WORLDS = [
    (system, path)
    for system in ("duckdb", "postgresql", "sqlite", "parquet", "portable")
    for path in ("full", "increment", "replace", "replace-by-keys")
    if (system, path) != ("parquet", "replace-by-keys")
] + [("postgresql", "copy"), ("postgresql", "bulk-copy"), ("postgresql", "full-with-server-state")]
PART = 24  # but for first loads, one in so many of the calls that change nothing fails
_HARMLESS = {"SELECT", "SET", "SHOW", "connect", "set_autocommit", "enter"}  # of PostgreSQL, whose files are not watched


def changes(call: str, traced: Ended) -> bool:
    """Whether a run that dies right after this call leaves something else than one that died before it."""
    driver, _, name = call.partition(":")[2].partition("#")[0].partition("@")[0].partition(".")
    return name not in _HARMLESS and not name.startswith("fetch") if driver in ("postgres", "adbc") else call in traced.effects


def is_whole(system: str, path: str, call: str) -> bool:
    """Whether each such call fails once, not only a part of them."""
    shared = call.startswith(("state.", "source."))
    return path == "full" and (system == "sqlite" if shared else system in ("duckdb", "postgresql"))


def chance(*of: str) -> int:
    """A number that is the same in each run of the tests."""
    return zlib.crc32("\n".join(of).encode())


def points(system: str, path: str, traced: Ended) -> list[Fault]:
    """What `make test` does to a path."""
    chosen = [Fault(traced.calls[0], "die-before")]
    for call in traced.calls:
        kinds: tuple[Kind, ...] = ("fail-before", "fail-after")
        if changes(call, traced):
            chosen.append(Fault(call, "die-after"))
            if call.lower().partition("#")[0].endswith(".commit") and chance(system, path, call) % 2:
                chosen.append(Fault(call, "fail-after"))
        elif can_fail(call) and (is_whole(system, path, call) or chance(system, path, call) % PART == 0):
            chosen.append(Fault(call, kinds[chance(call) % 2]))
    return chosen


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("system", "path"), WORLDS)
def test_whatever_call_a_run_dies_at_or_fails_the_next_run_makes_it_right(drills: Any, survives: Any, system: str, path: str) -> None:
    made = drills(system, path)
    survives(made, points(system, path, made[0].trace()))


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hang-before"])
@pytest.mark.parametrize(("system", "path"), WORLDS)
def test_every_call_of_every_path(drills: Any, survives: Any, system: str, path: str, kind: Kind) -> None:
    made = drills(system, path)
    calls = made[0].trace().calls
    survives(made, [Fault(call, kind) for call in calls if can_fail(call) or not kind.startswith("fail")])
