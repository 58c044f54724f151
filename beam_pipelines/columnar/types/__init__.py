"""One type table: Arrow to and from DuckDB, PostgreSQL, SQLite and whatever SQLAlchemy speaks to; and the names that definitions use."""

from __future__ import annotations

from beam_pipelines.columnar.types.apart import keeps_apart
from beam_pipelines.columnar.types.duckdb import from_duckdb
from beam_pipelines.columnar.types.generic import from_sqlalchemy, to_sqlalchemy
from beam_pipelines.columnar.types.names import parse_name
from beam_pipelines.columnar.types.postgres import from_postgres
from beam_pipelines.columnar.types.sqlite import from_sqlite
from beam_pipelines.columnar.types.write import ddl, writable

__all__ = [
    "ddl",
    "from_duckdb",
    "from_postgres",
    "from_sqlalchemy",
    "from_sqlite",
    "keeps_apart",
    "parse_name",
    "to_sqlalchemy",
    "writable",
]
