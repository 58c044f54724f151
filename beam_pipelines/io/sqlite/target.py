"""SQLite as target: workers stage Arrow IPC files beside it; Prepare and Commit alone write to it, under `BEGIN IMMEDIATE`."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar import types
from beam_pipelines.errors import BeamPipelinesError, DataError, FatalError, SpecError, TransientError
from beam_pipelines.io.connector import Described, TargetTraits
from beam_pipelines.io.sql import refusals
from beam_pipelines.io.sql.embedded_target import EmbeddedTarget
from beam_pipelines.io.sql.ledger import Ledger
from beam_pipelines.io.sql.merge import ROW
from beam_pipelines.io.sql.session import Outcome, Session, quote, savepoint
from beam_pipelines.io.sql.swap import swapped
from beam_pipelines.io.sql.target import MergePlan, took
from beam_pipelines.io.sqlite.connect import BUSY_SECONDS, translate
from beam_pipelines.io.sqlite.values import columns_of, not_numbers
from beam_pipelines.io.staging_files import FileStager
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.window import Window

__all__ = ["SqliteTarget"]

_LOG = logging.getLogger(__name__)
TOLD_AFTER = 2.0  # seconds: a lock between two commits is held for less


class SqliteSession:
    """A sqlite3 connection as `io.sql.session.Session`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection, self._path = connection, path

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Outcome:
        try:
            cursor = self.connection.execute(sql, tuple(parameters))
            rows = cursor.fetchall() if cursor.description else []
        except sqlite3.Error as error:
            raise translate_write(error, self._path) from error
        return Outcome(rows, cursor.rowcount)


def translate_write(error: sqlite3.Error, path: Path) -> BeamPipelinesError:
    """SQLite's error on a write as one of ours; its texts name columns, never values."""
    if isinstance(error, sqlite3.IntegrityError) or "datatype mismatch" in str(error):
        return DataError(str(error), code="target-refused")
    text = str(error)
    if "disk is full" in text or "disk I/O" in text:
        return FatalError(f"SQLite could not write {path.name}: {text}; free space and run again", code="commit-failed")
    if "no such table" in text:
        return FatalError(text, code="table-missing")
    if "readonly" in text:
        return SpecError(f"{path} may not be written by this user", code="connection-invalid")
    return translate(error, path, BUSY_SECONDS)


class SqliteStager(FileStager):
    """Writes one staging file of values that SQLite keeps."""

    def write(self, batch: pa.RecordBatch) -> None:
        bad = not_numbers(batch)
        if bad:
            raise DataError("SQLite has no NaN: it would become null", code="target-refused", details={"rows": bad})
        super().write(batch)


