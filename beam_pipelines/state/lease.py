"""Leases: one active run a service. Every change compares and sets (service, run, token).

The token grows with each taking, so a run that slept past its lease finds another token and is told so. The lease only spares work:
what keeps a zombie from committing is the generation in the target's ledger.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from beam_pipelines.errors import ActiveRunError, FencedError
from beam_pipelines.state.record import Lease, moment_text
from beam_pipelines.state.tables import leases

__all__ = ["EMBEDDED", "acquire", "alive", "at_work", "release", "renew", "this_process"]

EMBEDDED = "embedded"  # of a holder: nobody renews its lease or gives it back when its pipeline fails
at_work: set[str] = set()  # embedded runs that this process began, and whose pipelines may not be over


def this_process() -> dict[str, Any]:
    """Return what `acquire` wants to know of its holder: host, process id, and the id space that the process id belongs to."""
    holder: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
    space = _pid_space()
    return {**holder, "pidSpace": space} if space else holder


def alive(pid: int) -> bool:
    """Whether a process of this machine exists; True where that cannot be asked."""
    if os.name == "nt":  # there, signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def acquire(connection: Connection, service: str, run: str, ttl_seconds: float, holder: Mapping[str, Any], now: datetime) -> Lease:
    """Take the lease of a service that is free, has run out, belongs to a process of this host that is gone, or to the run that asks.

    To be called in a transaction that is the only one of its service.

    Raises:
        ActiveRunError: Another run holds it.
    """
    row = connection.execute(select(leases).where(leases.c.service == service)).first()
    token = row.token + 1 if row else 1
    until = now + timedelta(seconds=ttl_seconds)
    if row and row.run not in (None, run) and row.until > now and not _is_dead(row.run, row.holder, holder):
        raise _active(row)
    values = {"run": run, "token": token, "holder": dict(holder), "since": now, "until": until}
    if row:
        connection.execute(leases.update().where(leases.c.service == service).values(values))
    else:
        connection.execute(leases.insert().values(service=service, **values))
    return Lease(service, run, token, now, until, ttl_seconds)


def renew(connection: Connection, lease: Lease, now: datetime) -> Lease:
    """Prolong a lease that is still ours, though it may have run out.

    Raises:
        FencedError: Another run took it.
    """
    until = now + timedelta(seconds=lease.ttl_seconds)
    if not connection.execute(_ours(lease).values(until=until)).rowcount:
        row = connection.execute(select(leases).where(leases.c.service == lease.service)).first()
        raise _lost(lease, row)
    return replace(lease, until=until)


def release(connection: Connection, lease: Lease) -> bool:
    """Give a lease back; False when it was no longer ours."""
    return bool(connection.execute(_ours(lease).values(run=None)).rowcount)


def _ours(lease: Lease) -> Any:
    mine = (leases.c.service == lease.service) & (leases.c.run == lease.run) & (leases.c.token == lease.token)
    return leases.update().where(mine)


def _is_dead(run: str, holder: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether we can see from here that the process of the run that holds a lease is gone, or the pipeline that it was a part of over.

    Hosts of one name need not be one machine (containers): where both sides know their process id space, it must be the same.
    """
    pid = holder.get("pid")
    if not isinstance(pid, int) or holder.get("host") is None or holder.get("host") != ours.get("host"):
        return False
    spaces = {side["pidSpace"] for side in (holder, ours) if side.get("pidSpace")}
    if len(spaces) > 1:
        return False
    # A pipeline without a launcher that fails gives nothing back, and its process knows that it is over.
    return not alive(pid) or (bool(holder.get(EMBEDDED)) and pid == ours.get("pid") and run not in at_work)


def _active(row: Row[Any]) -> ActiveRunError:
    host, pid = row.holder.get("host", "unknown"), row.holder.get("pid", "unknown")
    details = {
        "service": row.service,
        "run": row.run,
        "host": host,
        "pid": pid,
        "since": moment_text(row.since),
        "until": moment_text(row.until),
    }
    return ActiveRunError(
        f"service {row.service!r} is being run already: run {row.run} on host {host!r}, process {pid}, since {details['since']};"
        f" its lease lasts until {details['until']} unless renewed: wait for it, or stop that process",
        details=details,
    )


def _lost(lease: Lease, row: Row[Any] | None) -> FencedError:
    if row is None or row.run is None:
        who = "it was given back"
    else:
        who = f"run {row.run} on host {row.holder.get('host', 'unknown')!r}, process {row.holder.get('pid', 'unknown')}, holds it"
    return FencedError(
        f"run {lease.run} has lost the lease of service {lease.service!r}, which it held until {moment_text(lease.until)}: {who} now;"
        " this run must not go on",
        details={"service": lease.service, "run": lease.run, "holder": row.run if row else None},
    )


def _pid_space() -> str | None:
    """Name the process id space (Linux: boot and namespace), None where that cannot be known."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot:
            return f"{boot.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None
