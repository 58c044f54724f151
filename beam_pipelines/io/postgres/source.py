"""Reads tables and queries of PostgreSQL, whole or by a cursor, in ranges and from one snapshot."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.cast import conform
from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.size import gather, split
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io import spares
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, Described, Fixed, SourceTraits
from beam_pipelines.io.postgres import catalog, ranges, snapshot
from beam_pipelines.io.postgres.ceiling import WAIT_SECONDS, Ceiling, CeilingFinder, Clock
from beam_pipelines.io.postgres.columns import ODD, Column, expressions, honest
from beam_pipelines.io.postgres.fetch import by_adbc, by_psycopg
from beam_pipelines.io.postgres.session import Server
from beam_pipelines.io.sql.relation import Relation, decide_kind, match_column
from beam_pipelines.io.sql.source import SqlSource, missing_columns
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.held import MAX_LAG_SECONDS
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    import psycopg

    from beam_pipelines.spec.source import DatabaseSource

__all__ = ["PostgresSource"]

SMALL_ROWS = 20_000  # psycopg reads so many in the time that ADBC takes to be imported and to connect
RANGE_ROWS = 50_000  # fewer rows are read sooner than another connection is opened
_BELOW_ALL = -(2**63) + 1


@dataclass(frozen=True)
class _Read:
    """What is read: the relation with the cursor as the catalog spells it, and the columns."""

    relation: Relation
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(column.name, column.arrow) for column in self.columns])

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def finite(self, low: Mark | None) -> str:
        """The condition that keeps out rows whose cursor is infinite: like those whose cursor is null, they never become new.

        A window that begins somewhere needs none, for its ceiling is finite.
        """
        cursor = self.relation.cursor
        if cursor is None or low is not None:
            return ""
        name, kind = self.relation.quote(cursor.column), self.column(cursor.column).arrow
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return f"{name} >= '0001-01-01' AND {name} < '9999-12-31'"
        if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
            return f"{name} > '-Infinity' AND {name} < 'Infinity'"
        return ""

    def with_cursor(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with its cursor in the planned type: the caller takes the greatest value of it, and text has another order.

        Raises:
            FatalError: A number does not fit it.
        """
        name = self.relation.cursor.column if self.relation.cursor else ""
        planned, position = self.column(name).arrow, batch.schema.get_field_index(name)
        if position < 0 or batch.column(position).type == planned:
            return batch
        values, wrong = convert_column(batch.column(position), planned)
        if wrong is not None:
            raise FatalError(f"a value of the cursor column {name!r} does not fit {planned}: declare its precision", code="read-failed")
        return batch.set_column(position, pa.field(name, planned), values)


