"""Charges: what the store needs of one, and one that was made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from beam_pipelines.state.record.moment import moment_text

__all__ = ["ChargeLike", "ChargeRecord"]


class ChargeLike(Protocol):
    """What the store needs of a charge; `beam_pipelines.pricing.Charge` has it."""

    @property
    def amount(self) -> Decimal:
        """Rounded amount."""

    @property
    def currency(self) -> str:
        """ISO 4217 code."""

    @property
    def description(self) -> str:
        """One line for the customer."""

    @property
    def price_version(self) -> str:
        """Names the price that was applied."""

    def to_json(self) -> dict[str, Any]:
        """The whole charge, with its lines."""


@dataclass(frozen=True)
class ChargeRecord:
    """A charge that was made; `key` is unique."""

    key: str
    service: str
    run: str
    request: str | None
    customer: str | None
    amount: Decimal
    currency: str
    description: str
    price_version: str
    data: dict[str, Any]
    charged_at: datetime

    def to_json(self) -> dict[str, Any]:
        ours = {"key": self.key, "serviceId": self.service, "runId": self.run, "requestId": self.request, "customerId": self.customer}
        return {**self.data, **ours, "chargedAt": moment_text(self.charged_at)}
