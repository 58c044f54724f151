"""DuckDB as target: workers stage Arrow IPC files beside it, and only Prepare and Commit open it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from beam_pipelines.columnar import types
from beam_pipelines.errors import FatalError, TransientError
from beam_pipelines.io.connector import Described, TargetTraits
from beam_pipelines.io.duckdb.session import MEMORY, MERGE_MEMORY, MOST_MEMORY, DuckDbSession, connect, starved
from beam_pipelines.io.sql import refusals
from beam_pipelines.io.sql.embedded_target import EmbeddedTarget
from beam_pipelines.io.sql.ledger import Ledger
from beam_pipelines.io.sql.merge import ROW, MergeSql
from beam_pipelines.io.sql.session import Session, quote, quote_table
from beam_pipelines.io.sql.swap import swapped
from beam_pipelines.io.sql.target import MergePlan, Refused
from beam_pipelines.runs.counts import Merged
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.window import Window

__all__ = ["DuckDbTarget"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_WORD = re.compile(r"\w+")
_NAMED = "lower(table_name) = lower(?) AND lower(schema_name) = lower(?)"  # DuckDB compares names so


class _StarvedError(TransientError):
    """A transaction did not get along with its memory, and may have more."""


class DuckDbTarget(EmbeddedTarget):
    """A DuckDB file.

    Args:
        path: The database file; made when the first run is prepared.
        ledger_schema: Schema of the ledger tables, None: `main`.
    """

    system = "duckdb"
    tables = "SELECT count(*) FROM duckdb_tables() WHERE NOT internal"
    numbered_from = 1  # by row_number()
    creates_primary_key = False  # MERGE needs none, and DuckDB's key index makes a bulk load several times slower

    def __init__(self, path: Path, *, ledger_schema: str | None = None) -> None:
        super().__init__(path)
        self.traits = TargetTraits("duckdb", transactional=True, local=True, folds_case=True, swaps=True, in_process=True)
        self.ledger = Ledger(ledger_schema)
        self.place = f"duckdb:///{path}" + (f"#{ledger_schema}" if ledger_schema else "")
        self._memory = self._given = MEMORY  # MB: what a transaction begins with, and what the last one had in the end

    # Connections.

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        self._given = self._memory
        with connect(self.path, memory=self._memory) as session:
            session.execute("BEGIN TRANSACTION")
            try:
                yield session
                session.execute("COMMIT")
            except BaseException as error:
                # After an error DuckDB has perhaps rolled back by itself already.
                with _quiet():
                    session.execute("ROLLBACK")
                if starved(error) and self._given < MOST_MEMORY:
                    self._memory = min(2 * self._given, MOST_MEMORY)
                    raise _StarvedError(f"the load needs more than {self._given} MB of memory: {error}", code="conflict") from error
                raise

    def _retrying(self, call: Callable[[], T]) -> T:
        def fed() -> T:
            # No conflict was lost, so none of the retries is used up: there are as many as it takes to get to MOST_MEMORY.
            while True:
                try:
                    return call()
                except _StarvedError:
                    _LOG.info(
                        "%s: the load needs more memory than %d MB, and is begun again with %d MB",
                        self.path.name,
                        self._given,
                        self._memory,
                    )

        return super()._retrying(fed)

    def opened(self) -> AbstractContextManager[Session]:
        return connect(self.path)

    @property
    def version(self) -> str:
        import duckdb

        return f"DuckDB {duckdb.__version__}"

    # Catalog.

    def has_table(self, tx: Session, table: str) -> bool:
        schema, _, name = table.replace('"', "").rpartition(".")
        found = tx.execute(f"SELECT 1 FROM duckdb_tables() WHERE {_NAMED}", (name, schema or "main"))
        return bool(found.rows)

    def columns(self, tx: Session, table: str) -> Described | None:
        schema, _, name = table.rpartition(".")
        found = tx.execute(
            "SELECT column_name, data_type, is_nullable, column_default IS NOT NULL"
            f" FROM duckdb_columns() WHERE {_NAMED} ORDER BY column_index",
            (name, schema or "main"),
        )
        if not found.rows:
            return None
        fields = [pa.field(column, types.from_duckdb(kind), nullable=bool(nullable)) for column, kind, nullable, _ in found.rows]
        key = tx.execute(
            f"SELECT constraint_column_names FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY' AND {_NAMED}",
            (name, schema or "main"),
        )
        filled = {column for column, _, _, has_expression in found.rows if has_expression}
        # DESCRIBE gives the default of a column that has one, and nothing for one that is computed; DuckDB 1.5 says it nowhere else.
        given = dict(tx.execute(f'SELECT column_name, "default" FROM (DESCRIBE {quote_table(table)})').rows) if filled else {}
        generated = tuple(column for column in given if column in filled and given[column] is None)
        return Described(pa.schema(fields), tuple(key.rows[0][0]) if key.rows else (), generated=generated)

    def obstacles_in(self, tx: Session, table: str) -> list[str]:
        schema, _, name = table.rpartition(".")
        if not self.has_table(tx, table):
            return ["it is a view"]
        found = tx.execute(
            "SELECT DISTINCT table_name FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY'"
            " AND lower(referenced_table) = lower(?) AND lower(schema_name) = lower(?) ORDER BY 1",
            (name, schema or "main"),
        )
        # Tables and types know of each other by their numbers; the statement that made a table names no type of its schema.
        named = tx.execute(
            "SELECT DISTINCT y.type_name FROM duckdb_dependencies() AS d JOIN duckdb_types() AS y ON y.type_oid = d.objid"
            " JOIN duckdb_tables() AS t ON t.table_oid = d.refobjid"
            " WHERE lower(t.table_name) = lower(?) AND lower(t.schema_name) = lower(?) ORDER BY 1",
            (name, schema or "main"),
        )
        return [f"the foreign key of {other!r}" for (other,) in found.rows] + [f"the type {kind!r}" for (kind,) in named.rows]

    def swapping(self, tx: Session, window: Window) -> AbstractContextManager[tuple[str, int]]:
        schema, _, name = window.load.rpartition(".")
        ((table_sql,),) = tx.execute(f"SELECT sql FROM duckdb_tables() WHERE NOT temporary AND {_NAMED}", (name, schema or "main")).rows
        indexes = tx.execute(
            f"SELECT index_name, sql FROM duckdb_indexes() WHERE sql IS NOT NULL AND {_NAMED}", (name, schema or "main")
        ).rows
        return swapped(tx, window.load, aside=f"_bp_old_{window.run}", table_sql=table_sql, indexes=indexes)

    # Staging.

    def attach(self, tx: Session, staged: Sequence[Staged], schema: pa.Schema, *, once: bool, numbered: bool) -> str:  # noqa: ARG002
        assert isinstance(tx, DuckDbSession)
        for part in staged:
            found = self._files.count(part)
            if found != part.rows:
                raise FatalError(f"expected {part.rows} rows in the staging file {part.name}, found {found}", code="staging-lost")
        batches = (batch for part in staged for batch in self._files.read(part))
        tx.connection.register("_bp_reader", pa.RecordBatchReader.from_batches(schema, batches))
        if once:
            # Read once, straight from the files: no row is held.
            return quote("_bp_reader")
        tx.execute(f"CREATE OR REPLACE TEMP TABLE _bp_staged AS SELECT row_number() OVER () AS {ROW}, * FROM _bp_reader")
        return quote("_bp_staged")

    def fetch(self, tx: Session, relation: str, rows: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:
        assert isinstance(tx, DuckDbSession)
        names = ", ".join(quote(name) for name in schema.names)
        tx.connection.register("_bp_wanted", pa.table({"row": pa.array(rows, pa.int64())}))
        found = tx.connection.sql(
            f"SELECT {names} FROM {relation} AS s JOIN _bp_wanted AS w ON w.row = s.{ROW} ORDER BY s.{ROW}"
        ).to_arrow_table()
        combined = found.cast(schema).combine_chunks().to_batches()
        return combined[0] if combined else pa.RecordBatch.from_pylist([], schema=schema)

    # Merge.

    def pick_winners(self, tx: Session, sql: MergeSql, window: Window, staged: int, *, stop: bool) -> tuple[MergeSql, int]:  # noqa: ARG002
        # A cast that fails ends the transaction, so none is tried that would.
        types = dict(sql.types)
        bad = [f"d.{quote(key)} IS NOT NULL AND TRY_CAST(d.{quote(key)} AS {types[key]}) IS NULL" for key in sql.keys if key in types]
        return self._keep_winners(tx, sql, window, staged, " OR ".join(bad))

    savepoints = False

    def savepoint(self, tx: Session) -> AbstractContextManager[None]:  # noqa: ARG002
        raise FatalError("DuckDB has no savepoints: refused rows are found by set", code="internal")

    def apply(self, tx: Session, plan: MergePlan) -> Merged:
        if plan.policy.mode == "replace" and plan.sql.keys and plan.indexed:
            # DuckDB checks a key against rows the same transaction deleted, so whole rows are replaced by MERGE instead.
            inserted = tx.execute(plan.sql.classify()).rows[0][1]
            self._allow_merge(tx)
            tx.execute(_replacing(tx, plan))
            return Merged(inserted=inserted, updated=plan.rows - inserted, method="merge")
        return super().apply(tx, plan)

    def upsert(self, tx: Session, plan: MergePlan, writes: int) -> str:
        if writes and not plan.empty:
            self._allow_merge(tx)
        return super().upsert(tx, plan, writes)

    def _allow_merge(self, tx: Session) -> None:
        assert isinstance(tx, DuckDbSession)
        self._given = max(self._memory, MERGE_MEMORY)
        tx.allow(self._given)

    def apply_rest(self, tx: Session, plan: MergePlan) -> tuple[Merged, list[Refused]]:
        refused: dict[int, Refused] = {}
        for reason, query in self.refusal_queries(tx, plan):
            for (row,) in tx.execute(query).rows:
                refused.setdefault(row, Refused(row, "target-refused", reason))
        if refused:
            assert isinstance(tx, DuckDbSession)
            tx.connection.register("_bp_refused", pa.table({"row": pa.array(list(refused), pa.int64())}))
            rest = plan.sql.of(f"(SELECT * FROM {plan.sql.staged} AS a WHERE a.{ROW} NOT IN (SELECT row FROM _bp_refused))")
            plan = MergePlan(rest, plan.policy, plan.rows - len(refused), plan.empty, plan.indexed)
        return self.apply(tx, plan), [refused[row] for row in sorted(refused)]

    def refusal_queries(self, tx: Session, plan: MergePlan) -> list[tuple[str, str]]:
        return _refusals(tx, plan)


def _refusals(tx: Session, plan: MergePlan) -> list[tuple[str, str]]:
    """Queries of the rows the table refuses. DuckDB's transactions cannot be undone in part, so there is nothing to bisect with."""
    sql = plan.sql
    casts = [
        (
            f"column {name!r} cannot hold this value as {wanted}",
            f"SELECT {ROW} FROM {sql.staged} AS s WHERE s.{quote(name)} IS NOT NULL AND TRY_CAST(s.{quote(name)} AS {wanted}) IS NULL",
        )
        for name, wanted in sql.types
    ]
    # Later queries must not trip over a value that will not cast: it is refused already.
    tolerant = replace(sql, types=(), staged=_cast(sql)) if sql.types else sql
    schema, _, table = sql.table.rpartition(".")
    found = tx.execute(
        "SELECT constraint_type, constraint_text, expression, constraint_column_names, referenced_table, referenced_column_names"
        f" FROM duckdb_constraints() WHERE {_NAMED}",
        (table, schema or "main"),
    ).rows
    constraints = [
        refusals.Constraint(
            "UNIQUE" if kind == "PRIMARY KEY" else kind,
            text,
            tuple(columns),
            expression or "",
            quote_table(f"{schema}.{referenced}" if schema else referenced) if referenced else "",
            tuple(there),
        )
        for kind, text, expression, columns, referenced, there in found
    ]
    names = [row[0] for row in tx.execute(f"SELECT column_name FROM (DESCRIBE {sql.target})").rows]
    # Unique indexes are no constraints to the catalog. The list of what they are on is a text, each part as in SQL.
    indexes = tx.execute(
        f"SELECT index_name, expressions::VARCHAR[] FROM duckdb_indexes() WHERE is_unique AND NOT is_primary AND {_NAMED}",
        (table, schema or "main"),
    ).rows
    constraints += [_unique_index(name, parts, names) for name, parts in indexes]
    insert = plan.policy.mode == "insert" or plan.policy.whole
    return casts + refusals.queries(tolerant, constraints, names, insert=insert, fold=str.lower)


