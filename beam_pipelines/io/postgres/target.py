"""PostgreSQL as target: unlogged staging tables, and one commit transaction with the merge that is fastest for what the table is like.

Statements were chosen by measurement on 1,000,000 rows, half existing (docs/benchmarks.md): INSERT into an empty table; DELETE + INSERT
without index and version; MERGE else, in the order of the key where rows are many. MERGE can meet a unique violation by a writer that is
not ours: it runs in a savepoint, and ON CONFLICT follows.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.columnar import types
from beam_pipelines.columnar.size import MAX_BYTES
from beam_pipelines.errors import BalanceError, DataError, FatalError, PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import Described, TargetTraits
from beam_pipelines.io.postgres import swap, waits
from beam_pipelines.io.postgres.session import Server
from beam_pipelines.io.postgres.stage import PostgresStager, copy_rows, create_statement, refusal, staging_type
from beam_pipelines.io.sql import refusals
from beam_pipelines.io.sql.arrays import array_of
from beam_pipelines.io.sql.halves import first_refused
from beam_pipelines.io.sql.ledger import Ledger
from beam_pipelines.io.sql.ledger_target import service_staging
from beam_pipelines.io.sql.merge import ROW, MergeSql
from beam_pipelines.io.sql.session import Outcome, Session, quote, quote_table, savepoint
from beam_pipelines.io.sql.target import MergePlan, SqlTarget, letters_name, several, took
from beam_pipelines.runs.counts import Merged
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.names import PREFIX
from beam_pipelines.runs.window import Window

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresSession", "PostgresTarget"]

_LOG = logging.getLogger(__name__)

# A run that is paused inside its commit must not block its successor for ever: the server ends an idle transaction before the successor
# gives up.
IDLE_MS, LOCK_MS = 15_000, 60_000
# The zone is what a time without one means where the column has one. Where nobody has set it, PostgreSQL takes a page at random for four
# times as dear as the next one, as on a spinning disk: it then reads all of a table of 100,000 rows to change 1,000 by their key (34 ms
# against 11).
_SETTINGS = f"""
SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS};
SET LOCAL lock_timeout = {LOCK_MS}; SET LOCAL work_mem = '256MB'; SET LOCAL jit = off; SET LOCAL TIME ZONE 'UTC';
SELECT set_config('random_page_cost', '1.1', true) WHERE current_setting('random_page_cost') = '4'
"""
_NO_ROOM = "22"  # class of the states of a value that does not fit its type
_DECLARED = b"postgresql:type"
_BASE = b"postgresql:base"  # the type under a domain; elsewhere not there
_BARE = b"postgresql:bare"  # the type, or what is under the domain, without a length
_TEXT = re.compile(r'text|character|name\b|citext|bpchar|"char"')
# Types without an equality, and what their values are compared as.
_COMPARED = {"json": "jsonb", "json[]": "jsonb[]", "xml": "text", "point": "text", "polygon": "text"}
_PARTS = re.compile(r""""(?:[^"]|"")*"|'(?:[^']|'')*'|[?%]""")
_NAME_BYTES = 63
_SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
SWEEP_MS = 1_000  # a staging table that a paused writer still holds is left for the next sweep


# The columns of a table, and what their domains are made of; of a domain over another one the lowest row has the type that is none.
_COLUMNS = """
WITH RECURSIVE base AS (
  SELECT attnum, atttypid AS kind, atttypmod AS mod, 0 AS depth
  FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype, CASE WHEN b.mod = -1 THEN t.typtypmod ELSE b.mod END, b.depth + 1
  FROM base AS b JOIN pg_type AS t ON t.oid = b.kind WHERE t.typtype = 'd'
)
SELECT DISTINCT ON (a.attnum) a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '' OR a.attidentity = 'a',
  b.depth > 0, format_type(b.kind, b.mod), format_type(b.kind, -1)
FROM pg_attribute AS a JOIN base AS b USING (attnum) WHERE a.attrelid = to_regclass(?) ORDER BY a.attnum, b.depth DESC
"""


