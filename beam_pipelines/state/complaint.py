"""What a database driver's error means for the store, told by SQLSTATE (PostgreSQL) or by SQLite's own words.

SQLite's result codes reach Python only from 3.11 on, and its messages are part of its interface (https://sqlite.org/rescode.html).
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Sequence

from beam_pipelines.errors import BeamPipelinesError, FatalError, SpecError, TransientError

__all__ = ["busy", "locked", "read"]

_BUSY = ("database is locked", "database table is locked", "database schema is locked")
_UNWRITABLE = ("attempt to write a readonly database", "unable to open database file")
_DAMAGED = ("file is not a database", "disk image is malformed", "malformed database schema")
_FULL = "database or disk is full"
_AWAY = ("connection", "connect", "translate host", "resolve", "timeout", "timed out", "closed")
_LOST = ("08", "57P")  # SQLSTATE classes: connection exceptions; the server ends sessions


def busy(error: BaseException) -> bool:
    """Whether somebody else's lock was in the way."""
    state, words = _state(error), _words(error).lower()
    return state == "55P03" or any(sign in words for sign in _BUSY)


def locked(store: str, seconds: float, held: str) -> TransientError:
    """The error for a lock that was not had in time."""
    return TransientError(
        f"the state store {store} was locked for longer than {seconds:g} s; held by {held}: wait for it, or end it, and try again",
        code="locked",
        details={"heldBy": held},
    )


def read(error: BaseException, store: str, *, secrets: Sequence[str] = ()) -> BeamPipelinesError:
    """Class an error by what the reader can do.

    Args:
        error: SQLAlchemy's, the driver's or the operating system's.
        store: The store, as messages name it.
        secrets: Texts that must not be in the message.
    """
    state, said = _state(error), _words(error)
    for secret in secrets:
        said = said.replace(secret, "***")
    original = getattr(error, "orig", None) or error
    if busy(error):
        return TransientError(f"the state store {store} is locked", code="locked")
    if isinstance(original, OSError):
        return _full(store) if original.errno == errno.ENOSPC else _unwritable(said, store)
    if isinstance(original, sqlite3.Error):
        return _of_file(said, store)
    return _of_server(state, said, store)


def _of_file(said: str, store: str) -> BeamPipelinesError:
    words = said.lower()
    if any(sign in words for sign in _DAMAGED):
        return FatalError(
            f"the state store {store} is damaged ({said}): restore it from a backup, or move the file away to begin a new one"
            " (what was committed stays known to the target's ledger)",
            code="read-failed",
        )
    if _FULL in words:
        return _full(store)
    if any(sign in words for sign in _UNWRITABLE):
        return _unwritable(said, store)
    if "disk i/o error" in words:
        return TransientError(f"the state store {store} could not be read or written ({said}): is its disk still there?")
    return _refused(said, store)


def _of_server(state: str, said: str, store: str) -> BeamPipelinesError:
    words = said.lower()
    if state.startswith("28") or "authentication failed" in words or "no password supplied" in words:
        return FatalError(f"the state store {store} refused the login ({said}): mend user or password", code="authentication-failed")
    if state == "3D000" or (not state and "database" in words and "does not exist" in words):
        return SpecError(f"the state store {store} does not exist ({said}): create the database", code="connection-invalid")
    if state == "42501":
        return SpecError(f"the state store {store} may not be written by this user ({said}): grant it", code="connection-invalid")
    if state == "53100":
        return _full(store)
    if state in ("40001", "40P01"):
        return TransientError(f"the state store {store} gave way to another session ({said}): try again", code="conflict")
    if state.startswith(_LOST) or (not state and any(sign in words for sign in _AWAY)):
        return TransientError(f"the state store {store} cannot be reached ({said}): is the server up, is the address right?")
    return _refused(said, store)


def _full(store: str) -> FatalError:
    return FatalError(
        f"the disk of the state store {store} is full; nothing of this step was recorded: free space and start again,"
        " a run that had committed is then recorded",
        code="commit-failed",
    )


def _unwritable(said: str, store: str) -> SpecError:
    return SpecError(
        f"the state store {store} cannot be opened for writing ({said}): make the file and its folder writable for this user,"
        " or name another by --state",
        code="option-invalid",
    )


def _refused(said: str, store: str) -> FatalError:
    return FatalError(f"the state store {store} refused a statement ({said}): was its schema changed by hand?", code="internal")


def _state(error: BaseException) -> str:
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def _words(error: BaseException) -> str:
    """The first line of what the driver said: later lines hold values, SQLAlchemy's own text the statement."""
    original = getattr(error, "orig", None) or error
    lines = str(original).strip().splitlines()
    return lines[0] if lines else type(original).__name__
