"""What PostgreSQL's catalog says: tables, columns of tables and queries, keys, estimates. Nothing here reads a row of the user's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_pipelines.errors import PlanError
from beam_pipelines.io.postgres.columns import Column
from beam_pipelines.io.postgres.session import Server
from beam_pipelines.io.sql.literal import quote_table
from beam_pipelines.io.sql.relation import nearest

if TYPE_CHECKING:
    import psycopg

__all__ = ["Estimate", "columns", "estimate", "key_of", "schema_of", "tables"]

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND has_table_privilege(c.oid, 'SELECT')
"""
_TYPES = """
SELECT t.oid, CASE WHEN n.nspname = 'pg_catalog' THEN t.typname ELSE n.nspname || '.' || t.typname END,
       CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN
            CASE WHEN en.nspname = 'pg_catalog' THEN e.typname ELSE en.nspname || '.' || e.typname END ELSE '' END,
       format_type(t.oid, NULL)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type e ON e.oid = t.typelem LEFT JOIN pg_namespace en ON en.oid = e.typnamespace
WHERE t.oid = ANY (%s)
"""
# A key of a parent table says nothing of the rows of tables that inherit from it; partitions are bound by it.
_KEY = """
SELECT a.attname, format_type(a.atttypid, NULL)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
JOIN unnest(i.indkey) WITH ORDINALITY k(number, position) ON true
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = to_regclass(%(table)s) AND i.indisprimary AND i.indisvalid
  AND (c.relkind = 'p' OR NOT EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhparent = c.oid))
ORDER BY k.position
"""


@dataclass(frozen=True)
class Estimate:
    """What the planner expects.

    Args:
        rows: Rows of the result.
        width: Bytes a row.
    """

    rows: int
    width: int


def tables(connection: psycopg.Connection[Any]) -> list[str]:
    """Every table and view this user may read, as `schema.table`, sorted; partitions only by their parent."""
    return sorted(f"{_part(schema)}.{_part(name)}" for schema, name in connection.execute(_TABLES).fetchall())


def _part(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "." in name or '"' in name or name != name.strip() else name


def schema_of(connection: psycopg.Connection[Any]) -> str:
    """The schema that a bare table name means first."""
    row = connection.execute("SELECT current_schema()").fetchone()
    return str(row[0]) if row and row[0] else "public"


def columns(connection: psycopg.Connection[Any], server: Server, sql: str, table: str, *, is_query: bool) -> list[Column]:
    """Describe a statement's output without running it.

    Args:
        connection: Any.
        server: For messages.
        sql: The statement; only prepared, never executed.
        table: What it reads, for messages.
        is_query: It is the user's query, not a table.

    Raises:
        PlanError: The table or a column is missing, or the output has a name twice.
    """
    import psycopg

    with server.doing(f"describing {table!r}"):
        try:
            pgconn = connection.pgconn
            prepared = pgconn.prepare(b"", sql.encode())
            if prepared.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(prepared)
            described = pgconn.describe_prepared(b"")
            if described.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(described)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as missing:
            wanted = _quoted_name(missing) or table
            raise PlanError(
                f"expected a table {wanted!r} at {server.display}, got none{nearest(wanted, tables(connection))}", code="table-missing"
            ) from None
        fields = [(described.fname(i) or b"", described.ftype(i), described.fmod(i)) for i in range(described.nfields)]
        types = {oid: rest for oid, *rest in connection.execute(_TYPES, [[oid for _, oid, _ in fields]]).fetchall()}
    found = [Column(name.decode(), types[oid][0], modifier, types[oid][1], types[oid][2]) for name, oid, modifier in fields]
    names = [column.name for column in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PlanError(f"the output of {table!r} has the column {', '.join(map(repr, twice))} more than once: name each once (AS)")
    unnamed = "?column?" in names
    if unnamed and is_query:
        raise PlanError(f"the output of {table!r} has a column without a name: give it one (AS)")
    return found


def _quoted_name(error: Exception) -> str:
    """The table that the server misses: of a query's several, only it knows which."""
    text = getattr(getattr(error, "diag", None), "message_primary", "") or ""
    parts = text.split('"')
    return parts[1] if len(parts) > 2 else ""


def key_of(connection: psycopg.Connection[Any], table: str) -> list[tuple[str, str]]:
    """The primary key of a table: its columns with their types, in order; empty when there is none."""
    return [(str(name), str(kind)) for name, kind in connection.execute(_KEY, {"table": quote_table(table, "postgresql")}).fetchall()]


def estimate(connection: psycopg.Connection[Any], sql: str) -> Estimate:
    """Ask the planner, which reads no rows."""
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {sql}".encode(), prepare=False).fetchone()
    plan: Any = row[0] if row else None
    top = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return Estimate(int(top["Plan Rows"]), int(top["Plan Width"]))
