"""The data of the quality example: an SQLite database of invented accounts and the customers they belong to, messy on purpose."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beam_pipelines.examples.customer_data_etl.people import COLUMNS, people
from beam_pipelines.examples.placing import settle, temporary

__all__ = ["create"]

_SCHEMA = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY)",
    "CREATE TABLE accounts (id INTEGER PRIMARY KEY, email TEXT, created_at TIMESTAMP, age INTEGER, customer_id INTEGER)",
)
_SHARE = 5  # accounts a customer
# Of a hundred accounts so many have no date, belong to nobody that is there, or have the e-mail of the one before.
_UNDATED, _ORPHANED, _REPEATED = 1, 1, 1


def create(path: Path, accounts: int = 100_000, seed: int = 11) -> None:
    """Make the database: about 1 s for 100,000 accounts. A death half-way leaves nothing at `path`.

    Some 5 % of the accounts are bad: no e-mail or a broken one, no date, an impossible age, the e-mail of another one, a customer that is
    not there.

    Args:
        path: The database file to be.
        accounts: Rows; there is a customer for every five.
        seed: The same seed gives the same rows.

    Raises:
        FileExistsError: There is a file at `path`; it stays as it is.
        OSError: The folder cannot be written.
        sqlite3.Error: The disk is full.
    """
    if path.exists():
        raise FileExistsError(f"expected no file at {str(path)!r}, and there is one: it is never overwritten")
    customers = max(1, accounts // _SHARE)
    with temporary(path) as building:
        with contextlib.closing(sqlite3.connect(building, isolation_level=None)) as database:
            # Neither journal nor flush: a file that was not finished is never looked at.
            for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "BEGIN", *_SCHEMA):
                database.execute(statement)
            database.executemany("INSERT INTO customers VALUES (?)", ((number,) for number in range(1, customers + 1)))
            database.executemany("INSERT INTO accounts VALUES (?, ?, ?, ?, ?)", _rows(random.Random(seed), accounts, customers))
            database.execute("COMMIT")
        settle(building, path)


def _rows(draw: random.Random, accounts: int, customers: int) -> Iterator[tuple[Any, ...]]:
    email, age = COLUMNS.index("email"), COLUMNS.index("age")
    before: str | None = None
    for number, person in enumerate(people(draw, range(1, accounts + 1)), 1):
        chance = draw.randrange(100)
        address = before if chance < _REPEATED else person[email]
        day = None if _REPEATED <= chance < _REPEATED + _UNDATED else f"2024-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d} 12:00:00"
        gone = _REPEATED + _UNDATED <= chance < _REPEATED + _UNDATED + _ORPHANED
        yield number, address, day, person[age], customers + draw.randint(1, 1000) if gone else draw.randint(1, customers)
        before = person[email]
