"""Fixtures that every room's tests share: a real PostgreSQL server and fresh databases on it."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from beam_pipelines.testing.buckets import BucketServer, GcsServer, S3Server
from beam_pipelines.testing.kafka import KafkaBroker
from beam_pipelines.testing.postgres import PostgresServer
from beam_pipelines.testing.prism import made

# The same examples in every run, however slow the machine: a failure here is the change's, not the dice's. `make soak` throws them.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("soak", deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it runs in the background so, and every program that the tests start would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile("soak" if config.getoption("markexpr") == "soak" else "gate")


@pytest.fixture(scope="module", params=["kernels", "engine"])
def evaluated_by(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run each test of a module twice: with expressions lowered to Arrow's kernels where they can be, and all by DuckDB."""
    from beam_pipelines.columnar.expression import memo, scope

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memo, "_TERMS", {})
        if request.param == "engine":
            patch.setattr(scope, "lower", lambda *_: None)
        yield request.param


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL 18 server on loopback; the wheel carries it, so a missing one is a failure, not a skip.

    It does not wait for the disk: what a crash of the machine leaves is not tested, and one of the server loses nothing by that.
    """
    with PostgresServer(settings={"fsync": "off", "full_page_writes": "off"}) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaBroker]:
    """Apache Kafka on loopback; without Java or Maven what needs it fails."""
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def prism() -> Path:
    """Beam's local engine for streams; without Go what needs it fails."""
    return made()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    return postgres_server.url()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database of this test's own."""
    import psycopg

    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} STRATEGY file_copy")  # without fsync twice as quick as by the log
    yield postgres_server.url(name)
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[BucketServer]:
    """A server of the API of S3 on loopback."""
    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[BucketServer]:
    """A server of the API of Google Cloud Storage on loopback."""
    with GcsServer() as server:
        yield server


@pytest.fixture(params=["s3", "gcs"])
def bucket_server(request: pytest.FixtureRequest) -> BucketServer:
    """Each of the two, one after the other."""
    server: BucketServer = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def bucket(bucket_server: BucketServer) -> str:
    """A bucket of this test's own on it."""
    name = f"b-{uuid.uuid4().hex[:12]}"
    bucket_server.make(name)
    return name
