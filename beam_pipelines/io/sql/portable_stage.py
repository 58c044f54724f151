"""Staging into a table by inserts of many rows: what every database can do."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from beam_pipelines.errors import DataError
from beam_pipelines.io.sql.halves import refused_rows
from beam_pipelines.io.sql.portable_session import PortableDatabase, PortableSession
from beam_pipelines.io.sql.portable_table import rows_of, staging_table, unstorable
from beam_pipelines.runs.facts import Staged

__all__ = ["PortableStager"]


class PortableStager:
    """Writes one staging table: made at once, filled in one transaction.

    Args:
        database: Where.
        name: Staging name.
        schema: Of every batch.
        order: Sort key of the object among those of its load.
        batch_size: Rows a statement.
    """

    def __init__(self, database: PortableDatabase, name: str, schema: pa.Schema, order: int, batch_size: int) -> None:
        self._database, self._name, self._order, self._batch_size = database, name, order, batch_size
        self._table = staging_table(name, schema, database)
        self._open: contextlib.ExitStack | None = None
        self._session: PortableSession | None = None
        self._rows = self._bytes = 0

    def _begin(self) -> PortableSession:
        if self._session is None:
            with self._database.transaction() as tx:
                tx.run(CreateTable(self._table))
            self._open = contextlib.ExitStack()
            self._session = self._open.enter_context(self._database.transaction())
        return self._session

    def write(self, batch: pa.RecordBatch) -> None:
        bad = unstorable(batch, self._database)
        session = self._begin()
        if not bad and not self._try(session, batch, keep=True):
            bad = self._refused(session, batch)
        if bad:
            raise DataError("the database cannot hold a value of this row", code="target-refused", details={"rows": bad})
        self._rows += batch.num_rows
        self._bytes += batch.nbytes

    def _try(self, session: PortableSession, batch: pa.RecordBatch, *, keep: bool) -> bool:
        try:
            with session.savepoint():
                for first in range(0, batch.num_rows, self._batch_size):
                    some = batch.slice(first, self._batch_size)
                    session.run(sa.insert(self._table), rows_of(some, self._rows + first, self._database))
                if not keep:
                    raise _Undone
        except _Undone:
            return True
        except DataError:
            return False
        return True

    def _refused(self, session: PortableSession, batch: pa.RecordBatch) -> list[int]:
        """Rows that cannot be inserted, found by halves; each try is undone."""
        return refused_rows(batch.num_rows, lambda first, rows: self._try(session, batch.slice(first, rows), keep=False))

    def finish(self) -> Staged:
        self._begin()
        assert self._open is not None
        self._open.close()
        self._open = self._session = None
        return Staged(self._name, self._rows, self._bytes, self._order)

    def abort(self) -> None:
        opened, self._open, self._session = self._open, None, None
        if opened is None:
            return
        with contextlib.suppress(Exception):
            opened.__exit__(_Undone, _Undone(), None)
        with contextlib.suppress(Exception), self._database.transaction() as tx:
            tx.run(sa.schema.DropTable(self._table))


class _Undone(Exception):  # noqa: N818 - a way out of a transaction, not an error
    """What was written is not to be kept."""