class PostgresSession:
    """A psycopg connection as `io.sql.session.Session`."""

    def __init__(self, connection: psycopg.Connection[Any], server: Server) -> None:
        self.connection, self._server = connection, server

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Outcome:
        with self._server.doing("writing"):
            try:
                cursor = self.connection.execute(_placed(sql), parameters) if parameters else self.connection.execute(sql)
                rows = cursor.fetchall() if cursor.description else []
            except Exception as error:
                refused = refusal(error)
                if refused is not None:
                    raise refused from None
                raise
        return Outcome(rows, cursor.rowcount)


@dataclass(frozen=True)
class _Trial:
    """A temporary table with the columns of a merge and nothing that forbids a value that fits: rows are tried in it for their reasons.

    Args:
        declared: Types of the columns, as the table has them.
        last: Position of the column that the last row was refused by.
    """

    declared: dict[str, str]
    last: int = 0

    @classmethod
    def of(cls, tx: Session, plan: MergePlan, known: Described | None) -> _Trial:
        fields = [field for field in known.schema if field.name in plan.sql.columns] if known else []
        # A domain under its own name would refuse a null, also that of a column which is not being tried.
        columns = ", ".join(f"{quote(field.name)} {_under(field)}" for field in fields)
        tx.execute(f"CREATE TEMP TABLE _bp_tried ({columns}) ON COMMIT DROP")
        return cls({field.name: _declared(field) for field in fields})


