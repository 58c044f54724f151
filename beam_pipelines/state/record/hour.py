"""Clock hours in which a stream ran, which is what it pays for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from beam_pipelines.state.record.moment import moment_text

__all__ = ["StreamHour"]


@dataclass(frozen=True)
class StreamHour:
    """One UTC clock hour in which a stream ran at any time.

    Args:
        service: Service id.
        hour: Its beginning.
        run: The execution that ran in it first: what is charged for the hour is charged to that.
        events: Messages whose offsets were committed in it.
        charged_at: When the hour was settled; None while it is not.
        charge: Key of its charge; None while there is none, and of an hour that was settled without a price.
        amount: Of its charge.
        currency: Of its charge.
    """

    service: str
    hour: datetime
    run: str
    events: int
    charged_at: datetime | None = None
    charge: str | None = None
    amount: Decimal | None = None
    currency: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As an entry of a record's `charges`."""
        amount = None if self.amount is None else format(self.amount, "f")
        return {"hour": moment_text(self.hour), "events": self.events, "amount": amount, "currency": self.currency}
