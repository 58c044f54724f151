"""Staging into PostgreSQL: one unlogged table an attempt, filled in bulk, committed when the bundle ends.

Small bundles go by psycopg's COPY, so that a small increment never pays for loading ADBC (0.4 s); larger ones by ADBC's binary COPY, the
fastest of seven ways (docs/benchmarks.md). Unlogged tables are empty after a crash of the server: Commit counts them.

Autovacuum has no business with them. It would begin when a table is staged, go through all of it beside the commit, and still hold it
when it is to be dropped: of twelve runs of 1,000,000 rows on PostgreSQL 18 it met eight. Processor time of process and server, without
it: 5 % less for an upsert by primary key, 8 % less for one without.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import plain, types
from beam_pipelines.columnar.text_data import has_any
from beam_pipelines.errors import DataError
from beam_pipelines.io.postgres.session import Server
from beam_pipelines.io.sql.halves import refused_rows
from beam_pipelines.io.sql.session import quote
from beam_pipelines.runs.facts import Staged

if TYPE_CHECKING:
    import psycopg

__all__ = ["SMALL_ROWS", "PostgresStager", "copy_rows", "create_statement", "refusal", "staging_type"]

SMALL_ROWS = 20_000  # below this, COPY by psycopg is done before ADBC would be imported (measured in benchmarks/read_postgres.py)
SMALL_BYTES = 32 * 1024 * 1024  # of what waits for it
_FIRST = -210_866_803_200_000_000  # microseconds from 1970: 24 November 4714 BC, PostgreSQL's first moment; its last is beyond Arrow's
_DATA_STATES = ("22", "23", "42804", "54")  # data exceptions, constraint violations, datatype mismatch, row too big


def create_statement(name: str, schema: pa.Schema, *, unlogged: bool = True) -> str:
    """CREATE TABLE of a staging object; one that goes with the run is unlogged, and none of autovacuum's."""
    columns = ", ".join(f"{quote(field.name)} {staging_type(field.type)}" for field in schema)
    kind, settings = ("UNLOGGED ", " WITH (autovacuum_enabled = false)") if unlogged else ("", "")
    return f"CREATE {kind}TABLE {name} ({columns}){settings}"


def staging_type(kind: pa.DataType) -> str:
    """Column type of a staging table: the target's own, but text where binary COPY has no form for the values; the merge casts it."""
    return "text" if _as_text(kind) else types.ddl(kind, "postgresql")


def _as_text(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) or pa.types.is_interval(kind) or (_is_list(kind) and _loses_nulls())


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


@functools.cache
def _loses_nulls() -> bool:
    """Return whether the installed ADBC writes nulls within a list as 0 or "": all before 1.13, which Python 3.10 does not get."""
    return tuple(int(part) for part in importlib.metadata.version("adbc-driver-postgresql").split(".")[:2]) < (1, 13)


def _texts(column: pa.Array) -> pa.Array:
    if pa.types.is_interval(column.type):
        parts = [None if v is None else f"{v.months} months {v.days} days {v.nanoseconds / 1000} microseconds" for v in column.to_pylist()]
        return pa.array(parts, pa.string())
    if _is_list(column.type):
        return _array_texts(column)
    return pa.array(plain.plain(column), pa.string())


def _array_texts(column: pa.Array) -> pa.Array:
    """Lists as PostgreSQL reads them from text: `{1,NULL}`."""
    from psycopg.adapt import PyFormat, Transformer

    dump = Transformer().dump_sequence
    found = (None if value is None else dump([value], [PyFormat.TEXT])[0] for value in column.to_pylist())
    return pa.array([None if text is None else bytes(text).decode() for text in found], pa.string())


def refusal(error: Exception) -> DataError | None:
    """A driver's error as a refused row; None when it is something else. The text names constraint and column, never a value."""
    state = getattr(error, "sqlstate", None) or ""
    state = state.decode() if isinstance(state, bytes) else str(state)
    if not state.startswith(_DATA_STATES):
        return None
    diagnosis = getattr(error, "diag", None)
    constraint, column = getattr(diagnosis, "constraint_name", None), getattr(diagnosis, "column_name", None)
    kinds = {"23502": "a null", "23503": "no such referenced row", "23505": "a value that is taken", "23514": "a failed check"}
    what = kinds.get(state, "a value it cannot hold")
    where = f" in column {column!r}" if column else (f" ({constraint})" if constraint else "")
    return DataError(f"{what}{where} [SQLSTATE {state}]", code="target-refused", details={"sqlstate": state})


