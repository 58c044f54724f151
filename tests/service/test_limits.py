"""What is too large: a cell of 100 MB, and a disk that fills up while a run writes."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from typing import Any

import pytest

Desk = Any

# A cell of 100 MB.

HUGE = 100 << 20
# The kernel's high-water mark of this program alone: `ru_maxrss` is handed on from the process that started it, here all of the tests.
MEASURED = """
import sys
from beam_pipelines.cli.etl import main
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", int(peak.split()[1]) // 1024, file=sys.stderr)
sys.exit(code)
"""


def peak(desk: Desk, definition: str = "service.json") -> int:
    """Run in a process of its own, expect success, and give its greatest memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "--service", definition, *desk.options],
        cwd=desk.folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(re.findall(r"^peak (\d+)$", done.stderr, re.MULTILINE)[-1])


@pytest.mark.long
@pytest.mark.parametrize("system", [pytest.param("sqlite", marks=pytest.mark.soak), "postgresql"])
def test_a_cell_of_100_mb_is_a_dead_letter_or_is_loaded_where_it_is_allowed(desk: Desk, postgres_database: str, system: str) -> None:
    if system == "sqlite":
        desk.sqlite(
            "source.db",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i, 'n' || i FROM n",
            f"UPDATE t SET s = replace(hex(zeroblob({HUGE // 4})), '00', 'abcd') WHERE id = 500",
        )
    else:
        desk.connect(source=postgres_database)
        desk.postgres(
            postgres_database,
            "CREATE TABLE t (id int PRIMARY KEY, s text)",
            "INSERT INTO t SELECT i, 'n' || i FROM generate_series(1, 1000) i",
            f"UPDATE t SET s = repeat('abcd', {HUGE // 4}) WHERE id = 500",
        )
    desk.etl({"table": "t"}, {"table": "t", "mode": "replace"})
    small = peak(desk)
    assert desk.duckdb("target.duckdb", "SELECT count(*), max(length(s)) FROM t") == [(999, 5)]
    (letter,) = desk.letters()
    assert (letter["code"], letter["origin"]) == ("cell-too-large", {"source": "t", "key": {"id": 500}})
    assert len(json.dumps(letter)) < 100_000, "a letter holds the beginning of such a cell, not all of it"
    desk.etl({"table": "t"}, {"table": "t", "mode": "replace"}, maxCellBytes="200MiB")
    large = peak(desk)
    assert desk.duckdb("target.duckdb", "SELECT count(*), max(length(s)) FROM t") == [(1000, HUGE)]
    # The driver's copy, Arrow's, the file's and the target's: a few cells, and not one for each step or thread.
    assert small < 300 + 6 * 100
    assert large < 300 + 10 * 100


# A disk that fills up.


def with_file_limit(limit: int) -> Any:
    """What a process calls when it begins: no file of it may grow above `limit` bytes, as on a disk that is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def many(desk: Desk) -> None:
    desk.sqlite(
        "source.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT, updated_at TIMESTAMP)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        " INSERT INTO t SELECT i, hex(randomblob(30)), datetime('now', '-100 seconds') FROM n",
    )
    desk.etl({"query": "SELECT * FROM t WHERE updated_at > ?", "incremental": True}, {"table": "t", "mode": "upsert"})


@pytest.mark.long
@pytest.mark.parametrize("target", ["target.duckdb", "target.db"])
def test_a_disk_that_fills_up_while_staging_costs_the_run_and_nothing_else(desk: Desk, target: str) -> None:
    many(desk)
    desk.connect(target=target)
    done = desk.program("--service", "service.json", "--output", "json", preexec_fn=with_file_limit(2 << 20))
    assert done.returncode == 1
    record = json.loads(done.stdout)
    assert (record["status"], record["errorCode"], record["metrics"]["recordsLoaded"]) == ("failed", "stage-failed", 0)
    assert "free space and run again" in record["error"]
    assert "Traceback" not in done.stderr
    assert list(desk.folder.glob("*.staging/*")) == []
    assert desk.ran()["metrics"]["recordsLoaded"] == 50_000
    read = desk.duckdb if target.endswith("duckdb") else desk.sqlite
    assert read(target, "SELECT count(*), count(DISTINCT id) FROM t") == [(50_000, 50_000)]


@pytest.mark.long
def test_a_disk_that_fills_up_during_the_commit_leaves_the_target_as_it_was(desk: Desk) -> None:
    many(desk)
    desk.connect(target="target.db")
    desk.sqlite(
        "target.db",
        "CREATE TABLE other (h TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)"
        " INSERT INTO other SELECT hex(randomblob(30)) FROM n",
    )
    limit = (desk.folder / "target.db").stat().st_size + 200_000
    done = desk.program("--service", "service.json", "--output", "json", preexec_fn=with_file_limit(limit))
    assert done.returncode == 1
    assert json.loads(done.stdout)["errorCode"] == "commit-failed"
    assert desk.sqlite("target.db", "SELECT count(*) FROM sqlite_master WHERE name = 't'") == [(0,)]
    assert desk.ran()["metrics"]["recordsLoaded"] == 50_000
    assert desk.sqlite("target.db", "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM other)") == [(50_000, 120_000)]
