"""Where a run touches anything outside itself: drivers and files, wrapped once each, so that new code of ours is covered without a word.

Nothing of this package is wrapped. A target, stager or store that gets a new method can reach the world through these only: `sqlite3`,
`duckdb`, `psycopg` (every round trip goes through `Connection.wait`), ADBC, the clients of buckets, Arrow's and Parquet's writers and
readers, `open` and `os`.
A call within a call counts once; so does a call that a driver makes on a thread of its own.
"""

from __future__ import annotations

import builtins
import errno
import functools
import importlib
import io
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

__all__ = ["Around", "wrapped"]

# What does not leave the process. Of results only the fetches of a source are calls: see `testing.faults`.
_QUIET = {
    "sqlite": {"cursor", "create_function", "create_aggregate", "create_collation", "set_trace_callback", "interrupt", "setinputsizes"},
    "duckdb": {"register", "unregister", "cursor", "create_function", "interrupt", "description"},
    "adbc": {"cursor", "adbc_cancel", "adbc_clone"},
}
_FILE_CALLS = ("fdatasync", "fsync", "link", "mkdir", "remove", "rename", "replace", "rmdir", "symlink", "truncate", "unlink")
_PATH_CALLS = ("mkdir", "rename", "replace", "rmdir", "touch", "unlink")


class Around(Protocol):
    """Called instead of each call."""

    def __call__(self, name: str, call: Callable[[], Any], failure: Callable[[], BaseException]) -> Any:
        """Make the call, or not.

        Args:
            name: `driver.call`, such as `duckdb.COMMIT`, `postgres.commit`, `file.replace`.
            call: The call itself.
            failure: Makes the error that this call raises when what is behind it goes away, and does to the connection what then happens.
        """


@contextmanager
def wrapped(around: Around) -> Iterator[None]:
    """Wrap every driver of this process for as long as the block runs. A driver that is not installed is passed over."""
    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str, made: Any) -> None:
        # A class's own attribute, not what it inherits: a wrapped function must not be taken for a bound one.
        original = vars(owner)[name] if isinstance(owner, type) and name in vars(owner) else getattr(owner, name)
        setattr(owner, name, made)
        undo.append(lambda: setattr(owner, name, original))

    try:
        for install in (_sqlite, _duckdb, _postgres, _adbc, _s3, _gcs, _arrow, _files):
            install(around, put)
        yield
    finally:
        for one in reversed(undo):
            one()


def _word(sql: Any) -> str:
    """What a statement does: its first word."""
    text = sql.as_string(None) if hasattr(sql, "as_string") else sql
    text = text.decode() if isinstance(text, bytes) else str(text)
    words = text.split(None, 1)
    return words[0].upper().rstrip(";(") if words else "nothing"


def _method(around: Around, original: Callable[..., Any], driver: str, failure: Callable[[], BaseException]) -> Callable[..., Any]:
    """A method that is called through `around`; one that takes a statement is named by it."""
    name = getattr(original, "__name__", "call")
    says = name.startswith(("execute", "sql", "query"))

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        label = _word(args[0]) if says and args else name
        return around(f"{driver}.{label}", lambda: original(self, *args, **kwargs), failure)

    return call


def _public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))]


# SQLite: subclasses of the driver's classes, which SQLAlchemy and our own connections get alike.


def _sqlite(around: Around, put: Callable[..., None]) -> None:
    def failure() -> BaseException:
        return sqlite3.OperationalError("disk I/O error (injected)")

    def traced(kind: type) -> dict[str, Any]:
        # Errors are attributes of the connection's class (PEP 249), and no calls.
        names = [name for name in _public(kind) if name not in _QUIET["sqlite"] and not isinstance(getattr(kind, name), type)]
        return {name: _method(around, getattr(kind, name), "sqlite", failure) for name in names}

    cursors: Any = type("TracedCursor", (sqlite3.Cursor,), {n: m for n, m in traced(sqlite3.Cursor).items() if n != "close"})

    def cursor(self: sqlite3.Connection, factory: Any = None) -> Any:
        return sqlite3.Connection.cursor(self, factory or cursors)

    def by_cursor(name: str) -> Callable[..., Any]:
        # The driver's own shortcuts make cursors of the driver's own, whose fetches nobody would see.
        return lambda self, *args: getattr(self.cursor(), name)(*args)

    shortcuts = {name: by_cursor(name) for name in ("execute", "executemany", "executescript")}
    connections = type("TracedConnection", (sqlite3.Connection,), {**traced(sqlite3.Connection), **shortcuts, "cursor": cursor})
    original = sqlite3.connect

    @functools.wraps(original)
    def connect(*args: Any, **kwargs: Any) -> Any:
        return around("sqlite.connect", lambda: original(*args, **{"factory": connections, **kwargs}), failure)

    put(sqlite3, "connect", connect)
    put(sqlite3.dbapi2, "connect", connect)


