"""User events as a shop's web site might send them: ten minutes of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from beam_pipelines.examples.replay import MINUTES, STEP, Script

__all__ = ["SCRIPT", "TOPIC", "events"]

TOPIC = "user-events"
_EACH = 200  # events in a second of event time
_LATE, _BY = 0.003, 90.0  # share of events that come late, and by how many seconds
_ACTIONS = ("view", "View ", "click", "cart", "purchase")
_USERS = 500


def events(begin: int, minutes: int = MINUTES, seed: int = 11) -> Iterator[list[dict[str, Any]]]:
    """Give events in the order in which they are sent, in steps of 2.5 s of event time; those behind the last whole minute close it.

    Args:
        begin: Event time of the first one, ms since the epoch.
        minutes: Of event time.
        seed: Of the dice.
    """
    dice = random.Random(seed)
    for step in range(int((minutes * 60 + 5) / STEP)):
        at = begin + int(step * STEP * 1000)
        yield [_event(dice, at) for _ in range(int(_EACH * STEP))]


def _event(dice: random.Random, at: int) -> dict[str, Any]:
    late = _BY if dice.random() < _LATE else 0.0
    action = dice.choices(_ACTIONS, (60, 5, 20, 10, 5))[0]
    return {
        "userId": f"u{int(dice.paretovariate(1.2)) % _USERS}",
        "action": action,
        "value": round(dice.expovariate(1 / 40), 2) if action == "purchase" else None,
        "timestamp": at + dice.randrange(int(STEP * 1000)) - int(late * 1000),
    }


SCRIPT = Script(TOPIC, "userId", events)
