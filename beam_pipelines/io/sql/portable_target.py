"""Any database that SQLAlchemy speaks to as target: slower than the targets of their own, the same in meaning.

Workers stage into tables, one an attempt, by inserts of many rows. Before the commit's transaction they become one table that has each key
once; tables and columns that are missing are made then as well where CREATE and ALTER cannot be undone (MySQL), so that a load that fails
there may leave an empty table or column behind. The rest is one transaction.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import mysql

from beam_pipelines.columnar import dead, types
from beam_pipelines.columnar.size import MAX_BYTES
from beam_pipelines.errors import DataError, FatalError, PlanError, TransientError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import Described, Policy, TargetTraits
from beam_pipelines.io.sql import refusals
from beam_pipelines.io.sql.ledger import Ledger
from beam_pipelines.io.sql.ledger_target import service_staging
from beam_pipelines.io.sql.merge import ROW, MergeSql
from beam_pipelines.io.sql.portable_merge import PortableMerge, winners
from beam_pipelines.io.sql.portable_session import PortableDatabase, PortableSession
from beam_pipelines.io.sql.portable_stage import PortableStager
from beam_pipelines.io.sql.portable_table import (
    column_type,
    create_table,
    misfits,
    rows_of,
    split,
    staging_table,
    table_of,
    to_batch,
)
from beam_pipelines.io.sql.session import Session, quote, quote_table
from beam_pipelines.io.sql.target import MergePlan, SqlTarget, letters_name, several
from beam_pipelines.runs import balance
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.names import PREFIX, StagingName, new_attempt
from beam_pipelines.runs.window import Window

__all__ = ["PortableTarget"]

_SOME = 400  # row numbers a statement names: databases limit the parameters of one


class PortableLedger(Ledger):
    """The ledger without ON CONFLICT and IF NOT EXISTS: what is there is looked at first, and who loses a race finds it there."""

    on_conflict = ""
    at_once = 1  # not every database has VALUES of several rows

    def __init__(self, database: PortableDatabase) -> None:
        dialect, mine = database.dialect, database.name == "mysql"
        text = mysql.LONGTEXT() if mine else sa.Text()

        def key(length: int) -> str:
            kind = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin") if mine else sa.String(length)
            return str(kind.compile(dialect=dialect))

        super().__init__(text=str(text.compile(dialect=dialect)), key=key(255), short=key(64))

    def create(self, tx: Session) -> None:
        for table, statement in zip((self.loads, self.heads), self.statements(), strict=True):
            self._create(tx, table, statement)

    def create_kept(self, tx: Session) -> None:
        self._create(tx, self.kept_table, self.kept_statement())

    def _create(self, tx: Session, table: str, statement: str) -> None:
        assert isinstance(tx, PortableSession)
        if sa.inspect(tx.connection).has_table(table):
            return
        try:
            tx.execute(statement)
        except FatalError as other:
            if "already" not in str(other):  # so all databases say it
                raise
            raise TransientError(f"another run made the ledger at the same moment: {other}", code="conflict") from other

    def insert_head(self, tx: Session, window: Window) -> None:
        if window.load not in self.heads_of(tx, window.service):
            with _already(tx):
                super().insert_head(tx, window)

    def insert_row(self, tx: Session, window: Window, store: str) -> None:
        if self.row(tx, window.service, window.load, window.run) is None:
            with _already(tx):
                super().insert_row(tx, window, store)


@contextmanager
def _already(tx: Session) -> Iterator[None]:
    """Another transaction inserting the same row first is as good."""
    assert isinstance(tx, PortableSession)
    with contextlib.suppress(DataError), tx.savepoint():
        yield


@dataclass(frozen=True)
class _Ready:
    """The staged rows as the commit takes them: one table, each key once."""

    name: str
    rows: int


class PortableTarget(SqlTarget):
    """A database by its SQLAlchemy dialect.

    Args:
        connection: Where it is.
        batch_size: Rows a statement inserts into staging.
    """

    def __init__(self, connection: Connection, *, batch_size: int = 1000) -> None:
        self._database = PortableDatabase(connection)
        self._batch_size, self._display = batch_size, connection.display
        name = self._database.dialect.name
        # Types of its own are for the targets of their own: here a column is of a type that every database has.
        self.system = name if name not in ("postgresql", "sqlite", "duckdb") else f"{name} by SQLAlchemy"
        folds = self._database.name in ("mysql", "mssql", "sqlite")
        self.traits = TargetTraits(name, transactional=True, local=name == "sqlite", folds_case=folds)
        self.ledger = PortableLedger(self._database)
        self.place = connection.place
        self._ready: dict[tuple[str, ...], _Ready | FatalError] = {}
        self._kinds: dict[str, dict[str, Any]] = {}  # SQLAlchemy types of the target's columns, by staging table

    # Connections.

    def transaction(self) -> AbstractContextManager[PortableSession]:
        return self._database.transaction()

    def reading(self) -> AbstractContextManager[PortableSession]:
        return self._database.transaction()

    def check(self) -> str:
        with self.reading() as tx:
            version = ".".join(map(str, self._database.dialect.server_version_info or ()))
            tables = len(sa.inspect(tx.connection).get_table_names())
        return f"{self._database.dialect.name} {version}, {self._display}, {tables} {'table' if tables == 1 else 'tables'}"

    def close(self) -> None:
        self._database.engine.dispose()

    # Catalog.

    def has_table(self, tx: Session, table: str) -> bool:
        assert isinstance(tx, PortableSession)
        schema, name = split(table)
        return bool(sa.inspect(tx.connection).has_table(name, schema))

    def columns(self, tx: Session, table: str) -> Described | None:
        found = self._reflected(tx, table)
        if not found:
            return None
        assert isinstance(tx, PortableSession)
        schema, name = split(table)
        fields = [pa.field(column["name"], _arrow(column["type"]), nullable=bool(column.get("nullable", True))) for column in found]
        generated = tuple(column["name"] for column in found if column.get("computed"))
        with contextlib.suppress(NotImplementedError):
            key = sa.inspect(tx.connection).get_pk_constraint(name, schema)
            return Described(pa.schema(fields), tuple(key.get("constrained_columns") or ()), generated=generated)
        return Described(pa.schema(fields), generated=generated)

    def _reflected(self, tx: Session, table: str) -> list[Any]:
        assert isinstance(tx, PortableSession)
        schema, name = split(table)
        try:
            return list(sa.inspect(tx.connection).get_columns(name, schema))
        except exc.NoSuchTableError:
            return []

    def stored(self, schema: pa.Schema) -> pa.Schema:
        most = self._database.dialect.max_identifier_length
        for name in schema.names:
            if len(name.encode()) > most:
                raise PlanError(
                    f"column {name!r}: {self._database.dialect.name} has names of at most {most} bytes; rename it in a map step",
                    code="spec-invalid",
                )
        return super().stored(schema)

    def create_table(self, tx: Session, window: Window, schema: pa.Schema, policy: Policy) -> None:
        assert isinstance(tx, PortableSession)
        keys = window.key_fields if policy.mode != "insert" else ()
        tx.run(create_table(window.load, schema, keys, self._database))

    def ddl(self, arrow: pa.DataType) -> str:
        kind = types.writable(arrow, self.system)
        return str(column_type(kind, self._database).compile(dialect=self._database.dialect))

    def add_column(self, tx: Session, table: str, field: pa.Field) -> None:
        word = "ADD" if self._database.name in ("mssql", "oracle") else "ADD COLUMN"
        tx.execute(f"ALTER TABLE {quote_table(table)} {word} {quote(field.name)} {self.ddl(field.type)}")

    def is_empty(self, tx: Session, table: str) -> bool:
        assert isinstance(tx, PortableSession)
        return not tx.run(sa.select(sa.literal(1)).select_from(table_of(table, ())).limit(1)).rows

    def casts(self, schema: pa.Schema, known: Described) -> tuple[tuple[str, str], ...]:
        """Columns to cast; the type is looked up when the statement is made.

        SQLite and MySQL convert by themselves what converts without loss, and make 0 of CAST('abc' AS INTEGER).
        """
        if self._database.name in ("sqlite", "mysql"):
            return ()
        fold = str.lower if self.traits.folds_case else str
        there = {fold(field.name): field.type for field in known.schema}
        return tuple((f.name, "") for f in schema if there.get(fold(f.name), f.type) != f.type)

    # Staging.

    def stager(self, name: str, schema: pa.Schema, order: int) -> PortableStager:
        return PortableStager(self._database, name, schema, order, self._batch_size)

    def staging(self, service: str) -> list[str]:
        with self.reading() as tx:
            names = sa.inspect(tx.connection).get_table_names()
        return service_staging(service, (name for name in names if name.startswith(PREFIX)))

    def read_staged(self, staged: Staged) -> Iterable[pa.RecordBatch]:
        table = staging_table(staged.name, dead.SCHEMA, self._database)
        some = min(10_000, max(1, MAX_BYTES * staged.rows // staged.bytes)) if staged.bytes else 10_000
        first = 0
        while True:
            # A transaction a part: none is open while the rows are written elsewhere, perhaps into this database.
            with self.reading() as tx:
                part = (table.c[ROW] >= first) & (table.c[ROW] < first + some)
                rows = tx.run(sa.select(*(table.c[name] for name in dead.SCHEMA.names)).where(part).order_by(table.c[ROW])).rows
            if not rows:
                return
            yield to_batch(rows, dead.SCHEMA)
            first += some

    def drop_staged(self, names: Sequence[str]) -> None:
        for name in names:
            with self.transaction() as tx:
                if self.has_table(tx, name):
                    tx.execute(f"DROP TABLE {quote(name)}")

    # Before the transaction.

    def commit(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> LoadCounts:
        row = self.row(window.service, window.load, window.run)
        head = self.standing(window.service, window.load)
        if row is not None and row.status == "prepared" and head.generation == window.generation:
            try:
                self._retrying(lambda: self._make_ready(window, policy, schema, tally))
            except FatalError as broken:
                # Judged in the transaction, which alone knows whether another attempt has dropped the staging in between.
                self._ready[_names(tally.staged)] = broken
        return super().commit(window, policy, schema, tally)

    def _make_ready(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> None:
        parts = [part for part in tally.staged if part.rows]
        with self.transaction() as tx:
            counted = [(part, self._count(tx, part)) for part in parts]
        balance.check_flow(tally)
        if not self._database.transactional_ddl and not policy.verdict(tally, tally.dead).fails:
            self._make_tables(window, policy, schema, bool(parts) or window.live)
        name = str(StagingName.of(window.service, window.run, new_attempt()))
        # Keys that cannot repeat need no looking for the newest.
        plain = policy.whole or policy.mode == "insert" or window.unique_on == window.key_fields
        with self.transaction() as tx:
            tx.run(sa.schema.CreateTable(staging_table(name, schema, self._database)))
        before, first = [], 0
        for part, rows in counted:
            before.append((part.name, first))
            first += rows
        with self.transaction() as tx:
            if before:
                version = window.version_column if policy.mode == "upsert" else None
                query = winners(before, schema.names, () if plain else window.key_fields, version)
                tx.run(sa.insert(table_of(name, [ROW, *schema.names])).from_select([ROW, *schema.names], query))
            kept = tx.execute(f"SELECT count(*) FROM {quote(name)}").rows[0][0]
        self._ready[_names(tally.staged)] = _Ready(name, int(kept))

    def _count(self, tx: PortableSession, part: Staged) -> int:
        if not self.has_table(tx, part.name):
            raise FatalError(f"expected the staging table {part.name} with {part.rows} rows, but it is gone", code="staging-lost")
        found = int(tx.execute(f"SELECT count(*) FROM {quote(part.name)}").rows[0][0])
        if found != part.rows:
            raise FatalError(f"expected {part.rows} rows in the staging table {part.name}, found {found}", code="staging-lost")
        return found

    def _make_tables(self, window: Window, policy: Policy, schema: pa.Schema, rows: bool) -> None:
        """Make what the commit needs, where making it would end the commit's transaction."""
        with self.transaction() as tx:
            known = self.columns(tx, window.load)
            if known is None and rows and (policy.whole or not window.there):
                self.create_table(tx, window, schema, policy)
            elif known is not None and rows and policy.evolve:
                fold = str.lower if self.traits.folds_case else str
                there = {fold(name) for name in known.schema.names}
                for field in schema:
                    if fold(field.name) not in there:
                        self.add_column(tx, window.load, field)
            if not policy.stop:
                letters = letters_name(window)
                if not self.has_table(tx, letters):
                    tx.run(sa.schema.CreateTable(staging_table(letters, dead.SCHEMA, self._database)))

    # In the transaction.

    def attach(self, tx: Session, staged: Sequence[Staged], schema: pa.Schema, *, once: bool, numbered: bool) -> str:  # noqa: ARG002
        ready = self._ready.get(_names(staged))
        if isinstance(ready, _Ready):
            return ready.name
        raise ready or FatalError("the staged rows were not made ready before the commit", code="internal")

    def pick_winners(self, tx: Session, sql: MergeSql, window: Window, staged: int, *, stop: bool) -> tuple[MergeSql, int]:  # noqa: ARG002
        kept = next(ready.rows for ready in self._ready.values() if isinstance(ready, _Ready) and ready.name == sql.staged)
        return sql, staged - kept

    def apply(self, tx: Session, plan: MergePlan) -> Merged:
        assert isinstance(tx, PortableSession)
        sql, policy, merge = plan.sql, plan.policy, self._statements(tx, plan)
        if policy.mode == "insert" or policy.whole or not sql.keys:
            tx.run(merge.insert())
            return Merged(inserted=plan.rows, method="delete+insert" if policy.whole else "insert")
        joined, inserted, stale, unchanged, updated = map(int, tx.run(merge.classify()).rows[0])
        if joined != plan.rows:
            raise several(sql)
        if policy.mode == "replace":
            tx.run(merge.delete_matching())
            tx.run(merge.insert())
            return Merged(inserted=inserted, updated=plan.rows - inserted, method="delete+insert by key")
        # The update goes first: rows just inserted would otherwise be looked at again.
        if updated:
            tx.run(merge.update(joined=self._database.updates_from))
        if inserted:
            tx.run(merge.insert_absent())
        return Merged(inserted=inserted, updated=updated, unchanged=unchanged, stale=stale, method="update+insert")

    def _statements(self, tx: Session, plan: MergePlan) -> PortableMerge:
        sql, fold = plan.sql, str.lower if self.traits.folds_case else str
        if sql.staged not in self._kinds:
            self._kinds[sql.staged] = {fold(column["name"]): column["type"] for column in self._reflected(tx, sql.table)}
        there = {name: self._kinds[sql.staged][fold(name)] for name in sql.columns}
        differ = {name for name, _ in sql.types}
        documents = frozenset(name for name, kind in there.items() if isinstance(kind, sa.JSON))
        if self._database.name == "postgresql":
            differ |= {name for name, kind in there.items() if isinstance(kind, (sa.JSON, sa.Enum))}
        kinds = {name: there[name] for name in differ}
        low, high = plan.span or (None, None)
        return PortableMerge(sql.table, sql.staged, sql.columns, sql.keys, sql.version, kinds, documents, low, high)

    def row_bounds(self, tx: Session, plan: MergePlan) -> tuple[int, int] | None:
        assert isinstance(tx, PortableSession)
        low, high = tx.run(self._statements(tx, plan).bounds()).rows[0]
        return None if low is None else (int(low), int(high) + 1)

    def part(self, tx: Session, plan: MergePlan, low: int, high: int) -> MergePlan:
        assert isinstance(tx, PortableSession)
        part = replace(plan, span=(low, high))
        return replace(part, rows=int(tx.run(self._statements(tx, part).count()).rows[0][0]))

    def without(self, tx: Session, plan: MergePlan, rows: Sequence[int]) -> MergePlan:
        assert isinstance(tx, PortableSession)
        merge = self._statements(tx, plan)
        for first in range(0, len(rows), _SOME):
            tx.run(merge.set_aside(rows[first : first + _SOME]))
        return replace(plan, rows=plan.rows - len(rows))

    def constraints(self, tx: Session, table: str) -> list[refusals.Constraint]:
        """CHECKs are not among them: dialects give their texts in many ways."""
        if self._database.name not in ("postgresql", "sqlite", "mysql"):
            return []  # the queries that look for them are not known to be understood
        assert isinstance(tx, PortableSession)
        inspector, (schema, name), known = sa.inspect(tx.connection), split(table), self.columns(tx, table)
        found = [refusals.Constraint("NOT NULL", "NOT NULL", (f.name,)) for f in known.schema if not f.nullable] if known else []
        keys = _unique_keys(inspector, name, schema)
        keys += [known.primary_key] if known and known.primary_key else []
        found += [refusals.Constraint("UNIQUE", f"UNIQUE ({', '.join(key)})", key) for key in keys]
        for foreign in inspector.get_foreign_keys(name, schema):
            there = ".".join(part for part in (foreign.get("referred_schema"), foreign["referred_table"]) if part)
            here, to = tuple(foreign["constrained_columns"]), tuple(foreign["referred_columns"])
            text = f"FOREIGN KEY ({', '.join(here)}) REFERENCES {there}"
            found.append(refusals.Constraint("FOREIGN KEY", text, here, references=quote_table(there), referenced=to))
        return found

    def reason(self, tx: Session, plan: MergePlan, row: int, refusal: DataError) -> str:
        # Drivers that tell the column of a value have many ways to, and quote the value: what the catalog says of the columns is one.
        if refusal.details.get("constraint"):
            return str(refusal)
        assert isinstance(tx, PortableSession)
        self._statements(tx, plan)
        fold, staged = str.lower if self.traits.folds_case else str, table_of(plan.sql.staged, [ROW, *plan.sql.columns])
        (values,) = tx.run(sa.select(*(staged.c[name] for name in plan.sql.columns)).where(staged.c[ROW] == row)).rows
        for name, value in zip(plan.sql.columns, values, strict=True):
            kind = self._kinds[plan.sql.staged][fold(name)]
            if misfits(kind, value, self._database.name):
                return f"column {name!r} cannot hold this value as {kind.compile(dialect=self._database.dialect)}"
        return str(refusal)

    def savepoint(self, tx: Session) -> AbstractContextManager[None]:
        assert isinstance(tx, PortableSession)
        return tx.savepoint()

    def fetch(self, tx: Session, relation: str, rows: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:
        assert isinstance(tx, PortableSession)
        found: dict[int, tuple[Any, ...]] = {}
        table = staging_table(relation, schema, self._database)
        for first in range(0, len(rows), _SOME):
            some = [row for wanted in rows[first : first + _SOME] for row in (wanted, -1 - wanted)]
            query = sa.select(table.c[ROW], *(table.c[name] for name in schema.names)).where(table.c[ROW].in_(some))
            found.update((row if row >= 0 else -1 - row, tuple(values)) for row, *values in tx.run(query).rows)
        return to_batch([found[row] for row in rows], schema)

    def keep_letters(self, tx: Session, window: Window, letters: pa.RecordBatch) -> Staged:
        assert isinstance(tx, PortableSession)
        name = letters_name(window)
        table = staging_table(name, letters.schema, self._database)
        if not self.has_table(tx, name):
            tx.run(sa.schema.CreateTable(table))
        tx.run(sa.insert(table), rows_of(letters, 0, self._database))
        return Staged(name, letters.num_rows)


def _unique_keys(inspector: sa.Inspector, table: str, schema: str | None) -> list[tuple[str, ...]]:
    """Columns of unique constraints and indexes; rows that an index on expressions or a part of the table refuses are found by halves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exc.SAWarning)  # of indexes on expressions, which some dialects leave out
        constraints, indexes = inspector.get_unique_constraints(table, schema), inspector.get_indexes(table, schema)
    keys = [tuple(unique["column_names"]) for unique in constraints]
    for index in indexes:
        columns = tuple(name for name in index["column_names"] if name is not None)
        partial = any(option.endswith("_where") for option in index.get("dialect_options", {}))
        if index["unique"] and not partial and len(columns) == len(index["column_names"]) and columns not in keys:
            keys.append(columns)
    return keys


def _names(staged: Sequence[Staged]) -> tuple[str, ...]:
    return tuple(part.name for part in staged)


def _arrow(kind: Any) -> pa.DataType:
    """The Arrow type of a column of the target; text where there is none: it is not read."""
    try:
        return types.from_sqlalchemy(kind)
    except PlanError:
        return pa.string()
