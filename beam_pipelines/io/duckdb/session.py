"""Connections to a DuckDB file: opened late, closed early, because one process at a time may hold the file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import tenacity

from beam_pipelines.errors import BeamPipelinesError, DataError, FatalError, SpecError, TransientError
from beam_pipelines.io import spares
from beam_pipelines.io.sql.session import Outcome

__all__ = ["MEMORY", "MERGE_MEMORY", "MOST_MEMORY", "DuckDbSession", "connect", "starved", "translate"]

_LOG = logging.getLogger(__name__)
TOLD_AFTER = 2.0  # seconds: two commits that meet are through by then
LOCK_WAIT = 30.0  # seconds: longer than a dashboard's query, shorter than anybody's patience
# MB that statements may hold before they spill beside the file. Measured with 10 million rows: as fast as with 256, 150 MB less at peak.
# What does not spill is a row group for each column: from about 100 columns on a load is begun again with more.
MEMORY = 96
MERGE_MEMORY = 256  # MB: what MERGE pins does not spill; of a million rows into as many it needs 160
MOST_MEMORY = 1024  # MB: what is tried before a load fails
_HOLDER = re.compile(r"\(PID (\d+)\)")


class DuckDbSession:
    """A DuckDB connection as `io.sql.session.Session`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Outcome:
        try:
            result = self.connection.execute(sql, list(parameters)) if parameters else self.connection.execute(sql)
            rows = result.fetchall() if result.description else []
        except duckdb.Error as error:
            raise translate(error) from error
        except RuntimeError as error:
            if str(error) == "Query interrupted":  # DuckDB has taken the signal, and raises this in its place
                raise KeyboardInterrupt from error
            raise
        # A write answers with one row that holds its count.
        written = sql.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE", "MERGE ", "CREATE")
        return Outcome(rows, int(rows[0][0]) if written and rows and rows[0] else -1)

    def allow(self, megabytes: int) -> None:
        """Set what statements may hold in memory from here on."""
        self.execute(f"SET memory_limit = '{megabytes}MB'")


@contextmanager
def connect(path: Path, *, read_only: bool = False, memory: int = MEMORY) -> Iterator[DuckDbSession]:
    """Open the file, waiting while another process holds it, and close it at the end of the block.

    Args:
        path: The database file; made when it is not there.
        read_only: Nothing is written.
        memory: MB that statements may hold; what they need above it is spilled, where it can be.

    Raises:
        TransientError: Another process still held it after 30 s (`locked`; names its process id).
        FatalError: The file is no DuckDB database, or cannot be opened.
    """
    retry = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, TransientError)),
        stop=tenacity.stop_after_delay(LOCK_WAIT),
        wait=tenacity.wait_random(0.05, 0.2),
        before_sleep=_Waiting(),
        reraise=True,
    )
    connection = retry(_open, path, read_only, memory)
    place = f"duckdb {path}"
    try:
        yield DuckDbSession(connection)
        if not read_only:
            spares.anchor(place, lambda: duckdb.connect(str(path)))  # another connection to the file that is open by now
    except BaseException:
        spares.weigh(place)
        raise
    finally:
        connection.close()


class _Waiting:
    """Says in the log, once, what is waited for."""

    said = False

    def __call__(self, state: tenacity.RetryCallState) -> None:
        if not self.said and (state.seconds_since_start or 0.0) >= TOLD_AFTER:
            self.said = True
            _LOG.warning("waiting for a lock: %s", state.outcome.exception() if state.outcome else "")


def _open(path: Path, read_only: bool, memory: int) -> duckdb.DuckDBPyConnection:
    try:
        connection = duckdb.connect(str(path), read_only=read_only)
        connection.execute(f"SET memory_limit = '{memory}MB'")
        return connection
    except duckdb.ConnectionException as other:
        raise TransientError(
            f"{path.name} is open elsewhere in this process with other settings; close that connection first", code="locked"
        ) from other
    except duckdb.Error as error:
        raise _cannot_open(path, error) from error


def _cannot_open(path: Path, error: duckdb.Error) -> BeamPipelinesError:
    text = str(error)
    if "lock" in text:
        holder = _HOLDER.search(text)
        who = f"process {holder.group(1)}" if holder else "another process"
        return TransientError(f"{path} is held by {who}: DuckDB lets one process in at a time; close it there", code="locked")
    if not path.parent.is_dir():
        return SpecError(f"expected a folder {path.parent} for the DuckDB file {path.name}, there is none", code="connection-invalid")
    return FatalError(f"{path} cannot be opened as a DuckDB database: {text.splitlines()[0]}", code="unreachable")


def starved(error: BaseException) -> bool:
    """Whether an error of a session says that its statement did not get along with the memory it may hold."""
    return _is_starved(error.__cause__)


def _is_starved(error: BaseException | None) -> bool:
    # A commit that finds no memory is to DuckDB an error of the transaction.
    in_commit = isinstance(error, duckdb.TransactionException) and "could not allocate" in str(error)
    return in_commit or isinstance(error, duckdb.OutOfMemoryException)


def translate(error: duckdb.Error) -> BeamPipelinesError:
    """DuckDB's error as one of ours; texts that quote values are cut."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, (duckdb.ConstraintException, duckdb.ConversionException, duckdb.DataError)):
        return DataError(_without_values(line), code="target-refused")
    if (isinstance(error, duckdb.TransactionException) and not _is_starved(error)) or "onflict" in line:
        return TransientError(f"a concurrent transaction got in the way: {line}", code="conflict")
    if isinstance(error, duckdb.CatalogException):
        return FatalError(line, code="table-missing")
    if isinstance(error, duckdb.BinderException):
        return FatalError(line, code="column-missing")
    if isinstance(error, duckdb.IOException) or _is_starved(error):
        return FatalError(f"DuckDB could not write: {line}", code="commit-failed")
    return FatalError(_without_values(line), code="commit-failed")


def _without_values(line: str) -> str:
    """Cut what may be a value out of a text: of constraints what is quoted is a name, but for keys; of all else it may be anything."""
    if line.startswith("Constraint Error"):
        line = re.sub(r"(?:duplicate )?key \"?[^\"]*?: .*?\"(?= |$)", "a key", line)
        line = re.sub(r"(?:duplicate )?key \".*\"", "a key", line)  # of an index: without the column
        # Why an expression could not be computed: it quotes what it was computed of.
        return re.sub(r"(generated column '.*') : .*", r"\1 cannot be computed", line.partition(" (Error: ")[0])
    # To the last quote: a value may have quotes in it, and ` to ` stands between it and the type.
    line = re.sub(r"(?:string |value )?([\"']).*\1(?= to )|([\"']).*\2", "a value", line)
    return re.sub(r"with value .* (?=can't|cannot|is out)", "with a value that ", line)
