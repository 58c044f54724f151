"""SIGKILL within every commit point, and at random moments of the whole run; into a table without keys, where a row written twice shows."""

from __future__ import annotations

import bisect
import random
import signal
from collections.abc import Callable
from typing import Any

import pytest

from beam_pipelines.testing.faults import Ended, Fault, explore, strikes

SYSTEMS = ("duckdb", "postgresql")
LONGEST = 0.004  # seconds: as long as most commits take, so that some kills come within, some after


def is_commit(call: str) -> bool:
    """Whether the call makes something durable: a transaction, or a file under its name."""
    name = call.partition(":")[2].partition("#")[0].partition(".")[2]
    return name in ("commit", "COMMIT", "replace")


def killed_at_each_commit(make: Callable[..., list[Any]], system: str, times: int) -> int:
    """Kill a run within each of its commit points so many times, each time with other data, in turn a first load and an increment.

    The one system begins with the one, the other with the other.
    """
    chance, killed = random.Random(20), 0
    for time in range(times):
        made = make(system, ("full", "increment")[(time + SYSTEMS.index(system)) % 2], first=1 + 1000 * time)
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
    assert killed_at_each_commit(drills, system, times=1) > 10


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("system", SYSTEMS)
def test_kill_9_within_every_commit_point_20_times(drills: Any, system: str) -> None:
    assert killed_at_each_commit(drills, system, times=20) > 200


def by_call(share: float, undisturbed: Ended, chance: random.Random) -> Fault:
    """Within the call that so large a share of the calls comes before: work is done where calls are."""
    index = int(share * len(undisturbed.calls))
    begun, next_begun = (*undisturbed.moments, undisturbed.moments[-1] + LONGEST)[index : index + 2]
    return Fault(undisturbed.calls[index], "die-within", chance.uniform(0, max(0.0, next_begun - begun)))


def by_time(share: float, undisturbed: Ended) -> Fault:
    """When so large a share of the time has passed, whatever the run does then.

    The clock is set at the last call before, so that a run that is slower or faster than the undisturbed one is met at the same work.
    """
    moment = share * undisturbed.moments[-1]
    index = max(0, bisect.bisect(undisturbed.moments, moment) - 1)
    return Fault(undisturbed.calls[index], "die-later", max(0.0, moment - undisturbed.moments[index]))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("both", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["one of a tenth", "two of a tenth"])
def test_kill_9_at_random_moments(drills: Any, system: str, both: bool) -> None:
    """Each run but the last is killed, and settles the one before; of each tenth a moment is drawn by call, by time, or one by each."""
    chance = random.Random(7)
    (drill,) = drills(system, "full", 1)
    world, killed, ended = drill.world, 0, 0
    tenths = [(tenth, timed) for tenth in range(10) for timed in (False, True) if both or timed == bool(tenth % 2)]
    chance.shuffle(tenths)
    for round_, (tenth, timed) in enumerate(tenths):
        drill.reset()
        undisturbed = drill.start().wait()
        assert undisturbed.exit_code == 0, undisturbed
        share = (tenth + chance.random()) / 10
        drill.reset()
        code = strikes(drill, by_time(share, undisturbed) if timed else by_call(share, undisturbed, chance)).exit_code
        # A run that is to die late by the clock may have ended a little earlier.
        assert code == -signal.SIGKILL or (timed and code == 0), (code, share)
        killed, ended = (killed, ended + 1) if code == 0 else (killed + 1, ended)
        world.more(10_000 + round_ * 10, 10_005 + round_ * 10)
        drill.loaded += 6
        drill.died += 1
        world.save()
    assert drill.start().wait().exit_code == 0
    drill.check()
    # Of the moments by call, those of the first five tenths are before the commit, and those of the last two after it.
    committed = len(world.target("SELECT run FROM _beam_pipelines_loads WHERE status = 'committed'")) - ended - 1
    before, behind = (5, 2) if both else (3, 1)
    assert killed >= len(tenths) // 2
    assert behind <= committed <= killed - before, f"{committed} of {killed} killed runs had committed"
