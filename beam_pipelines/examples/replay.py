"""Sends the events of an example to a broker, ten times as fast as they would come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from confluent_kafka import Producer

__all__ = ["MINUTES", "SPEED", "STEP", "Replay", "Script"]

MINUTES = 10  # of event time
SPEED = 10.0  # seconds of event time in one by the clock
STEP = 2.5  # seconds of event time that are sent at once


@dataclass(frozen=True)
class Script:
    """What is sent.

    Args:
        topic: Where to.
        key: The field that is the key of a message.
        steps: Given the event time of the first event (ms since the epoch) and the minutes, the events of each `STEP`, in their order: the
            fields of a JSON object, or a text that is none.
    """

    topic: str
    key: str
    steps: Callable[[int, int], Iterator[Any]]


@dataclass
class Replay:
    """Sends events from a thread of its own; the first of them are there when the block begins.

    Args:
        script: What is sent.
        servers: Of the broker.
        begin: Event time of the first one, ms since the epoch.
        speed: Seconds of event time in one by the clock.
        minutes: Of event time.
    """

    script: Script
    servers: str
    begin: int
    speed: float = SPEED
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
        from confluent_kafka import Producer

        # What the client has to say is of a broker that goes when the example ends.
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 20, "log_level": 0})
        steps = self.script.steps(self.begin, self.minutes)
        self._send(producer, next(steps))
        producer.flush(10)
        self._thread = threading.Thread(target=self._work, args=(producer, steps), name="replay", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _work(self, producer: Producer, steps: Iterator[Any]) -> None:
        began = time.monotonic()
        for number, step in enumerate(steps, 1):
            if self._stop.wait(max(0.0, began + number * STEP / self.speed - time.monotonic())):
                producer.purge()
                return
            self._send(producer, step)
        producer.flush(10)
        self._done.set()

    def _send(self, producer: Producer, step: list[dict[str, Any] | str]) -> None:
        for event in step:
            if isinstance(event, str):
                producer.produce(self.script.topic, event.encode())
            else:
                producer.produce(self.script.topic, orjson.dumps(event), key=str(event[self.script.key]))
            producer.poll(0)
        self.sent += len(step)
