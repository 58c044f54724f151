"""Ours, live: how far behind it is, how late its windows are, and what memory it takes, commit after commit.

python -m benchmarks.live SERVERS TOPIC FOLDER COUNT OPTION...
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from beam_pipelines.engine.start import choose_allocator, spare_the_collector

_PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    spare_the_collector()
    choose_allocator()

    from confluent_kafka import Consumer, TopicPartition

    from beam_pipelines.etl.service import Service
    from beam_pipelines.runs.offsets import Offsets

    servers, topic, name, count, *options = sys.argv[1:]
    folder = Path(name)
    looking = Consumer({"bootstrap.servers": servers, "group.id": "bench"})
    commits: list[dict[str, Any]] = []

    def drained(row: Any) -> None:
        reached = Offsets.of(row.counts.watermark)
        read = sum(place.next for place in reached.partitions.values())
        there = sum(looking.get_watermark_offsets(TopicPartition(topic, number))[1] for number in reached.partitions)
        commits.append(
            {
                "at": datetime.fromisoformat(row.ended_at).timestamp() * 1000,
                "seconds": (datetime.fromisoformat(row.ended_at) - datetime.fromisoformat(row.window.started_at)).total_seconds(),
                "closed": reached.closed,
                "read": read,
                "lag": there - read,
                "memory": int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE,
                "late": sum(step.late for step in row.counts.tally.steps),
            }
        )
        if read >= int(count):
            raise KeyboardInterrupt  # as a user stops it

    service = Service.load(
        folder / "service.yaml", connections=folder / "connections.yaml", state=f"sqlite:///{folder / 'state' / 'state.db'}"
    )
    result = service.run(options=options, drained=drained)
    if result.error is not None and not isinstance(result.error, KeyboardInterrupt):
        sys.exit(str(result.error))
    looking.close()
    print(json.dumps({"commits": commits}))


if __name__ == "__main__":
    main()
