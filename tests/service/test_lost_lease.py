"""A run that loses its lease while it is at work: its successor is not disturbed, and it ends by itself, saying why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from beam_pipelines.errors import FencedError

Desk = Any

# While the first run is at its first row, its lease runs out (as if its machine had slept), and a successor takes over.
FUNCTIONS = """
import pathlib, sqlite3, subprocess, sys

HERE = pathlib.Path(__file__).parent


def slow(row: dict) -> dict:
    if not (HERE / "successor.json").exists():
        (HERE / "successor.json").write_text("")
        with sqlite3.connect(HERE / ".beam_pipelines" / "state.db") as store:
            store.execute("UPDATE leases SET until = '2026-01-01T00:00:00.000000+00:00'")
        store.close()
        command = [sys.executable, "-m", "beam_pipelines.etl", "--service", str(HERE / "service.json"), "--output", "json", *OPTIONS]
        done = subprocess.run(command, capture_output=True, text=True)
        (HERE / "successor.json").write_text(done.stdout)
    return {"id": row["id"]}
"""


@pytest.fixture
def slow(desk: Desk, request: pytest.FixtureRequest) -> Desk:
    """Twenty rows, each added once, into the target that the test names."""
    desk.sqlite("source.db", "CREATE TABLE people (id INTEGER PRIMARY KEY)")
    desk.sqlite(
        "source.db", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO people SELECT i FROM n"
    )
    desk.functions(f"{FUNCTIONS}\nOPTIONS = {list(desk.options)!r}\n")
    if request.param == "sqlite":
        desk.connect(target="target.db")
    elif request.param == "postgresql":
        desk.connect(target=request.getfixturevalue("postgres_database"))
    steps = [{"id": "slow", "type": "function", "output": {"id": "bigint"}}]
    desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps, pricing={"model": "per-record", "rate": "1"})
    return desk


@pytest.mark.long
@pytest.mark.parametrize("slow", ["duckdb", "sqlite", "postgresql"], indirect=True)
def test_a_run_whose_lease_another_took_commits_nothing_and_says_so(slow: Desk) -> None:
    result = slow.run()
    successor = json.loads((slow.folder / "successor.json").read_text())
    assert successor["status"] == "success"
    assert (result.exit_code, result.execution.status) == (1, "lost")
    assert isinstance(result.error, FencedError)
    assert f"run {result.execution.run} was given up as lost while it was paused or cut off" in str(result.error)
    assert "it commits nothing; start a new one" in str(result.error)
    # The successor's rows are there, once, and are charged once.
    if "target.db" in slow.connections["target"]:
        rows = slow.sqlite("target.db", "SELECT count(*), count(DISTINCT id) FROM people")
    elif "duckdb" in slow.connections["target"]:
        rows = slow.duckdb("target.duckdb", "SELECT count(*), count(DISTINCT id) FROM people")
    else:
        rows = slow.postgres(slow.connections["target"], "SELECT count(*), count(DISTINCT id) FROM people")
    assert rows == [(20, 20)]
    with slow.store() as store:
        assert {one.run: one.status for one in store.executions("desk")} == {successor["runId"]: "success", result.execution.run: "lost"}
        assert [charge.run for charge in store.charges("desk")] == [successor["runId"]]