class PostgresTarget(SqlTarget):
    """A PostgreSQL database.

    Args:
        connection: Its connection.
        ledger_schema: Schema of the ledger tables; None: the one that new tables of this user go to.
    """

    system = "postgresql"
    numbered_from = 1  # by row_number()

    def __init__(self, connection: Connection, *, ledger_schema: str | None = None) -> None:
        _check_name("ledgerSchema", ledger_schema or "")
        self._server = Server(connection.url, connection.display, connection.redact)
        self.traits = TargetTraits("postgresql", transactional=True, local=False, folds_case=False, longest_name=63, swaps=True)
        self.ledger = Ledger(ledger_schema)
        self.place = connection.place + (f"#{ledger_schema}" if ledger_schema else "")
        self._attached: tuple[Staged, ...] = ()
        self._trial: _Trial | None = None  # of the merge that is under way
        self._reader: psycopg.Connection[Any] | None = None

    # Connections.

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        connection = self._server.connect(autocommit=False)
        try:
            session = PostgresSession(connection, self._server)
            session.execute(_SETTINGS)
            with waits.told(self._server, connection):
                yield session
                # Within: a deferred constraint is checked now, and may wait for somebody's row.
                with self._server.doing("committing"):
                    try:
                        connection.commit()
                    except Exception as error:
                        refused = refusal(error)
                        if refused is not None:
                            raise refused from None
                        raise
        except BaseException:
            # The server rolls back.
            connection.close()
            raise
        self._server.done(connection)

    @contextmanager
    def reading(self) -> Iterator[Session | None]:
        self._reader = self._server.living(self._reader)
        yield PostgresSession(self._reader, self._server)

    def check(self) -> str:
        with self.reading() as session:
            assert session is not None
            version, database = session.execute("SELECT current_setting('server_version'), current_database()").rows[0]
            tables = session.execute("SELECT count(*) FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'").rows[0][0]
            return f"PostgreSQL {version.split()[0]}, database {database}, {tables} tables"

    def close(self) -> None:
        if self._reader is not None:
            self._server.done(self._reader)
            self._reader = None

    # Catalog.

    def has_table(self, tx: Session, table: str) -> bool:
        return bool(tx.execute("SELECT to_regclass(?)", (table if '"' in table else quote_table(table),)).rows[0][0])

    def columns(self, tx: Session, table: str) -> Described | None:
        found = tx.execute(_COLUMNS, (quote_table(table), quote_table(table))).rows
        if not found:
            return None
        key = tx.execute(
            "SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
            " WHERE i.indrelid = to_regclass(?) AND i.indisprimary ORDER BY k.position",
            (quote_table(table),),
        ).rows
        fields = []
        for name, kind, required, _, domain, base, bare in found:
            known = {_DECLARED: kind, _BARE: bare, **({_BASE: base} if domain else {})}
            fields.append(pa.field(name, types.from_postgres(kind), nullable=not required, metadata=known))
        return Described(pa.schema(fields), tuple(name for (name,) in key), generated=tuple(row[0] for row in found if row[3]))

    def stored(self, schema: pa.Schema) -> pa.Schema:
        for name in schema.names:
            _check_name("column", name, "; rename it in a map step")
            if name in _SYSTEM_COLUMNS:
                raise PlanError(
                    f"column {name!r}: every table of PostgreSQL has a system column of this name; rename it in a map step",
                    code="spec-invalid",
                )
        return super().stored(schema)

    def obstacles_in(self, tx: Session, table: str) -> list[str]:
        return swap.obstacles(tx, table)

    def swapping(self, tx: Session, window: Window) -> AbstractContextManager[tuple[str, int]]:
        return swap.swapped(tx, window.load, window.run)

    # Staging.

    def stager(self, name: str, schema: pa.Schema, order: int) -> PostgresStager:
        return PostgresStager(self._server, name, quote(name), schema, order)

    def staging(self, service: str) -> list[str]:
        with self.reading() as session:
            assert session is not None
            found = session.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND starts_with(tablename, ?)", (PREFIX,)
            )
            return service_staging(service, (name for (name,) in found.rows))

    def read_staged(self, staged: Staged) -> Iterable[pa.RecordBatch]:
        from beam_pipelines.columnar import dead

        with self.reading() as session:
            assert session is not None
            assert isinstance(session, PostgresSession)
            columns = ", ".join(map(quote, dead.SCHEMA.names))
            # By a cursor of the server: letters hold whole rows, and there may be a million of them, or blocks of many rows.
            with (
                session.connection.transaction(),
                session.connection.cursor(name="letters") as cursor,
                self._server.doing("reading letters"),
            ):
                cursor.execute(f"SELECT {columns} FROM {quote(staged.name)}")
                while part := cursor.fetchmany(_fetched(staged)):
                    yield pa.RecordBatch.from_pylist([dict(zip(dead.SCHEMA.names, row, strict=True)) for row in part], schema=dead.SCHEMA)

    def drop_staged(self, names: Sequence[str]) -> None:
        if not names:
            return
        with self.reading() as session:
            assert session is not None
            session.execute(f"SET lock_timeout = {SWEEP_MS}")
            for name in names:
                try:
                    session.execute(f"DROP TABLE IF EXISTS {quote(name)}")
                except Exception as held:  # noqa: BLE001 - left for the next sweep, whatever holds it
                    _LOG.info("staging table %s is left for the next run to drop: %s", name, held)

    def attach(self, tx: Session, staged: Sequence[Staged], schema: pa.Schema, *, once: bool, numbered: bool) -> str:  # noqa: ARG002
        self._attached, self._trial = tuple(staged), None
        for part in staged:
            if not tx.execute("SELECT to_regclass(?)", (quote(part.name),)).rows[0][0]:
                raise FatalError(f"expected the staging table {part.name} with {part.rows} rows, but it is gone", code="staging-lost")
            found = tx.execute(f"SELECT count(*) FROM {quote(part.name)}").rows[0][0]
            if found != part.rows:
                raise FatalError(
                    f"expected {part.rows} rows in the staging table {part.name}, found {found}; unlogged tables are empty after a crash"
                    " of the server: run it again",
                    code="staging-lost",
                )
        if len(staged) == 1 and not numbered:
            return quote(staged[0].name)
        names = ", ".join(map(quote, schema.names))
        union = " UNION ALL ".join(f"SELECT {names} FROM {quote(part.name)}" for part in staged)
        if not numbered:
            return f"({union})"
        # Rows are numbered in the order they were written: no parallel or synchronised scan may shuffle them.
        tx.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        tx.execute("SET LOCAL synchronize_seqscans = off")
        tx.execute(f"CREATE TEMP TABLE _bp_staged ON COMMIT DROP AS SELECT row_number() OVER () AS {ROW}, * FROM ({union}) AS u")
        return "_bp_staged"

    def pick_winners(self, tx: Session, sql: MergeSql, window: Window, staged: int, *, stop: bool) -> tuple[MergeSql, int]:
        apart = ""
        try:
            with self.savepoint(tx):
                if tx.execute(sql.distinct()).rows[0][0] == staged:
                    return sql, 0
        except DataError:
            if stop:
                raise
            apart = self._uncast(tx, sql)
        winners, superseded = self._keep_winners(tx, sql, window, staged, apart)
        tx.execute(f"ANALYZE {winners.staged}")
        return winners, superseded

    def _uncast(self, tx: Session, sql: MergeSql) -> str:
        """Condition (over `d`) of the staged rows whose key will not cast, found by halves: a cast that fails does not say where."""
        low, high = tx.execute(f"SELECT min({ROW}), max({ROW}) + 1 FROM {sql.staged} AS s").rows[0]
        parts, bad = [(int(low), int(high))], list[int]()
        while parts:
            low, high = parts.pop()
            try:
                with self.savepoint(tx):
                    tx.execute(sql.part(low, high).cast_keys())
            except DataError:
                middle = (low + high) // 2
                if high - low == 1:
                    bad.append(low)
                else:
                    parts += [(middle, high), (low, middle)]
        tx.execute("CREATE TEMP TABLE _bp_uncast ON COMMIT DROP AS SELECT unnest(?::BIGINT[]) AS bad", (bad,))
        return f"d.{ROW} IN (SELECT bad FROM _bp_uncast)"

    def fetch(self, tx: Session, relation: str, rows: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:
        names = ", ".join(f"s.{quote(name)}" for name in schema.names)
        found = tx.execute(f"SELECT {names} FROM {relation} AS s WHERE s.{ROW} = ANY(?) ORDER BY s.{ROW}", (list(rows),)).rows
        columns = [array_of(column, field.type) for column, field in zip(zip(*found, strict=True), schema, strict=True)]
        return pa.RecordBatch.from_arrays(columns, names=schema.names)

    def keep_letters(self, tx: Session, window: Window, letters: pa.RecordBatch) -> Staged:
        # Made in the commit's own transaction: there if, and only if, it commits.
        assert isinstance(tx, PostgresSession)
        name = letters_name(window)
        tx.execute(create_statement(quote(name), letters.schema, unlogged=False))
        copy_rows(tx.connection, quote(name), [letters])
        return Staged(name, letters.num_rows)

    def casts(self, schema: pa.Schema, known: Described) -> tuple[tuple[str, str], ...]:
        there = {field.name: _cast_type(field, self.ddl(field.type)) for field in known.schema}
        return tuple((f.name, there[f.name]) for f in schema if f.name in there and staging_type(f.type) != there[f.name])

    def compared(self, schema: pa.Schema, known: Described) -> tuple[tuple[str, str], ...]:
        kinds = {field.name: _declared(field) for field in known.schema}
        return tuple((name, _COMPARED[kinds[name]]) for name in schema.names if kinds.get(name) in _COMPARED)

    # Merge.

    def savepoint(self, tx: Session) -> AbstractContextManager[None]:
        return savepoint(tx)

    def apply(self, tx: Session, plan: MergePlan) -> Merged:
        sql = plan.sql
        if plan.policy.mode != "upsert" or plan.policy.whole or not sql.keys:
            return super().apply(tx, plan)
        if plan.empty:
            took(tx.execute(sql.insert()), plan.rows, sql)
            return Merged(inserted=plan.rows, method="insert")
        if not plan.indexed and sql.version is None and self._rewritable(tx, sql):
            deleted, keys = tx.execute(sql.delete_known()).rows[0]
            if deleted > keys:
                raise several(sql)
            took(tx.execute(sql.insert()), plan.rows, sql)
            return Merged(inserted=plan.rows - deleted, updated=deleted, method="delete+insert")
        inserted, updated, method, writer = self._merge_guarded(tx, plan)
        stale = unchanged = 0
        if inserted + updated != plan.rows or not plan.indexed:
            # What was not written is counted by a join, never derived: the balance law is then a check, not a tautology.
            joined, stale, unchanged = tx.execute(_remaining(sql, writer)).rows[0]
            if joined > plan.rows:
                raise several(sql)
        return Merged(inserted=inserted, updated=updated, unchanged=unchanged, stale=stale, method=method)

    def _rewritable(self, tx: Session, sql: MergeSql) -> bool:
        """Whether rows may be deleted and inserted instead of updated: they arrive whole, and nothing hangs on them."""
        table = quote_table(sql.table)
        return bool(
            tx.execute(
                "SELECT NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped"
                " AND attname <> ALL(?)) AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE confrelid = to_regclass(?))"
                " AND NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass(?) AND NOT tgisinternal)",
                (table, list(sql.columns), table, table),
            ).rows[0][0]
        )

    def _merge_guarded(self, tx: Session, plan: MergePlan) -> tuple[int, int, str, str]:
        """Merge; give rows inserted and updated, the method, and the transaction id that the written rows carry."""
        try:
            with self.savepoint(tx), self._by_key(tx, plan):
                inserted, updated = _merge(tx, plan.sql)
                return inserted, updated, "merge", _writer(tx)
        except DataError as refused:
            if refused.details.get("sqlstate") != "23505" or not plan.indexed:
                raise
        _LOG.info("another writer inserted into %s during the merge: doing it again by ON CONFLICT", plan.sql.table)
        rows = tx.execute(_on_conflict(plan.sql)).rows
        inserted = sum(1 for (new,) in rows if new)
        return inserted, len(rows) - inserted, "on conflict", _writer(tx)

    @contextmanager
    def _by_key(self, tx: Session, plan: MergePlan) -> Iterator[None]:
        """Have rows written in the order of the key, where they are many for their table: index and table are gone through once.

        The server reckons with what it costs to join, not with what it costs then to write here and there. Measured on PostgreSQL 18,
        1,000,000 rows into as many, half of them there, processor time of the MERGE: two fifths less where rows come in no order, a tenth
        where they come in that of the key; 100,000 rows into 1,000,000 took longer. Texts are left alone: a language's order is dear.
        """
        names = [quote(part.name) for part in self._attached]
        if not (plan.indexed and tx.execute(_MANY, (names, list(plan.sql.keys), quote_table(plan.sql.table))).rows[0][0]):
            yield
            return
        (before,) = tx.execute("SELECT current_setting('enable_hashjoin')").rows[0]
        tx.execute("SET LOCAL enable_hashjoin = off")
        yield
        tx.execute(f"SET LOCAL enable_hashjoin = {before}")  # where the block raises, the savepoint does so

    def reason(self, tx: Session, plan: MergePlan, row: int, refusal: DataError) -> str:
        state = str(refusal.details.get("sqlstate", ""))
        if not state.startswith(_NO_ROOM):
            return str(refusal)
        # The server does not say which column a value would not go into: the row is tried column by column, into none of its constraints.
        trial = self._trial or _Trial.of(tx, plan, self.columns(tx, plan.sql.table))
        sql = plan.sql.part(row, row + 1)

        def take(low: int, high: int) -> None:
            names = ", ".join(map(quote, sql.columns[low:high]))
            values = ", ".join(map(sql.value, sql.columns[low:high]))
            try:
                with self.savepoint(tx):
                    tx.execute(f"INSERT INTO pg_temp._bp_tried ({names}) SELECT {values} FROM {sql.staged} AS s")
            except DataError as other:
                # A cast may meet a constraint too (items of a domain, in an array): that is not what the row was refused for.
                if str(other.details.get("sqlstate", "")).startswith(_NO_ROOM):
                    raise

        # Where many rows are refused, most are by the column that the last one was.
        found = first_refused(trial.last, trial.last + 1, take) or first_refused(0, len(sql.columns), take)
        # Kept when all went well: a savepoint around this would take the table with it.
        self._trial = trial if found is None else replace(trial, last=found[0])
        if found is None:
            return str(refusal)
        name = sql.columns[found[0]]
        return f"column {name!r} cannot hold this value as {trial.declared[name]} [SQLSTATE {state}]"

    def constraints(self, tx: Session, table: str) -> list[refusals.Constraint]:
        found = tx.execute(
            "SELECT c.contype, c.conname, pg_get_constraintdef(c.oid), pg_get_expr(c.conbin, c.conrelid),"
            " ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k(n, o)"
            " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.o), c.confrelid::regclass::text,"
            " ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY k(n, o)"
            " JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.n ORDER BY k.o)"
            " FROM pg_constraint c WHERE c.conrelid = to_regclass(?)",
            (quote_table(table),),
        ).rows
        # Unique indexes that belong to no constraint. Rows that one on expressions, or on a part of the table, refuses are found by halves.
        indexes = tx.execute(
            "SELECT c.relname, ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY k(n, o)"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE k.o <= i.indnkeyatts ORDER BY k.o)"
            " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = to_regclass(?) AND i.indisunique"
            " AND i.indpred IS NULL AND i.indexprs IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u'))",
            (quote_table(table),),
        ).rows
        kinds = {"p": "UNIQUE", "u": "UNIQUE", "c": "CHECK", "f": "FOREIGN KEY"}
        constraints = [
            refusals.Constraint(kinds[kind], f"{name} {text}", tuple(columns), expression or "", references or "", tuple(there))
            for kind, name, text, expression, columns, references, there in found
            if kind in kinds
        ]
        constraints += [refusals.Constraint("UNIQUE", f"{name} UNIQUE ({', '.join(columns)})", tuple(columns)) for name, columns in indexes]
        known = self.columns(tx, table)
        required = [field.name for field in known.schema if not field.nullable] if known else []
        return [*(refusals.Constraint("NOT NULL", "NOT NULL", (name,)) for name in required), *constraints]


