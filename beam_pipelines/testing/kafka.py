"""Kafka for tests and demonstrations: librdkafka's own mock brokers in this process, and Apache Kafka itself on loopback."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["MockBroker", "mock_broker"]

_PRODUCER = 0  # rd_kafka_type_t


class MockBroker:
    """One mock broker; `mock_broker()` makes it. Of each partition it keeps the last 5 MB or 100,000 messages.

    Args:
        library: librdkafka.
        cluster: Its handle of the mock cluster.
    """

    def __init__(self, library: ctypes.CDLL, cluster: Any) -> None:
        self._library, self._cluster = library, cluster

    @property
    def servers(self) -> str:
        """For `bootstrap.servers`."""
        found: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return found.decode()

    def create(self, topic: str, partitions: int = 1) -> None:
        """Make a topic."""
        error = self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)
        if error:
            raise RuntimeError(f"the mock broker made no topic {topic!r}: error {error}")

    def down(self) -> None:
        """Stop answering: connections are closed, and new ones refused."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def up(self) -> None:
        """Answer again."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)


@contextlib.contextmanager
def mock_broker(**topics: int) -> Iterator[MockBroker]:
    """Start a mock broker in this process.

    Args:
        topics: Partitions of each topic that is made; those with other names are made by `create`.
    """
    library = _library()
    told = ctypes.create_string_buffer(512)
    settings = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(settings, b"log_level", b"0", told, len(told))
    client = library.rd_kafka_new(_PRODUCER, settings, told, len(told))
    if not client:
        raise RuntimeError(f"librdkafka gave no client: {told.value.decode()}")
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    try:
        broker = MockBroker(library, cluster)
        for topic, partitions in topics.items():
            broker.create(topic, partitions)
        yield broker
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)


@functools.lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka brings; its mock brokers are in the public rdkafka_mock.h, and in no Python module."""
    import confluent_kafka.cimpl

    package = Path(confluent_kafka.cimpl.__file__).parent
    beside = [path for folder in (package.parent / "confluent_kafka.libs", package / ".dylibs") for path in folder.glob("librdkafka*")]
    library = ctypes.CDLL(str(beside[0]) if beside else confluent_kafka.cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
