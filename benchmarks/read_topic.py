"""`python -m benchmarks.read_topic`: messages a second that a topic is read at, from a mock broker in this process or a real one.

The events are those of the brief: `{"userId", "value", "timestamp"}`, 57 bytes of JSON each. What is measured is `KafkaSource.read`: from
the broker to record batches with the time of each event; and beside it the client alone, with the settings of ours and with its own.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beam_pipelines.io.connections import Connection
from beam_pipelines.io.kafka import settings
from beam_pipelines.io.kafka.failures import Failures
from beam_pipelines.io.kafka.source import KafkaSource
from beam_pipelines.io.secret import Secrets
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.source import KafkaSource as Model
from beam_pipelines.testing.kafka import mock_broker, real_broker

T0 = 1_700_000_000_000
TOPIC = "events"


@contextmanager
def brokers(real: bool, partitions: int) -> Iterator[str]:
    with real_broker() if real else mock_broker() as broker:
        broker.create(TOPIC, partitions)
        yield broker.servers


def fill(connection: Connection, messages: int, partitions: int) -> None:
    producer = settings.producer(connection, Failures(connection), **{"compression.type": "none"})
    for number in range(messages):
        value = b'{"userId":"u%d","value":%d,"timestamp":%d}' % (number % 1000, number % 777, T0 + number)
        while True:
            try:
                producer.produce(TOPIC, value, partition=number % partitions, timestamp=T0 + number)
                break
            except BufferError:
                producer.poll(0.01)
    assert producer.flush(60) == 0


def read(connection: Connection) -> int:
    """Rows that our source gives."""
    source = KafkaSource(Model(topic=TOPIC), connection)
    window = Window("service", "load", TOPIC, "run", 0).with_schema("", source.describe(TOPIC).schema)
    rows = 0
    for part in source.fix(TOPIC, None, None, False, 1).ranges:
        rows += sum(batch.num_rows for batch in source.read(part, window, None))  # type: ignore[union-attr]
    source.close()
    return rows


def consume(connection: Connection, partitions: int, ours: bool) -> int:
    """Messages that the client gives, one partition after the other."""
    from confluent_kafka import Consumer, TopicPartition

    client: Any = settings.consumer(connection, "bench", Failures(connection)) if ours else None
    client = client or Consumer({"bootstrap.servers": connection.settings["bootstrap.servers"], "group.id": "bench"})
    count = 0
    for number in range(partitions):
        low, high = client.get_watermark_offsets(TopicPartition(TOPIC, number), timeout=10)
        client.assign([TopicPartition(TOPIC, number, low)])
        seen = low
        while seen < high:
            seen += sum(message.error() is None for message in client.consume(min(20_000, high - seen), 0.1))
        count += high - low
    client.close()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read_topic", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=20, help="a mock broker keeps 100,000 messages of each (default 20)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real", action="store_true", help="Apache Kafka instead of librdkafka's mock broker")
    chosen = parser.parse_args()
    ways = {
        "source": lambda: read(connection),
        "client, our settings": lambda: consume(connection, chosen.partitions, True),
        "client, its own settings": lambda: consume(connection, chosen.partitions, False),
    }
    with brokers(chosen.real, chosen.partitions) as servers:
        connection = Connection("kafka", "kafka", {"bootstrap.servers": servers}, Path.cwd(), Secrets(os.environ, Path.cwd()))
        fill(connection, chosen.messages, chosen.partitions)
        for _ in range(chosen.rounds):
            for name, way in ways.items():
                begun, used = time.monotonic(), os.times()
                count = way()
                seconds, now = time.monotonic() - begun, os.times()
                assert count == chosen.messages
                cpu = now.user + now.system - used.user - used.system
                print(f"{name:25} {count / seconds:12,.0f} messages/s  {seconds:6.2f} s  {cpu:6.2f} s of processor time")


if __name__ == "__main__":
    main()
