"""Connections of any SQLAlchemy dialect as `io.sql.session.Session`, set up so that the same statement means the same everywhere."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from beam_pipelines.errors import BeamPipelinesError, DataError, FatalError, TransientError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.sql.portable_source import engine_of
from beam_pipelines.io.sql.session import Outcome

__all__ = ["PortableDatabase", "PortableSession"]

_PARTS = re.compile(r"""\"(?:[^"]|"")*\"|'(?:[^']|'')*'|[?:]""")
_MYSQL = ("mysql", "mariadb")
# MySQL's drivers call many refusals of a value an operational error: https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html
_REFUSALS = {1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1411, 1451, 1452, 1690, 3140, 3819, 4025}
_NAMING = {1048, 1264, 1364, 1406, 3819, 4025}  # of these the texts that name a column or constraint, and never quote a value
_BUSY = {1205, 1213, 3572}  # lock wait timeout, deadlock, NOWAIT
_AWAY = {1040, 1053, 1158, 1159, 1160, 1161, 1203, 2002, 2003, 2006, 2013, 2055}  # of MySQL: too many connections, shutdown, network
_DENIED = re.compile(r"authentication|access denied|password|login failed|logon denied", re.IGNORECASE)
_SETUP = {
    # Strict: a value that does not fit is refused, not cut.
    "mysql": (
        "SET SESSION sql_mode = CONCAT_WS(',', @@sql_mode, 'STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE')",
        "SET SESSION time_zone = '+00:00'",
        "SET SESSION innodb_lock_wait_timeout = 60",
    ),
    "postgresql": ("SET TIME ZONE 'UTC'", "SET lock_timeout = 60000"),
    "sqlite": ("PRAGMA foreign_keys = ON", "PRAGMA busy_timeout = 30000"),
}


class PortableSession:
    """A SQLAlchemy connection inside a transaction.

    Args:
        connection: In a transaction.
        database: Whose connection it is.
    """

    def __init__(self, connection: sa.Connection, database: PortableDatabase) -> None:
        self.connection, self._database = connection, database

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Outcome:
        numbers, backticks = itertools.count(), self._database.name == "mysql"

        def part(found: re.Match[str]) -> str:
            if found[0] == "?":
                return f":p{next(numbers)}"
            name = found[0][1:-1].replace('""', '"').replace("`", "``")
            return (f"`{name}`" if backticks and found[0][0] == '"' else found[0]).replace(":", r"\:")

        text = _PARTS.sub(part, sql)
        return self.run(sa.text(text), {f"p{index}": value for index, value in enumerate(parameters)})

    def run(self, statement: sa.Executable, parameters: Any = None) -> Outcome:
        """Run a statement of SQLAlchemy's.

        Args:
            statement: Any.
            parameters: A mapping, or a list of them for an insert.
        """
        with self._database.doing("writing"):
            result = self.connection.execute(statement, parameters)
            rows = [tuple(row) for row in result.fetchall()] if result.returns_rows else []
            return Outcome(rows, result.rowcount)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undone when the block raises."""
        with self._database.doing("writing"), self.connection.begin_nested():
            yield


class PortableDatabase:
    """Opens connections of one database.

    Args:
        connection: Where it is.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.engine = engine_of(connection)
        self.dialect = self.engine.dialect
        self.name = "mysql" if self.dialect.name in _MYSQL else self.dialect.name
        event.listen(self.engine, "connect", self._set_up)
        if self.name == "sqlite":
            event.listen(self.engine, "begin", lambda opened: opened.exec_driver_sql("BEGIN IMMEDIATE"))

    @property
    def transactional_ddl(self) -> bool:
        """CREATE and ALTER can be undone; elsewhere they end the transaction they are in (MySQL, Oracle)."""
        return self.name in ("postgresql", "sqlite", "mssql")

    @property
    def updates_from(self) -> bool:
        """UPDATE can take its values from another table; elsewhere from subqueries, one a column."""
        return self.name in ("postgresql", "sqlite", "mssql", "mysql")

    def _set_up(self, driver: Any, record: Any) -> None:  # noqa: ARG002 - the event gives both
        if self.name == "sqlite":
            driver.isolation_level = None  # the driver would begin late, and never IMMEDIATE
        cursor = driver.cursor()
        try:
            for statement in _SETUP.get(self.name, ()):
                cursor.execute(statement)
        finally:
            cursor.close()
        if self.name == "postgresql":
            driver.commit()

    @contextmanager
    def transaction(self) -> Iterator[PortableSession]:
        """A transaction: committed at the end of the block, rolled back when it raises.

        Raises:
            DataError: A constraint that is checked at its end refuses a row.
            TransientError: The database is away or busy.
            FatalError: It refuses the user, or the statement.
        """
        with self.doing("connecting"), self._connected() as connection, connection.begin():
            yield PortableSession(connection, self)

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            if self.name != "sqlite":
                # After waiting for a lock, what was committed meanwhile is seen: that is how a second commit finds the first one's result.
                with contextlib.suppress(exc.ArgumentError):
                    connection = connection.execution_options(isolation_level="READ COMMITTED")
            yield connection

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Put what SQLAlchemy and drivers raise into this package's terms; never a value of a row, never a password."""
        try:
            yield
        except exc.SQLAlchemyError as error:
            raise self._translated(error, what) from None

    def _translated(self, error: exc.SQLAlchemyError, what: str) -> BeamPipelinesError:
        cause = getattr(error, "orig", None) or error
        number = cause.args[0] if getattr(cause, "args", ()) and isinstance(cause.args[0], int) else None
        state = getattr(cause, "sqlstate", None)
        where, kind = self._connection.display, type(cause).__name__
        label = f"{kind} {number or state or ''}".strip()
        if isinstance(error, (exc.DataError, exc.IntegrityError)) or number in _REFUSALS:
            text = str(cause) if self.name == "sqlite" else f"{_refused(cause, number)} ({label})"
            return DataError(text, code="target-refused", details={"constraint": isinstance(error, exc.IntegrityError)})
        line = self._connection.redact(str(cause).strip().splitlines()[0] if str(cause).strip() else kind)
        if number in _BUSY or state in ("55P03", "40001", "40P01") or "locked" in line:
            return TransientError(f"{where}: {what}: another transaction is in the way ({label})", code="conflict")
        if isinstance(error, (exc.OperationalError, exc.InterfaceError)):
            if _DENIED.search(line):
                return FatalError(
                    f"{where} refuses this user: mend the connection (the password is not shown)", code="authentication-failed"
                )
            known = number is not None if self.name == "mysql" else self.name == "sqlite"
            if not known or number in _AWAY:
                return TransientError(f"{where}: {what} failed: {line}", code="unreachable")
        return FatalError(f"{where}: {what} failed: {line}", code="commit-failed")


def _refused(cause: BaseException, number: int | None) -> str:
    """What a database refuses: by the text of its driver only where that quotes no row, as SQLite's never does."""
    if number in _NAMING and len(cause.args) > 1:
        return str(cause.args[1])
    diagnosis = getattr(cause, "diag", None)  # psycopg's
    column, constraint = getattr(diagnosis, "column_name", None), getattr(diagnosis, "constraint_name", None)
    where = f" in column {column!r}" if column else f" by {constraint}" if constraint else ""
    return f"a value or a constraint{where}"
