"""One snapshot for all ranges of a load: a connection of this process holds it open until the last range is read.

Readers of any process on this machine take it over by its name. When the run ends, well or not, `release` lets go; a process that dies
lets go by dying. A held snapshot keeps the server from cleaning up dead rows, as any long read does.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from beam_pipelines.io import keepers

if TYPE_CHECKING:
    import psycopg

    from beam_pipelines.io.postgres.session import Server

__all__ = ["backends", "hold", "release"]

_lock = threading.Lock()
_held: dict[str, list[psycopg.Connection[Any]]] = {}


def hold(run: str, server: Server) -> str:
    """Export a snapshot as of now and keep it for the run.

    Args:
        run: Run id, as `release` will name it.
        server: Where.

    Returns:
        The snapshot's name, for `SET TRANSACTION SNAPSHOT`.
    """
    keeper = server.connect()
    try:
        with server.doing("exporting a snapshot"):
            # The read may take hours in which this session is idle.
            keeper.execute("SET idle_in_transaction_session_timeout = 0")
            keeper.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = keeper.execute("SELECT pg_export_snapshot()").fetchone()
    except BaseException:
        keeper.close()
        raise
    with _lock:
        _held.setdefault(run, []).append(keeper)
    keepers.keep(run, lambda: release(run))
    return str(row[0]) if row else ""


def release(run: str) -> None:
    """Let go of every snapshot of a run; never fails, may be called twice."""
    with _lock:
        keepers = _held.pop(run, [])
    for keeper in keepers:
        keeper.close()


def backends() -> list[int]:
    """Server processes of the snapshots held here: they only read, so no ceiling has to wait for them."""
    with _lock:
        return [keeper.info.backend_pid for keepers in _held.values() for keeper in keepers if not keeper.closed]
