"""One locked-down DuckDB: no files, no network, no settings, one thread, bounded memory, UTC; it sees the tables it is handed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

__all__ = ["TABLE", "Engine"]

TABLE = "__batch"
MEMORY = "512MB"  # results of one statement; more than a batch (8 MiB) and its widest expressions need, little beside a worker's own
_SELECT = "SELECT "
_FRAME = {"type": "SELECT_NODE", "cte_map": {}, "from_table": {"type": "EMPTY"}, "aggregate_handling": "STANDARD_HANDLING"}


class Engine:
    """A DuckDB connection for one instance of a step: connections are not shared between threads.

    Args:
        memory: DuckDB's limit for results and intermediate tables (strings inside one vector are outside of it: `bound`).
    """

    def __init__(self, memory: str = MEMORY) -> None:
        import duckdb

        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": "1",
                "memory_limit": memory,
                "max_temp_directory_size": "0GB",
                "enable_external_access": "false",
                "autoload_known_extensions": "false",
                "autoinstall_known_extensions": "false",
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET lock_configuration = true")

    def parse(self, statement: str) -> dict[str, Any]:
        """Return DuckDB's own tree of a statement, or its parser's error (`error`, `error_message`, `position` in bytes)."""
        found = self._connection.execute("SELECT json_serialize_sql(?::VARCHAR, skip_null := true, skip_empty := true)", [statement])
        row = found.fetchall()[0]
        tree: dict[str, Any] = json.loads(row[0])
        return tree

    def render(self, nodes: Sequence[dict[str, Any]]) -> list[str]:
        """Return the SQL texts of expressions' trees: what was checked is what runs."""
        texts = [json.dumps({"error": False, "statements": [{"node": {**_FRAME, "select_list": [node]}}]}) for node in nodes]
        asked = "SELECT json_deserialize_sql(texts[n]::JSON) FROM (SELECT ?::VARCHAR[] AS texts), range(1, ? + 1) AS r(n) ORDER BY n"
        rows = self._connection.execute(asked, [texts, len(texts)]).fetchall()
        return [str(row[0])[len(_SELECT) :] for row in rows]

    def query(self, columns: Sequence[str], table: pa.Table) -> list[pa.Array]:
        """Return the values of SQL expressions for each row of `table`, in its order.

        Raises:
            duckdb.Error: As DuckDB says it.
        """
        named = ", ".join(f"{column} AS r{number}" for number, column in enumerate(columns))
        self._connection.register(TABLE, table)
        try:
            result = self._connection.sql(f"SELECT {named} FROM {TABLE}").to_arrow_table()
        finally:
            self._connection.unregister(TABLE)
        return [_one(column) for column in result.columns]

    def types(self, columns: Sequence[str], table: pa.Table) -> list[str]:
        """Return DuckDB's names of the types of SQL expressions over `table`, without evaluating them."""
        named = ", ".join(f"{column} AS r{number}" for number, column in enumerate(columns))
        self._connection.register(TABLE, table)
        try:
            return [str(name) for name in self._connection.sql(f"SELECT {named} FROM {TABLE}").types]
        finally:
            self._connection.unregister(TABLE)

    def close(self) -> None:
        self._connection.close()


def _one(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