# DuckDB: its classes cannot be changed, so connections are handed out in a wrapper.


class _Wrapper:
    """Stands for a DuckDB connection or relation."""

    def __init__(self, real: Any, around: Around, failure: Callable[[], BaseException]) -> None:
        self._real, self._around, self._failure = real, around, failure

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if not callable(value) or name in _QUIET["duckdb"]:
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            says = name in ("execute", "executemany", "sql", "query", "table") and args
            label = _word(args[0]) if says else name
            result = self._around(f"duckdb.{label}", lambda: value(*args, **kwargs), self._failure)
            if result is self._real:
                return self
            return _Wrapper(result, self._around, self._failure) if type(result).__name__ == "DuckDBPyRelation" else result

        return call

    def __enter__(self) -> _Wrapper:
        return self

    def __exit__(self, *caught: Any) -> None:
        self.close()


def _duckdb(around: Around, put: Callable[..., None]) -> None:
    import duckdb

    original = duckdb.connect

    def failure() -> BaseException:
        return duckdb.IOException("IO Error: the disk is away (injected)")

    @functools.wraps(original)
    def connect(database: Any = ":memory:", *args: Any, **kwargs: Any) -> Any:
        if str(database).startswith(":memory:"):
            return original(database, *args, **kwargs)
        return _Wrapper(around("duckdb.connect", lambda: original(database, *args, **kwargs), failure), around, failure)

    put(duckdb, "connect", connect)


# PostgreSQL: psycopg waits for the server in one place, whatever is asked of it.


def _postgres(around: Around, put: Callable[..., None]) -> None:
    try:
        import psycopg
    except ImportError:
        return
    wait, close = psycopg.Connection.wait, psycopg.Connection.close
    connect = psycopg.Connection.connect.__func__  # type: ignore[attr-defined]

    def lost(connection: Any | None) -> Callable[[], BaseException]:
        def failure() -> BaseException:
            if connection is not None:
                connection.pgconn.finish()
            return psycopg.OperationalError("server closed the connection unexpectedly (injected)")

        return failure

    def waiting(self: Any, generator: Any, *args: Any, **kwargs: Any) -> Any:
        query = generator.gi_frame.f_locals.get("query") if getattr(generator, "gi_frame", None) else None
        name = _word(query) if query is not None else getattr(generator, "__name__", "wait").strip("_").removesuffix("_gen")
        return around(f"postgres.{name}", lambda: wait(self, generator, *args, **kwargs), lost(self))

    def connecting(kind: Any, *args: Any, **kwargs: Any) -> Any:
        return around("postgres.connect", lambda: connect(kind, *args, **kwargs), lost(None))

    def closing(self: Any) -> None:
        if not self.closed:
            around("postgres.close", lambda: close(self), lost(self))

    put(psycopg.Connection, "wait", waiting)
    put(psycopg.Connection, "connect", classmethod(connecting))
    put(psycopg.Connection, "close", closing)
    put(psycopg, "connect", psycopg.Connection.connect)


def _adbc(around: Around, put: Callable[..., None]) -> None:
    try:
        manager = importlib.import_module("adbc_driver_manager")
        dbapi = importlib.import_module("adbc_driver_manager.dbapi")
        postgres = importlib.import_module("adbc_driver_postgresql.dbapi")
    except ImportError:
        return

    def failure() -> BaseException:
        error: BaseException = manager.OperationalError("[libpq] no connection to the server (injected)", status_code=10)
        return error

    for kind in (dbapi.Connection, dbapi.Cursor):
        for name in _public(kind):
            described = vars(kind).get(name)
            if callable(described) and not isinstance(described, type) and name not in _QUIET["adbc"]:
                put(kind, name, _method(around, described, "adbc", failure))
    original = postgres.connect
    put(postgres, "connect", lambda *args, **kwargs: around("adbc.connect", lambda: original(*args, **kwargs), failure))


