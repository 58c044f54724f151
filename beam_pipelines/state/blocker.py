"""Who holds a lock that we did not get, for an error message: process ids and names, never command lines (they may hold passwords)."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

__all__ = ["of_file", "of_server"]

_UNKNOWN = "another process"


def of_file(file: Path) -> str:
    """Name the processes that hold a write lock on an SQLite file.

    Linux lists locks by inode in `/proc/locks`; where that is not to be had, processes that have the file open are named.
    """
    parts = [part for part in (file, Path(f"{file}-shm"), Path(f"{file}-wal")) if part.exists()]
    holders = _lock_holders({part.stat().st_ino for part in parts}) or _openers({str(part.resolve()) for part in parts})
    return " and ".join(_name(pid) for pid in sorted(holders)) or _UNKNOWN


def of_server(engine: Engine, schema: str) -> str:
    """Name the sessions that hold locks on the store's tables, or one of its advisory locks."""
    query = text(
        """SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), 'unnamed') AS name, host(a.client_addr) AS host, a.state
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.granted AND a.pid <> pg_backend_pid() AND a.datname = current_database()
          AND (l.locktype = 'advisory' OR (l.mode <> 'AccessShareLock' AND l.relation IN (
            SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema)))
        ORDER BY a.pid"""
    )
    try:
        with engine.connect() as connection:
            rows = connection.execute(query, {"schema": schema}).all()
    except DBAPIError:
        return "another session"
    sessions = [f"session {row.pid} ({row.name} on {row.host or 'this host'}, {row.state or 'state not shown'})" for row in rows]
    return " and ".join(sessions) or "another session"


def _lock_holders(inodes: set[int]) -> set[int]:
    holders: set[int] = set()
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return holders
    for line in lines:
        # 1: POSIX  ADVISORY  WRITE 4711 08:01:1234567 120 120
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "POSIX" and fields[3] == "WRITE" and fields[4].isdigit():
            inode = fields[5].rpartition(":")[2]
            if inode.isdigit() and int(inode) in inodes:
                holders.add(int(fields[4]))
    return holders - {0}


def _openers(paths: set[str]) -> set[int]:
    openers: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(entry) in paths for entry in (folder / "fd").iterdir()):
                openers.add(int(folder.name))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    others = openers - {os.getpid()}
    return others or openers


def _name(pid: int) -> str:
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return f"process {pid}"
