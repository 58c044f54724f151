"""SIGKILL within every commit point, and at moments that nobody has chosen; into a table without keys, where a row written twice shows."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from beam_pipelines.testing.faults import Fault, explore

SYSTEMS = ("duckdb", "postgresql")
LONGEST = 0.004  # seconds: as long as most commits take, so that some kills come within, some after


def is_commit(call: str) -> bool:
    """Whether the call makes something durable: a transaction, or a file under its name."""
    name = call.partition(":")[2].partition("#")[0].partition(".")[2]
    return name in ("commit", "COMMIT", "replace")


def killed_at_each_commit(make: Callable[..., list[Any]], system: str, times: int) -> int:
    """Kill a run within each of its commit points so many times, each time with other data, in turn a first load and an increment."""
    chance, killed = random.Random(20), 0
    for time in range(times):
        made = make(system, ("full", "increment")[time % 2], first=1 + 1000 * time)
        points = filter(is_commit, made[0].trace().calls)
        faults = [Fault(point, "die-within", chance.uniform(0, LONGEST)) for point in points]
        broken = explore(made, faults)
        assert not broken, "\n".join(broken)
        killed += len(faults)
        print(f"{system}: {killed} runs killed within their commit points, no row lost or doubled", flush=True)  # noqa: T201
    return killed


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", SYSTEMS)
def test_kill_9_within_every_commit_point(drills: Any, system: str) -> None:
    assert killed_at_each_commit(drills, system, times=2) > 20


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("system", SYSTEMS)
def test_kill_9_within_every_commit_point_20_times(drills: Any, system: str) -> None:
    assert killed_at_each_commit(drills, system, times=20) > 200


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", SYSTEMS)
def test_kill_9_at_random_moments(drills: Any, system: str) -> None:
    """Random in time rather than by call: whatever the seams do not cover. Each run but the last is killed, and settles the one before."""
    chance = random.Random(7)
    (drill,) = drills(system, "full", 1)
    world = drill.world
    for round_ in range(20):
        child = drill.start()
        child.kill_after(chance.uniform(0.02, 0.6))
        child.wait()
        world.more(10_000 + round_ * 10, 10_005 + round_ * 10)
        drill.loaded += 6
        drill.runs += 1
    assert drill.start().wait().exit_code == 0
    drill.check()
