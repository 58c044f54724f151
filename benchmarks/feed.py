"""Send events at an even pace.

python -m benchmarks.feed SERVERS TOPIC BEGIN COUNT RATE
"""

from __future__ import annotations

import sys
import time

from benchmarks.events import PARTITIONS

USERS, DISORDER = 1_000, 900  # ms
_SLEEP = 0.01


def query(begin: int, count: int, rate: int) -> str:
    """The same events in SQL: `u`, `v`, and `t` in ms."""
    moment = f"{begin} + i * 1000 // {rate} - i * 7919 % {DISORDER}"
    return f"SELECT i % {USERS} AS u, i * 31 % 1000 AS v, {moment} AS t FROM range({count}) AS r(i)"


def main() -> None:
    from confluent_kafka import Producer

    servers, topic = sys.argv[1:3]
    begin, count, rate = map(int, sys.argv[3:])
    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": 5, "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000}
    )
    number = 0
    while number < count:
        due = min(count, round((time.time() - begin / 1000) * rate))
        for at in range(number, due):
            event = b'{"userId":"user-%d","value":%d,"timestamp":%d}'
            moment = begin + at * 1000 // rate - at * 7919 % DISORDER
            producer.produce(topic, event % (at % USERS, at * 31 % 1000, moment), partition=at % USERS % PARTITIONS)
        number = max(number, due)
        producer.poll(0)
        time.sleep(_SLEEP)
    if producer.flush(30):
        sys.exit("not all events were sent")


if __name__ == "__main__":
    main()
