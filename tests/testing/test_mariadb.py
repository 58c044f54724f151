"""The portable path meets a real MariaDB, which has no connector of its own: into it, out of it, first whole and then by increments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from beam_pipelines import Service
from beam_pipelines.testing.mariadb import MariaDbServer

# Latin 1 is the server's default: texts arrive whole all the same, and what looks like quotes and parameters is text.
NOTES = ["x'\"`:%s?\\", "Zoë 日本 🦆", None]


@pytest.fixture(scope="module")
def engine() -> Iterator[sa.Engine]:
    with MariaDbServer() as server:
        yield sa.create_engine(server.url, poolclass=sa.NullPool)


def execute(engine: sa.Engine, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with engine.begin() as connection:
        found = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in found] if found.returns_rows else []


def moved(folder: Path, engine: sa.Engine, table: str, into: str) -> dict[str, int]:
    """Run the service that upserts a table of the database into another; the counters that are not zero."""
    source = {"type": "database", "connection": "maria", "table": table, "cursor": {"column": "updated_at", "overlap": "10s"}}
    target = {"type": "database", "connection": "maria", "table": into, "mode": "upsert", "keyFields": ["id"]}
    file = folder / f"{into}.json"
    file.write_text(json.dumps({"name": into, "type": "automation", "pipeline": {"source": source, "destination": target}}))
    (folder / "connections.yaml").write_text(json.dumps({"maria": engine.url.render_as_string(hide_password=False)}))
    result = Service.load(file).run()
    assert result.exit_code == 0, result.error
    counts = result.to_json()["metrics"]
    return {name: n for name, n in counts.items() if n and name not in ("recordsExtracted", "recordsTransformed", "bytesProcessed")}


def test_a_table_goes_into_another_whole_then_by_increments(engine: sa.Engine, tmp_path: Path) -> None:
    execute(
        engine,
        "CREATE TABLE people (id BIGINT PRIMARY KEY, note VARCHAR(40) CHARACTER SET utf8mb4, born DATE, score DOUBLE,"
        " money DECIMAL(10, 2), face BLOB, at_time TIME(6), updated_at DATETIME(6) NOT NULL)",
    )
    for number, note in enumerate(NOTES):
        execute(
            engine,
            "INSERT INTO people VALUES (:id, :note, '1990-02-28', 0.1, 12345678.25, X'00FF27', '12:34:56.789',"
            " '2025-01-01 00:00:00.000001' + INTERVAL :id MINUTE)",
            id=number,
            note=note,
        )

    assert moved(tmp_path, engine, "people", "copies") == {"recordsLoaded": 3, "recordsInserted": 3}
    assert execute(engine, "SELECT * FROM copies ORDER BY id") == execute(engine, "SELECT * FROM people ORDER BY id")
    assert [note for (note,) in execute(engine, "SELECT note FROM copies ORDER BY id")] == NOTES

    execute(engine, "UPDATE people SET note = 'new', updated_at = '2025-01-02' WHERE id = 0")
    execute(engine, "INSERT INTO people (id, updated_at) VALUES (9, '2025-01-02')")
    # The newest row of before is read again, for the overlap.
    more = {"recordsLoaded": 3, "recordsInserted": 1, "recordsUpdated": 1, "recordsUnchanged": 1}
    assert moved(tmp_path, engine, "people", "copies") == more
    assert execute(engine, "SELECT * FROM copies ORDER BY id") == execute(engine, "SELECT * FROM people ORDER BY id")

    # An older version never overwrites a newer one; nothing of a run stays behind.
    execute(engine, "UPDATE copies SET note = 'newer', updated_at = '2025-01-03' WHERE id = 9")
    assert moved(tmp_path, engine, "people", "copies") == {"recordsLoaded": 2, "recordsUnchanged": 1, "recordsStale": 1}
    assert execute(engine, "SELECT note FROM copies WHERE id = 9") == [("newer",)]
    assert not [name for name in sa.inspect(engine).get_table_names() if name.startswith("_bp_")]
