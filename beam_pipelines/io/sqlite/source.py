"""Reads tables and queries of a SQLite file, whole or by a cursor."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.size import gather
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, Described, Fixed, SourceTraits
from beam_pipelines.io.sql.source import SqlSource, chunks, cuts, missing_columns, to_batch, within
from beam_pipelines.io.sqlite import catalog
from beam_pipelines.io.sqlite.ceiling import Bounded, Bounds, bound, exactly
from beam_pipelines.io.sqlite.connect import BUSY_SECONDS, File, identifier
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from beam_pipelines.spec.source import DatabaseSource

__all__ = ["SqliteSource"]


class SqliteSource(SqlSource):
    """A SQLite file.

    Each range is read in one read transaction of its own. Columns have the types they are declared with; SQLite enforces none, so a value
    of another kind comes as text and fails, alone, in the cast of its row. A column declared as a moment but filled with numbers, and one
    declared as nothing, has the type of what the first 1,000 rows hold.

    Args:
        model: The source of the definition.
        connection: Where the file is.
        busy_seconds: How long a lock is waited for.
    """

    def __init__(self, model: DatabaseSource, connection: Connection, *, busy_seconds: float = BUSY_SECONDS) -> None:
        super().__init__(model, connection, "sqlite")
        path = connection.path
        if path is None:
            raise PlanError(f"connection {connection.name!r} is not a SQLite file: {connection.display}", code="connection-invalid")
        self.file = File.of(path, busy_seconds)
        self.traits = SourceTraits("sqlite", safe_ceiling=self.file.writable, assumptions=self._assumptions())

    def _assumptions(self) -> tuple[str, ...]:
        if self.cursor is None:
            return ()
        column = self.cursor.column
        found = [f"moments in {column} are UTC"]
        if self.cursor.stamped_by == "database":
            found.append(f"{column} is set anew by the database (CURRENT_TIMESTAMP, or a number never used before) whenever a row changes")
        if not self.file.writable:
            found.append(
                f"{self.file.path.name} is read-only here: rows that were being written are not waited for, so overlap and keys are needed"
            )
        return tuple(found)

    def table_names(self) -> list[str]:
        with self.file.open() as connection:
            return catalog.tables(connection)

    def describe(self, table: str) -> Described:
        with self.file.open() as connection:
            columns = catalog.columns(connection, self.relation, table)
            schema = catalog.schema(connection, self.relation, table, columns)
            key = catalog.primary_key(connection, self.relation, table)
            spread = catalog.spread(connection, self.relation, table, columns)
        return Described(schema, self.output_key(key, schema.names), spread.rows if spread else None)

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:
        with self.file.open() as connection:
            columns = catalog.columns(connection, self.relation, table)
            schema = catalog.schema(connection, self.relation, table, columns)
            spread = catalog.spread(connection, self.relation, table, columns) if low is None else None
        bounded: Bounded | None = None
        if cursor is not None:
            name = self.cursor_column(cursor, schema.names, table)
            declared = next(column.declared for column in columns if column.name == name)
            bounded = bound(self.file, self.relation, table, cursor, schema.field(name), declared, low, inclusive)
        parted = cuts(spread.sql, spread.low, spread.high, parts) if spread else [{}]
        rows = spread.rows // len(parted) if spread else 0
        shared = {"cursor": bounded.bounds.to_json()} if bounded else {}
        ranges = tuple(Range("", table, index, {**shared, **cut}, rows) for index, cut in enumerate(parted))
        if bounded is None:
            return Fixed(None, False, ranges, by="no cursor: everything is read")
        return Fixed(bounded.ceiling, bounded.inclusive, ranges, by=bounded.by)

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch]:
        schema = origin.visible_schema(window.schema())
        bounds = Bounds(**part.bounds["cursor"]) if cursor is not None else None
        if bounds is not None and bounds.empty:
            return
        batches = self._batches(part.table, schema, where=within(part.bounds), **(bounds.arguments() if bounds else {}))
        if bounds is not None and bounds.exact:
            batches = exactly(batches, schema.field(bounds.column), bounds, window)
        yield from self.with_origin(gather(batches), part, window)

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        with self.file.open() as connection:
            schema = catalog.schema(connection, self.relation, table, catalog.columns(connection, self.relation, table))
        for batch in gather(self._batches(table, schema, limit=limit)):
            return origin.attach(batch, table, first_row=0)
        return origin.attach(pa.RecordBatch.from_pylist([], schema), table, first_row=0)

    def check(self) -> str:
        names = self.table_names()
        return f"SQLite {sqlite3.sqlite_version}, {self.file.path}, {len(names)} {'table' if len(names) == 1 else 'tables'}"

    def _batches(self, table: str, schema: pa.Schema, **window: Any) -> Iterator[pa.RecordBatch]:
        """Rows of one statement, in one read transaction."""
        sql, _ = self.relation.select(table, [f"={identifier(name)}" for name in schema.names], **window)
        with self.file.open() as connection:
            connection.execute("BEGIN")
            gone = missing_columns(schema.names, [column.name for column in self._columns_now(connection, table)], table)
            if gone:
                raise gone
            for rows in _rows(connection, sql):
                yield to_batch(rows, schema)

    def _columns_now(self, connection: sqlite3.Connection, table: str) -> Sequence[catalog.Column]:
        try:
            return catalog.columns(connection, self.relation, table)
        except PlanError as bad:
            raise FatalError(f"the source changed since the run was prepared: {bad.message}", code="schema-changed") from bad


def _rows(connection: sqlite3.Connection, sql: str) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in chunks. Text that is not UTF-8, which SQLite stores and the driver gives up at, comes as bytes, so that it fails alone."""
    given = 0
    try:
        for rows in chunks(connection.execute(sql).fetchmany):
            yield rows
            given += len(rows)
        return
    except sqlite3.OperationalError as bad:
        if "decode to UTF-8" not in str(bad):
            raise
    connection.text_factory = _decoded
    again = connection.execute(sql)  # the same transaction, so the same rows in the same order
    for _ in islice(again, given):
        pass
    yield from chunks(again.fetchmany)


def _decoded(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
