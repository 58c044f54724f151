"""What a merge into DuckDB may hold: little at first, more when it cannot do with it, and no end of the world when that is too little."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from beam_pipelines.io.duckdb import session, target
from beam_pipelines.io.duckdb.target import DuckDbTarget
from beam_pipelines.runs.counts import LoadCounts

ROWS = 200_000
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("version", pa.int64())])


def people(version: int, first: int = 0) -> pa.RecordBatch:
    ids = range(first, first + ROWS)
    return pa.record_batch([list(ids), [f"person number {i} of version {version}" for i in ids], [version] * ROWS], schema=SCHEMA)


def upserted(loads: Callable[..., Any], warehouse: DuckDbTarget) -> LoadCounts:
    """Load people twice: half of the second time's are there, with an older version."""
    loading = loads(warehouse)
    loading.upsert(people(1), SCHEMA, version="version")
    counts: LoadCounts = loading.upsert(people(2, ROWS // 2), SCHEMA, version="version")
    return counts


def test_a_merge_that_needs_more_memory_is_begun_again_with_more(
    loads: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, megabytes in (("MEMORY", 4), ("MERGE_MEMORY", 4)):
        monkeypatch.setattr(target, name, megabytes)
    warehouse = DuckDbTarget(tmp_path / "warehouse.duckdb")
    with caplog.at_level(logging.INFO, logger="beam_pipelines"):
        counts = upserted(loads, warehouse)
    assert (counts.merged.inserted, counts.merged.updated, counts.code) == (ROWS // 2, ROWS // 2, "")
    assert "is begun again with 8 MB" in caplog.text
    with duckdb.connect(str(warehouse.path)) as connection:
        found = connection.execute("SELECT version, count(*), sum(id) FROM customers GROUP BY version ORDER BY version").fetchall()
    half = ROWS // 2
    assert found == [(1, half, sum(range(half))), (2, ROWS, sum(range(half, half + ROWS)))]


def test_a_merge_that_needs_more_than_may_be_had_fails_and_says_so(
    loads: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = DuckDbTarget(tmp_path / "warehouse.duckdb")
    loads(warehouse).upsert(people(1), SCHEMA, version="version")
    for name in ("MEMORY", "MERGE_MEMORY", "MOST_MEMORY"):
        monkeypatch.setattr(target, name, 8)
    poor = DuckDbTarget(warehouse.path)
    loading = loads(poor)
    monkeypatch.setattr(poor, "retries", 1)
    attempt = loading.begin(SCHEMA, run="f" * 12, mode="upsert", keys=("id",), version="version").stage(people(2, ROWS // 2))
    counts = attempt.commit()
    assert counts.code == "commit-failed"
    assert "Out of Memory" in counts.message
    with duckdb.connect(str(warehouse.path)) as connection:
        assert connection.execute("SELECT count(*), max(version) FROM customers").fetchall() == [(ROWS, 1)]


def test_a_commit_that_finds_no_memory_is_no_conflict() -> None:
    short = duckdb.TransactionException("TransactionContext Error: Failed to commit: could not allocate block of size 256.0 KiB")
    conflict = duckdb.TransactionException("TransactionContext Error: Conflict on update!")
    for error, code, starved in ((short, "commit-failed", True), (conflict, "conflict", False)):
        known = session.translate(error)
        known.__cause__ = error
        assert (known.code, session.starved(known)) == (code, starved)


def test_more_is_more_than_the_statement_had_and_takes_none_of_the_retries(
    loads: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A MERGE has more to begin with than the rest of the load: that is what is doubled."""
    warehouse = DuckDbTarget(tmp_path / "warehouse.duckdb")
    loading = loads(warehouse)
    loading.upsert(people(1), SCHEMA, version="version")
    monkeypatch.setattr(warehouse, "retries", 1)
    execute, limits = session.DuckDbSession.execute, list[str]()

    def starving(self: Any, sql: str, *parameters: Any) -> Any:
        if sql.startswith("MERGE"):
            limits.append(execute(self, "SELECT current_setting('memory_limit')").rows[0][0])
            if len(limits) < 3:
                raise session.translate(duckdb.OutOfMemoryException("no room")) from duckdb.OutOfMemoryException("no room")
        return execute(self, sql, *parameters)

    monkeypatch.setattr(session.DuckDbSession, "execute", starving)
    with caplog.at_level(logging.INFO, logger="beam_pipelines"):
        counts = loading.upsert(people(2), SCHEMA, version="version")
    assert (counts.code, counts.merged.updated) == ("", ROWS)
    assert limits == ["244.1 MiB", "488.2 MiB", "976.5 MiB"]
    assert "more memory than 256 MB, and is begun again with 512 MB" in caplog.text
    assert "more memory than 512 MB, and is begun again with 1024 MB" in caplog.text


def test_a_session_holds_what_it_is_allowed(tmp_path: Path) -> None:
    with session.connect(tmp_path / "warehouse.duckdb") as opened:
        limit = "SELECT current_setting('memory_limit')"
        assert opened.execute(limit).rows == [("91.5 MiB",)]
        opened.allow(256)
        assert opened.execute(limit).rows == [("244.1 MiB",)]