class SqliteTarget(EmbeddedTarget):
    """A SQLite file.

    Args:
        path: The database file; made when the first run is prepared.
    """

    system = "sqlite"
    tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.traits = TargetTraits("sqlite", transactional=True, local=True, folds_case=True, swaps=True)
        self.ledger = Ledger()
        self.place = f"sqlite:///{path}"
        self._attached: tuple[Staged, ...] = ()

    # Connections.

    def _connect(self) -> sqlite3.Connection:
        if not self.path.parent.is_dir():
            raise SpecError(
                f"expected a folder {self.path.parent} for the SQLite file {self.path.name}, there is none", code="connection-invalid"
            )
        try:
            connection = sqlite3.connect(str(self.path), timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA foreign_keys = ON")
            return connection
        except sqlite3.Error as error:
            raise translate_write(error, self.path) from error

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with contextlib.closing(self._connect()) as connection:
            session = SqliteSession(connection, self.path)
            self._wait(session, "BEGIN IMMEDIATE")
            try:
                yield session
                self._wait(session, "COMMIT")
            except BaseException:
                with contextlib.suppress(BeamPipelinesError):
                    session.execute("ROLLBACK")
                raise

    def _wait(self, session: SqliteSession, statement: str) -> None:
        """Run what may have to wait for others; after two seconds the log says so. SQLite does not know who they are."""
        session.execute(f"PRAGMA busy_timeout = {TOLD_AFTER * 1000:.0f}")
        try:
            session.execute(statement)
        except TransientError as busy:
            if busy.code != "locked":
                raise
            what = "another writer" if statement.startswith("BEGIN") else "a reader that does not end, or another writer"
            _LOG.warning("waiting for a lock on %s: held by %s", self.path, what)
            session.execute(f"PRAGMA busy_timeout = {(BUSY_SECONDS - TOLD_AFTER) * 1000:.0f}")
            session.execute(statement)

    @contextmanager
    def opened(self) -> Iterator[Session]:
        with contextlib.closing(self._connect()) as connection:
            yield SqliteSession(connection, self.path)

    @property
    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    # Catalog.

    def has_table(self, tx: Session, table: str) -> bool:
        name = table.replace('"', "").rpartition(".")[2]
        return bool(tx.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)", (name,)).rows)

    def columns(self, tx: Session, table: str) -> Described | None:
        found = tx.execute('SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?)', (table.rpartition(".")[2],)).rows
        if not found:
            return None
        fields = [
            pa.field(name, types.from_sqlite(declared or ""), nullable=not required)
            for name, declared, required, _, hidden in found
            if not hidden
        ]
        keys = sorted((position, name) for name, _, _, position, _ in found if position)
        generated = tuple(name for name, _, _, _, hidden in found if hidden in (2, 3))  # https://sqlite.org/pragma.html: virtual, stored
        return Described(pa.schema(fields), tuple(name for _, name in keys), generated=generated)

    def casts(self, schema: pa.Schema, known: Described) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        # Columns have an affinity, not a type: SQLite converts by itself what converts without loss, and a CAST would turn 'abc' into 0.
        return ()

    def obstacles_in(self, tx: Session, table: str) -> list[str]:
        if not self.has_table(tx, table):
            return ["it is a view"]
        found = tx.execute(
            "SELECT DISTINCT m.name FROM sqlite_master AS m JOIN pragma_foreign_key_list(m.name) AS f"
            " WHERE m.type = 'table' AND lower(f.\"table\") = lower(?) ORDER BY 1",
            (table.rpartition(".")[2],),
        )
        return [f"the foreign key of {other!r}" for (other,) in found.rows]

    @contextmanager
    def swapping(self, tx: Session, window: Window) -> Iterator[tuple[str, int]]:
        name, aside = window.load.rpartition(".")[2], f"_bp_old_{window.run}"
        made = tx.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE lower(tbl_name) = lower(?) AND sql IS NOT NULL ORDER BY rowid", (name,)
        ).rows
        table_sql = next(sql for kind, _, sql in made if kind == "table")
        # Else a rename rewrites the views that name the table, and they would follow the old one. It ends with this connection.
        tx.execute("PRAGMA legacy_alter_table = ON")
        counted = bool(tx.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").rows)
        handed = tx.execute("SELECT seq FROM sqlite_sequence WHERE lower(name) = lower(?)", (name,)).rows if counted else []
        with swapped(
            tx,
            window.load,
            aside=aside,
            table_sql=table_sql,
            indexes=[(index, sql) for kind, index, sql in made if kind == "index"],
            triggers=[sql for kind, _, sql in made if kind == "trigger"],
        ) as fresh:
            yield fresh
        for (last,) in handed:
            # AUTOINCREMENT hands out no number twice, in the new table neither.
            tx.execute("DELETE FROM sqlite_sequence WHERE lower(name) = lower(?) AND seq < ?", (name, last))
            tx.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT name, ? FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)"
                " AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE lower(name) = lower(?))",
                (last, name, name),
            )

    # Staging.

    def stager(self, name: str, schema: pa.Schema, order: int) -> FileStager:
        return SqliteStager(self._files, name, schema, order)

    def attach(self, tx: Session, staged: Sequence[Staged], schema: pa.Schema, *, once: bool, numbered: bool) -> str:  # noqa: ARG002
        assert isinstance(tx, SqliteSession)
        names = ", ".join(quote(name) for name in schema.names)
        tx.execute("DROP TABLE IF EXISTS temp._bp_staged")
        tx.execute(f"CREATE TEMP TABLE _bp_staged ({ROW} INTEGER PRIMARY KEY, {names})")
        marks = ", ".join("?" for _ in schema.names)
        self._attached = tuple(staged)
        first = 0
        for part in staged:
            rows = 0
            for batch in self._files.read(part):
                lines = zip(range(first + rows, first + rows + batch.num_rows), *columns_of(batch), strict=True)
                try:
                    tx.connection.executemany(f"INSERT INTO temp._bp_staged VALUES (?, {marks})", lines)
                except sqlite3.Error as error:
                    raise translate_write(error, self.path) from error
                rows += batch.num_rows
            if rows != part.rows:
                raise FatalError(f"expected {part.rows} rows in the staging file {part.name}, found {rows}", code="staging-lost")
            first += rows
        return "temp._bp_staged"

    def fetch(self, tx: Session, relation: str, rows: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:  # noqa: ARG002
        # SQLite has forgotten the types: the rows are taken from the staging files instead, which the relation numbers in order.
        assert isinstance(tx, SqliteSession)
        wanted, taken, first = sorted(rows), list[pa.RecordBatch](), 0
        for part in self._attached:
            for batch in self._files.read(part):
                inside = [row - first for row in wanted if first <= row < first + batch.num_rows]
                if inside:
                    taken.append(batch.take(pa.array(inside)))
                first += batch.num_rows
        return pa.concat_batches(taken) if taken else pa.RecordBatch.from_pylist([], schema=schema)

    # Merge.

    def savepoint(self, tx: Session) -> AbstractContextManager[None]:
        return savepoint(tx)

    def constraints(self, tx: Session, table: str) -> list[refusals.Constraint]:
        """CHECKs are not among them: SQLite's catalog keeps them in the text of the table only."""
        known, name = self.columns(tx, table), table.rpartition(".")[2]
        found = [refusals.Constraint("NOT NULL", "NOT NULL", (f.name,)) for f in known.schema if not f.nullable] if known else []
        indexes = tx.execute('SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial', (name,)).rows
        keys = [tuple(c for (c,) in tx.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", row).rows) for row in indexes]
        keys += [known.primary_key] if known and known.primary_key and known.primary_key not in keys else []
        found += [refusals.Constraint("UNIQUE", f"UNIQUE ({', '.join(key)})", key) for key in keys if None not in key]
        foreign: dict[int, list[tuple[str, str, str | None]]] = {}
        for number, there, here, referenced in tx.execute(
            'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (name,)
        ).rows:
            foreign.setdefault(number, []).append((there, here, referenced))
        for columns in foreign.values():
            there, here = columns[0][0], tuple(here for _, here, _ in columns)
            parent = self.columns(tx, there)
            to = tuple(name for _, _, name in columns if name) or (parent.primary_key if parent else ())
            if parent and len(to) == len(here):
                text = f"FOREIGN KEY ({', '.join(here)}) REFERENCES {there}"
                found.append(refusals.Constraint("FOREIGN KEY", text, here, references=quote(there), referenced=to))
        return found

    def upsert_rows(self, tx: Session, plan: MergePlan, writes: int) -> str:
        # SQLite has no MERGE. The update goes first: rows just inserted would otherwise be looked at again.
        updated = tx.execute(plan.sql.update()).count if len(plan.sql.columns) > len(plan.sql.keys) else 0
        inserted = tx.execute(plan.sql.insert_absent()).count
        took(Outcome([], updated + inserted), writes, plan.sql)
        return "update+insert"
