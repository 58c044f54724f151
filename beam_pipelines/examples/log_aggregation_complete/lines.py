"""Log lines of three services of a shop; one of them has a bad time in the middle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from beam_pipelines.examples.replay import MINUTES, STEP, Script

__all__ = ["SCRIPT", "lines"]

TOPIC = "logs"
_EACH = 120  # lines in a second of event time
_SERVICES = {"checkout": (2, 60.0), "search": (5, 25.0), "users": (3, 15.0)}  # share of the lines, and mean latency in ms
_LEVELS = {"DEBUG": 20, "INFO": 74, "WARN": 4, "ERROR": 2}
_BAD = (4.0, 6.0)  # minutes in which `checkout` is slow, and fails
_BROKEN = 0.0005  # share of what is no JSON: the last words of a process
_WAITED = 2.0  # seconds that a line may wait before it is sent


def lines(begin: int, minutes: int = MINUTES, seed: int = 7) -> Iterator[list[dict[str, Any] | str]]:
    """Give lines in the order in which they are sent, in steps of 2.5 s; those behind the last whole minute close its windows.

    Args:
        begin: Event time of the first one, ms since the epoch.
        minutes: Of event time.
        seed: Of the dice.

    Returns:
        Of each step its lines: the fields of a JSON object, or a text that is none.
    """
    dice = random.Random(seed)
    for step in range(int((minutes * 60 + 10) / STEP)):
        at = begin + int(step * STEP * 1000)
        bad = _BAD[0] <= step * STEP / 60 < _BAD[1]
        yield [_line(dice, at, bad=bad) for _ in range(int(_EACH * STEP))]


def _line(dice: random.Random, at: int, *, bad: bool) -> dict[str, Any] | str:
    service = dice.choices(list(_SERVICES), [share for share, _ in _SERVICES.values()])[0]
    level = dice.choices(list(_LEVELS), list(_LEVELS.values()))[0]
    latency = dice.expovariate(1 / _SERVICES[service][1])
    if bad and service == "checkout":
        latency *= 8
        level = "ERROR" if dice.random() < 0.2 else level
    when = at + dice.randrange(int(STEP * 1000)) - dice.randrange(int(_WAITED * 1000))
    if dice.random() < _BROKEN:
        return f"panic: {service}: out of memory"
    return {
        "timestamp": datetime.fromtimestamp(when / 1000, timezone.utc).isoformat(timespec="milliseconds"),
        "level": level,
        "service": service,
        "message": "payment refused" if level == "ERROR" else "done",
        "latency": round(latency, 1),
    }


SCRIPT = Script(TOPIC, "service", lines)