def _check_name(what: str, name: str, remedy: str = "") -> None:
    if len(name.encode()) > _NAME_BYTES:
        raise PlanError(f"{what} {name!r}: PostgreSQL cuts names at {_NAME_BYTES} bytes{remedy}", code="spec-invalid")


def _declared(field: pa.Field) -> str:
    return str((field.metadata or {}).get(_DECLARED, b"").decode())


def _under(field: pa.Field) -> str:
    """The type of a column, or what is under its domain, with its length."""
    return str((field.metadata or {}).get(_BASE, b"").decode()) or _declared(field)


def _cast_type(field: pa.Field, ddl: str) -> str:
    """What to cast to for a column of the target: its own type where text stands for it (enums, inet); always one without a length.

    CAST to `varchar(3)` or `bit(3)` would cut a longer value without a word, where an assignment refuses it; so would CAST to a domain
    over one.
    """
    kind = field.type.value_type if pa.types.is_list(field.type) else field.type
    known = field.metadata or {}
    own = pa.types.is_string(kind) and not _TEXT.match(_declared(field))
    return str(known[_BARE].decode()) if own or _BASE in known else ddl


def _placed(sql: str) -> str:
    """`?` as psycopg writes it; in names and texts it is a question mark."""
    return _PARTS.sub(lambda found: "%s" if found[0] == "?" else found[0].replace("%", "%%"), sql)


