"""The CRM of the bare command: an SQLite database of invented customers, messy on purpose, and days of business that change it."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from beam_pipelines.errors import TransientError
from beam_pipelines.examples.customer_data_etl.people import COLUMNS, address, bad_email, locale_of, people
from beam_pipelines.examples.placing import settle, temporary

__all__ = ["Changes", "change", "create", "describe"]

_SCHEMA = """
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name TEXT,
    email TEXT,
    phone TEXT,
    street TEXT,
    city TEXT,
    postal_code TEXT,
    country TEXT,
    age INTEGER,
    plan TEXT,
    lifetime_value REAL,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""
_YEARS = timedelta(days=3 * 365)  # how far back customers were entered
_QUIET = timedelta(minutes=10)  # nothing was changed in the last minutes: the first change is newer than all
_ROWS_A_WORD_FOR_AGE = 10_000
_AGES = ("unknown", "n/a", "thirty-four", "42 years", "?")  # SQLite keeps text in an INTEGER column: the wrong type in one row
_LOCK_SECONDS = 10.0
_PLANS = ("free", "basic", "pro", "enterprise")
_NO_ADDRESS = "(email NOT LIKE '%_@_%._%' OR email LIKE '%@%@%')"


@dataclass(frozen=True)
class Changes:
    """What a day of business did to the CRM, in rows.

    Args:
        updated: Rows changed, mended and spoiled ones among them.
        inserted: New customers.
        deleted: None: a cursor would not see it.
        mended: Rows whose broken e-mail was corrected.
        spoiled: Rows that were good and are bad now.
        stamp: The second in which it ended, as the database writes it: no row of it is stamped later.
    """

    updated: int
    inserted: int
    deleted: int = 0
    mended: int = 0
    spoiled: int = 0
    stamp: str = ""


def create(path: Path, customers: int = 250_000, seed: int = 7, *, now: datetime | None = None) -> None:
    """Make the CRM: about 3 s and 50 MB for 250,000 customers. A death half-way leaves nothing at `path`.

    Some 3 % of the rows are bad: no name, no e-mail or a broken one, an impossible age, one in 10,000 an age that is no number.
    Countries, phones and spelling follow no rule, and 1.5 % are the same person again under another id.

    Args:
        path: The database file to be.
        customers: Rows.
        seed: The same seed gives the same rows, but for the stamps, which follow `now`.
        now: Aware; default the clock. Customers were entered in the three years before, and last changed ten minutes before or earlier.

    Raises:
        FileExistsError: There is a file at `path`; it stays as it is.
        OSError: The folder cannot be written.
        sqlite3.Error: The disk is full.
    """
    if path.exists():
        raise FileExistsError(f"expected no file at {str(path)!r}, and there is one: a CRM is never overwritten")
    draw = random.Random(seed)
    moment = now or datetime.now(timezone.utc)
    with temporary(path) as building:
        with contextlib.closing(sqlite3.connect(building, isolation_level=None)) as database:
            # Neither journal nor flush: a file that was not finished is never looked at.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN")
            database.execute(_SCHEMA)
            _insert(database, _stamped(people(draw, range(1, customers + 1)), random.Random(seed + 1), moment))
            _put_words_for_ages(database, draw, customers)
            database.execute("CREATE INDEX customers_updated_at ON customers (updated_at)")
            database.execute("COMMIT")
        settle(building, path)


