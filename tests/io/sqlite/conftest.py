"""A SQLite file to read from."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.io.sqlite.source import SqliteSource
from beam_pipelines.spec.source import DatabaseSource


class Database:
    """A SQLite file, written by statements, and sources that read it."""

    def __init__(self, path: Path, reading: Any) -> None:
        self.path = path
        self._reading = reading

    def run(self, sql: str, rows: Sequence[Sequence[Any]] | None = None) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            if rows is None:
                connection.executescript(sql)
            else:
                connection.executemany(sql, rows)

    def source(self, busy_seconds: float = 30.0, **model: Any) -> SqliteSource:
        if "query" in model and "?" in model["query"]:
            model["incremental"] = True
        return SqliteSource(DatabaseSource(connection="db", **model), self._reading.connection(self.path), busy_seconds=busy_seconds)

    def cursor(self, column: str = "updated_at", table: str = "t", **cursor: Any) -> SqliteSource:
        return self.source(table=table, cursor={"column": column, **cursor})


@pytest.fixture
def db(tmp_path: Path, reading: Any) -> Database:
    database = Database(tmp_path / "crm.db", reading)
    database.run("PRAGMA user_version = 1")
    return database