# Tables of which the server itself counts, within a transaction, exactly what a MERGE does: no trigger or cascade writes to them as well,
# and no partition or child counts for itself.
_COUNTED = (
    "SELECT relkind = 'r' AND NOT relhassubclass AND current_setting('track_counts')::bool"
    " AND NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)"
    " AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE confrelid = c.oid AND conrelid = c.oid)"
    " FROM pg_class AS c WHERE oid = to_regclass(?)"
)
# Tables with a key of no text that are at most four times as large as what is staged for them.
_MANY = (
    "SELECT relkind = 'r' AND pg_relation_size(oid) <= 4 * (SELECT sum(pg_relation_size(name::regclass)) FROM unnest(?::text[]) AS name)"
    " AND NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = c.oid AND attname = ANY(?) AND attcollation <> 0)"
    " FROM pg_class AS c WHERE oid = to_regclass(?)"
)
_COUNTS = "SELECT pg_stat_get_xact_tuples_inserted(oid), pg_stat_get_xact_tuples_updated(oid) FROM pg_class WHERE oid = to_regclass(?)"


def _merge(tx: Session, sql: MergeSql) -> tuple[int, int]:
    """MERGE, and count what it did.

    By the server's own counters where they are exact, for RETURNING costs an eighth to a sixth of the whole MERGE (processor time of
    the server, 500,000 rows, half of them there). Before PostgreSQL 17 MERGE has no RETURNING, and the split is counted before.
    """
    table = quote_table(sql.table)
    if tx.execute(_COUNTED, (table,)).rows[0][0]:
        inserted, updated = tx.execute(_COUNTS, (table,)).rows[0]
        written = tx.execute(sql.merge()).count
        inserted_now, updated_now = tx.execute(_COUNTS, (table,)).rows[0]
        counts = int(inserted_now - inserted), int(updated_now - updated)
        if sum(counts) != written:
            raise BalanceError(f"MERGE wrote {written} rows of {sql.table!r}, and the server counted {sum(counts)}")
        return counts
    version = int(tx.execute("SHOW server_version_num").rows[0][0])
    if version >= 170000:
        counted = tx.execute(
            f"WITH m AS ({sql.merge()} RETURNING merge_action() AS action) SELECT action, count(*) FROM m GROUP BY action"
        ).rows
        by_action = dict(counted)
        return int(by_action.get("INSERT", 0)), int(by_action.get("UPDATE", 0))
    _, inserted, _, _, updated = tx.execute(sql.classify()).rows[0]
    tx.execute(sql.merge())
    return inserted, updated


