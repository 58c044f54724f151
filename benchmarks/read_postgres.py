"""Compare ways to read a PostgreSQL table into Arrow: ADBC, psycopg's server cursor, COPY as CSV; rows a second, in one process each.

    python benchmarks/read_postgres.py [--rows 1000000] [--rounds 3]

The last lines show the fixed cost: import, connect and 1,000 rows, which decides for small increments.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pyarrow as pa

TABLE = (
    "CREATE TABLE customers AS SELECT i::bigint AS id, 'Name ' || i AS name, 'user' || i || '@example.com' AS email,"
    " (ARRAY['CH','DE','FR','IT'])[1 + i % 4] AS country, (i % 90)::int AS age, (i::bigint * 7919 % 100000) / 100.0::float8 AS amount,"
    " now() - i * interval '1 second' AS updated_at FROM generate_series(1, {rows}) i"
)
SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "name": pa.string(),
        "email": pa.string(),
        "country": pa.string(),
        "age": pa.int32(),
        "amount": pa.float64(),
        "updated_at": pa.timestamp("us", "UTC"),
    }
)
QUERY = "SELECT id, name, email, country, age, amount, updated_at FROM customers"


def adbc(url: str, query: str, hint: int = 0) -> Iterator[pa.RecordBatch]:
    """ADBC: binary COPY decoded in C, batches of `hint` bytes (0: the driver's 16 MB)."""
    from adbc_driver_postgresql import dbapi

    options = {"adbc.postgresql.batch_size_hint_bytes": str(hint)} if hint else {}
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor(adbc_stmt_kwargs=options) as cursor:
        cursor.execute(query)
        yield from cursor.fetch_record_batch()


def psycopg_cursor(url: str, query: str, size: int = 10_000) -> Iterator[pa.RecordBatch]:
    """psycopg: a server-side cursor, binary, tuples turned into columns."""
    import psycopg

    with psycopg.connect(url) as connection, connection.cursor("bench", binary=True) as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(size):
            columns = zip(*rows, strict=True)
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
            )


def copy_csv(url: str, query: str) -> Iterator[pa.RecordBatch]:
    """COPY TO STDOUT as CSV, parsed by pyarrow."""
    import psycopg
    from pyarrow import csv

    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        sink = pa.BufferOutputStream()
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)") as copy:
            for chunk in copy:
                sink.write(chunk)
        options = csv.ConvertOptions(column_types=SCHEMA, strings_can_be_null=True)
        yield from csv.read_csv(pa.BufferReader(sink.getvalue()), convert_options=options).to_batches()


WAYS: dict[str, Callable[[str, str], Iterator[pa.RecordBatch]]] = {
    "adbc": adbc,
    "adbc, 4 MiB batches": lambda url, query: adbc(url, query, 4 << 20),
    "psycopg cursor": psycopg_cursor,
    "copy csv": copy_csv,
}


def measure(way: str, url: str, query: str) -> tuple[float, int, int, float]:
    """Seconds (import included), rows, greatest batch in rows, seconds without the import."""
    begun = time.perf_counter()
    if way.startswith("adbc"):
        import adbc_driver_postgresql.dbapi  # noqa: F401
    else:
        import psycopg  # noqa: F401
    imported = time.perf_counter()
    rows = greatest = 0
    for batch in WAYS[way](url, query):
        rows += batch.num_rows
        greatest = max(greatest, batch.num_rows)
    ended = time.perf_counter()
    return ended - begun, rows, greatest, ended - imported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("WAY", "URL", "QUERY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(*measure(*arguments.one))
        return

    import psycopg

    from beam_pipelines.testing.postgres import PostgresServer

    with PostgresServer() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(TABLE.format(rows=arguments.rows))
            connection.execute("VACUUM ANALYZE customers")
        for label, query in ((f"{arguments.rows:,} rows", QUERY), ("1,000 rows, fixed cost", QUERY + " WHERE id <= 1000")):
            print(label)
            taken: dict[str, list[list[float]]] = {way: [] for way in WAYS}
            for _ in range(arguments.rounds):
                for way in WAYS:  # interleaved: the machine's mood changes by the minute
                    command = [sys.executable, __file__, "--one", way, server.url(), query]
                    taken[way].append([float(word) for word in subprocess.check_output(command, text=True).split()])
            for way, runs in taken.items():
                whole, rows, greatest, alone = (statistics.median(column) for column in zip(*runs, strict=True))
                cost = f"{alone:6.3f} s + import {whole - alone:5.3f} s"
                print(f"  {way:22} {rows / alone:12,.0f} rows/s  {cost}, batches of {greatest:,.0f} rows at most")


if __name__ == "__main__":
    main()
