"""Opening DuckDB files to read, and what DuckDB's errors mean to a reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import tenacity

from beam_pipelines.errors import BeamPipelinesError, FatalError, PlanError, TransientError

__all__ = ["LOCK_SECONDS", "Reader", "opened", "translate"]

LOCK_SECONDS = 30.0  # what another process may hold the file for while we wait
_MEMORY = "384MB"  # for sorts and joins of a query: keeps a run under 700 MB; more is spilled
_QUOTING = ("Conversion Error", "Invalid Input Error", "Out of Range Error", "Invalid Error")  # their texts hold values
_HOLDER = re.compile(r"\(PID (\d+)\)")


@dataclass(frozen=True)
class Reader:
    """An open file.

    Args:
        connection: Ours.
        shared: Other code of this process has the file open to write: its transactions may be open, too.
    """

    connection: duckdb.DuckDBPyConnection
    shared: bool


@contextmanager
def opened(path: Path, lock_seconds: float = LOCK_SECONDS) -> Iterator[Reader]:
    """Open an existing file for as long as the block runs. Read-only, so no other process can write meanwhile.

    Raises:
        PlanError: There is no such file, or it is no DuckDB database.
        TransientError: Another process held it for longer than `lock_seconds` (`locked`; names its process id).
    """
    if not path.exists():
        raise PlanError(f"expected a DuckDB database at {str(path)!r}, there is no such file", code="connection-invalid")
    retry = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_delay(lock_seconds),
        wait=tenacity.wait_random(0.05, 0.2),
        reraise=True,
    )
    reader = retry(_open, path)
    try:
        yield reader
    except duckdb.Error as bad:
        raise translate(bad, path) from None  # it may quote a row
    finally:
        reader.connection.close()


def _open(path: Path) -> Reader:
    try:
        connection = duckdb.connect(str(path), read_only=True)
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        reader = Reader(connection, shared=False)
    except duckdb.ConnectionException:
        # Open in this process with other settings: DuckDB has one instance a process and file, so we join it as it is.
        reader = Reader(duckdb.connect(str(path)), shared=True)
    except duckdb.Error as bad:
        raise translate(bad, path) from bad
    # A variable of this program must never be taken for a table.
    reader.connection.execute("SET python_enable_replacements = false")
    return reader


def translate(error: Exception, path: Path) -> BeamPipelinesError:
    """What the reader can do about an error of DuckDB, also one that came through a stream; texts that may quote values are left out."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    kind = line.partition(":")[0]
    if "Could not set lock" in line:
        holder = _HOLDER.search(str(error))
        who = f"process {holder[1]}" if holder else "another process"
        return TransientError(
            f"{str(path)!r} is held by {who}: DuckDB lets one writing process in at a time; close it there", code="locked"
        )
    if "not a valid DuckDB" in line or kind == "Serialization Error":
        return PlanError(f"{str(path)!r} is not a DuckDB database, or of another version: {line}", code="connection-invalid")
    if "ermission denied" in line:
        return PlanError(f"{str(path)!r} may not be read by this user", code="connection-invalid")
    if kind in _QUOTING:
        return FatalError(f"the query failed on a row of {path.name} ({kind.lower()}): use TRY_CAST or a filter in it", code="read-failed")
    if kind == "Out of Memory Error":
        return FatalError(f"the query on {path.name} needs more than {_MEMORY} of memory and could not spill: {line}", code="read-failed")
    return FatalError(f"DuckDB cannot read {str(path)!r}: {line}", code="read-failed")