def _writer(tx: Session) -> str:
    """The id that rows written here carry as `xmin`: a savepoint has one of its own, which only a row tells."""
    tx.execute("DROP TABLE IF EXISTS pg_temp._bp_writer")
    tx.execute("CREATE TEMP TABLE _bp_writer ON COMMIT DROP AS SELECT 1")
    return str(tx.execute("SELECT xmin FROM pg_temp._bp_writer").rows[0][0])


def _remaining(sql: MergeSql, writer: str) -> str:
    """Query: staged rows that meet one of the target; of those not written just now, the ones older than it, and the others.

    Written rows are told by `xmin`, not by their values: a column of less precision, or a trigger, keeps other values than were staged.
    """
    kept = f"t.xmin <> '{writer}'::xid"
    return (
        f"SELECT count(*), count(*) FILTER (WHERE {kept} AND {sql.stale()}), count(*) FILTER (WHERE {kept} AND NOT {sql.stale()})"
        f" FROM {sql.staged} AS s JOIN {sql.target} AS t ON {sql.match()}"
    )


def _on_conflict(sql: MergeSql) -> str:
    keys = ", ".join(map(quote, sql.keys))
    others = [column for column in sql.columns if column not in sql.keys]
    if not others:
        return f"{sql.insert()} ON CONFLICT ({keys}) DO NOTHING RETURNING (xmax = 0)"
    sets = ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in others)
    differs = " OR ".join(sql.changes(c, f"excluded.{quote(c)}") for c in others)
    newer = f"NOT {sql.newer(f'excluded.{quote(sql.version)}')} AND " if sql.version else ""
    return sql.insert().replace(f"INSERT INTO {sql.target} ", f"INSERT INTO {sql.target} AS t ", 1) + (
        f" ON CONFLICT ({keys}) DO UPDATE SET {sets} WHERE {newer}({differs}) RETURNING (xmax = 0)"
    )


def _fetched(staged: Staged) -> int:
    """How many rows of a staging object are fetched at once: about 8 MiB, as far as its size is known."""
    return min(1000, max(1, MAX_BYTES * staged.rows // staged.bytes)) if staged.bytes else 1000
