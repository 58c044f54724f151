"""The copy of a watermark of the target's ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Watermark"]


@dataclass(frozen=True)
class Watermark:
    """Copy of a watermark; the truth is the target's ledger.

    Args:
        service: Service id.
        table: Ledger key of the load.
        value: Plain JSON (`Mark.to_json()`); None for a load without cursor.
        fingerprint: Of source, query, cursor and target.
        generation: Commits of the load; a copy of an older generation never replaces a newer one.
        run: Run that committed it; None when set by hand.
        updated_at: Set by the store.
    """

    service: str
    table: str
    value: Any
    fingerprint: str = ""
    generation: int = 0
    run: str | None = None
    updated_at: datetime | None = None
