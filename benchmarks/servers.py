"""The PostgreSQL server of the benchmarks: stock settings, and databases that are put back by copying a template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from beam_pipelines.testing.postgres import PostgresServer
from benchmarks import customers
from benchmarks.process import BenchmarkError

if TYPE_CHECKING:
    import psycopg

__all__ = ["TABLE", "Databases", "databases"]

TABLE = (
    "CREATE TABLE customers (id bigint NOT NULL, name text, email text, country text,"
    " age integer, amount float8, updated_at timestamptz NOT NULL)"
)
_KEY = "ALTER TABLE customers ADD PRIMARY KEY (id)"


class Databases:
    """Databases of one server."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def url(self, database: str) -> str:
        return self._server.url(database)

    @contextmanager
    def connect(self, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            yield connection

    def version(self) -> str:
        with self.connect() as connection:
            row = connection.execute("SELECT current_setting('server_version')").fetchone()
        return str(row[0]).split()[0] if row else ""

    def create(self, database: str, query: str | None = None, *, key: bool = False, analyze: bool = True) -> None:
        """Make a database with the table `customers`.

        Args:
            database: Its name.
            query: What fills the table; None leaves it empty.
            key: With a primary key.
            analyze: With fresh statistics.
        """
        self.drop(database)
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {database}".encode())
        with self.connect(database) as connection:
            connection.execute(TABLE.encode())
            if query is not None:
                connection.execute(f"INSERT INTO customers {query}".encode())
            if key:
                connection.execute(_KEY.encode())
            connection.execute(b"VACUUM ANALYZE customers" if analyze else b"VACUUM customers")

    def empty(self, database: str) -> None:
        """Make a database without tables."""
        self.drop(database)
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {database}".encode())

    def copy(self, template: str, database: str) -> None:
        """Put a database to where a template stands; what was written before is on disk when this is done."""
        self.drop(database)
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY file_copy".encode())
            connection.execute(b"CHECKPOINT")

    def drop(self, database: str) -> None:
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())

    def run(self, database: str, *statements: str) -> None:
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def expect(self, database: str, table: str, expected: tuple[int, int], who: str) -> None:
        """Compare a table with what must be there.

        Raises:
            BenchmarkError: Other rows.
        """
        with self.connect(database) as connection:
            found = customers.checksum(connection, table)
        if found != expected:
            raise BenchmarkError(
                f"{who}: expected {expected[0]} rows with checksum {expected[1]} in {table}, found {found[0]} with {found[1]}"
            )

    def sums(self, database: str, queries: Sequence[str]) -> tuple[int, int]:
        """Rows and checksum over several queries together."""
        with self.connect(database) as connection:
            found = [customers.checksum(connection, f"({query})") for query in queries]
        return sum(rows for rows, _ in found), sum(total for _, total in found)


@contextmanager
def databases() -> Iterator[Databases]:
    """A server of its own for one group of cases."""
    with PostgresServer() as server:
        yield Databases(server)