def _unique_index(name: str, parts: Sequence[str], names: Sequence[str]) -> refusals.Constraint:
    """A unique index as a constraint.

    Args:
        name: Of the index.
        parts: What it is on: columns and expressions, as in SQL.
        names: Columns of the table.
    """
    spelled = {written.lower(): column for column in names for written in (column, quote(column))}
    if all(part.lower() in spelled for part in parts):
        columns = tuple(spelled[part.lower()] for part in parts)
        return refusals.Constraint("UNIQUE", f"{name} UNIQUE ({', '.join(columns)})", columns)
    # A column too many may be found in a text of the expression: then the index is not looked at, as where a column does not arrive.
    words = {word.lower() for part in parts for word in _WORD.findall(part)}
    used = [column for column in names if column.lower() in words or quote(column).lower() in " ".join(parts).lower()]
    return refusals.Constraint("UNIQUE", f"{name} UNIQUE ({', '.join(parts)})", tuple(used), parts=tuple(parts))


def _cast(sql: MergeSql) -> str:
    wanted = dict(sql.types)
    parts = [f"TRY_CAST(c.{quote(n)} AS {wanted[n]}) AS {quote(n)}" if n in wanted else f"c.{quote(n)}" for n in sql.columns]
    return f"(SELECT {ROW}, {', '.join(parts)} FROM {sql.staged} AS c)"


def _replacing(tx: Session, plan: MergePlan) -> str:
    """MERGE that replaces whole rows: columns the staged rows lack become null."""
    sql = plan.sql
    there = [row[0] for row in tx.execute(f"SELECT column_name FROM (DESCRIBE {quote_table(sql.table)})").rows]
    lower = {column.lower(): column for column in sql.columns}
    keys = {key.lower() for key in sql.keys}
    sets = [f"{quote(c)} = {sql.value(lower[c.lower()]) if c.lower() in lower else 'NULL'}" for c in there if c.lower() not in keys]
    names, values = ", ".join(map(quote, sql.columns)), ", ".join(sql.value(column) for column in sql.columns)
    update = f" WHEN MATCHED THEN UPDATE SET {', '.join(sets)}" if sets else ""
    insert = f" WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
    return f"MERGE INTO {sql.target} AS t USING {sql.staged} AS s ON {sql.match()}{update}{insert}"


@contextmanager
def _quiet() -> Iterator[None]:
    try:
        yield
    except FatalError as nothing:
        _LOG.debug("rollback after an error: %s", nothing)
    except Exception as nothing:  # noqa: BLE001 - the first error matters, not what the rollback says
        _LOG.debug("rollback after an error: %s", nothing)
