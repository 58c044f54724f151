from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import Fixed, Unread
from beam_pipelines.io.kafka.source import KafkaSource
from beam_pipelines.io.secret import Secrets
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.source import KafkaSource as Model
from beam_pipelines.testing.kafka import MockBroker, mock_broker


def connection(servers: str, **more: Any) -> Connection:
    return Connection("kafka", "kafka", {"bootstrap.servers": servers, **more}, Path.cwd(), Secrets(os.environ, Path.cwd()))


@dataclass
class Topic:
    """A topic of a broker, and what a source makes of it."""

    servers: str
    name: str

    def put(self, *values: bytes | None, partition: int = 0, at: int = 1_700_000_000_000, **more: Any) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.servers, "log_level": 0, "message.max.bytes": 200_000_000})
        for value in values:
            producer.produce(self.name, value, partition=partition, timestamp=at, **more)
        assert producer.flush(30) == 0

    def source(self, *, context: RunContext | None = None, patience: float = 20.0, **keys: Any) -> KafkaSource:
        limits = {name: keys.pop(name) for name in ("max_cell_bytes", "most") if name in keys}
        registry = {name: keys.pop(name) for name in list(keys) if name.startswith("schema.")}
        model = Model.model_validate({"topic": self.name, **keys})
        return KafkaSource(model, connection(self.servers, **registry), context=context, patience=patience, **limits)

    def drain(self, source: KafkaSource, low: Offsets | None = None) -> Drained:
        """Read all that is there, as a run does."""
        fixed = source.fix(self.name, None, low.to_mark() if low else None, False, 1)
        window = Window("service", "load", self.name, "run", 0).with_schema("", source.describe(self.name).schema)
        batches: list[pa.RecordBatch] = []
        letters: list[Unread] = []
        mark: Mark | None = low.to_mark() if low else None
        for part in fixed.ranges:
            for some in source.read(part, window, None):
                (batches if isinstance(some, pa.RecordBatch) else letters).append(some)  # type: ignore[arg-type]
            mark = source.position(part).later(mark)
        assert mark is not None
        return Drained(fixed, batches, letters, Offsets.of(mark))


@dataclass
class Drained:
    fixed: Fixed
    batches: list[pa.RecordBatch]
    letters: list[Unread]
    offsets: Offsets

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in origin.visible(batch).to_pylist()]

    def hidden(self, name: str) -> list[Any]:
        return [value for batch in self.batches for value in batch.column(name).to_pylist()]

    @property
    def dead(self) -> list[tuple[dict[str, Any], str, str, dict[str, Any]]]:
        """Origin, code, message and payload of each letter, by partition and offset."""
        found = []
        for some in self.letters:
            places = origin.describe(some.batch, range(some.batch.num_rows))
            found += list(zip(places, some.codes, some.messages, origin.visible(some.batch).to_pylist(), strict=True))
        return sorted(found, key=lambda one: (one[0]["partition"], one[0]["offset"]))

    @property
    def bounds(self) -> list[dict[str, Any]]:
        return [part.bounds for part in self.fixed.ranges]


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    with mock_broker() as started:
        yield started


@pytest.fixture
def topic(broker: MockBroker, request: pytest.FixtureRequest) -> Callable[[int], Topic]:
    """Makes a topic of its own for a test."""
    made: list[str] = []

    def make(partitions: int = 1) -> Topic:
        name = f"topic-{abs(hash(request.node.nodeid))}-{len(made)}"
        made.append(name)
        broker.create(name, partitions)
        return Topic(broker.servers, name)

    return make
