"""Kafka for tests and demonstrations: librdkafka's own mock brokers in this process, and Apache Kafka itself on loopback.

Apache Kafka is fetched by Maven and run by Java; `python -m beam_pipelines.testing.kafka` fetches it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from beam_pipelines.errors import SpecError
from beam_pipelines.testing import certificates
from beam_pipelines.testing.fetched import folder_of

__all__ = ["VERSION", "KafkaBroker", "MockBroker", "fetched", "mock_broker", "real_broker"]

VERSION = "4.1.0"
_PRODUCER = 0  # rd_kafka_type_t
_PATIENCE = 90.0  # seconds in which a broker starts, on a machine that is busy
_JAVA = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>beam.pipelines</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


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


class KafkaBroker:
    """One node of Apache Kafka (KRaft: broker and controller) on loopback; a context manager that starts and stops it.

    It listens without a password, on a second port with one (`SASL_PLAINTEXT`, `PLAIN`, user `app`), and on a third with one and TLS
    (`SASL_SSL`, `SCRAM-SHA-512`), whose authority's certificate is in `authority`.

    Args:
        folder: Where its logs live; a new temporary folder (deleted at the end) when not given.
        settings: Server settings, such as `{"log.retention.ms": "1000"}`.

    Raises:
        SpecError: Java or Maven is missing (`extra-missing`).
    """

    user = "app"

    def __init__(self, folder: str | Path | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        self._temporary = folder is None
        self.folder = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix="bp_kafka_"))
        self._settings = dict(settings or {})
        self.password = secrets.token_hex(12)
        self.port, self.locked_port, self.sealed_port, self._controller = _free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> KafkaBroker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def servers(self) -> str:
        """For `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def locked_servers(self) -> str:
        """For `bootstrap.servers`, where a password is asked for."""
        return f"127.0.0.1:{self.locked_port}"

    @property
    def sealed_servers(self) -> str:
        """For `bootstrap.servers`, by TLS and with a password."""
        return f"127.0.0.1:{self.sealed_port}"

    @property
    def authority(self) -> Path:
        """The certificate by which that of `sealed_servers` is known."""
        return self.folder / "ca.pem"

    def start(self) -> None:
        """Start, on the same ports and with the same logs as before, and wait until it answers."""
        config = self.folder / "server.properties"
        if not config.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            certificates.made(self.folder)
            config.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            user = f"SCRAM-SHA-512=[name={self.user},password={self.password}]"
            made = self._java("kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(config), "--add-scram", user)
            if made.wait(_PATIENCE):
                raise RuntimeError(f"the broker's folder could not be made: {self._log()}")
        self._process = self._java("kafka.Kafka", str(config))
        self._await()

    def stop(self) -> None:
        """Stop as an operator does; nothing where it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Crash."""
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        """Stop, by a crash if `kill`, and start again."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def create(self, topic: str, partitions: int = 1, settings: Mapping[str, str] | None = None) -> None:
        """Make a topic."""
        from confluent_kafka.cimpl import NewTopic

        wanted = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=dict(settings or {}))
        admin = self._admin()  # which must live until the answer is there
        admin.create_topics([wanted], operation_timeout=30)[topic].result(60)

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions: so many in all."""
        from confluent_kafka.cimpl import NewPartitions

        admin = self._admin()
        admin.create_partitions([NewPartitions(topic, partitions)], operation_timeout=30)[topic].result(60)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Let go of messages, as retention does."""
        from confluent_kafka import TopicPartition

        admin = self._admin()
        for done in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
            done.result(60)

    def _admin(self) -> Any:
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    def _properties(self) -> dict[str, str]:
        plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{self.user}="{self.password}";'
        listeners = f"PLAINTEXT://{self.servers},SASL_PLAINTEXT://{self.locked_servers},SASL_SSL://{self.sealed_servers}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": ",".join(
                [*(f"{name}:{name}" for name in ("PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL")), "CONTROLLER:PLAINTEXT"]
            ),
            "controller.listener.names": "CONTROLLER",
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": ("org.apache.kafka.common.security.scram.ScramLoginModule required;"),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "server.pem"),
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": plain,
            "log.dirs": str(self.folder / "data"),
            "num.partitions": "1",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A broker that was killed is let in again when the controller has given it up.
            "broker.heartbeat.interval.ms": "300",
            "broker.session.timeout.ms": "1000",
            "message.max.bytes": "209715200",
            "socket.request.max.bytes": "419430400",
            **self._settings,
        }

    def _java(self, main: str, *arguments: str) -> subprocess.Popen[bytes]:
        jars = fetched()
        command = [_program("java"), *_JAVA, "-cp", f"{jars}/*", main, *arguments]
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder)

    def _await(self) -> None:
        from confluent_kafka import KafkaException

        assert self._process is not None
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self._process.returncode}: {self._log()}")
            with contextlib.suppress(KafkaException):
                if self._admin().list_topics(timeout=1).brokers:
                    return
        self.kill()
        raise RuntimeError(f"the broker did not answer within {_PATIENCE:g} s: {self._log()}")

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")[-2000:]


def real_broker(folder: str | Path | None = None, *, settings: Mapping[str, str] | None = None) -> KafkaBroker:
    """Apache Kafka; a context manager, see `KafkaBroker`."""
    return KafkaBroker(folder, settings=settings)


def fetched() -> Path:
    """The folder with Apache Kafka and what it needs, fetched by Maven when it is not there yet.

    Raises:
        SpecError: Maven is missing, or could not fetch it (`extra-missing`).
    """
    folder = folder_of("kafka") / VERSION
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        (Path(made) / "pom.xml").write_text(_POM.format(version=VERSION))
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={made}/jars"]
        done = subprocess.run([_program("mvn"), "-q", "-B", *goal], cwd=made, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SpecError(f"Maven could not fetch Apache Kafka {VERSION}: {(done.stdout + done.stderr)[-2000:]}", code="extra-missing")
        with contextlib.suppress(OSError):  # another process was first
            os.rename(f"{made}/jars", folder)
    return folder


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SpecError(
            f"Apache Kafka is needed here, and {name!r} to run or fetch it is missing: install Java 17 and Maven"
            " (apt-get install --no-install-recommends openjdk-17-jre-headless maven)",
            code="extra-missing",
        )
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        probes = [opened.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


if __name__ == "__main__":
    fetched()
