"""What a SQLite file says of its tables and of a query's columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.types import from_sqlite
from beam_pipelines.errors import PlanError
from beam_pipelines.io.sql.literal import split_table
from beam_pipelines.io.sql.relation import Relation, nearest
from beam_pipelines.io.sqlite.connect import identifier

__all__ = ["Column", "Spread", "columns", "primary_key", "schema", "spread", "tables"]

_OPEN = ("", "NUM", "ANY")  # what SQLite itself says of expressions, by its version, and of columns that may hold anything
_PEEKED = 1000  # rows looked at where the declaration leaves the type open


@dataclass(frozen=True)
class Column:
    """A column as declared.

    Args:
        name: As the database spells it.
        declared: Type as declared, empty when it is not.
        key: Position in the primary key from 1; 0: not in it.
    """

    name: str
    declared: str
    key: int = 0


@dataclass(frozen=True)
class Spread:
    """The integers that number the rows of a table.

    Args:
        sql: The column that holds them.
        low: Least.
        high: Greatest.
    """

    sql: str
    low: int
    high: int

    @property
    def rows(self) -> int:
        """Rows at most; as many, where none was deleted."""
        return self.high - self.low + 1


def tables(connection: sqlite3.Connection) -> list[str]:
    """Names of tables and views, sorted, without SQLite's own."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'")
    return sorted(str(name) for (name,) in rows)


def columns(connection: sqlite3.Connection, relation: Relation, table: str) -> list[Column]:
    """The columns of a table, or of the relation's query, hidden ones left out.

    Raises:
        PlanError: No such table; names the nearest.
    """
    if relation.query is None:
        return _declared(connection, table)
    # A view's columns keep the types that the tables declare; the driver does not tell those of a statement.
    view = "bp_described"
    try:
        connection.execute(f"CREATE TEMP VIEW {view} AS {relation.select(table)[0]}")
        found = [Column(str(row[1]), str(row[2] or "")) for row in connection.execute(f"PRAGMA temp.table_xinfo({view})")]
    except sqlite3.OperationalError as bad:
        raise _refused(bad, connection) from bad
    connection.execute(f"DROP VIEW temp.{view}")
    return found


def primary_key(connection: sqlite3.Connection, relation: Relation, table: str) -> tuple[str, ...]:
    """The primary key of the table whose rows are read; empty when there is none, or rows of several are joined."""
    base = relation.base(table)
    if base is None:
        return ()
    try:
        found = _declared(connection, base)
    except PlanError:
        return ()
    return tuple(column.name for column in sorted((column for column in found if column.key), key=lambda column: column.key))


def _declared(connection: sqlite3.Connection, table: str) -> list[Column]:
    *place, name = split_table(table)
    rows = connection.execute(
        "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?, ?)", (name, place[-1] if place else None)
    ).fetchall()
    if not rows:
        raise PlanError(f"expected a table {table!r}, got none{nearest(table, tables(connection))}", code="table-missing")
    return [Column(str(column), str(declared or ""), int(key)) for column, declared, key, hidden in rows if hidden != 1]


def _refused(error: sqlite3.OperationalError, connection: sqlite3.Connection) -> PlanError | sqlite3.OperationalError:
    """Why SQLite does not take a query; errors of the file itself are given back as they are."""
    text = str(error)
    if text.startswith("no such table: "):
        name = text.partition(": ")[2]
        return PlanError(f"the query reads a table {name!r}, which is not there{nearest(name, tables(connection))}", code="table-missing")
    if text.startswith("no such column: "):
        return PlanError(f"the query names a column {text.partition(': ')[2]!r}, which is not there", code="column-missing")
    if any(sign in text for sign in ("locked", "unable to open", "malformed", "disk I/O")):
        return error
    return PlanError(f"SQLite does not take the query: {text}")


def schema(connection: sqlite3.Connection, relation: Relation, table: str, found: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of columns: what they are declared as, and where that is open, what the first rows hold.

    Open are columns declared as nothing (expressions of a query), and those declared as a moment, which SQLite keeps as text or as a
    number.
    """
    types = {column.name: from_sqlite(column.declared) if column.declared.upper() not in _OPEN else None for column in found}
    doubtful = [name for name, kind in types.items() if kind is None or pa.types.is_temporal(kind)]
    if doubtful:
        held = _peek(connection, relation, table, doubtful)
        types.update({name: _decide(types[name], held[name]) for name in doubtful})
    return pa.schema([(column.name, types[column.name]) for column in found])


@dataclass(frozen=True)
class _Held:
    integers: bool = False
    reals: bool = False
    texts: bool = False
    blobs: bool = False
    longest: int = 0


def _peek(connection: sqlite3.Connection, relation: Relation, table: str, names: Sequence[str]) -> dict[str, _Held]:
    # Without the cursor's condition, for a column that is not there must fail where it is looked for, not here.
    source, _ = replace(relation, cursor=relation.cursor if relation.query else None).select(
        table, [f"={identifier(name)}" for name in names], limit=_PEEKED
    )
    parts = []
    for name in names:
        each = identifier(name)
        parts += [f"max(typeof({each}) = '{kind}')" for kind in ("integer", "real", "text", "blob")]
        parts.append(f"max(CASE WHEN typeof({each}) = 'text' THEN length({each}) END)")
    row = connection.execute(f"SELECT {', '.join(parts)} FROM ({source})").fetchone()
    values: list[Any] = [value or 0 for value in row]
    return {name: _Held(*values[at : at + 5]) for at, name in zip(range(0, len(values), 5), names, strict=True)}


def _decide(declared: pa.DataType | None, held: _Held) -> pa.DataType:
    if declared is not None:
        if held.texts or held.blobs or not (held.integers or held.reals):
            return pa.timestamp("us") if pa.types.is_date(declared) and held.longest > len("2026-01-31") else declared
        return pa.float64() if held.reals else pa.int64()
    if held.blobs:
        return pa.binary()
    if held.texts or not (held.integers or held.reals):
        return pa.string()
    return pa.float64() if held.reals else pa.int64()


def spread(connection: sqlite3.Connection, relation: Relation, table: str, found: Sequence[Column]) -> Spread | None:
    """How rows are numbered: by the INTEGER PRIMARY KEY, else the row id; None for views, empty tables and queries without either."""
    base = relation.base(table)
    if base is None:
        return None
    declared = {column.name: column for column in (_declared(connection, base) if relation.query is not None else found)}
    keys = [column for column in declared.values() if column.key]
    sql = "rowid" if relation.query is None and "rowid" not in {name.lower() for name in declared} else ""
    if len(keys) == 1 and keys[0].declared.upper() == "INTEGER":
        name = relation.output_name(keys[0].name)
        sql = identifier(name) if name is not None and name.lower() in {column.name.lower() for column in found} else ""
    if not sql:
        return None
    inner = sql if sql == "rowid" else identifier(keys[0].name)
    quoted = ".".join(identifier(part) for part in split_table(base))
    try:
        low, high = connection.execute(f"SELECT (SELECT min({inner}) FROM {quoted}), (SELECT max({inner}) FROM {quoted})").fetchone()
    except sqlite3.OperationalError as bad:
        if "no such column" in str(bad):  # WITHOUT ROWID
            return None
        raise
    return Spread(sql, low, high) if isinstance(low, int) and isinstance(high, int) else None
