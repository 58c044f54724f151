"""What targets have in common whose database is a file: staging files beside it, and connections that are opened late and closed early."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pyarrow as pa

from beam_pipelines.io.sql.ledger_target import service_staging
from beam_pipelines.io.sql.session import Session
from beam_pipelines.io.sql.target import SqlTarget, letters_name
from beam_pipelines.io.staging_files import FileStager, StagingFolder
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.window import Window

__all__ = ["EmbeddedTarget"]


class EmbeddedTarget(SqlTarget):
    """A database in a file of this machine.

    Args:
        path: The file; made when the first run is prepared.
    """

    tables: str  # query that counts them

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = StagingFolder(path.with_name(f"{path.name}.staging"))

    @abstractmethod
    def opened(self) -> AbstractContextManager[Session]:
        """A connection outside of a transaction; makes the file where it is missing."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The library's name and version."""

    @contextmanager
    def reading(self) -> Iterator[Session | None]:
        if not self.path.exists():
            yield None
            return
        with self.opened() as session:
            yield session

    def check(self) -> str:
        with self.reading() as session:
            if session is None:
                return f"{self.version}, {self.path.name} will be created by the first run"
            return f"{self.version}, {self.path.name}, {session.execute(self.tables).rows[0][0]} tables"

    def close(self) -> None:
        """Nothing is held between calls."""

    # Staging.

    def stager(self, name: str, schema: pa.Schema, order: int) -> FileStager:
        return self._files.stager(name, schema, order)

    def staging(self, service: str) -> list[str]:
        return service_staging(service, self._files.names())

    def read_staged(self, staged: Staged) -> Iterable[pa.RecordBatch]:
        return self._files.read(staged)

    def drop_staged(self, names: Sequence[str]) -> None:
        self._files.drop(names)

    def keep_letters(self, tx: Session, window: Window, letters: pa.RecordBatch) -> Staged:  # noqa: ARG002 - a file needs no transaction
        stager = self.stager(letters_name(window), letters.schema, 0)
        stager.write(letters)
        return stager.finish()
