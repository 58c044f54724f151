"""The table of the quality case: sign-ups, of which some are wrong in each of five ways, and what must be found by SQL.

About 1 % have no date, 1 % an e-mail without an @, 1 % an age above 150, 1 % a customer that is not there, and 0.5 % the e-mail of another.
Which ones is told by a hash of their number, so that they lie anywhere, and the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CUSTOMERS", "PATTERN", "RULES", "Wrong", "write_customers", "write_signups", "wrong"]

CUSTOMERS = 100_000
PATTERN = r"^[^@]+@[^@]+\.[^@]+$"
# The five rules of the seed; the reference of the last one is said where it is.
RULES: list[dict[str, Any]] = [
    {"id": "required", "type": "required-fields", "fields": ["id", "email", "created_at"]},
    {"id": "format", "type": "regex", "field": "email", "pattern": PATTERN},
    {"id": "range", "type": "numeric-range", "field": "age", "min": 0, "max": 150},
    {"id": "unique", "type": "unique", "field": "email"},
    {"id": "known", "type": "foreign-key", "field": "customer_id"},
]
_ROW_GROUP = 100_000
_TESTS = {
    "required": "id IS NULL OR email IS NULL OR created_at IS NULL",
    "format": f"email IS NOT NULL AND NOT regexp_matches(email, '{PATTERN}')",
    "range": "age NOT BETWEEN 0 AND 150",
    "unique": "email IS NOT NULL AND row_number() OVER (PARTITION BY email ORDER BY id) > 1",
    "known": f"customer_id NOT BETWEEN 0 AND {CUSTOMERS - 1}",
}


@dataclass(frozen=True)
class Wrong:
    """What must be found.

    Args:
        rows: That violate, by rule.
        rejected: That violate any rule.
        good: The sum of the ids of all others.
    """

    rows: dict[str, int]
    rejected: int
    good: int


def write_signups(path: Path, rows: int) -> None:
    """Write the table as Parquet."""

    def one_in(times: int, what: str) -> str:
        return f"hash(i, '{what}') % {times} = 0"

    number = f"CASE WHEN {one_in(200, 'copy')} THEN hash(i, 'of') % {rows} ELSE i END"
    _copy(
        f"SELECT i AS id, 'user' || n || CASE WHEN {one_in(100, 'form')} THEN '' ELSE '@' END || 'example.com' AS email,"
        f" CASE WHEN {one_in(100, 'old')} THEN 200 ELSE CAST(hash(i, 'age') % 151 AS bigint) END AS age,"
        f" CASE WHEN {one_in(100, 'undated')} THEN NULL ELSE make_timestamp(CAST(hash(i, 'time') % 1000000000000000 AS bigint)) END"
        f" AS created_at, CASE WHEN {one_in(100, 'unknown')} THEN 1000000 ELSE CAST(hash(i, 'customer') % {CUSTOMERS} AS bigint) END"
        f" AS customer_id FROM (SELECT i, {number} AS n FROM range({rows}) AS r(i)) ORDER BY i",
        path,
    )


def write_customers(path: Path) -> None:
    """Write the table that the sign-ups refer to."""
    _copy(f"SELECT i AS id FROM range({CUSTOMERS}) AS r(i)", path)


def _copy(query: str, path: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {_ROW_GROUP})")


def wrong(path: Path, *, members: bool = False) -> Wrong:
    """Work out by SQL what must be found in a file.

    Args:
        path: Of the table.
        members: All rows whose e-mail occurs more than once violate, not only those that come after the first.
    """
    import duckdb

    tests = _TESTS | ({"unique": "count(email) OVER (PARTITION BY email) > 1"} if members else {})
    named = ", ".join(f'{test} AS "{rule}"' for rule, test in tests.items())
    names = [f'"{rule}"' for rule in tests]
    counts = ", ".join(f"count(*) FILTER (WHERE {name})" for name in names)
    bad = " OR ".join(names)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT {counts}, count(*) FILTER (WHERE {bad}), CAST(coalesce(sum(id) FILTER (WHERE NOT ({bad})), 0) AS bigint)"
            f" FROM (SELECT id, {named} FROM read_parquet('{path}'))"
        ).fetchone()
    assert found is not None
    return Wrong(dict(zip(tests, found, strict=False)), found[-2], found[-1])
