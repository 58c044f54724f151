"""A DuckDB file that is left open from one part of a short run to the next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from beam_pipelines.io import spares
from beam_pipelines.io.duckdb.reader import opened
from beam_pipelines.io.duckdb.session import connect


def _others_get_in(path: Path) -> bool:
    program = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('SELECT 1')"
    return subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, check=False).returncode == 0


def _write(path: Path, sql: str) -> None:
    with connect(path) as session:
        session.execute(sql)


def test_it_is_open_until_the_block_ends_and_what_was_written_is_there(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    with spares.together():
        _write(path, "CREATE TABLE t AS SELECT 1 AS a")
        assert not _others_get_in(path)
        _write(path, "INSERT INTO t VALUES (2)")
    assert _others_get_in(path)
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT a FROM t ORDER BY a").fetchall() == [(1,), (2,)]


def test_without_a_block_it_is_closed_at_once(tmp_path: Path) -> None:
    _write(tmp_path / "t.duckdb", "CREATE TABLE t (a INTEGER)")
    assert _others_get_in(tmp_path / "t.duckdb")


def test_a_long_run_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    with spares.together():
        _write(path, "CREATE TABLE t (a INTEGER)")
        spares.hold(False)
        assert _others_get_in(path)
        _write(path, "INSERT INTO t VALUES (1)")
        assert _others_get_in(path)
        spares.hold(True)
        _write(path, "INSERT INTO t VALUES (2)")
        assert not _others_get_in(path)


def test_it_is_opened_anew_after_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    with spares.together():
        _write(path, "CREATE TABLE t (a INTEGER)")
        with pytest.raises(ValueError, match="no"), connect(path):
            raise ValueError("no")
        assert _others_get_in(path)


def test_this_process_reads_what_is_kept_open(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    with spares.together():
        _write(path, "CREATE TABLE t AS SELECT 7 AS a")
        with opened(path) as reader:
            assert reader.connection.execute("SELECT a FROM t").fetchall() == [(7,)]
