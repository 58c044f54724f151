"""Reads tables and queries of a DuckDB file as Arrow, whole or by a cursor."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.size import MAX_ROWS, gather
from beam_pipelines.columnar.types import from_duckdb
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, Described, Fixed, SourceTraits
from beam_pipelines.io.duckdb.reader import LOCK_SECONDS, Reader, opened, translate
from beam_pipelines.io.sql.literal import split_table
from beam_pipelines.io.sql.relation import decide_kind, nearest
from beam_pipelines.io.sql.source import SqlSource, cuts, increment, missing_columns, within
from beam_pipelines.io.sql.stamps import Clock, ceiling, epoch_ceiling, epoch_low, sequence_ceiling
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from beam_pipelines.spec.source import DatabaseSource

__all__ = ["DuckDbSource"]

# Types that Arrow lacks, or gets from DuckDB without their zone or as opaque bytes: they are read as text.
_AS_TEXT = re.compile(r"^(TIME WITH TIME ZONE|TIMETZ|BIT|BIGNUM|VARINT|UNION\(.*|GEOMETRY.*|VARIANT)$", re.DOTALL)
_INTEGERS = re.compile(r"^U?(TINY|SMALL|BIG)?INT(EGER)?$")


@dataclass(frozen=True)
class _Column:
    name: str
    declared: str

    @property
    def as_text(self) -> bool:
        return bool(_AS_TEXT.match(self.declared))


@dataclass(frozen=True)
class _Bounded:
    ceiling: Mark | None = None
    inclusive: bool = False
    by: str = ""
    bounds: dict[str, Any] = field(default_factory=dict)


class DuckDbSource(SqlSource):
    """A DuckDB file.

    While it is open here, no other process can write to it: what is there is committed, and what is stamped later is stamped after the
    ceiling. Within one process DuckDB shares the file; then transactions may be open that nobody can see, and an increment needs an
    overlap.

    Args:
        model: The source of the definition.
        connection: Where the file is.
        lock_seconds: How long another process is waited for.
    """

    def __init__(self, model: DatabaseSource, connection: Connection, *, lock_seconds: float = LOCK_SECONDS) -> None:
        super().__init__(model, connection, "duckdb")
        path = connection.path
        if path is None:
            raise PlanError(f"connection {connection.name!r} is not a DuckDB file: {connection.display}", code="connection-invalid")
        self.path = path
        self._lock_seconds = lock_seconds
        self.traits = SourceTraits("duckdb", safe_ceiling=True, assumptions=self._assumptions())

    def _assumptions(self) -> tuple[str, ...]:
        if self.cursor is None or self.cursor.stamped_by != "database":
            return ()
        column = self.cursor.column
        return (
            f"{column} is set anew by the database (current_timestamp, nextval) whenever a row changes",
            f"moments in {column}, if it has no time zone, are in the zone of this machine, and its clock is not set back (summer time)",
        )

    def table_names(self) -> list[str]:
        with self._open() as reader:
            return _tables(reader.connection)

    def describe(self, table: str) -> Described:
        with self._open() as reader:
            columns = self._columns(reader.connection, table)
            schema = _schema(columns)
            key, rows = self._base(reader.connection, table)
        return Described(schema, self.output_key(key, schema.names), rows)

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:  # noqa: ARG002
        with self._open() as reader:
            columns = self._columns(reader.connection, table)
            schema = _schema(columns)
            bounded = _Bounded(by="no cursor: everything is read")
            if cursor is not None:
                column = schema.field(self.cursor_column(cursor, schema.names, table))
                bounded = self._bound(reader, table, cursor, column, low)
            key, rows = self._base(reader.connection, table)
            cuts = self._cuts(reader.connection, table, columns, key, parts) if low is None else [{}]
        expected = (rows or 0) // len(cuts) if low is None else 0
        ranges = tuple(Range("", table, index, {**bounded.bounds, **cut}, expected) for index, cut in enumerate(cuts))
        return Fixed(bounded.ceiling, bounded.inclusive, ranges, by=bounded.by)

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch]:
        if part.bounds.get("empty"):
            return
        schema = origin.visible_schema(window.schema())
        bounds = increment(part, window) if cursor is not None else {}
        batches = self._batches(part.table, schema.names, where=within(part.bounds), **bounds)
        yield from self.with_origin(gather(batches), part, window)

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        with self._open() as reader:
            schema = _schema(self._columns(reader.connection, table))
        for batch in gather(self._batches(table, schema.names, limit=limit)):
            return origin.attach(batch, table, first_row=0)
        return origin.attach(pa.RecordBatch.from_pylist([], schema), table, first_row=0)

    def check(self) -> str:
        with self._open() as reader:
            names = _tables(reader.connection)
        return f"DuckDB {duckdb.__version__}, {self.path}, {len(names)} {'table' if len(names) == 1 else 'tables'}"

    def _open(self) -> AbstractContextManager[Reader]:
        return opened(self.path, self._lock_seconds)

    def _bound(self, reader: Reader, table: str, cursor: CursorSpec, column: pa.Field, low: Mark | None) -> _Bounded:
        epoch = pa.types.is_integer(column.type) and cursor.kind == "timestamp"
        cursor = decide_kind(cursor, column.type)
        by = "the clock while no other process could write"
        if reader.shared and cursor.stamped_by == "database" and cursor.kind != "date":
            if not cursor.overlap:
                raise PlanError(
                    f"{self.path.name} is open in this process, where rows that are being written cannot be waited for:"
                    " close that connection, or give cursor.overlap (and keys)",
                    code="guarantee-unreachable",
                )
            by = "the clock; this process has the file open, so rows it was writing are not waited for"
        low_json = low.to_json() if low else None
        if cursor.kind == "sequence" or epoch:
            greatest = self._greatest(reader.connection, table, column.name)
            if greatest is None:
                return _Bounded(None, True, "nothing was there", {"empty": True})
            if cursor.kind == "sequence":
                return _Bounded(sequence_ceiling(column, greatest), True, by.replace("the clock", "the greatest value"), {"low": low_json})
            mark, unit, name = epoch_ceiling(greatest, _clock(reader.connection).instant)
            start = epoch_low(low, cursor.overlap, unit)
            return _Bounded(mark, False, f"{by}, in {name} since 1970", {"low": start.to_json() if start else None})
        mark, inclusive = ceiling(cursor, column, _clock(reader.connection))
        return _Bounded(mark, inclusive, by, {"low": low_json})

    def _greatest(self, connection: duckdb.DuckDBPyConnection, table: str, column: str) -> Any:
        stored, _ = self.relation.select(table, [column])
        return _one(connection, f"SELECT max({self.relation.quote(column)}) FROM ({stored})")[0]

    def _columns(self, connection: duckdb.DuckDBPyConnection, table: str) -> list[_Column]:
        """Columns of the table or query, by planning it.

        Raises:
            PlanError: It cannot be planned: no such table or column, or no SQL of DuckDB.
        """
        try:
            planned = connection.sql(self.relation.select(table, limit=0)[0])
        except duckdb.CatalogException as bad:
            found = re.search(r"Table with name (.+?) does not exist", str(bad))
            name = found[1] if found and self.relation.query is not None else table
            raise PlanError(f"expected a table {name!r}, got none{nearest(name, _tables(connection))}", code="table-missing") from bad
        except duckdb.BinderException as bad:
            found = re.search(r'Referenced column "(.+?)" not found', str(bad))
            if found is None:
                raise PlanError(f"DuckDB does not take the query: {str(bad).splitlines()[0]}") from bad
            known = self._known(connection, table)
            raise PlanError(
                f"expected a column {found[1]!r} in {table!r}, got none{nearest(found[1], known)}", code="column-missing"
            ) from bad
        except duckdb.ParserException as bad:
            raise PlanError(f"DuckDB does not take the query: {str(bad).splitlines()[0]}") from bad
        return [_Column(name, str(kind)) for name, kind in zip(planned.columns, planned.types, strict=True)]

    def _known(self, connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
        """Columns that a misspelt one may have meant."""
        base = self.relation.base(table)
        if base is None:
            return []
        try:
            return list(connection.sql(f"SELECT * FROM {base} LIMIT 0").columns)
        except duckdb.Error:
            return []

    def _base(self, connection: duckdb.DuckDBPyConnection, table: str) -> tuple[tuple[str, ...], int | None]:
        """Primary key and estimated rows of the table that rows come from, where it is one."""
        base = self.relation.base(table)
        if base is None:
            return (), None
        *place, name = split_table(base)
        where = "lower(table_name) = lower(?) AND lower(schema_name) = lower(?) AND database_name = current_database()"
        named = [name, place[-1] if place else "main"]
        keys = connection.execute(
            f"SELECT constraint_column_names FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY' AND {where}", named
        ).fetchone()
        rows = connection.execute(f"SELECT estimated_size FROM duckdb_tables() WHERE {where}", named).fetchone()
        return tuple(keys[0]) if keys else (), int(rows[0]) if rows and self.relation.query is None else None

    def _cuts(
        self, connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[_Column], key: Sequence[str], parts: int
    ) -> list[dict[str, Any]]:
        """Bounds of equal parts by an integer primary key; row ids are no key: a checkpoint may move rows."""
        output = self.output_key(key, [column.name for column in columns])
        declared = {column.name: column.declared for column in columns}
        if parts < 2 or len(output) != 1 or not _INTEGERS.match(declared[output[0]]):
            return [{}]
        base = self.relation.base(table)
        inner = self.relation.quote(key[0])
        low, high = _one(connection, f"SELECT min({inner}), max({inner}) FROM {base}")
        return cuts(self.relation.quote(output[0]), low, high, parts) if low is not None else [{}]

    def _batches(self, table: str, names: Sequence[str], **window: Any) -> Iterator[pa.RecordBatch]:
        with self._open() as reader:
            try:
                columns = {column.name.lower(): column for column in self._columns(reader.connection, table)}
            except PlanError as bad:
                raise FatalError(f"the source changed since the run was prepared: {bad.message}", code="schema-changed") from bad
            gone = missing_columns(names, list(columns), table)
            if gone:
                raise gone
            sql, _ = self.relation.select(table, [self._selected(name, columns[name.lower()]) for name in names], **window)
            try:
                yield from map(_plain, reader.connection.sql(sql).to_arrow_reader(MAX_ROWS))
            except (pa.ArrowException, OSError) as bad:  # how the stream reports what DuckDB raised in the middle
                raise translate(bad, self.path) from None

    def _selected(self, name: str, column: _Column) -> str:
        quoted = self.relation.quote(name)
        return f"=CAST({quoted} AS VARCHAR) AS {quoted}" if column.as_text else name


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of tables and views, those outside of the schema `main` with their schema."""
    rows = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database() ORDER BY 1, 2"
    ).fetchall()
    return sorted(str(name) if schema == "main" else f"{schema}.{name}" for schema, name in rows)


