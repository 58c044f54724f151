"""Ours, drain after drain in one process, each of 1,000 messages that are sent once the one before is committed.

Before them, so many messages of others may come that have nothing to do with those after: what a step holds of them stays.

python -m benchmarks.drains SERVERS TOPIC FOLDER DRAINS USERS BEFORE
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from beam_pipelines.engine.start import choose_allocator, spare_the_collector

MESSAGES = 1_000
_BEGIN = 1_700_000_040_000  # ms


def main() -> None:
    spare_the_collector()
    choose_allocator()

    from confluent_kafka import Producer

    from beam_pipelines.etl.service import Service

    servers, topic, name = sys.argv[1:4]
    drains, users, before = map(int, sys.argv[4:])
    folder = Path(name)
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "queue.buffering.max.messages": 1_000_000})
    taken: list[float] = []
    used = [time.process_time()]

    def put(user: str, number: int) -> None:
        event = {"userId": user, "value": number * 7919 % 1_000, "timestamp": _BEGIN + number}
        producer.produce(topic, json.dumps(event).encode(), partition=number % 4)

    def send() -> None:
        for number in range(len(taken) * MESSAGES, (len(taken) + 1) * MESSAGES):
            put(f"user-{number % users}", number)
        producer.flush()

    def drained(row: Any) -> None:
        taken.append((datetime.fromisoformat(row.ended_at) - datetime.fromisoformat(row.window.started_at)).total_seconds())
        used.append(time.process_time())
        if len(taken) == drains:
            raise KeyboardInterrupt  # as a user stops it
        send()

    for number in range(before):
        put(f"other-{number}", number % 1_000)
        producer.poll(0)
    send()
    service = Service.load(
        folder / "service.yaml", connections=folder / "connections.yaml", state=f"sqlite:///{folder / 'state' / 'state.db'}"
    )
    result = service.run(options=["--runner=DirectRunner"], drained=drained)
    if result.error is not None and not isinstance(result.error, KeyboardInterrupt):
        sys.exit(str(result.error))
    print(json.dumps({"seconds": taken, "processor": [after - before for before, after in itertools.pairwise(used)]}))


if __name__ == "__main__":
    main()
