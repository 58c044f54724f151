"""The files of the batch cases: orders as somebody exports them, and what must come out, by SQL over the formula and not over the files.

Text has blanks around it and letters of any case, amounts and times are text, a letter stands for a status.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["COLUMNS", "STATUS", "STEPS", "expected", "found", "write"]

STATUS = {"A": "active", "S": "shipped", "C": "cancelled", "R": "returned"}
COLUMNS = {
    "order_id": "bigint",
    "email": "text",
    "amount": "text",
    "quantity": "int",
    "ordered_at": "text",
    "status": "text",
    "country": "text",
}
# Parse, cleanse, transform: trim, lower, to number, to timestamp, a map of values, a filter and a computed field.
STEPS: list[dict[str, Any]] = [
    {
        "id": "parse",
        "type": "map",
        "unmapped": "keep",
        "mappings": {
            "email": {"source": "email", "converter": "trim"},
            "amount": {"source": "amount", "converter": "trim"},
            "ordered_at": {"source": "ordered_at", "converter": "timestamp"},
        },
    },
    {
        "id": "cleanse",
        "type": "map",
        "unmapped": "keep",
        "mappings": {
            "email": {"source": "email", "converter": "lower"},
            "amount": {"source": "amount", "converter": "float"},
            "status": {"source": "status", "converter": {"name": "enum", "values": STATUS}},
            "country": {"source": "country", "converter": "lower"},
        },
    },
    {"id": "keep", "type": "filter", "condition": "status <> 'cancelled' AND amount > 0"},
    {"id": "transform", "type": "map", "unmapped": "keep", "mappings": {"total": {"expression": "round(amount * quantity, 2)"}}},
]
_NAME = "'User.' || hash(i, 'mail') % 200000 || '@Example.COM'"
_AMOUNT = "CAST((hash(i, 'amount') % 100000) / 100.0 AS decimal(10, 2))"
_QUANTITY = "1 + CAST(hash(i, 'quantity') % 9 AS int)"
_TIME = "TIMESTAMP '2026-01-01' + INTERVAL 1 SECOND * CAST(hash(i, 'time') % 20000000 AS bigint)"
_STATUS = "['A', 'S', 'C', 'R'][1 + CAST(hash(i, 'status') % 4 AS int)]"
_COUNTRY = "['de', 'FR', 'us', 'Gb', 'nl'][1 + CAST(hash(i, 'country') % 5 AS int)]"
_SUM = (
    "SELECT count(*), coalesce(sum(hash(order_id, email, CAST(amount AS decimal(12, 2)), CAST(quantity AS bigint), ordered_at, status,"
    " country, CAST(total AS decimal(14, 2)))), 0) FROM ({query})"
)


def write(folder: Path, rows: int, files: int, first: int = 0) -> None:
    """Write so many rows in so many CSV files, `part-00000.csv` and so on.

    Args:
        folder: Made.
        rows: In all.
        files: As many rows in each, about.
        first: Number of the first row.
    """
    import duckdb

    folder.mkdir(parents=True)
    edges = [first + rows * number // files for number in range(files + 1)]
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        for number in range(files):
            connection.execute(
                f"COPY (SELECT i AS order_id, CASE i % 5 WHEN 0 THEN '  ' ELSE '' END || {_NAME} || CASE i % 3 WHEN 0 THEN ' ' ELSE '' END"
                f" AS email, CASE i % 7 WHEN 0 THEN ' ' ELSE '' END || {_AMOUNT} AS amount, {_QUANTITY} AS quantity,"
                f" strftime({_TIME}, '%Y-%m-%d %H:%M:%S') AS ordered_at, {_STATUS} AS status, {_COUNTRY} AS country"
                f" FROM range({edges[number]}, {edges[number + 1]}) AS r(i)) TO '{folder / f'part-{number:05d}.csv'}' (HEADER)"
            )


def expected(rows: int) -> tuple[int, int]:
    """How many rows must come out of the first so many, and their checksum."""
    words = " ".join(f"WHEN '{letter}' THEN '{word}'" for letter, word in STATUS.items())
    query = (
        f"SELECT *, round(amount * quantity, 2) AS total FROM (SELECT i AS order_id, lower({_NAME}) AS email, CAST({_AMOUNT} AS double)"
        f" AS amount, {_QUANTITY} AS quantity, {_TIME} AS ordered_at, CASE {_STATUS} {words} END AS status, lower({_COUNTRY}) AS country"
        f" FROM range({rows}) AS r(i)) WHERE status <> 'cancelled' AND amount > 0"
    )
    return _sum(query)


def found(files: list[str]) -> tuple[int, int]:
    """How many rows are in some Parquet files, and their checksum."""
    return _sum(f"SELECT * FROM read_parquet({files!r})")


def _sum(query: str) -> tuple[int, int]:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        row = connection.execute(_SUM.format(query=query)).fetchone()
    assert row is not None  # an aggregate has one
    return int(row[0]), int(row[1])
