"""Says what a commit waits for: the server tells nobody, and a transaction left open by somebody looks like a run that hangs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from beam_pipelines.io.postgres.session import Server

if TYPE_CHECKING:
    import psycopg

__all__ = ["AFTER", "told"]

AFTER = 2.0  # seconds: a lock between two commits is held for less
_LOG = logging.getLogger(__name__)
# Of sessions of other users only pid and user may be seen. What a session runs is not asked for: it may hold values of rows.
_HOLDERS = (
    "SELECT b.pid, a.application_name, a.usename, a.state, a.xact_start FROM unnest(pg_blocking_pids(%s)) AS b(pid)"
    " LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid ORDER BY b.pid"
)


@contextmanager
def told(server: Server, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Log whom the connection waits for, while the block runs: after two seconds, and again when it is somebody else.

    Args:
        server: Where a second connection asks; nobody is asked in the first two seconds.
        connection: Of the transaction.
    """
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(server, connection.info.backend_pid, over), name="waits", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()  # it ends by itself: a transaction that failed holds its locks until this block is left


def _watch(server: Server, pid: int, over: threading.Event) -> None:
    if over.wait(AFTER):
        return
    said: tuple[int, ...] = ()
    try:
        asking = server.connect()
        try:
            while not over.is_set():
                holders = asking.execute(_HOLDERS, (pid,)).fetchall()
                pids = tuple(holder[0] for holder in holders)
                if pids and pids != said and not over.is_set():
                    _LOG.warning("waiting for a lock on %s: held by %s", server.display, "; ".join(_shown(*holder) for holder in holders))
                    said = pids
                over.wait(AFTER)
        finally:
            server.done(asking)
    except Exception as away:  # noqa: BLE001 - the commit itself says what is wrong with the server
        _LOG.debug("who holds the lock is not known: %s", away)


def _shown(pid: int, application: str | None, user: str | None, state: str | None, since: Any) -> str:
    """`process 4711 (psql, user ann, idle in transaction since 2026-03-01T12:00:00+00:00)`; a prepared transaction has no process."""
    if not pid:
        return "a prepared transaction (see pg_prepared_xacts)"
    known = [
        application or "",
        f"user {user}" if user else "",
        f"{state} since {since.isoformat(timespec='seconds')}" if state and since else "",
    ]
    shown = ", ".join(part for part in known if part)
    return f"process {pid} ({shown})" if shown else f"process {pid}"
