"""Settings of Kafka clients: what a connection says, and what is ours to say.

A connection is a mapping of librdkafka's own names (`bootstrap.servers`, `security.protocol`, `sasl.password`, `ssl.ca.location`, ...).
Those that decide what is read, and what is committed, are not the connection's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from beam_pipelines.errors import SpecError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.kafka.failures import Failures

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer

__all__ = ["REGISTRY", "consumer", "producer"]

REGISTRY = "schema.registry."  # what begins so is of the registry of schemas, and none of the brokers'
_OURS = {
    "group.id",
    "group.instance.id",
    "group.protocol",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "auto.offset.reset",
    "isolation.level",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "transactional.id",
}
# 1,000,000 messages of 57 bytes in 20 partitions, read one partition after the other by 2 cores from a broker in the same process: 95,000 a
# second with librdkafka's defaults, which wait up to a second when a queue is full or a partition's end is near, and 560,000 to 1,200,000
# with these. A queue of 64 MB is as fast as one of 256 MB.
_READING: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",  # offsets that are gone are for people to decide upon
    "isolation.level": "read_committed",
    "queued.min.messages": 1_000_000,
    "queued.max.messages.kbytes": 65_536,
    "fetch.message.max.bytes": 4 << 20,
    "fetch.max.bytes": 64 << 20,
    # A message that is larger than these comes all the same, in an answer of its own: this bounds the answer, and takes no memory.
    "receive.message.max.bytes": 1 << 30,
    # Whoever reads knows that there is something to read, and another partition waits for the answer.
    "fetch.wait.max.ms": 2,
    "fetch.queue.backoff.ms": 20,
    "check.crcs": True,
    # No member of a group, so this is how long `close` waits, at most, for brokers that are away to take an offset: 45 s otherwise.
    "session.timeout.ms": 2_000,
}
_WRITING: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 20,
    "batch.size": 1_000_000,
    "delivery.report.only.error": True,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 128 << 10,
    # A broker says itself what is too large: the client would refuse what a broker takes that was told to.
    "message.max.bytes": 1_000_000_000,
}
_ALIKE: dict[str, Any] = {
    "client.id": "beam-pipelines",
    "log_level": 2,  # what goes wrong is told by `Failures`, in our words
    "log.connection.close": False,
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 2_000,
    "socket.keepalive.enable": True,
}


def consumer(connection: Connection, group: str, failures: Failures, **more: Any) -> Consumer:
    """A consumer that reads committed messages, and commits nothing by itself.

    Args:
        connection: Of kind `kafka`.
        group: Whose offsets it may commit.
        failures: What it tells of.
        more: Settings of this client.

    Raises:
        SpecError: A setting is none of librdkafka's, or ours to say (`connection-invalid`), or needs a secret that is missing.
    """
    from confluent_kafka import Consumer

    return _made(Consumer, connection, {**_READING, "group.id": group, **more}, failures)


def producer(connection: Connection, failures: Failures, **more: Any) -> Producer:
    """A producer whose messages are written once each, by all replicas in sync; raises as `consumer` does."""
    from confluent_kafka import Producer

    return _made(Producer, connection, {**_WRITING, **more}, failures)


def _made(kind: Callable[[dict[str, Any]], Any], connection: Connection, ours: Mapping[str, Any], told: Failures) -> Any:
    from confluent_kafka import KafkaException

    settings = {**_ALIKE, **ours, **_given(connection), "error_cb": told}
    try:
        return kind(settings)
    except (KafkaException, TypeError, ValueError) as bad:
        # librdkafka names the setting that it does not know, or whose value it does not understand.
        why = bad.args[0].str() if bad.args and hasattr(bad.args[0], "str") else str(bad)
        raise _invalid(connection, connection.redact(why)) from None


def _given(connection: Connection) -> dict[str, Any]:
    if connection.kind != "kafka":
        raise _invalid(connection, f"expected brokers ({{bootstrap.servers: host:9092}}), got {connection.kind}: {connection.display}")
    found: dict[str, Any] = {}
    for name, value in connection.settings.items():
        if name.startswith(REGISTRY):
            continue
        if name in _OURS:
            raise _invalid(connection, f"the setting {name!r} is not the connection's: leave it out")
        if value is None or isinstance(value, (dict, list)):
            what = "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"
            raise _invalid(connection, f"expected text or a number as {name!r}, got {what}")
        if name.endswith(".location") and value != "probe":
            value = connection.beside(str(value))
        found[name] = str(value).lower() if isinstance(value, bool) else value
    return found


def _invalid(connection: Connection, what: str) -> SpecError:
    return SpecError(f"connection {connection.name!r}: {what}", code="connection-invalid")
