"""Drivers in wrappers: each call is met once, and nothing stays wrapped."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from beam_pipelines.testing.buckets import BucketServer
from beam_pipelines.testing.seams import wrapped


@contextmanager
def listened(failing: str = "") -> Iterator[list[str]]:
    """The outermost calls made in the block; the one that is named fails."""
    heard: list[str] = []
    deep = False

    def around(name: str, call: Callable[[], Any], failure: Callable[[], BaseException]) -> Any:
        nonlocal deep
        if deep:
            return call()
        heard.append(name)
        if name == failing:
            raise failure()
        deep = True
        try:
            return call()
        finally:
            deep = False

    with wrapped(around):
        yield heard


def test_sqlite_by_hand_and_by_sqlalchemy(tmp_path: Path) -> None:
    with listened() as heard:
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
            connection.execute("create table t (x)")
            connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
            assert connection.execute("SELECT sum(x) FROM t").fetchall() == [(3,)]
        engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
        with engine.begin() as other:
            other.execute(sa.text("DELETE FROM t"))
        engine.dispose()
    first = ["sqlite.connect", "sqlite.CREATE", "sqlite.INSERT", "sqlite.SELECT", "sqlite.fetchall", "sqlite.close"]
    assert heard[:6] == first
    then = ["sqlite.connect", "sqlite.DELETE", "sqlite.commit", "sqlite.close"]
    assert [call for call in heard[6:] if call in then] == then


def test_duckdb_but_not_what_is_in_memory(tmp_path: Path) -> None:
    with listened() as heard:
        duckdb.connect().execute("SELECT 1")
        with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
            connection.register("given", pa.table({"x": [1, 2]}))
            connection.execute("CREATE TABLE t AS SELECT * FROM given")
            assert connection.sql("SELECT sum(x) AS s FROM t").to_arrow_table().to_pylist() == [{"s": 3}]
    assert heard == ["duckdb.connect", "duckdb.CREATE", "duckdb.SELECT", "duckdb.to_arrow_table", "duckdb.close"]


def test_every_round_trip_to_postgresql(postgres_database: str) -> None:
    with listened() as heard, psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE t (x INT)")
        with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
            copy.write_row((1,))
        connection.commit()
        with connection.cursor("named") as named:
            named.execute("SELECT x FROM t")
            assert named.fetchmany(5) == [(1,)]
    copied = ["postgres.start_copy", "postgres.copy_to", "postgres.copy_end"]
    assert heard[:6] == ["postgres.connect", "postgres.CREATE", *copied, "postgres.commit"]
    assert {"postgres.SELECT", "postgres.fetch", "postgres.commit", "postgres.close"} <= set(heard[6:])


def test_a_connection_to_postgresql_that_fails_is_gone(postgres_database: str) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as watcher, listened("postgres.INSERT"):
        watcher.execute("CREATE TABLE t (x INT)")
        connection = psycopg.connect(postgres_database)
        with pytest.raises(psycopg.OperationalError, match="injected"):
            connection.execute("INSERT INTO t VALUES (1)")
        assert connection.broken
        with pytest.raises(psycopg.OperationalError):
            connection.commit()


def test_files_by_os_by_path_and_by_arrow(tmp_path: Path) -> None:
    with listened() as heard:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "a.txt").write_text("a")
        os.replace(tmp_path / "folder" / "a.txt", tmp_path / "b.txt")
        (tmp_path / "b.txt").unlink()
        with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("x", pa.int64())])) as writer:
            writer.write_batch(pa.record_batch({"x": [1]}))
        (tmp_path / "c.arrow").read_bytes()
    assert heard[:2] == ["file.mkdir", "file.open"]
    assert [call for call in heard[2:] if call != "file.write"] == [
        *("file.close", "file.replace", "file.unlink", "arrow.open", "arrow.begin", "arrow.write_batch", "arrow.close")
    ]


def test_every_request_to_a_bucket(bucket_server: BucketServer, bucket: str) -> None:
    calls = {"s3": ["s3.PutObject", "s3.ListObjectsV2", "s3.DeleteObject"], "gs": ["gcs.POST", "gcs.GET", "gcs.DELETE"]}
    put, listed, removed = calls[bucket_server.scheme]
    with listened() as heard:
        bucket_server.put(bucket, "a", b"1")
        assert bucket_server.keys(bucket) == ["a"]
        bucket_server.remove(bucket, "a")
    assert heard == [put, listed, removed]
    with listened(put), pytest.raises(Exception, match="injected"):
        bucket_server.put(bucket, "a", b"1")
    assert bucket_server.keys(bucket) == []


def test_nothing_stays_wrapped() -> None:
    before = (os.replace, sqlite3.connect, duckdb.connect, psycopg.connect, psycopg.Connection.wait, pa.OSFile, open, Path.unlink)
    with listened():
        pass
    assert before == (os.replace, sqlite3.connect, duckdb.connect, psycopg.connect, psycopg.Connection.wait, pa.OSFile, open, Path.unlink)
