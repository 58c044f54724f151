"""Runs one SELECT and gives its rows as Arrow batches: by ADBC, or by psycopg where there are few.

ADBC reads 1.2 to 1.4 million rows a second, psycopg's cursor 0.4, COPY as CSV 0.55 (`benchmarks/read_postgres.py`: 7 columns, 2 cores).
But ADBC must be imported and opens a connection of its own: 0.15 s, which an increment of a few rows would spend on nothing else.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.errors import FatalError
from beam_pipelines.io.postgres.columns import Column
from beam_pipelines.io.postgres.session import STYLE, Server
from beam_pipelines.io.prefetch import prefetch
from beam_pipelines.io.sql.source import chunks

if TYPE_CHECKING:
    import psycopg

__all__ = ["by_adbc", "by_psycopg"]

_BATCH_BYTES = 4 << 20  # ADBC's default of 16 MiB would be cut again; a 4 MiB batch of the benchmark's table has 46,000 rows
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# A second read must give the rows in the same order where only their position tells them apart.
_STABLE = ("SET LOCAL synchronize_seqscans = off", "SET LOCAL max_parallel_workers_per_gather = 0")
_SNAPSHOT = re.compile(r"[0-9A-Fa-f-]{3,64}")
# PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01.
_EPOCH_DAYS = 10_957
_EPOCH_US = _EPOCH_DAYS * 86_400_000_000
_ARROW = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "oid": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "bytea": pa.binary(),
}


def by_adbc(server: Server, sql: str, *, snapshot: str | None, stable: bool, doing: str) -> Generator[pa.RecordBatch, None, None]:
    """Read in a thread, a few batches ahead.

    Args:
        server: Where; a connection is opened for this read.
        sql: A SELECT without parameters.
        snapshot: Exported snapshot to read from, None: one of its own.
        stable: Rows must come in the same order a second time.
        doing: For messages.
    """
    from adbc_driver_postgresql import dbapi

    opened: list[Any] = []

    def read() -> Iterator[pa.RecordBatch]:
        with server.doing(doing), contextlib.ExitStack() as stack:
            connection = stack.enter_context(dbapi.connect(server.adbc_uri(), autocommit=True))
            opened.append(connection)
            cursor = stack.enter_context(connection.cursor(adbc_stmt_kwargs={"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)}))
            for statement in _opening(snapshot, stable):
                _run(cursor, statement, snapshot)
            cursor.execute(sql)
            yield from _reader(cursor)

    def cancel() -> None:
        for connection in opened:
            with contextlib.suppress(Exception):
                connection.adbc_cancel()

    return prefetch(read, cancel)


def _reader(cursor: Any) -> Iterator[pa.RecordBatch]:
    """The rows, by ADBC's own reader: its errors carry the SQLSTATE, which those of `fetch_record_batch()` have lost."""
    reader = getattr(getattr(cursor, "_results", None), "reader", None)
    return iter(reader if reader is not None else cursor.fetch_record_batch())


