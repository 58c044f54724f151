from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.errors import FatalError, PlanError, TransientError
from beam_pipelines.io.sqlite.source import SqliteSource
from beam_pipelines.spec.source import DatabaseSource


def test_check_says_what_answered(db: Any) -> None:
    db.run("CREATE TABLE t (id)")
    assert db.source(table="t").check() == f"SQLite {sqlite3.sqlite_version}, {db.path}, 1 table"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, reading: Any) -> None:
    source = SqliteSource(DatabaseSource(connection="db", table="t"), reading.connection(tmp_path / "no.db"))
    with pytest.raises(PlanError, match=r"no\.db") as raised:
        source.describe("t")
    assert raised.value.code == "connection-invalid"
    assert not (tmp_path / "no.db").exists()


def test_a_file_that_is_no_database_is_named(tmp_path: Path, reading: Any) -> None:
    (tmp_path / "text.db").write_text("this is no database, but it is long enough to look at " * 40)
    source = SqliteSource(DatabaseSource(connection="db", table="t"), reading.connection(tmp_path / "text.db"))
    with pytest.raises(PlanError, match="not a SQLite database"):
        source.check()


def test_a_damaged_file_stops_the_run(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    db.run("INSERT INTO t (x) VALUES (?)", [("x" * 500,) for _ in range(2000)])
    source = db.source(table="t")
    window = reading.window(source, "t")
    with db.path.open("r+b") as file:
        file.seek(os.path.getsize(db.path) // 2)
        file.write(os.urandom(64 * 1024))
    with pytest.raises(FatalError, match=r"crm\.db") as raised:
        reading.read(source, window)
    assert raised.value.code == "read-failed"


def test_a_lock_that_is_not_released_is_transient_and_named(db: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    writer = sqlite3.connect(db.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    source = db.source(busy_seconds=0.05, table="t", cursor={"column": "updated_at"})
    with pytest.raises(TransientError, match=r"crm\.db.*0\.05 s") as raised:
        source.fix("t", source.cursor, None, False, 1)
    assert raised.value.code == "locked"
    writer.close()
