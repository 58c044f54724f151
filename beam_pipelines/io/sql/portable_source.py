"""Reads any database that SQLAlchemy speaks to, by rows: slower than the sources of their own, the same in meaning."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.size import gather
from beam_pipelines.columnar.types import from_sqlalchemy
from beam_pipelines.errors import BeamPipelinesError, FatalError, PlanError, SpecError, TransientError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, Described, Fixed, SourceTraits
from beam_pipelines.io.sql.literal import split_table
from beam_pipelines.io.sql.relation import decide_kind, nearest
from beam_pipelines.io.sql.source import SqlSource, chunks, cuts, increment, missing_columns, to_batch, within
from beam_pipelines.io.sql.stamps import Clock, ceiling, epoch_ceiling, epoch_low, sequence_ceiling
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from beam_pipelines.spec.source import DatabaseSource

__all__ = ["PortableSource", "engine_of"]

_PEEKED = 1000  # rows whose values tell the types of a query's expressions, which no catalog knows
_SCALE = 9  # digits after the point of decimals whose scale nobody declares
_DENIED = re.compile(r"authentication|access denied|password|login failed|logon denied", re.IGNORECASE)


class PortableSource(SqlSource):
    """A database by its SQLAlchemy dialect.

    Nothing is known of how its transactions commit, so an increment is safe by overlap and keys only: the clock is a ceiling that keeps
    rows stamped in the future from hiding those that come before them.

    Args:
        model: The source of the definition.
        connection: Where the database is.
    """

    def __init__(self, model: DatabaseSource, connection: Connection) -> None:
        self._engine = engine_of(connection)
        self._planned: dict[str, pa.Schema] = {}  # asked once: of a query it takes running the query
        super().__init__(model, connection, self._engine.dialect.name)
        if self.cursor is not None and self.relation.query is None:
            self.relation = replace(self.relation, cursor=replace(self.cursor, column=self._stored(self.cursor.column)))
        note = "commits of this database are not waited for: a row committed later than the overlap is not seen"
        self.traits = SourceTraits(self._engine.dialect.name, assumptions=(note,) if self.cursor else ())

    def close(self) -> None:
        self._engine.dispose()

    def table_names(self) -> list[str]:
        with self._connected() as connection:
            return _tables(sa.inspect(connection), self._schemas(connection))

    def describe(self, table: str) -> Described:
        with self._connected() as connection:
            schema = self._schema(connection, table)
            key = self._key(connection, table)
        return Described(schema, self.output_key(key, schema.names))

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:  # noqa: ARG002
        mark, at_mark, by = None, False, "no cursor: everything is read"
        bounds: dict[str, Any] = {}
        with self._connected() as connection:
            schema = self._schema(connection, table)
            if cursor is not None:
                column = schema.field(self.cursor_column(cursor, schema.names, table))
                mark, at_mark, by, bounds = self._bound(connection, table, cursor, column, low)
            parted = self._cuts(connection, table, schema, parts) if low is None and parts > 1 else [{}]
        ranges = tuple(Range("", table, index, {**bounds, **cut}) for index, cut in enumerate(parted))
        return Fixed(mark, at_mark, ranges, by=by)

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch]:
        if part.bounds.get("empty"):
            return
        schema = origin.visible_schema(window.schema())
        bounds = increment(part, window) if cursor is not None else {}
        batches = self._batches(part.table, schema, f"reading range {part.index} of {part.table!r}", where=within(part.bounds), **bounds)
        yield from self.with_origin(gather(batches), part, window)

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        with self._connected() as connection:
            schema = self._schema(connection, table)
        for batch in gather(self._batches(table, schema, f"sampling {table!r}", limit=limit)):
            return origin.attach(batch, table, first_row=0)
        return origin.attach(pa.RecordBatch.from_pylist([], schema), table, first_row=0)

    def check(self) -> str:
        with self._connected() as connection:
            names = _tables(sa.inspect(connection), [None])
            version = ".".join(map(str, connection.dialect.server_version_info or ()))
        dialect = self._engine.dialect.name
        return f"{dialect} {version}, {self.connection.display}, {len(names)} {'table' if len(names) == 1 else 'tables'}"

    def _stored(self, name: str) -> str:
        """A reflected name as the catalog stores it: where plain names are kept in capitals, SQLAlchemy shows them in small letters."""
        dialect = self._engine.dialect
        return str(dialect.denormalize_name(name)) if dialect.requires_name_normalize else name

    def _stored_table(self, table: str) -> str:
        return ".".join('"' + self._stored(part).replace('"', '""') + '"' for part in split_table(table))

    @contextmanager
    def _connected(self, what: str = "connecting") -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except exc.SQLAlchemyError as bad:
            raise self._translate(bad, what) from None  # a driver's text may quote a row or a password

    def _translate(self, error: exc.SQLAlchemyError, what: str) -> BeamPipelinesError:
        where = self.connection.display
        cause = getattr(error, "orig", None) or error
        line = self.connection.redact(str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__)
        if isinstance(error, (exc.DataError, exc.IntegrityError)):
            return FatalError(f"{where}: {what} failed on a value ({type(cause).__name__})", code="read-failed")
        if isinstance(error, (exc.OperationalError, exc.InterfaceError)):
            if _DENIED.search(line):
                return FatalError(f"{where} refuses this user: {line}", code="authentication-failed")
            return TransientError(f"{where}: {what} failed: {line}", code="unreachable")
        return FatalError(f"{where}: {what} failed: {line}", code="read-failed")

    def _schemas(self, connection: sa.Connection) -> list[str | None]:
        """The default schema, and those that patterns may mean."""
        inspector = sa.inspect(connection)
        default = inspector.default_schema_name
        return [None, *(name for name in inspector.get_schema_names() if name not in (default, "information_schema"))]

    def _columns(self, connection: sa.Connection, table: str) -> dict[str, Any]:
        """SQLAlchemy types of a table's columns.

        Raises:
            PlanError: No such table; names the nearest.
        """
        *place, name = split_table(table)
        inspector = sa.inspect(connection)
        try:
            found = inspector.get_columns(name, place[-1] if place else None)
        except exc.NoSuchTableError:
            found = []
        if not found:
            known = _tables(inspector, [place[-1]] if place else [None])
            raise PlanError(f"expected a table {table!r}, got none{nearest(table, known)}", code="table-missing")
        return {str(column["name"]): column["type"] for column in found}

    def _schema(self, connection: sa.Connection, table: str) -> pa.Schema:
        if table not in self._planned:
            if self.relation.query is None:
                fields = [(name, from_sqlalchemy(kind, name)) for name, kind in self._columns(connection, table).items()]
                self._planned[table] = pa.schema(fields)
            else:
                self._planned[table] = self._query_schema(connection, table)
        return self._planned[table]

    def _query_schema(self, connection: sa.Connection, table: str) -> pa.Schema:
        """Columns of the base table as the catalog has them; others as the first rows show."""
        sql, params = self.relation.select(table, limit=_PEEKED, paramstyle="named")
        try:
            result = connection.execute(sa.text(sql), _named(params))
        except exc.ProgrammingError as bad:
            cause = self.connection.redact(str(bad.orig).strip().splitlines()[0])
            raise PlanError(f"{self._engine.dialect.name} does not take the query: {cause}") from None
        names, rows = list(result.keys()), result.fetchall()
        known: dict[str, pa.DataType] = {}
        base = self.relation.base(table)
        if base is not None:
            for column, kind in self._columns(connection, base).items():
                output = self.relation.output_name(column)
                if output is not None:
                    known[output.lower()] = from_sqlalchemy(kind, column)
        values = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        return pa.schema([(name, known.get(name.lower()) or _seen(each)) for name, each in zip(names, values, strict=True)])

    def _key(self, connection: sa.Connection, table: str) -> tuple[str, ...]:
        base = self.relation.base(table)
        if base is None:
            return ()
        *place, name = split_table(base)
        try:
            return tuple(sa.inspect(connection).get_pk_constraint(name, place[-1] if place else None)["constrained_columns"])
        except (exc.NoSuchTableError, NotImplementedError):
            return ()

    def _bound(
        self, connection: sa.Connection, table: str, cursor: CursorSpec, column: pa.Field, low: Mark | None
    ) -> tuple[Mark | None, bool, str, dict[str, Any]]:
        epoch = pa.types.is_integer(column.type) and cursor.kind == "timestamp"
        cursor = decide_kind(cursor, column.type)
        start = low.to_json() if low else None
        note = "; transactions that were writing are not waited for"
        if cursor.kind != "sequence" and not epoch:
            mark, inclusive = ceiling(cursor, column, _clock(connection))
            return mark, inclusive, f"the clock{note}", {"low": start}
        name = self._quoted(self._stored(column.name))
        stored, params = self.relation.select(self._table(table), [f"={name} AS stamp"], paramstyle="named")
        greatest = connection.execute(sa.text(f"SELECT max(stamp) FROM ({stored}) bp_stored"), _named(params)).scalar()
        if greatest is None:
            return None, True, "nothing was there", {"empty": True}
        if cursor.kind == "sequence":
            return sequence_ceiling(column, greatest), True, f"the greatest value{note}", {"low": start}
        mark, unit, unit_name = epoch_ceiling(int(greatest), _clock(connection).instant)
        moved = epoch_low(low, cursor.overlap, unit)
        return mark, False, f"the clock in {unit_name} since 1970{note}", {"low": moved.to_json() if moved else None}

    def _cuts(self, connection: sa.Connection, table: str, schema: pa.Schema, parts: int) -> list[dict[str, Any]]:
        """Bounds of equal parts by an integer primary key."""
        key = self._key(connection, table)
        output = self.output_key(key, schema.names)
        if len(output) != 1 or not pa.types.is_integer(schema.field(output[0]).type):
            return [{}]
        base = self._stored_table(str(self.relation.base(table)))
        name, source = self._quoted(self._stored(key[0])), ".".join(map(self._quoted, split_table(base)))
        low, high = connection.execute(sa.text(f"SELECT min({name}), max({name}) FROM {source}")).one()
        return cuts(self._quoted(self._stored(output[0])), int(low), int(high), parts) if low is not None else [{}]

    def _quoted(self, name: str) -> str:
        return self.relation.quote(name)

    def _table(self, table: str) -> str:
        return table if self.relation.query is not None else self._stored_table(table)

    def _batches(self, table: str, schema: pa.Schema, what: str, **window: Any) -> Iterator[pa.RecordBatch]:
        with self._connected(what) as connection:
            columns = [f"={self._quoted(self._stored(name))}" for name in schema.names]
            sql, params = self.relation.select(self._table(table), columns, paramstyle="named", **window)
            streaming = connection.execution_options(stream_results=True, max_row_buffer=4096)
            try:
                result = streaming.execute(sa.text(sql), _named(params))
            except exc.DBAPIError:
                connection.rollback()
                self._refuse_gone(connection, table, schema)
                raise
            try:
                for rows in chunks(result.fetchmany):
                    yield to_batch(rows, schema)
            finally:
                result.close()

    def _refuse_gone(self, connection: sa.Connection, table: str, schema: pa.Schema) -> None:
        """Say so, if what a statement failed on is a table or column that is gone."""
        try:
            now = self._columns(connection, table) if self.relation.query is None else self._query_schema(connection, table).names
        except PlanError as bad:
            raise FatalError(f"the source changed since the run was prepared: {bad.message}", code="schema-changed") from bad
        gone = missing_columns(schema.names, list(now), table)
        if gone:
            raise gone


def engine_of(connection: Connection) -> sa.Engine:
    """An engine without a pool: a connection is opened when it is used, and closed after.

    Raises:
        PlanError: No dialect of this name is installed.
        SpecError: Its driver is not installed, or the URL cannot be understood.
    """
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", connection.url)
    try:
        return sa.create_engine(url, poolclass=sa.NullPool)
    except exc.NoSuchModuleError as bad:
        raise PlanError(
            f"connection {connection.name!r}: no SQLAlchemy dialect {connection.system!r} is installed: {connection.display}",
            code="not-served",
        ) from bad
    except ModuleNotFoundError as bad:
        raise SpecError(
            f"connection {connection.name!r} needs the driver {bad.name!r}, which is not installed: pip install {bad.name}",
            code="extra-missing",
        ) from bad
    except (exc.ArgumentError, ValueError):
        raise SpecError(
            f"connection {connection.name!r}: not a URL of SQLAlchemy: {connection.display}", code="connection-invalid"
        ) from None


def _named(params: Sequence[Any]) -> dict[str, Any]:
    return {f"p{number}": value for number, value in enumerate(params, 1)}


def _tables(inspector: sa.Inspector, schemas: Sequence[str | None]) -> list[str]:
    """Names of tables and views, those outside of the default schema with their schema."""
    found: set[str] = set()
    for schema in schemas:
        names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        found.update(names if schema is None else (f"{schema}.{name}" for name in names))
    return sorted(found)


def _clock(connection: sa.Connection) -> Clock:
    value = connection.execute(sa.select(sa.func.current_timestamp())).scalar_one()
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    if value.tzinfo is None:
        return Clock(dt.datetime.now(dt.timezone.utc), value)
    return Clock(value.astimezone(dt.timezone.utc), value.replace(tzinfo=None))


def _seen(values: Sequence[Any]) -> pa.DataType:
    """The type of a column by the values of its first rows; text where they have none, or several."""
    try:
        kind = pa.array([bytes(value) if isinstance(value, memoryview) else value for value in values]).type
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.string()
    if pa.types.is_null(kind):
        return pa.string()
    return pa.decimal128(38, max(_SCALE, kind.scale)) if pa.types.is_decimal(kind) else kind
