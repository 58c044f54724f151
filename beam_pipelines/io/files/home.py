"""Targets without transactions, whose ledger is in the run's state store."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from beam_pipelines.errors import FatalError
from beam_pipelines.io.connector import Stager
from beam_pipelines.io.files.ledger import FileLedger, home_of
from beam_pipelines.io.files.stage import RowStaging
from beam_pipelines.io.sql.ledger_target import LedgerTarget, service_staging
from beam_pipelines.io.sql.session import Session
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.facts import Staged

__all__ = ["HomedTarget"]


class HomedTarget(LedgerTarget, ABC):
    """A target of this machine whose ledger is in the state store, and whose staging is files in a folder.

    Args:
        context: The run, whose state store holds the ledger; without one, nothing has been loaded yet.
        staging: The folder.
    """

    def __init__(self, context: RunContext | None, staging: RowStaging) -> None:
        home = home_of(context)
        self._home = home[0] if home else None
        self.ledger: FileLedger = home[1] if home else FileLedger()
        self._staging = staging

    # The ledger's database.

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        if self._home is None:
            raise FatalError("files are loaded by runs, whose state store holds the ledger: there is no run here", code="internal")
        with self._home.transaction() as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Session | None]:
        if self._home is None:
            yield None
            return
        with self._home.reading() as tx:
            yield tx

    def has_table(self, tx: Session, table: str) -> bool:
        return self._home is not None and self._home.has_table(tx, table)

    def close(self) -> None:
        if self._home is not None:
            self._home.close()

    # Staging.

    def stager(self, name: str, schema: pa.Schema, order: int) -> Stager:
        return self._staging.stager(name, schema, order)

    def staging(self, service: str) -> list[str]:
        return service_staging(service, self._staging.names())

    def read_staged(self, staged: Staged) -> Iterable[pa.RecordBatch]:
        return self._staging.read(staged)

    def drop_staged(self, names: Sequence[str]) -> None:
        self._staging.drop(names)
