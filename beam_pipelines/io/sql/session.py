"""The little of a database connection that ledger and merge need, so that they are written once for PostgreSQL, SQLite and DuckDB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Outcome", "Session", "quote", "quote_table", "savepoint"]


@dataclass(frozen=True)
class Outcome:
    """What a statement gave.

    Args:
        rows: Rows of a query, or of RETURNING.
        count: Rows a write touched; -1 when the database does not say.
    """

    rows: list[tuple[Any, ...]]
    count: int = -1


class Session(Protocol):
    """A connection inside a transaction. Parameters are `?`, whatever the driver's own style."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Outcome:
        """Run one statement.

        Raises:
            DataError: The target refuses a row or value (`target-refused`).
            TransientError: Busy, locked, in conflict, or away.
            FatalError: Everything else the database refuses.
        """


def quote(name: str) -> str:
    """An identifier as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def quote_table(table: str) -> str:
    """A table name, perhaps with its schema (`sales.orders`), as SQL writes it."""
    return ".".join(quote(part) for part in table.split("."))


@contextlib.contextmanager
def savepoint(tx: Session) -> Iterator[None]:
    """A part of a transaction, undone when the block raises (PostgreSQL and SQLite)."""
    tx.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        # Where the whole transaction is lost there is nothing to go back to; what lost it says so.
        with contextlib.suppress(Exception):
            tx.execute("ROLLBACK TO SAVEPOINT part")
            tx.execute("RELEASE SAVEPOINT part")
        raise
    tx.execute("RELEASE SAVEPOINT part")
