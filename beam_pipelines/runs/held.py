"""What holds a ceiling back, when it lags further behind the clock than a definition allows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["MAX_LAG_SECONDS", "Held"]

MAX_LAG_SECONDS = 600.0  # `maxCeilingLag` where nobody says it: a transaction of ten minutes is rarely meant


@dataclass(frozen=True)
class Held:
    """One transaction that keeps rows back from being read.

    Args:
        incident: The same for as long as the transaction is open, whoever meets it.
        seconds: How far the ceiling was behind the clock.
        message: What it is, since when, and what to do.
    """

    incident: str
    seconds: float
    message: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Held | None:
        return cls(**data) if data else None
