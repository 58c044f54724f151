"""The table all cases work on: customers, by formula from their id, so that every result can be worked out by SQL.

3.9 % are under 18 (3 of 77 ages), names carry blanks, e-mails and countries mixed case. Amounts have one decimal, so that
`round(amount * 1.1, 2)` is exact and every engine must give the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

__all__ = ["ADULT", "COLUMNS", "MAPPED_FILES", "checksum", "mapped", "older", "raw", "write_parquet", "write_sqlite"]

COLUMNS = ("id", "name", "email", "country", "age", "amount", "updated_at")
ADULT = "age >= 18"
_BEGIN = "2025-01-01 00:00:00"
_FIRST = "'Anna', 'Bert', 'Chiara', 'Dmitri', 'Elif', 'Farid', 'Greta', 'Hugo'"
_MIDDLE = "'Alexandra', 'Benedetto', 'Catherine', 'Dominique', 'Elisabeth'"
_LAST = "'Müller', 'Rossi', 'Dubois', 'Novak', 'Yilmaz', 'Smith', 'Garcia'"
_DOMAINS = "'example.com', 'Example.org', 'mail.example.net', 'post.example.ch'"
_ROW_GROUP = 100_000


def _formula(begun: str) -> str:
    """The columns of customer `i`; PostgreSQL and DuckDB read it alike."""
    first, middle, last = f"(ARRAY[{_FIRST}])[1 + i % 8]", f"(ARRAY[{_MIDDLE}])[1 + i % 5]", f"(ARRAY[{_LAST}])[1 + i % 7]"
    return (
        f"i AS id, CASE WHEN i % 5 = 0 THEN ' ' ELSE '' END || {first} || ' ' || {middle} || ' ' || {last}"
        " || CASE WHEN i % 3 = 0 THEN ' ' ELSE '' END AS name,"
        f" {first} || '.' || {last} || '.' || i || '@' || (ARRAY[{_DOMAINS}])[1 + i % 4] AS email,"
        " (ARRAY['CH', 'de', 'FR', 'it', 'PL', 'tr'])[1 + i % 6] AS country, CAST(15 + i * 31 % 77 AS int) AS age,"
        f" CAST(i * 7919 % 625 AS float8) / 10.0 AS amount, {begun} AS updated_at"
    )


def raw(first: int, last: int) -> str:
    """Query for PostgreSQL: the customers `first` to `last`."""
    return f"SELECT {_formula(_stamped('i'))} FROM (SELECT CAST(g AS bigint) AS i FROM generate_series({first}, {last}) AS g) AS s"


def _stamped(seconds: str) -> str:
    return f"TIMESTAMPTZ '{_BEGIN}+00' + {seconds} * INTERVAL '1 second'"


def older(first: int, last: int) -> str:
    """Query for PostgreSQL: the same customers as they were a year before, with another amount."""
    names = ", ".join(name for name in COLUMNS if name not in ("amount", "updated_at"))
    return f"SELECT {names}, amount + 1 AS amount, updated_at - INTERVAL '365 days' AS updated_at FROM ({raw(first, last)}) AS r"


def mapped(query: str) -> str:
    """Query for PostgreSQL: what the filter and the map of the merge cases make of the rows of a query."""
    clean = "btrim(name) AS name, lower(email) AS email, upper(country) AS country"
    return f"SELECT id, {clean}, age, amount, updated_at FROM ({query}) AS q WHERE {ADULT}"


def checksum(connection: psycopg.Connection[Any], relation: str) -> tuple[int, int]:
    """Rows of a relation, and the sum of their hashes: equal for equal rows in any order.

    Args:
        connection: To PostgreSQL.
        relation: A table, or a query in parentheses.
    """
    # Every number as it is kept, not as somebody may have widened it: dlt makes a bigint of an integer.
    values = ", '|', ".join(f"coalesce(CAST({name} AS text), '-')" for name in COLUMNS)
    connection.execute("SET timezone = 'UTC'")
    row = connection.execute(
        f"SELECT count(*), coalesce(sum(hashtextextended(concat({values}), 0)), 0) FROM {relation} AS c".encode()
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


# Files. `updated_at` is text there: Beam YAML cannot read a Parquet file with a timestamp column (apache/beam#23816).

_TEXT_STAMP = f"strftime(TIMESTAMP '{_BEGIN}' + to_seconds(i), '%Y-%m-%d %H:%M:%S')"

MAPPED_FILES = (
    "SELECT country, round(amount * 1.1, 2) AS amount, split_part(email, '@', 2) AS domain, substr(updated_at, 1, 7) AS month"
    " FROM {table} WHERE age >= 18 AND amount > 10"
)


def write_parquet(path: Path, rows: int) -> None:
    """Write customers 1 to `rows` as one Parquet file, in row groups of 100,000, snappy."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET threads = 2; SET memory_limit = '1GB'")
        connection.execute(
            f"COPY (SELECT {_formula(_TEXT_STAMP)} FROM range(1, {rows + 1}) AS r(i)) TO '{path}'"
            f" (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {_ROW_GROUP})"
        )


def write_sqlite(path: Path, parquet: Path) -> None:
    """Write the customers of a Parquet file as an SQLite table with a primary key."""
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, email TEXT, country TEXT,"
            " age INTEGER, amount REAL, updated_at TIMESTAMP)"
        )
        for batch in _batches(parquet):
            columns = [column.to_pylist() for column in batch.columns]
            connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?)", zip(*columns, strict=True))
    connection.close()


def _batches(parquet: Path) -> Iterator[pa.RecordBatch]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(parquet) as file:
        yield from file.iter_batches(_ROW_GROUP)
