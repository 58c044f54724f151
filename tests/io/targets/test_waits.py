"""Who waits for a lock says so, and for whom, where the database knows."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from beam_pipelines.io.duckdb import session as duckdb_session
from beam_pipelines.io.postgres import waits
from beam_pipelines.io.sqlite import target as sqlite_target


class Log(logging.Handler):
    """Collects messages, and tells when the first has come."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.heard.set()


@pytest.fixture
def log() -> Any:
    handler, logger = Log(), logging.getLogger("beam_pipelines.io")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told after a fifth of a second, so that nobody sits through two."""
    monkeypatch.setattr(waits, "AFTER", 0.2)
    monkeypatch.setattr(duckdb_session, "TOLD_AFTER", 0.2)
    monkeypatch.setattr(sqlite_target, "TOLD_AFTER", 0.2)


def told_while_held(log: Log, run: Any, release: Callable[[], object]) -> Any:
    """Commit while somebody holds a lock; they let go when the log says that it is waited for."""
    done: list[Any] = []
    committing = threading.Thread(target=lambda: done.append(run.commit()))
    committing.start()
    heard = log.heard.wait(30)
    release()
    committing.join(30)
    assert heard
    return done[0]


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("application", ["nightly report", None])
def test_postgresql_names_the_session_that_holds_the_lock(place: Any, loading: Any, log: Log, application: str | None) -> None:
    place.sql("CREATE TABLE customers (id BIGINT PRIMARY KEY, name TEXT, version BIGINT)", "INSERT INTO customers VALUES (1, 's3cr3t', 1)")
    run = loading.begin(mode="upsert", keys=("id",), version="version").stage([(1, "Ada", 2)])
    with psycopg.connect(place.url, application_name=application or "") as other:
        other.execute("UPDATE customers SET name = 's3cr3t' WHERE id = 1")
        user, pid = other.info.user, other.info.backend_pid
        counts = told_while_held(log, run, other.rollback)
    (message,) = log.messages
    assert f"held by process {pid} (" in message
    assert f"user {user}, idle in transaction since 20" in message
    assert (application or "process") in message
    assert "s3cr3t" not in message
    assert counts.merged.updated == 1


def test_a_prepared_transaction_has_no_process() -> None:
    assert "pg_prepared_xacts" in waits._shown(0, None, None, None, None)
    assert waits._shown(7, None, None, None, None) == "process 7"


@pytest.mark.only("postgresql")
def test_postgresql_has_nothing_to_say_of_a_commit_that_works(place: Any, loading: Any, log: Log) -> None:
    run = loading.begin(mode="upsert", keys=("id",)).stage([(1, "Ada", 2)])
    merge = loading.target.merge

    def slow(tx: Any, *arguments: Any) -> Any:
        tx.execute("SELECT pg_sleep(0.7)")
        return merge(tx, *arguments)

    loading.target.merge = slow
    assert run.commit().merged.inserted == 1
    assert log.messages == []
    for thread in [thread for thread in threading.enumerate() if thread.name == "waits"]:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.only("postgresql")
def test_what_the_end_of_the_transaction_waits_for_is_said_too(place: Any, loading: Any, log: Log) -> None:
    """A deferred constraint is checked by COMMIT, which waits for others that wrote the same."""
    place.sql("CREATE TABLE customers (id BIGINT, name TEXT UNIQUE DEFERRABLE INITIALLY DEFERRED, version BIGINT)")
    run = loading.begin().stage([(1, "Ada", 2)])
    with psycopg.connect(place.url, application_name="nightly report") as other:
        other.execute("INSERT INTO customers VALUES (9, 'Ada', 1)")
        counts = told_while_held(log, run, other.rollback)
    assert "nightly report" in log.messages[0]
    assert (counts.merged.inserted, place.rows()) == (1, [(1, "Ada", 2)])


def test_who_is_through_does_not_wait_for_the_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Away:
        display = "a server that does not answer"

        def connect(self) -> Any:
            asked.set()
            answer.wait(60)
            raise OSError

    began = time.monotonic()
    with waits.told(Away(), SimpleNamespace(info=SimpleNamespace(backend_pid=1))):  # type: ignore[arg-type]
        assert asked.wait(30)
        monkeypatch.setattr(waits, "AFTER", 60.0)
    (watcher,) = [thread for thread in threading.enumerate() if thread.name == "waits"]
    took = time.monotonic() - began
    answer.set()
    watcher.join(30)
    assert took < 30
    assert not watcher.is_alive()


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN; SELECT * FROM customers"])
def test_sqlite_says_that_it_waits(place: Any, loading: Any, log: Log, lock: str) -> None:
    loading.load([(1, "Ada", 1)])
    run = loading.begin().stage([(2, "Bob", 1)])
    other = sqlite3.connect(place.file, isolation_level=None, check_same_thread=False)
    for statement in lock.split(";"):
        held = other.execute(statement)
        held.fetchone()
    counts = told_while_held(log, run, other.close)
    assert counts.merged.inserted == 1
    assert len(log.messages) == 1
    assert f"waiting for a lock on {place.file}: held by" in log.messages[0]
    assert place.rows() == [(1, "Ada", 1), (2, "Bob", 1)]


@pytest.mark.only("duckdb")
def test_duckdb_names_the_process_that_has_the_file(place: Any, loading: Any, log: Log) -> None:
    run = loading.begin().stage([(1, "Ada", 1)])
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place.file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"open\n"
        counts = told_while_held(log, run, other.stdin.close)
    assert counts.merged.inserted == 1
    assert len(log.messages) == 1
    assert f"{place.file} is held by process {other.pid}" in log.messages[0]