class PostgresSource(SqlSource):
    """A PostgreSQL database.

    A small window is read by psycopg, others by ADBC. Rows come in no order. They are told apart by the primary key, where the table has
    one and the output gives it; then a second read needs no order either. Otherwise they are told apart by their position, and the server
    is asked to scan in the same order each time.

    Args:
        model: The source of the definition.
        connection: Where the database is.
        context: The run, for one snapshot over all ranges; None: each range is read from its own.
        wait_seconds: How long a ceiling waits for open transactions, where it must.
        max_lag_seconds: A ceiling further behind the server's clock is told of, where the cursor does not say how far.
        small_rows: Windows of so many rows at most, by the server's estimate, are read by psycopg.
        range_rows: Ranges are made no smaller.
    """

    def __init__(
        self,
        model: DatabaseSource,
        connection: Connection,
        *,
        context: RunContext | None = None,
        wait_seconds: float = WAIT_SECONDS,
        max_lag_seconds: float = MAX_LAG_SECONDS,
        small_rows: int = SMALL_ROWS,
        range_rows: int = RANGE_ROWS,
    ) -> None:
        super().__init__(model, connection, "postgresql")
        self.server = Server(connection.url, connection.display, connection.redact)
        self._context = context
        self._wait_seconds = wait_seconds
        self._max_lag_seconds = max_lag_seconds
        self._small_rows = small_rows
        self._range_rows = range_rows
        self._open: psycopg.Connection[Any] | None = None
        self.traits = SourceTraits("postgresql", safe_ceiling=True, snapshot=True, assumptions=_assumptions(self.cursor, None))

    def table_names(self) -> list[str]:
        with self.server.doing("listing tables"):
            return catalog.tables(self._connection())

    def tables(self) -> list[str]:
        if not self.relation.patterns:
            return super().tables()
        with self.server.doing("listing tables"):
            here = catalog.schema_of(self._connection())
        patterns = tuple(pattern if "." in pattern else f"{here}.{pattern}" for pattern in self.relation.patterns)
        return replace(self.relation, patterns=patterns).matches(self.table_names())

    def describe(self, table: str) -> Described:
        if self.cursor is not None and self._noted_clock() is None:
            with self.server.doing("asking for the time"):
                # Long before the ceiling is fixed: until then it settles.
                spares.note(self._clock_place, Clock.note(self._connection()))
        read = self._look(table, self.cursor)
        with self.server.doing(f"describing {table!r}"):
            expected = catalog.estimate(self._connection(), read.relation.select(table)[0])
            key = self._key(table, read.columns)
        schema = read.schema
        origin.refuse_reserved(schema.names)
        return Described(schema, tuple(name for name, _ in key), expected.rows, expected.rows * expected.width)

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:
        connection = self._connection()
        with self.server.doing(f"preparing the read of {table!r}"):
            # First of all: while the rest is asked, the noted clock settles.
            finder = self._finder(connection, cursor) if cursor is not None else None
            read = self._look(table, cursor)
            whole, _ = read.relation.select(table, low=low, low_inclusive=inclusive, where=read.finite(low))
            rows = catalog.estimate(connection, whole).rows
            cuts = self._cuts(table, read, low, rows, parts)
            ceiling = self._ceiling(finder, table, read) if finder is not None else None
            bounds = self._bounds(cuts, read, rows)
            if ceiling is not None and ceiling.mark is None:
                below = low if low is not None and not inclusive else Mark.of(_BELOW_ALL)
                return Fixed(below, False, (Range("", table, 0, {"empty": True}),), by=ceiling.by)
            token = None
            if len(bounds) > 1 and self._context is not None and self._context.local:
                token = snapshot.hold(self._context.run, self.server)
        found = tuple(Range("", table, index, each, rows // len(bounds)) for index, each in enumerate(bounds))
        if ceiling is None:
            return Fixed(None, False, found, token, "no cursor: everything is read")
        return Fixed(ceiling.mark, ceiling.inclusive, found, token, ceiling.by, ceiling.held)

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch]:
        if part.bounds.get("empty"):
            return
        doing = f"reading range {part.index} of {part.table!r}"
        try:
            read = self._look(part.table, cursor)
        except PlanError as gone:
            raise FatalError(f"the source changed since the run was prepared: {gone.message}", code="schema-changed") from gone
        planned = origin.names(window.schema())
        missing = missing_columns(planned, [column.name for column in read.columns], part.table)
        if missing:
            raise missing
        columns = [read.column(match_column(name, [column.name for column in read.columns], part.table)) for name in planned]
        conditions = [read.finite(window.low), ranges.condition(part.bounds) if "column" in part.bounds else ""]
        sql, _ = read.relation.select(
            part.table,
            expressions(columns),
            low=window.low,
            low_inclusive=window.inclusive,
            ceiling=window.ceiling,
            ceiling_inclusive=window.ceiling_inclusive,
            where=" AND ".join(condition for condition in conditions if condition),
        )
        key = self._origin_key(part.table, columns)
        # Without a key, rows are told apart by their position in the range.
        label = part.table if key or len(window.ranges) < 2 else f"{part.table}[{part.index}]"
        first = 0
        with closing(self._batches(sql, columns, bool(part.bounds.get("small")), window.snapshot, not key, doing)) as batches:
            for batch in batches:
                whole = batch if cursor is None else read.with_cursor(batch)
                yield origin.attach(whole, label, key=key) if key else origin.attach(whole, label, first_row=first)
                first += whole.num_rows

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        read = self._look(table, None)
        sql, _ = read.relation.select(table, expressions(read.columns), limit=limit)
        given = self._batches(sql, read.columns, True, None, True, f"sampling {table!r}")
        fitting = [conform(batch, read.schema).batch for batch in given]
        whole = pa.concat_batches(fitting) if fitting else pa.RecordBatch.from_pylist([], read.schema)
        return origin.attach(whole, table, first_row=0)

    def check(self) -> str:
        connection = self._connection()
        with self.server.doing("checking"):
            row = connection.execute("SELECT current_setting('server_version'), current_database()").fetchone() or ("", "")
            count = len(catalog.tables(connection))
        return f"PostgreSQL {str(row[0]).split()[0]}, database {row[1]}, {count} {'table' if count == 1 else 'tables'}"

    def close(self) -> None:
        if self._open is not None:
            self.server.done(self._open)
            self._open = None

    def _connection(self) -> psycopg.Connection[Any]:
        """The source's own connection, opened anew if the server closed it while it was idle."""
        self._open = self.server.living(self._open)
        return self._open

    @property
    def _clock_place(self) -> str:
        return f"clock {self.server.libpq}"

    def _noted_clock(self) -> Clock | None:
        """The server's clock as this run noted it when it first looked at the source; None when it did not, or long ago."""
        clock: Clock | None = spares.noted(self._clock_place)
        return clock if clock is not None and clock.fresh else None

    def _look(self, table: str, cursor: CursorSpec | None) -> _Read:
        """Ask the catalog for the columns, and spell the cursor's column as it does."""
        plain = replace(self.relation, cursor=None)
        found = tuple(
            catalog.columns(self._connection(), self.server, plain.select(table)[0], table, is_query=self.relation.query is not None)
        )
        if cursor is None:
            return _Read(plain, found)
        name = match_column(cursor.column, [column.name for column in found], f"{table!r}")
        column = next(column for column in found if column.name == name)
        decided = decide_kind(replace(cursor, column=name), column.arrow)
        # As the catalog spells it: callers find the column in batches by this name. The identity keeps to the definition's spelling.
        self.cursor = decided
        self.traits = replace(self.traits, assumptions=_assumptions(decided, column.arrow))
        return _Read(replace(self.relation, cursor=decided), found)

    def _key(self, table: str, columns: Sequence[Column]) -> list[tuple[str, str]]:
        """The base table's primary key under its names in the output, with types; empty unless all of it is there."""
        base = self.relation.base(table)
        if base is None:
            return []
        key = catalog.key_of(self._connection(), base)
        names = self.output_key([name for name, _ in key], [column.name for column in columns])
        return [(name, kind) for name, (_, kind) in zip(names, key, strict=True)] if names else []

    def _origin_key(self, table: str, columns: Sequence[Column]) -> list[str]:
        """What rows are told apart by, in origins: the primary key, else the definition's `keyFields`; empty when not all of it is read."""
        names = {column.name for column in columns}
        key = [name for name, _ in self._key(table, columns)] or list(self.model.key_fields)
        return key if all(name in names for name in key) else []

    def _finder(self, connection: psycopg.Connection[Any], cursor: CursorSpec) -> CeilingFinder:
        lag = self._max_lag_seconds if cursor.max_lag is None else cursor.max_lag
        return CeilingFinder(connection, self._noted_clock(), wait_seconds=self._wait_seconds, max_lag_seconds=lag)

    def _ceiling(self, finder: CeilingFinder, table: str, read: _Read) -> Ceiling:
        cursor = read.relation.cursor
        assert cursor is not None  # a finder is made for a cursor only
        column = read.column(cursor.column)

        def greatest() -> Any:
            unbounded, _ = read.relation.select(table, [cursor.column], where=read.finite(None))
            row = (
                self._connection()
                .execute(f"SELECT max({read.relation.quote(cursor.column)}) FROM ({unbounded}) bp_all".encode())
                .fetchone()
            )
            return row[0] if row else None

        return finder.find(cursor, column.arrow, column.precision, greatest)

    def _cuts(self, table: str, read: _Read, low: Mark | None, rows: int, parts: int) -> list[ranges.Cut]:
        """Ranges: by a single-column primary key for the whole table, by the cursor for a part of it, else one."""
        parts = min(parts, rows // self._range_rows)
        base = self.relation.base(table)
        if parts < 2 or base is None:
            return []
        connection, cursor = self._connection(), read.relation.cursor
        key = self._key(table, read.columns)
        if low is None and len(key) == 1 and ranges.sortable(key[0][1]):
            (name, kind), column = key[0], self.relation.base_name(key[0][0]) or ""
            inner = ranges.histogram(connection, base, column, kind) or ranges.sampled(connection, base, column, rows, parts)
            return ranges.cuts(name, kind, inner, parts)
        if cursor is not None and (column := self.relation.base_name(cursor.column) or ""):
            kind = read.column(cursor.column).label
            if ranges.sortable(kind):
                return ranges.cuts(cursor.column, kind, ranges.histogram(connection, base, column, kind, low), parts)
        return []

    def _bounds(self, cuts: Sequence[ranges.Cut], read: _Read, rows: int) -> list[dict[str, Any]]:
        if len(cuts) > 1:
            return [cut.to_json() for cut in cuts]
        small = rows <= self._small_rows and all(column.scalar for column in read.columns)
        return [{"small": True} if small else {}]

    def _batches(
        self, sql: str, columns: Sequence[Column], small: bool, token: str | None, stable: bool, doing: str
    ) -> Generator[pa.RecordBatch, None, None]:
        if small and all(column.scalar for column in columns):
            told = [*columns, Column(ODD, "text")] if any(column.odd for column in columns) else columns
            given = by_psycopg(self._connection(), sql, told, snapshot=token, stable=stable, server=self.server, doing=doing)
            with closing(given):
                yield from gather(part for batch in given for part in honest(batch))
        else:
            with closing(by_adbc(self.server, sql, snapshot=token, stable=stable, doing=doing)) as given:
                for batch in given:
                    for part in honest(batch):
                        yield from split(part)


def _assumptions(cursor: CursorSpec | None, column: pa.DataType | None) -> tuple[str, ...]:
    """What the promise of an increment rests on, as far as the column is known."""
    if cursor is None:
        return ()
    name = cursor.column
    apart = f"rows whose {name} is null or infinite are not read"
    if cursor.stamped_by == "client" or cursor.kind == "date":
        return (f"rows whose {name} is further back than the overlap when they arrive are not seen", apart)
    if cursor.kind == "sequence":
        return (f"{name} comes from a sequence with CACHE 1 (cached, pooled or chosen numbers need an overlap)", apart)
    stamped = f"{name} is set by the database's clock (now() or later, by default or trigger) whenever a row is inserted or changed"
    naive = column is not None and not (pa.types.is_timestamp(column) and column.tz is not None)
    zone = (f"{name} has no time zone: sessions that write it are in the same one as this user's",) if naive else ()
    return (stamped, *zone, "the server's clock is never put back", apart)