def _opening(snapshot: str | None, stable: bool) -> list[str]:
    opening = [STYLE, _BEGIN]
    if snapshot:
        if not _SNAPSHOT.fullmatch(snapshot):
            raise FatalError(f"expected the name of a snapshot, got {snapshot[:60]!r}", code="read-failed")
        opening.append(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    return opening + (list(_STABLE) if stable else [])


def _run(cursor: Any, statement: str, snapshot: str | None) -> None:
    try:
        cursor.execute(statement)
    except Exception as error:
        if snapshot and "SNAPSHOT" in statement and getattr(error, "sqlstate", None) in ("42704", "22023"):
            raise FatalError(
                f"the snapshot {snapshot} of this run is gone: the process that prepared the run has ended, or lost its connection;"
                " start a new run",
                code="read-failed",
            ) from None
        raise


def by_psycopg(
    connection: psycopg.Connection[Any],
    sql: str,
    columns: Sequence[Column],
    *,
    snapshot: str | None,
    stable: bool,
    server: Server,
    doing: str,
) -> Generator[pa.RecordBatch, None, None]:
    """Read by a cursor of the server, a few thousand rows at a time.

    Args:
        connection: In autocommit, with nothing begun; is left so.
        sql: A SELECT without parameters, of scalar columns only.
        columns: What it gives.
        snapshot: As `by_adbc`.
        stable: As `by_adbc`.
        server: For messages.
        doing: For messages.
    """
    with server.doing(doing):
        try:
            for statement in _opening(snapshot, stable):
                _run(connection, statement, snapshot)
            # The planner would choose what gives the first tenth soonest; all rows are wanted.
            connection.execute("SET LOCAL cursor_tuple_fraction = 1")
            with connection.cursor("bp_rows", binary=True) as cursor:
                _raw_loaders(cursor)
                cursor.execute(sql.encode())
                names = [column.name for column in columns]
                for rows in chunks(cursor.fetchmany):
                    arrays = [_array(values, column) for values, column in zip(zip(*rows, strict=True), columns, strict=True)]
                    yield pa.RecordBatch.from_arrays(arrays, names=names)
        finally:
            with contextlib.suppress(Exception):
                connection.execute("ROLLBACK")


def _raw_loaders(cursor: Any) -> None:
    """Take moments as the numbers they are: Python's datetime has no infinity, and making one for each value takes longer."""
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    class Number(Loader):
        format = Format.BINARY

        def load(self, data: Any) -> int:
            return int.from_bytes(data, "big", signed=True)

    class Raw(Loader):
        format = Format.BINARY

        def load(self, data: Any) -> bytes:
            return bytes(data)

    for name in ("timestamp", "timestamptz", "date", "time"):
        cursor.adapters.register_loader(name, Number)
    for name in ("uuid", "interval"):
        cursor.adapters.register_loader(name, Raw)


def _moment(kind: pa.DataType, storage: pa.DataType, epoch: int) -> Callable[[Sequence[Any]], pa.Array]:
    # Wraps round where ADBC does, so that both are told from real moments in the same way (`columns.honest`).
    return lambda values: pc.add(pa.array(values, storage), pa.scalar(epoch, storage)).view(kind)


def _uuid(values: Sequence[Any]) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.uuid(), pa.array(values, pa.binary(16)))


def _interval(values: Sequence[Any]) -> pa.Array:
    """Microseconds, days, months, as the server sends them (interval_send): months, days, nanoseconds, as Arrow keeps them."""
    given = np.frombuffer(b"".join(value or bytes(16) for value in values), dtype=[("us", ">i8"), ("days", ">i4"), ("months", ">i4")])
    made = np.zeros(len(values), dtype=[("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
    made["months"], made["days"], made["nanoseconds"] = given["months"], given["days"], given["us"] * 1000
    validity = pa.array([value is not None for value in values]).buffers()[1]
    return pa.Array.from_buffers(pa.month_day_nano_interval(), len(values), [validity, pa.py_buffer(made.tobytes())])


def _decimal(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else format(value, "f") for value in values], pa.string())


_BUILD: dict[str, Callable[[Sequence[Any]], pa.Array]] = {
    "timestamp": _moment(pa.timestamp("us"), pa.int64(), _EPOCH_US),
    "timestamptz": _moment(pa.timestamp("us", "UTC"), pa.int64(), _EPOCH_US),
    "date": _moment(pa.date32(), pa.int32(), _EPOCH_DAYS),
    "time": _moment(pa.time64("us"), pa.int64(), 0),
    "uuid": _uuid,
    "interval": _interval,
    "numeric": _decimal,
    "money": _decimal,
}


def _array(values: Sequence[Any], column: Column) -> pa.Array:
    build = _BUILD.get(column.type)
    return build(values) if build else pa.array(values, _ARROW.get(column.type, pa.string()))
