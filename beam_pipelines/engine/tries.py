"""The tries of a load that is committed after the run whose rows it takes, in a ledger of its own."""

from __future__ import annotations

import hashlib

from beam_pipelines.io.connector import LedgerRow, Target

__all__ = ["next_try"]


def next_try(target: Target, service: str, load: str, run: str) -> tuple[str, LedgerRow | None]:
    """Find the id under which a load is tried next, and what the ledger has of it: nothing, `prepared`, or `committed`, which is done.

    A try that was judged to fail stands in the ledger as failed, and is not tried again: the next one has an id of its own.

    Args:
        target: Whose ledger it is.
        service: Under which name the ledger has the load.
        load: Ledger key.
        run: Whose rows these are; the id of the first try.
    """
    tries = 0
    while True:
        name = hashlib.sha256(f"{run} {tries}".encode()).hexdigest()[:12] if tries else run
        row = target.row(service, load, name)
        if row is None or row.status in ("prepared", "committed"):
            return name, row
        tries += 1
