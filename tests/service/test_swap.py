"""`strategy: swap` from end to end, and with the process dying in the middle of it."""

from __future__ import annotations

from typing import Any

import pytest

Desk = Any


def fill(desk: Desk, *ids: int) -> None:
    desk.sqlite("source.db", "DROP TABLE IF EXISTS c", "CREATE TABLE c (id INTEGER PRIMARY KEY, name TEXT)")
    desk.sqlite("source.db", *(f"INSERT INTO c VALUES ({number}, 'n{number}')" for number in ids))


@pytest.mark.parametrize("system", ["duckdb", "sqlite", "postgresql"])
def test_a_table_is_swapped_by_each_run(desk: Desk, system: str, request: pytest.FixtureRequest) -> None:
    url = {"duckdb": "target.duckdb", "sqlite": "target.db"}.get(system) or request.getfixturevalue("postgres_database")
    desk.connect(target=url)
    desk.etl({"table": "c"}, {"table": "c", "mode": "replace", "strategy": "swap"})
    for ids in ((1, 2, 3), (2, 4)):
        fill(desk, *ids)
        record = desk.ran()
        assert record["metrics"]["recordsLoaded"] == len(ids)
    rows = {"duckdb": desk.duckdb, "sqlite": desk.sqlite, "postgresql": desk.postgres}[system](url, "SELECT id, name FROM c ORDER BY 1")
    assert rows == [(2, "n2"), (4, "n4")]
    assert "grants" in record["guarantee"]
    assert next(step for step in record["steps"] if step["phase"] == "load")["method"] == "swap"
