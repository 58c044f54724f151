"""Imported once by the fork server of `testing.faults`: a process that has everything imported and has made a run, to be forked from.

What a first run pays for (imports, schemas of the definition, compiled statements) is paid here once, not by each of thousands of runs.
"""

from __future__ import annotations

import contextlib
import gc
import gzip
import importlib
import json
import sqlite3
import tempfile
from pathlib import Path

from beam_pipelines.etl.service import Service

__all__: list[str] = []


def _run_once() -> None:
    """Make runs that leave no thread behind: SQLite to SQLite, DuckDB, Parquet and CSV, and a batch of files with rules."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with contextlib.closing(sqlite3.connect(folder / "source.db")) as source:
            source.execute("CREATE TABLE t (id INTEGER, at TIMESTAMP)")
            source.execute("INSERT INTO t VALUES (1, '2020-01-01 00:00:00'), ('one', '2020-01-01 00:00:00')")
            source.commit()
        connections = {"source": "source.db", "sqlite": "target.db", "duckdb": "target.duckdb"}
        (folder / "connections.yaml").write_text(json.dumps(connections))
        query = {"type": "database", "connection": "source", "query": "SELECT * FROM t WHERE at > ?", "incremental": True}
        lands = [{"type": "database", "connection": name, "table": "t", "mode": "insert"} for name in ("sqlite", "duckdb")]
        lands += [{"type": "file", "path": f"out-{name}", "format": name, "mode": "insert"} for name in ("parquet", "csv")]
        for number, land in enumerate(lands):
            definition = folder / f"service{number}.json"
            definition.write_text(json.dumps({"name": f"s{number}", "pipeline": {"source": query, "destination": land}}))
            Service.load(definition).run()
        (folder / "in.csv.gz").write_bytes(gzip.compress(b"id\n1\n2\nx\n"))
        rules = {"id": "check", "type": "validate", "rules": [{"id": "low", "type": "numeric-range", "field": "id", "max": 1}]}
        batch = {
            "source": {"type": "file", "path": "*.csv.gz", "columns": {"id": "bigint"}},
            "processing": {"transformations": [rules]},
            "destination": {"type": "file", "path": "out-batch", "format": "parquet"},
        }
        (folder / "batch.json").write_text(json.dumps({"name": "b", "batch": batch}))
        Service.load(folder / "batch.json").run()


importlib.import_module("beam_pipelines.testing.faults")
importlib.import_module("beam_pipelines.io.sql.portable_target")
for _module in (
    *("psycopg", "adbc_driver_postgresql.dbapi", "sqlalchemy.dialects.postgresql.psycopg", "beam_pipelines.io.postgres.target"),
    *("beam_pipelines.io.objects.s3", "beam_pipelines.io.objects.gcs"),
):
    with contextlib.suppress(ImportError):  # an extra that is not installed: services that need it say so
        importlib.import_module(_module)
_run_once()
# What is there now stays: a collection in a child would touch, and so copy, every page of it.
gc.collect()
gc.freeze()
gc.disable()
