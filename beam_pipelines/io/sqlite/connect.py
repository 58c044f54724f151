"""Opening SQLite files, and SQLite's errors in words.

One SQLite library serves all of a process: Python's. POSIX drops every lock a process has on a file when any descriptor of it is closed, so
a second copy of SQLite (ADBC brings one) beside the application's own could end a transaction's lock unseen; nor do the two exclude each
other. Measured on 300,000 rows of seven columns, in us a row: 1.2 by Python's driver; 0.5 by ADBC, and 0.9 to 1.5 with the checks that keep
a value of the wrong type what it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from beam_pipelines.errors import BeamPipelinesError, FatalError, PlanError, TransientError

__all__ = ["BUSY_SECONDS", "File", "identifier", "opened", "translate"]

BUSY_SECONDS = 30.0  # what a writer may hold its lock for while we wait


def identifier(name: str) -> str:
    """Quote a name with backticks: SQLite takes a name in double quotes that is no column for a string, without a word."""
    return "`" + name.replace("`", "``") + "`"


@dataclass(frozen=True)
class File:
    """A SQLite file and how to deal with it.

    Args:
        path: Absolute.
        writable: The write lock can be taken: that needs the right to write, in WAL mode to files beside the database too.
        busy_seconds: How long a lock is waited for.
    """

    path: Path
    writable: bool = True
    busy_seconds: float = BUSY_SECONDS

    @classmethod
    def of(cls, path: Path, busy_seconds: float = BUSY_SECONDS) -> File:
        return cls(path, os.access(path, os.W_OK) and os.access(path.parent, os.W_OK), busy_seconds)

    def open(self, *, write: bool = False) -> AbstractContextManager[sqlite3.Connection]:
        """Open it for the length of a block; see `opened`."""
        return opened(self.path, write=write, busy_seconds=self.busy_seconds)


@contextmanager
def opened(path: Path, *, write: bool = False, busy_seconds: float = BUSY_SECONDS) -> Iterator[sqlite3.Connection]:
    """Open an existing file for as long as the block runs; never creates one.

    Raises:
        PlanError: There is no such file, or it may not be opened.
        TransientError: It is locked for longer than `busy_seconds`.
        FatalError: It is no database, or damaged.
    """
    if not path.exists():
        raise PlanError(f"expected a SQLite database at {str(path)!r}, there is no such file", code="connection-invalid")
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={'rw' if write else 'ro'}",
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as bad:
        raise translate(bad, path, busy_seconds) from bad


def translate(error: sqlite3.Error, path: Path, busy_seconds: float) -> BeamPipelinesError:
    """What the reader can do about an error of SQLite."""
    text = str(error)
    kinds: tuple[tuple[str, Callable[[], BeamPipelinesError]], ...] = (
        (
            "locked",
            lambda: TransientError(
                f"the SQLite database {str(path)!r} stayed locked for {busy_seconds:g} s by another writer: try again when it is done",
                code="locked",
            ),
        ),
        ("not a database", lambda: PlanError(f"{str(path)!r} is not a SQLite database (or it is encrypted)", code="connection-invalid")),
        (
            "unable to open",
            lambda: PlanError(
                f"cannot open {str(path)!r}: may this user read the file and write in its folder?", code="connection-invalid"
            ),
        ),
        (
            "malformed",
            lambda: FatalError(
                f"the SQLite database {str(path)!r} is damaged ({text}): restore it, or salvage it by .recover", code="read-failed"
            ),
        ),
    )
    for sign, make in kinds:
        if sign in text:
            return make()
    return FatalError(f"SQLite cannot read {str(path)!r}: {text}", code="read-failed")