class PostgresStager:
    """Writes one staging table.

    Args:
        server: Where.
        name: Staging name.
        table: The same, quoted, with its schema.
        schema: Of every batch.
        order: Sort key of the object among those of its load.
    """

    def __init__(self, server: Server, name: str, table: str, schema: pa.Schema, order: int) -> None:
        self._server, self._name, self._table, self._schema, self._order = server, name, table, schema, order
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._bulk: Any = None
        create_statement(table, schema)  # refuses a type PostgreSQL has no place for, before anything is connected

    def write(self, batch: pa.RecordBatch) -> None:
        bad = _unstorable(batch)
        if bad:
            raise DataError(
                "PostgreSQL cannot hold a NUL character in a text, or a moment before 4714 BC",
                code="target-refused",
                details={"rows": bad},
            )
        ready = pa.RecordBatch.from_arrays([_texts(c) if _as_text(c.type) else c for c in batch.columns], names=self._schema.names)
        small = self._rows + batch.num_rows <= SMALL_ROWS and self._bytes + batch.nbytes <= SMALL_BYTES
        if self._bulk is None and small:
            self._waiting.append(ready)
        else:
            self._ingest(ready)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes

    def finish(self) -> Staged:
        if self._bulk is not None:
            with self._server.doing(f"committing {self._name}"):
                self._bulk.commit()
            self._bulk.close()
            self._bulk = None
        else:
            self._copy()
        return Staged(self._name, self._rows, self._bytes, self._order)

    def abort(self) -> None:
        bulk, self._bulk, self._waiting = self._bulk, None, []
        if bulk is not None:
            with contextlib.suppress(Exception):
                bulk.rollback()
            with contextlib.suppress(Exception):
                bulk.close()

    # Small: psycopg.

    def _copy(self) -> None:
        connection = self._server.connect(autocommit=False)
        try:
            with self._server.doing(f"staging {self._name}"):
                connection.execute(create_statement(self._table, self._schema))
                copy_rows(connection, self._table, self._waiting)
                connection.commit()
        finally:
            self._server.done(connection)
        self._waiting = []

    # Large: ADBC.

    def _ingest(self, batch: pa.RecordBatch) -> None:
        if self._bulk is None:
            self._bulk = self._open_bulk()
            waiting, self._waiting = self._waiting, []
            for earlier in waiting:
                self._append(earlier)
        self._append(batch)

    def _open_bulk(self) -> Any:
        from adbc_driver_postgresql import dbapi

        with self._server.doing(f"connecting to stage {self._name}"):
            connection = dbapi.connect(self._server.adbc_uri(), autocommit=False)
        with self._server.doing(f"creating {self._name}"), connection.cursor() as cursor:
            cursor.execute(create_statement(self._table, self._schema))
        return connection

    def _append(self, batch: pa.RecordBatch) -> None:
        """Append a batch; when the server refuses it, find the rows by halves (each try is undone) and name them."""
        if self._try(batch, keep=True):
            return
        bad = refused_rows(batch.num_rows, lambda first, rows: self._try(batch.slice(first, rows), keep=False))
        raise DataError("PostgreSQL cannot hold a value of this row", code="target-refused", details={"rows": bad})

    def _try(self, batch: pa.RecordBatch, *, keep: bool) -> bool:
        schema, _, table = self._table.rpartition(".")
        with self._bulk.cursor() as cursor, self._server.doing(f"staging {self._name}"):
            cursor.execute("SAVEPOINT batch")
            try:
                cursor.adbc_ingest(_plain(table), batch, mode="append", db_schema_name=_plain(schema) or None)
            except Exception as error:
                if refusal(error) is None:
                    raise
                cursor.execute("ROLLBACK TO SAVEPOINT batch")
                return False
            if not keep:
                cursor.execute("ROLLBACK TO SAVEPOINT batch")
            cursor.execute("RELEASE SAVEPOINT batch")
        return True


def _plain(quoted: str) -> str:
    return quoted.strip('"').replace('""', '"')


def copy_rows(connection: psycopg.Connection[Any], table: str, batches: list[pa.RecordBatch]) -> None:
    """COPY batches by rows: for small numbers of them."""
    if not batches:
        return
    names = ", ".join(quote(name) for name in batches[0].schema.names)
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for batch in batches:
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                copy.write_row(row)


def _unstorable(batch: pa.RecordBatch) -> list[int]:
    """Rows with a value that no PostgreSQL column can hold; found before the server sees it, for one of them would cost the whole COPY."""
    bad: set[int] = set()
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            if not has_any(column, b"\0"):
                continue
            hit = pc.match_substring(column, "\0")
        elif pa.types.is_timestamp(column.type):
            micros = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
            hit = pc.less(micros, _FIRST)
        else:
            continue
        if pc.any(hit).as_py():
            bad.update(pc.indices_nonzero(pc.fill_null(hit, False)).to_pylist())
    return sorted(bad)