def _schema(columns: Sequence[_Column]) -> pa.Schema:
    return pa.schema([(column.name, pa.string() if column.as_text else from_duckdb(column.declared, column.name)) for column in columns])


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None, sql
    return tuple(row)


def _clock(connection: duckdb.DuckDBPyConnection) -> Clock:
    instant, local = _one(connection, "SELECT epoch_us(now()), epoch_us(current_localtimestamp())")
    epoch = dt.datetime(1970, 1, 1)
    return Clock(
        (epoch + dt.timedelta(microseconds=instant)).replace(tzinfo=dt.timezone.utc),
        epoch + dt.timedelta(microseconds=local),
    )


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Enums as text; columns with infinite dates or moments, which Arrow takes for the year 294247, as text that fails in the cast."""
    columns = [_finite(column.dictionary_decode() if pa.types.is_dictionary(column.type) else column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _finite(column: pa.Array) -> pa.Array:
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date32(kind)) or column.null_count == len(column):
        return column
    stored = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    greatest = 2 ** (stored.bit_width - 1) - 1
    numbers = column.view(stored)
    extent = pc.min_max(numbers)
    if extent["min"].as_py() != -greatest and extent["max"].as_py() != greatest:
        return column
    infinite = pc.equal(pc.abs(numbers), greatest)
    text = pc.if_else(infinite, pa.scalar(None, kind), column).cast(pa.string())
    return pc.if_else(infinite, "infinity", text)
