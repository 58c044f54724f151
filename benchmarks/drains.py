"""Ours, drain after drain in one process, each of 1,000 messages that are sent once the one before is committed.

python -m benchmarks.drains SERVERS TOPIC FOLDER DRAINS
"""

from __future__ import annotations

import json
import sys
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

    servers, topic, name, drains = sys.argv[1:]
    folder = Path(name)
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
    taken: list[float] = []

    def send() -> None:
        for number in range(len(taken) * MESSAGES, (len(taken) + 1) * MESSAGES):
            event = {"userId": f"user-{number % 1_000}", "value": number * 7919 % 1_000, "timestamp": _BEGIN + number}
            producer.produce(topic, json.dumps(event).encode(), partition=number % 4)
        producer.flush()

    def drained(row: Any) -> None:
        taken.append((datetime.fromisoformat(row.ended_at) - datetime.fromisoformat(row.window.started_at)).total_seconds())
        if len(taken) == int(drains):
            raise KeyboardInterrupt  # as a user stops it
        send()

    send()
    service = Service.load(
        folder / "service.yaml", connections=folder / "connections.yaml", state=f"sqlite:///{folder / 'state' / 'state.db'}"
    )
    result = service.run(options=["--runner=DirectRunner"], drained=drained)
    if result.error is not None and not isinstance(result.error, KeyboardInterrupt):
        sys.exit(str(result.error))
    print(json.dumps({"seconds": taken}))


if __name__ == "__main__":
    main()
