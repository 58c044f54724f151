"""The right to run a service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Lease"]


@dataclass(frozen=True)
class Lease:
    """The right to run a service, until a moment.

    Args:
        service: Service id.
        run: Run that holds it.
        token: Greater than every earlier one of the service.
        since: Aware.
        until: Aware; to be renewed before.
        ttl_seconds: What each renewal adds to the time of the renewal.
    """

    service: str
    run: str
    token: int
    since: datetime
    until: datetime
    ttl_seconds: float
