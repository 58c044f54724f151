"""What a mock broker does not do: times, transactions, groups, large messages, passwords, retention, and dying."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import FatalError
from beam_pipelines.io.kafka.consumer import Reader
from beam_pipelines.io.kafka.producer import TopicWriter
from beam_pipelines.io.kafka.source import KafkaSource
from beam_pipelines.runs.offsets import Offsets, Place
from beam_pipelines.spec.destination import KafkaDestination
from beam_pipelines.spec.source import KafkaSource as Model
from beam_pipelines.testing.certificates import made
from beam_pipelines.testing.kafka import KafkaBroker, real_broker
from tests.io.kafka.conftest import Topic, connection

Make = Callable[..., Topic]
T0 = 1_700_000_000_000


@pytest.fixture
def real(kafka_server: KafkaBroker) -> Make:
    def make(partitions: int = 1, **settings: str) -> Topic:
        name = f"t-{uuid.uuid4().hex[:8]}"
        kafka_server.create(name, partitions, {key.replace("_", "."): value for key, value in settings.items()})
        return Topic(kafka_server.servers, name)

    return make


def events(*numbers: int) -> list[bytes]:
    return [json.dumps({"n": number, "timestamp": T0 + number}).encode() for number in numbers]


@pytest.mark.parametrize(
    ("start", "values"), [("2023-11-14T22:13:21Z", [2, 3]), ("2023-11-14T23:13:21.001+01:00", [3]), ("2024-01-01T00:00:00Z", [])]
)
def test_the_first_run_starts_at_a_time(real: Make, start: str, values: list[int]) -> None:
    topic = real(2)
    for number in (1, 2, 3):
        topic.put(*events(number), at=T0 + 1000 * (number - 1))
    source = topic.source(startFrom=start)
    got = topic.drain(source)
    assert [row["n"] for row in got.rows] == values
    assert got.offsets.partitions[0].next == 3
    source.close()


def test_transactions_are_read_when_they_are_committed_and_their_markers_are_no_messages(real: Make) -> None:
    from confluent_kafka import Producer

    topic = real()
    producer = Producer({"bootstrap.servers": topic.servers, "transactional.id": topic.name, "log_level": 0})
    producer.init_transactions(30)
    for numbers, good in (((1, 2), True), ((3,), False), ((4,), True)):
        producer.begin_transaction()
        for value in events(*numbers):
            producer.produce(topic.name, value)
        producer.flush(30)
        (producer.commit_transaction if good else producer.abort_transaction)(30)
    producer.begin_transaction()
    producer.produce(topic.name, events(5)[0])
    producer.flush(30)

    source = topic.source()
    got = topic.drain(source)

    assert [row["n"] for row in got.rows] == [1, 2, 4]
    assert got.hidden("__bp_offset") == [0, 1, 5]
    # Three markers among them; what is not committed lies behind the end.
    assert got.offsets.partitions[0].next == got.bounds[0]["end"] == 7
    assert [(low, rows) for low, rows in _parts(topic, 7)] == [(start, stop) for start, stop in _PARTS]
    producer.commit_transaction(30)
    until = time.monotonic() + 30  # the broker writes the marker a while after it has said so
    while not (later := topic.drain(source, got.offsets)).rows and time.monotonic() < until:
        pass
    assert [row["n"] for row in later.rows] == [5]
    source.close()


# Wherever a range ends, also on a marker or on what was aborted: the offsets that have a message.
_PARTS = [((0, 2), [0, 1]), ((2, 3), []), ((0, 3), [0, 1]), ((2, 5), []), ((3, 5), []), ((2, 6), [5]), ((6, 7), []), ((5, 7), [5])]


def _parts(topic: Topic, end: int) -> Iterator[tuple[tuple[int, int], list[int]]]:
    reader = Reader(connection(topic.servers), patience=10)
    for (start, stop), _ in _PARTS:
        assert stop <= end
        given = list(reader.read(topic.name, 0, start, stop))
        assert given[-1][1] == stop
        yield (start, stop), [message.offset() or 0 for some, _ in given for message in some]
    reader.close()


def test_a_message_of_50_mb_costs_itself(real: Make) -> None:
    topic = real(max_message_bytes="100000000")
    topic.put(*events(1))
    topic.put(b'{"n": "' + b"x" * 50_000_000 + b'"}', key=b"big")
    topic.put(*events(3))
    source = topic.source(max_cell_bytes=32 << 20)
    got = topic.drain(source)
    assert [row["n"] for row in got.rows] == [1, 3]
    ((place, code, message, payload),) = got.dead
    assert (place, code) == ({"source": topic.name, "partition": 0, "offset": 1}, "cell-too-large")
    assert message == "the message's value is longer than maxCellBytes (33554432 bytes): it has 50000009 bytes"
    assert (payload["key"], len(payload["value"])) == ("big", 50_000_009)
    larger = topic.source(max_cell_bytes=64 << 20, columns={"n": "text"})
    assert [len(row["n"]) for row in topic.drain(larger).rows] == [1, 50_000_000, 1]
    source.close()
    larger.close()


def test_a_partition_that_was_added_is_read_from_its_beginning(real: Make, kafka_server: KafkaBroker) -> None:
    topic = real()
    topic.put(*events(1))
    source = topic.source(startFrom="latest")
    first = topic.drain(source)
    assert first.rows == []
    kafka_server.add_partitions(topic.name, 2)
    topic.put(*events(2), partition=1)
    second = topic.drain(topic.source(startFrom="latest"), first.offsets)
    assert [row["n"] for row in second.rows] == [2]
    assert second.offsets == Offsets({0: Place(1), 1: Place(1, T0 + 2, T0)})
    source.close()


def test_messages_that_were_taken_away_are_counted(real: Make, kafka_server: KafkaBroker) -> None:
    topic = real(2)
    topic.put(*events(1, 2, 3, 4), partition=1)
    kafka_server.delete_before(topic.name, 1, 3)
    with pytest.raises(FatalError, match=r"2 offsets that the service has not read are gone.*: 2 of partition 1;"):
        topic.source().fix(topic.name, None, Offsets({0: Place(0), 1: Place(1)}).to_mark(), False, 1)
    got = topic.drain(topic.source(), Offsets({0: Place(0), 1: Place(3)}))
    assert [row["n"] for row in got.rows] == [4]


def test_lag_tools_see_how_far_the_service_has_read(real: Make) -> None:
    from confluent_kafka import ConsumerGroupTopicPartitions
    from confluent_kafka.admin import AdminClient

    topic = real(2)
    group = f"g-{topic.name}"
    with contextlib.closing(Reader(connection(topic.servers), group)) as reader:
        for offsets in ({0: 5, 1: 7}, {0: 9}, {}):
            reader.mirror(topic.name, offsets)
    admin = AdminClient({"bootstrap.servers": topic.servers})
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    assert {(one.topic, one.partition): one.offset for one in found.topic_partitions} == {(topic.name, 0): 9, (topic.name, 1): 7}
    begun = time.monotonic()
    with contextlib.closing(Reader(connection("127.0.0.1:1"), group)) as reader:
        reader.mirror(topic.name, {0: 1})
    assert time.monotonic() - begun < 20  # nobody waits for brokers that are away, who stops neither


def test_a_wrong_password_is_told_at_once_and_never_shown(kafka_server: KafkaBroker, real: Make) -> None:
    topic = real()
    topic.put(*events(1))
    let_in = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": kafka_server.user}
    good = Reader(connection(kafka_server.locked_servers, **let_in, **{"sasl.password": kafka_server.password}))
    assert good.partitions(topic.name) == [0]
    good.close()
    wrong = Reader(connection(kafka_server.locked_servers, **let_in, **{"sasl.password": "hunter2hunter2"}), patience=60)
    with pytest.raises(FatalError, match="was not let in") as no:
        wrong.partitions(topic.name)
    assert no.value.code == "authentication-failed"
    assert "hunter2" not in str(no.value)
    wrong.close()


def test_brokers_that_want_tls_and_a_password_are_read_and_others_are_not_trusted(
    kafka_server: KafkaBroker, real: Make, tmp_path: Path
) -> None:
    topic = real()
    topic.put(*events(1, 2))
    sealed = {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(kafka_server.authority),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": kafka_server.user,
        "sasl.password": kafka_server.password,
    }
    source = KafkaSource(Model(topic=topic.name), connection(kafka_server.sealed_servers, **sealed))
    assert [row["n"] for row in topic.drain(source).rows] == [1, 2]
    source.close()
    writer = TopicWriter(KafkaDestination(topic=topic.name), connection(kafka_server.sealed_servers, **sealed))
    writer.write(pa.record_batch({"n": [3], "timestamp": [T0 + 3]}))
    assert writer.flush() == []
    writer.close()
    assert [row["n"] for row in topic.drain(topic.source()).rows] == [1, 2, 3]
    stranger, _ = made(tmp_path)
    for wrong in ({"ssl.ca.location": str(stranger)}, {"sasl.password": "hunter2hunter2"}):
        reader = Reader(connection(kafka_server.sealed_servers, **{**sealed, **wrong}), patience=60)
        with pytest.raises(FatalError) as no:
            reader.partitions(topic.name)
        assert no.value.code == "authentication-failed"
        assert ("certificate verify failed" in str(no.value)) == ("ssl.ca.location" in wrong)
        assert "hunter2" not in str(no.value)
        reader.close()


def test_a_message_that_the_broker_refuses_is_told_back_by_its_row(real: Make) -> None:
    topic = real(max_message_bytes="20000")
    noise = uuid.uuid4().hex
    texts = ["a", "".join(uuid.uuid5(uuid.NAMESPACE_OID, f"{noise}{n}").hex for n in range(2000)), "b", "c"]
    writer = TopicWriter(KafkaDestination(topic=topic.name), connection(topic.servers))
    writer.write(pa.record_batch({"t": texts}))
    ((row, why),) = writer.flush()
    assert row == 1
    assert "larger" in why or "large" in why.lower()
    writer.write(pa.record_batch({"t": ["d"]}))
    assert writer.flush() == []
    writer.close()
    got = topic.drain(topic.source())
    assert sorted(row["t"] for row in got.rows) == ["a", "b", "c", "d"]


def test_a_broker_that_is_killed_while_it_is_read_costs_time_alone() -> None:
    with real_broker() as broker:
        broker.create("t")
        topic = Topic(broker.servers, "t")
        topic.put(*events(*range(20_000)))
        source = topic.source(patience=60)
        fixed = source.fix("t", None, None, False, 1)
        schema: Any = source.describe("t").schema
        from beam_pipelines.runs.window import Window

        window = Window("s", "l", "t", "r", 0).with_schema("", schema)
        rows = source.read(fixed.ranges[0], window, None)
        first: Any = next(rows)
        back = threading.Thread(target=broker.restart, kwargs={"kill": True})
        back.start()
        count = first.num_rows + sum(some.num_rows for some in rows)  # type: ignore[union-attr]
        assert count == 20_000
        back.join()
        topic.put(*events(1))
        assert len(topic.drain(source, Offsets.of(source.position(fixed.ranges[0]))).rows) == 1
        source.close()
