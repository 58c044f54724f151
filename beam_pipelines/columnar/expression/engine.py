"""One locked-down DuckDB: no files, no network, no settings, one thread, bounded memory, UTC; it sees the tables it is handed."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.expression.older import older

__all__ = ["TABLE", "Engine", "one_chunk"]

TABLE = "__batch"
MEMORY = "512MB"  # results of one statement; more than a batch (8 MiB) and its widest expressions need, little beside a worker's own
MAX_IDLE = 8  # more steps than most definitions have; an idle connection holds about 1 MB
_SELECT = "SELECT "
_NO_VALUE = ("NULL", "TRY(NULL)")
_FRAME = {"type": "SELECT_NODE", "cte_map": {}, "from_table": {"type": "EMPTY"}, "aggregate_handling": "STANDARD_HANDLING"}


@functools.cache
def _is_older() -> bool:
    """Return whether the installed DuckDB is of the line for Python 3.10, whose trees are translated."""
    import duckdb

    return int(duckdb.__version__.partition(".")[0]) < 2


class _Pool:
    """Connections that are idle: a bundle opens its steps anew, and a connection takes 15 ms to make. One engine at a time has it."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, str], list[Any]] = {}

    def take(self, memory: str) -> Any:
        # The process is part of the key: a connection does not survive a fork.
        idle = self._idle.get((os.getpid(), memory), [])
        try:
            return idle.pop()
        except IndexError:
            return _connect(memory)

    def give(self, memory: str, connection: Any) -> None:
        idle = self._idle.setdefault((os.getpid(), memory), [])
        if len(idle) < MAX_IDLE:
            idle.append(connection)
        else:
            connection.close()


_POOL = _Pool()


def _connect(memory: str) -> Any:
    import duckdb

    connection = duckdb.connect(
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
    connection.execute("SET TimeZone = 'UTC'")
    if _is_older():
        # It computes a part that occurs twice once, outside of the TRY that both stand in: one bad row would fail its batch.
        connection.execute("SET disabled_optimizers = 'common_subexpressions'")
    connection.execute("SET lock_configuration = true")
    return connection


class Engine:
    """A DuckDB connection for one instance of a step: connections are not shared between threads.

    It is made when it is first needed, and kept for the next engine of the process when this one is closed.

    Args:
        memory: DuckDB's limit for results and intermediate tables (strings inside one vector are outside of it: `bound`).
    """

    def __init__(self, memory: str = MEMORY) -> None:
        self._memory = memory
        self._held: Any = None
        self._sound = True

    @property
    def _connection(self) -> Any:
        if self._held is None:
            self._held = _POOL.take(self._memory)
        return self._held

    def parse(self, statement: str) -> dict[str, Any]:
        """Return DuckDB's own tree of a statement, or its parser's error (`error`, `error_message`, `position` in bytes)."""
        found = self._connection.execute("SELECT json_serialize_sql(?::VARCHAR, skip_null := true, skip_empty := true)", [statement])
        row = found.fetchall()[0]
        tree: dict[str, Any] = json.loads(row[0])
        if not _is_older():
            return tree
        from beam_pipelines.columnar.expression.newer import newer  # with its many patterns only where something is parsed

        return newer(tree, statement)

    def render(self, nodes: Sequence[dict[str, Any]]) -> list[str]:
        """Return the SQL texts of expressions' trees: what was checked is what runs."""
        selected = [older(node) for node in nodes] if _is_older() else nodes
        texts = [json.dumps({"error": False, "statements": [{"node": {**_FRAME, "select_list": [node]}}]}) for node in selected]
        asked = "SELECT json_deserialize_sql(texts[n]::JSON) FROM (SELECT ?::VARCHAR[] AS texts), range(1, ? + 1) AS r(n) ORDER BY n"
        rows = self._connection.execute(asked, [texts, len(texts)]).fetchall()
        return [str(row[0])[len(_SELECT) :] for row in rows]

    def query(self, columns: Sequence[str], table: pa.Table) -> list[pa.Array]:
        """Return the values of SQL expressions for each row of `table`, in its order.

        Raises:
            duckdb.Error: As DuckDB says it.
        """
        import duckdb

        named = ", ".join(f"{column} AS r{number}" for number, column in enumerate(columns))
        self._connection.register(TABLE, table)
        try:
            result = self._connection.sql(f"SELECT {named} FROM {TABLE}").to_arrow_table()
        except (duckdb.InternalError, duckdb.FatalException):
            self._sound = False
            raise
        finally:
            self._connection.unregister(TABLE)
        values = [one_chunk(column) for column in result.columns]
        if _is_older():  # which gives a bare NULL the type INTEGER
            values = [pa.nulls(table.num_rows) if sql in _NO_VALUE else value for sql, value in zip(columns, values, strict=True)]
        return values

    def types(self, columns: Sequence[str], table: pa.Table) -> list[str]:
        """Return DuckDB's names of the types of SQL expressions over `table`, without evaluating them."""
        named = ", ".join(f"{column} AS r{number}" for number, column in enumerate(columns))
        self._connection.register(TABLE, table)
        try:
            return [str(name) for name in self._connection.sql(f"SELECT {named} FROM {TABLE}").types]
        finally:
            self._connection.unregister(TABLE)

    def close(self) -> None:
        if self._held is not None:
            if self._sound:
                _POOL.give(self._memory, self._held)
            else:
                self._held.close()
            self._held = None


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