# Buckets: a call is all that a client does for it, so one that fails has been repeated in vain.


def _s3(around: Around, put: Callable[..., None]) -> None:
    try:
        from botocore import client, exceptions
    except ImportError:
        return
    original = client.BaseClient._make_api_call

    def failure() -> BaseException:
        error: BaseException = exceptions.EndpointConnectionError(endpoint_url="of the bucket (injected)")
        return error

    def call(self: Any, operation_name: str, api_params: Any) -> Any:
        return around(f"s3.{operation_name}", lambda: original(self, operation_name, api_params), failure)

    put(client.BaseClient, "_make_api_call", call)


def _gcs(around: Around, put: Callable[..., None]) -> None:
    try:
        from google.api_core.exceptions import RetryError
        from google.auth.transport.requests import AuthorizedSession
    except ImportError:
        return
    original = AuthorizedSession.request

    def failure() -> BaseException:
        return RetryError("the bucket does not answer (injected)", None)

    def request(self: Any, method: str, url: Any, *args: Any, **kwargs: Any) -> Any:
        what = "rewrite" if "/rewriteTo/" in str(url) else method
        return around(f"gcs.{what}", lambda: original(self, method, url, *args, **kwargs), failure)

    put(AuthorizedSession, "request", request)


# Files.


def _broken() -> BaseException:
    return OSError(errno.EIO, os.strerror(errno.EIO) + " (injected)")


class _Written:
    """Stands for a writer of Arrow's or a file open to write: every method is a call."""

    def __init__(self, real: Any, around: Around, driver: str) -> None:
        self._real, self._around, self._driver = real, around, driver

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name not in ("write", "write_batch", "write_table", "writelines", "flush", "truncate", "close"):
            return value
        return lambda *args, **kwargs: self._around(f"{self._driver}.{name}", lambda: value(*args, **kwargs), _broken)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *caught: Any) -> None:
        self.close()


def _arrow(around: Around, put: Callable[..., None]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def through(owner: Any, name: str, label: str, made: Callable[[Any], Any] = lambda result: result) -> None:
        original = getattr(owner, name)

        @functools.wraps(original, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            return made(around(label, lambda: original(*args, **kwargs), _broken))

        put(owner, name, call)

    through(pa, "OSFile", "arrow.open")
    through(pa, "memory_map", "arrow.map")
    through(pa.ipc, "new_file", "arrow.begin", lambda writer: _Written(writer, around, "arrow"))
    through(pa.ipc, "open_file", "arrow.footer")
    through(pq, "read_metadata", "parquet.footer")
    through(pq, "read_schema", "parquet.footer")
    for kind in (pq.ParquetWriter, pq.ParquetFile):
        for name in ("__init__", "write_table", "write_batch", "close", "read_row_group", "read_row_groups"):
            if name in vars(kind):
                put(kind, name, _method(around, vars(kind)[name], "parquet", _broken))


def _files(around: Around, put: Callable[..., None]) -> None:
    def file_call(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            return around(f"file.{name}", lambda: original(*args, **kwargs), _broken)

        put(owner, name, call)

    for name in _FILE_CALLS:
        if hasattr(os, name):  # macOS has no fdatasync
            file_call(os, name)
    for name in _PATH_CALLS:
        # Python 3.10's paths know the functions of `os` from before they were wrapped.
        file_call(pathlib.Path, name)

    def opening(opener: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(opener)
        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if isinstance(file, int) or not set(mode) & set("wax+"):
                return opener(file, mode, *args, **kwargs)
            real = around("file.open", lambda: opener(file, mode, *args, **kwargs), _broken)
            return real if isinstance(real, _Written) else _Written(real, around, "file")

        return opened

    put(io, "open", opening(io.open))
    put(builtins, "open", io.open)
    put(pathlib.Path, "open", opening(pathlib.Path.open))
