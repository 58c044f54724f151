"""The ledger of targets without transactions: in the run's state store, with what a commit promised to do to files, and what was read."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.sql.ledger import Ledger
from beam_pipelines.io.sql.session import Session, quote
from beam_pipelines.io.state_place import connection_of, state_url
from beam_pipelines.runs.file import FileResult, is_shards
from beam_pipelines.runs.window import Window

if TYPE_CHECKING:
    from beam_pipelines.io.sql.target import SqlTarget
    from beam_pipelines.runs.context import RunContext

__all__ = ["FILES", "MOVES", "SHARDS", "FileDone", "FileLedger", "Move", "home_of"]

FILES = "_beam_pipelines_files"
MOVES = "_beam_pipelines_moves"
SHARDS = "_beam_pipelines_shards"
_STORE_SCHEMA = "beam_pipelines"  # that of the state store's own tables on PostgreSQL


@dataclass(frozen=True)
class Move:
    """One thing that a commit promised.

    Args:
        path: Absolute.
        source: The staged file that becomes `path`; empty: `path` goes.
        identity: Of a file that goes, as it was when that was promised: another file of its name stays. Of a staged one what it is known
            by at `path`; empty: nothing.
    """

    path: str
    source: str = ""
    identity: str = ""


@dataclass(frozen=True)
class FileDone:
    """A file that a run of a service is done with.

    Args:
        size: Bytes.
        tag: Tells the version that was read from another.
        run: That read it.
        output: Where its rows are, or those of an earlier version, below the place of the destination; empty: nowhere. Files that hold rows
            of several inputs are told by a pattern (`runs.file.shards_of`).
        error: Why it could not be read, empty: it was.
        options: How it was to be read, as a digest.
    """

    size: int
    tag: str
    run: str
    output: str = ""
    error: str = ""
    options: str = ""

    @property
    def shared(self) -> bool:
        """Its rows are in files that hold those of others too."""
        return is_shards(self.output)


class FileLedger(Ledger):
    """The ledger's tables, with three more.

    One of promises, made in the transaction that commits a load and taken back when they are kept. And written in the same transaction:
    one of the files that a service whose unit is the file is done with, and one of the files with rows of several that it has written.
    """

    def __init__(self, schema: str | None = None) -> None:
        super().__init__(schema)
        self.moves = f"{quote(schema)}.{MOVES}" if schema else MOVES
        self.files = f"{quote(schema)}.{FILES}" if schema else FILES
        self.shards = f"{quote(schema)}.{SHARDS}" if schema else SHARDS

    def create(self, tx: Session) -> None:
        super().create(tx)
        tx.execute(
            f"CREATE TABLE IF NOT EXISTS {self.moves} (service TEXT NOT NULL, load TEXT NOT NULL, run TEXT NOT NULL,"
            " position BIGINT NOT NULL, path TEXT NOT NULL, source TEXT NOT NULL, identity TEXT NOT NULL,"
            " PRIMARY KEY (service, load, run, position))"
        )
        tx.execute(
            f"CREATE TABLE IF NOT EXISTS {self.files} (service TEXT NOT NULL, load TEXT NOT NULL, name TEXT NOT NULL, size BIGINT NOT NULL,"
            " tag TEXT NOT NULL, run TEXT NOT NULL, output TEXT NOT NULL, error TEXT NOT NULL, options TEXT NOT NULL,"
            " PRIMARY KEY (service, load, name))"
        )
        tx.execute(
            f"CREATE TABLE IF NOT EXISTS {self.shards} (service TEXT NOT NULL, load TEXT NOT NULL, path TEXT NOT NULL, run TEXT NOT NULL,"
            " PRIMARY KEY (service, load, path))"
        )

    def promise(self, tx: Session, window: Window, moves: Iterable[Move]) -> None:
        """Promise what is done to files once the transaction is committed."""
        for position, move in enumerate(moves):
            tx.execute(
                f"INSERT INTO {self.moves} (service, load, run, position, path, source, identity) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (window.service, window.load, window.run, position, move.path, move.source, move.identity),
            )

    def promised(self, tx: Session, service: str) -> dict[tuple[str, str], list[Move]]:
        """What is promised and perhaps not done yet, by load and run."""
        found = tx.execute(
            f"SELECT load, run, path, source, identity FROM {self.moves} WHERE service = ? AND position >= 0 ORDER BY load, run, position",
            (service,),
        )
        promised: dict[tuple[str, str], list[Move]] = {}
        for load, run, path, source, identity in found.rows:
            promised.setdefault((load, run), []).append(Move(path, source, identity))
        return promised

    def begin(self, tx: Session, service: str, load: str, run: str) -> bool:
        """Note that what a run promised begins to be done.

        Returns:
            Nobody has begun before, and it is not done: what is missing now was never moved.
        """
        key, mine = (service, load, run), uuid.uuid4().hex
        # First of all, so that another that begins, or is done, at this moment is waited for. It stands before all promises.
        tx.execute(
            f"INSERT INTO {self.moves} (service, load, run, position, path, source, identity) VALUES (?, ?, ?, -1, '', ?, '')"
            " ON CONFLICT DO NOTHING",
            (*key, mine),
        )
        found = tx.execute(f"SELECT position, source FROM {self.moves} WHERE service = ? AND load = ? AND run = ?", key).rows
        if not any(position >= 0 for position, _ in found):
            self.kept(tx, *key)
            return False
        return any(position < 0 and source == mine for position, source in found)

    def done(self, tx: Session, window: Window, files: Iterable[FileResult]) -> None:
        """Note the files that a run is done with; one that is not to blame for its failure is left to the next."""
        known = self.files_done(tx, window.service, window.load)
        owner = {file.output: name for name, file in known.items() if file.output and not file.shared}
        for file in files:
            key = (window.service, window.load, file.name)
            if file.passing:
                continue
            # What an earlier version of one that cannot be read became is there, and is still this file's.
            output = file.output if not file.error else known[file.name].output if file.name in known else ""
            gone = owner.get(output, file.name)
            if gone != file.name:
                # An input that is not there any more, and left its output to this one: should it come again, it is a new one.
                tx.execute(f"DELETE FROM {self.files} WHERE service = ? AND load = ? AND name = ?", (*key[:2], gone))
            tx.execute(f"DELETE FROM {self.files} WHERE service = ? AND load = ? AND name = ?", key)
            tx.execute(
                f"INSERT INTO {self.files} (service, load, name, size, tag, run, output, error, options)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, file.size, file.tag, window.run, output, file.error, window.options),
            )

    def undone(self, tx: Session, service: str, load: str, run: str, outputs: Sequence[str]) -> bool:
        """Take files for changed whose outputs were lost between the commit of a run and their place: the next run reads them again.

        Returns:
            Each output was that of one file, so all of them come again.
        """
        owned = {file.output for file in self.files_done(tx, service, load).values() if file.run == run}
        for output in outputs:
            key = (service, load, run, output)
            # No file has fewer bytes than none: it counts as changed.
            tx.execute(f"UPDATE {self.files} SET size = -1 WHERE service = ? AND load = ? AND run = ? AND output = ?", key)
        return owned.issuperset(outputs)

    def files_done(self, tx: Session, service: str, load: str) -> dict[str, FileDone]:
        """What a service is done with, by name."""
        found = tx.execute(
            f"SELECT name, size, tag, run, output, error, options FROM {self.files} WHERE service = ? AND load = ?", (service, load)
        )
        return {name: FileDone(int(size), *more) for name, size, *more in found.rows}

    def forget_shared(self, tx: Session, window: Window) -> None:
        """Forget the files with rows of several inputs, which go, and the inputs: what is there of them is read again."""
        for name, file in self.files_done(tx, window.service, window.load).items():
            if file.shared:
                tx.execute(f"DELETE FROM {self.files} WHERE service = ? AND load = ? AND name = ?", (window.service, window.load, name))
        tx.execute(f"DELETE FROM {self.shards} WHERE service = ? AND load = ?", (window.service, window.load))

    def wrote(self, tx: Session, window: Window, paths: Iterable[str]) -> None:
        """Note files with rows of several inputs, as promises name them."""
        for path in paths:
            key = (window.service, window.load, path, window.run)
            tx.execute(f"INSERT INTO {self.shards} (service, load, path, run) VALUES (?, ?, ?, ?)", key)

    def written(self, tx: Session, service: str, load: str) -> list[str]:
        """The files with rows of several inputs that a service has written."""
        found = tx.execute(f"SELECT path FROM {self.shards} WHERE service = ? AND load = ? ORDER BY path", (service, load))
        return [path for (path,) in found.rows]

    def kept(self, tx: Session, service: str, load: str, run: str) -> None:
        """All that a run promised is done."""
        tx.execute(f"DELETE FROM {self.moves} WHERE service = ? AND load = ? AND run = ?", (service, load, run))


def home_of(context: RunContext | None) -> tuple[SqlTarget, FileLedger] | None:
    """The database of the run's state store, and the ledger in it; None outside of a run.

    The state store is a SQLite file (`sqlite:///PATH` or a path), a `postgresql://` URL, or the name of a connection to either.

    Raises:
        SpecError: It is none of these.
    """
    if context is None or not context.state:
        return None
    place, name = context.state, "state store"
    known = Connections(Path(context.connections) if context.connections else None)
    connection = connection_of(place, known)
    if connection is None:
        connection = Connections(None, {variable(name): state_url(place, known)}).get(name)
    if connection.system == "postgresql":
        from beam_pipelines.io.postgres.target import PostgresTarget

        return PostgresTarget(connection), FileLedger(_STORE_SCHEMA)
    from beam_pipelines.io.sqlite.target import SqliteTarget

    path = connection.path
    assert path is not None  # of a SQLite URL; others are refused by the store before a run begins
    return SqliteTarget(path), FileLedger()
