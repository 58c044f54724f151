"""Every point of every path, one at a time: the run dies there, or the call fails, and the next run makes all of it right.

`make test` lets the run die at each kind of call that changes anything in increments into DuckDB and PostgreSQL, and at those to targets
and ledgers on the other paths, but for `SOAKED`; what a system stages by is gone through once. It lets other calls fail in first loads
(those to source, state store and dead letters in one world), and everywhere a part of the rest. Of calls that are alike but for their
number it takes one, unless they make something durable. `make soak` does everything at every call.
"""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from beam_pipelines.testing.faults import KINDS, Ended, Fault, Kind, can_fail, changes, once

WORLDS = [
    (system, path)
    for system in ("duckdb", "postgresql", "sqlite", "parquet", "portable")
    for path in ("full", "increment", "replace", "replace-by-keys")
    if (system, path) != ("parquet", "replace-by-keys")
] + [("csv", "replace"), ("postgresql", "copy"), ("postgresql", "bulk-copy"), ("postgresql", "full-with-server-state")]
# What these call on their paths, their other paths call as well.
SOAKED = {("sqlite", "increment"), ("sqlite", "replace"), ("portable", "increment"), ("portable", "replace")}
SOAKED |= {("parquet", "increment"), ("postgresql", "copy")}
GATED = [world for world in WORLDS if world not in SOAKED]
PART = 48  # of what is done in part, one in so many
OURS = ("duckdb", "postgresql")


def dies(system: str, path: str, call: str) -> bool:
    """Whether the run dies at each such call that changes anything, not only at a part of them."""
    if path == "full-with-server-state":
        return call.startswith("state.")
    if path == "increment" and system in OURS:
        return True
    if call.startswith("staging."):
        return path == "bulk-copy" or (path == "full" and system not in OURS)
    return not call.startswith(("state.", "letters.", "source."))


def fails(system: str, path: str, call: str) -> bool:
    """Whether each such call fails, not only a part of them."""
    shared = call.startswith(("state.", "letters.", "source."))
    return path == "full" and (system == "sqlite" if shared else system in OURS)


def chance(*of: str) -> int:
    """A number that is the same in each run of the tests."""
    return zlib.crc32("\n".join(of).encode())


def points(system: str, path: str, traced: Ended) -> list[Fault]:
    """What `make test` does to a path."""
    chosen = [Fault(traced.calls[0], "die-before")]
    kinds: tuple[Kind, ...] = ("fail-before", "fail-after")
    for call in once((call for call in traced.calls if changes(call, traced)), system, path):
        dice = chance(system, path, call)
        if dies(system, path, call) or dice % PART == 0:
            chosen.append(Fault(call, "die-after"))
        if is_commit(call) and dice % 2:
            chosen.append(Fault(call, "fail-after"))
    others = once((call for call in traced.calls if can_fail(call) and not changes(call, traced)), system, path)
    failing = [call for call in others if fails(system, path, call) or chance(system, path, call) % PART == 0]
    return chosen + [Fault(call, kinds[chance(call) % 2]) for call in failing]


def is_commit(call: str) -> bool:
    """Whether the call ends a transaction of a target or of staging: its answer may be lost, though it is done."""
    return call.startswith(("target.", "staging.")) and call.lower().partition("#")[0].endswith(".commit")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("system", "path"), GATED)
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
