"""User events as a shop's web site might send them: ten minutes of them, replayed ten times as fast."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Producer

__all__ = ["MINUTES", "TOPIC", "Replay", "events"]

TOPIC = "user-events"
MINUTES = 10  # of event time
_EACH = 200  # events in a second of event time
_SPEED = 10.0  # seconds of event time in one by the clock
_STEP = 2.5  # seconds of event time that are sent at once
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
    for step in range(int((minutes * 60 + 5) / _STEP)):
        at = begin + int(step * _STEP * 1000)
        yield [_event(dice, at) for _ in range(int(_EACH * _STEP))]


def _event(dice: random.Random, at: int) -> dict[str, Any]:
    late = _BY if dice.random() < _LATE else 0.0
    action = dice.choices(_ACTIONS, (60, 5, 20, 10, 5))[0]
    return {
        "userId": f"u{int(dice.paretovariate(1.2)) % _USERS}",
        "action": action,
        "value": round(dice.expovariate(1 / 40), 2) if action == "purchase" else None,
        "timestamp": at + dice.randrange(int(_STEP * 1000)) - int(late * 1000),
    }


@dataclass
class Replay:
    """Sends the events to a broker, from a thread of its own.

    Args:
        servers: Of the broker.
        begin: Event time of the first one, ms since the epoch.
        speed: Seconds of event time in one by the clock.
        minutes: Of event time.
    """

    servers: str
    begin: int
    speed: float = _SPEED
    minutes: int = MINUTES
    sent: int = 0
    _done: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def done(self) -> bool:
        """All events are with the broker."""
        return self._done.is_set()

    def __enter__(self) -> Replay:
        self._thread = threading.Thread(target=self._work, name="replay", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _work(self) -> None:
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 20})
        began = time.monotonic()
        for number, step in enumerate(events(self.begin, self.minutes)):
            for event in step:
                producer.produce(TOPIC, orjson.dumps(event), key=event["userId"])
                producer.poll(0)
            self.sent += len(step)
            ahead = began + (number + 1) * _STEP / self.speed - time.monotonic()
            if self._stop.wait(max(0.0, ahead)):
                return
        producer.flush(10)
        self._done.set()