def _insert(database: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    database.executemany(f"INSERT INTO customers VALUES ({', '.join('?' * (len(COLUMNS) + 2))})", rows)


def _stamped(rows: Iterable[tuple[Any, ...]], draw: random.Random, now: datetime) -> Iterator[tuple[Any, ...]]:
    """Add `created_at` and `updated_at` in the form of CURRENT_TIMESTAMP; most changes are recent.

    Stamps are put together from tables of days and times, for `strftime` would take longer than all the rest of a row.
    """
    last = now - _QUIET
    span = int((_YEARS - _QUIET).total_seconds())
    end = (last.hour * 60 + last.minute) * 60 + last.second  # seconds into the last day
    days = [f"{last.date() - timedelta(days=ago)} " for ago in range(_YEARS.days + 2)]
    times = [f"{hour:02d}:{minute:02d}:{second:02d}" for hour in range(24) for minute in range(60) for second in range(60)]
    u = draw.random
    for row in rows:
        created = int(u() * span)
        updated = int(created * u() ** 2)
        created_day, created_at = divmod(end - created, 86_400)
        updated_day, updated_at = divmod(end - updated, 86_400)
        yield (*row, days[-created_day] + times[created_at], days[-updated_day] + times[updated_at])


def _put_words_for_ages(database: sqlite3.Connection, draw: random.Random, customers: int) -> None:
    count = min(customers, max(3, customers // _ROWS_A_WORD_FOR_AGE))
    ids = draw.sample(range(1, customers + 1), count)
    database.executemany("UPDATE customers SET age = ? WHERE id = ?", [(_AGES[n % len(_AGES)], id_) for n, id_ in enumerate(ids)])


def change(path: Path, seed: int | None = None) -> Changes:
    """Let a day of business pass: some hundred customers change, some are new, some broken e-mails are mended, one or two rows go bad.

    All of it is one transaction, stamped by CURRENT_TIMESTAMP. Returns when the second of the stamp is over (1 s at most): an
    incremental read leaves the running second to the next run, so that one started at once would find nothing.

    Args:
        path: A CRM made by `create`.
        seed: The same seed does the same to the same rows; default the number of customers, which grows by each day.

    Raises:
        TransientError: Somebody else holds the database's lock.
        sqlite3.Error: It is no such CRM (any more).
    """
    with _opened(path) as database:
        database.execute("BEGIN IMMEDIATE")
        changes = _business(database, seed)
        database.execute("COMMIT")
    time.sleep(1.001 - time.time() % 1)
    return changes


@contextlib.contextmanager
def _opened(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """Open the file, and never make one. What was not committed is rolled back."""
    place = f"{path.absolute().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(place, uri=True, isolation_level=None, timeout=_LOCK_SECONDS)) as database:
        try:
            yield database
        except sqlite3.OperationalError as bad:
            if "is locked" not in str(bad):
                raise
            raise TransientError(
                f"another program holds {str(path)!r} locked for more than {_LOCK_SECONDS:.0f} s: close it, and try again", code="locked"
            ) from bad


def _business(database: sqlite3.Connection, seed: int | None) -> Changes:
    count, last = database.execute("SELECT count(*), coalesce(max(id), 0) FROM customers").fetchone()
    draw = random.Random(count if seed is None else seed)
    mended = _mend(database, draw)
    wanted = min(300 + int(draw.random() * 300), count // 4)
    rows = _rows(database, [id_ for id_ in draw.sample(range(1, last + 1), wanted) if id_ not in mended])
    good = [row for row in rows if _is_good(row)][: 1 + int(draw.random() * 2)]
    _spoil(database, good, draw)
    for row in rows:
        if row not in good:
            _live(database, row, draw)
    new = list(people(draw, range(last + 1, last + 61 + int(draw.random() * 60)), faults=False))
    database.executemany(f"INSERT INTO customers ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})", new)
    (stamp,) = database.execute("SELECT CURRENT_TIMESTAMP").fetchone()
    return Changes(len(rows) + len(mended), len(new), mended=len(mended), spoiled=len(good), stamp=stamp)


def _spoil(database: sqlite3.Connection, rows: list[sqlite3.Row], draw: random.Random) -> None:
    for n, row in enumerate(rows):
        column, value = ("email", bad_email(row["email"].strip(), draw.random())) if n == 0 else ("age", _AGES[0])
        database.execute(f"UPDATE customers SET {column} = ?, updated_at = CURRENT_TIMESTAMP WHERE id = ?", (value, row["id"]))


def _rows(database: sqlite3.Connection, ids: list[int]) -> list[sqlite3.Row]:
    cursor = database.cursor()
    cursor.row_factory = sqlite3.Row
    found: list[sqlite3.Row] = []
    for id_ in ids:
        found += cursor.execute("SELECT * FROM customers WHERE id = ?", (id_,)).fetchall()
    return found


def _is_good(row: sqlite3.Row) -> bool:
    local, _, domain = (row["email"] or "").strip().partition("@")
    return bool(len((row["name"] or "").strip()) > 3 and local and "." in domain and "@" not in domain and row["age"] in range(1, 120))


def _mend(database: sqlite3.Connection, draw: random.Random) -> set[int]:
    """Somebody looked through the dead letters, and mends a few e-mails at the source."""
    broken = database.execute(f"SELECT id FROM customers WHERE {_NO_ADDRESS} AND length(email) > 4 ORDER BY id LIMIT 1000").fetchall()
    ids = draw.sample([id_ for (id_,) in broken], min(8, len(broken)))
    database.executemany(
        "UPDATE customers SET email = 'customer' || id || '@gmail.com', updated_at = CURRENT_TIMESTAMP WHERE id = ?",
        [(id_,) for id_ in ids],
    )
    return set(ids)


def _live(database: sqlite3.Connection, row: sqlite3.Row, draw: random.Random) -> None:
    """One customer buys something, and with it perhaps changes the plan, moves, or gets another phone."""
    spent = round((row["lifetime_value"] or 0.0) + 1 + draw.random() * 200, 2)
    changed: dict[str, Any] = {"lifetime_value": spent}
    kind = draw.random()
    if kind < 0.3:
        changed["plan"] = _PLANS[int(draw.random() * len(_PLANS))]
    elif kind < 0.5:
        changed["street"], changed["city"], changed["postal_code"] = address(locale_of(row["country"]), draw)
    elif kind < 0.6:
        phones = locale_of(row["country"]).phones
        changed["phone"] = phones[int(draw.random() * len(phones))] % (200 + int(draw.random() * 800), int(draw.random() * 10_000))
    sets = ", ".join(f"{column} = ?" for column in changed)
    database.execute(f"UPDATE customers SET {sets}, updated_at = CURRENT_TIMESTAMP WHERE id = ?", (*changed.values(), row["id"]))


def describe(path: Path) -> dict[str, Any]:
    """Count what is in the CRM and what is wrong with it; about half a second for 250,000 rows.

    Returns:
        `customers`, `bytes` of the file, `newest` stamp; rows `without_name`, `without_email`, `with_broken_email`, `with_age_in_words`,
        `entered_twice` (their e-mail is that of another row, which is not counted); number of `country_spellings`.

    Raises:
        sqlite3.Error: There is no such CRM.
    """
    nothing = "('', '-', 'n/a', 'none')"
    email = "replace(lower(trim(email)), 'mailto:', '')"
    query = f"""
        SELECT count(*) AS customers, max(updated_at) AS newest,
            count(*) FILTER (WHERE lower(trim(coalesce(name, ''))) IN {nothing}) AS without_name,
            count(*) FILTER (WHERE lower(trim(coalesce(email, ''))) IN {nothing}) AS without_email,
            count(*) FILTER (WHERE {_NO_ADDRESS} AND lower(trim(email)) NOT IN {nothing}) AS with_broken_email,
            count(*) FILTER (WHERE typeof(age) = 'text') AS with_age_in_words,
            count(email) FILTER (WHERE NOT {_NO_ADDRESS}) - count(DISTINCT {email}) FILTER (WHERE NOT {_NO_ADDRESS}) AS entered_twice,
            count(DISTINCT country) AS country_spellings
        FROM customers
    """
    with _opened(path, "ro") as database:
        database.row_factory = sqlite3.Row
        row = database.execute(query).fetchone()
    return {**dict(row), "bytes": os.path.getsize(path)}
