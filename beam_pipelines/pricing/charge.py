"""The charge of a run: exact lines, rounded once.

Order (as in usage billing at large: Stripe, Lago, OpenMeter): rated usage by tiers, then the minimum as a line of its own, so that
rated usage stays traceable, then additional costs on top, then one rounding to the currency's minor unit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from beam_pipelines.errors import PlanError
from beam_pipelines.pricing.currency import round_half_up, round_money
from beam_pipelines.pricing.tier import Slice, TierLike, graduated, volume
from beam_pipelines.pricing.usage import EXACT, Usage, gigabytes, metered_steps

__all__ = ["Charge", "Line", "PricingLike", "charge", "make_charge", "price_version", "total"]

_ROWS_PER_UNIT = Decimal(1000)  # `additionalCosts` are per 1,000 rows, as the seed says


class PricingLike(Protocol):
    """What is read of a definition's `pricing`; the models of `beam_pipelines.spec` have it.

    Beside these, `tiers`, `volume`, `mode`, `minimum_charge`, `additional_costs`, `includes` and `overage` are read where a
    model has them.
    """

    @property
    def model(self) -> str:
        """`per-gb`, `per-record` or `per-hour`."""

    @property
    def rate(self) -> Decimal:
        """Price of one unit where no tier says otherwise."""

    @property
    def currency(self) -> str:
        """ISO 4217 code."""


@dataclass(frozen=True)
class Line:
    """One line of a charge.

    Args:
        name: What is paid for.
        quantity: In `unit`, exact.
        unit: Such as `GB` (1024^3 bytes), `record`, `1,000 rows`, `hour`, `run`.
        rate: Price of one unit.
        amount: quantity * rate, unrounded.
    """

    name: str
    quantity: Decimal
    unit: str
    rate: Decimal
    amount: Decimal

    def to_json(self) -> dict[str, str]:
        """Return the line with numbers as decimal text."""
        numbers = {"quantity": self.quantity, "rate": self.rate, "amount": self.amount}
        return {"name": self.name, "unit": self.unit, **{key: _plain(value) for key, value in numbers.items()}}


@dataclass(frozen=True)
class Charge:
    """What a run costs its customer.

    Args:
        amount: Sum of the lines, rounded once (half up) to the currency's minor unit.
        currency: ISO 4217 code.
        lines: What it is made of; they add up to `unrounded` exactly.
        description: One line for the customer.
        price_version: Names the price that was applied (part of the idempotency key).
    """

    amount: Decimal
    currency: str
    lines: tuple[Line, ...]
    description: str
    price_version: str

    @property
    def unrounded(self) -> Decimal:
        """The exact sum of the lines."""
        return total(self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return the charge with money as decimal text, since JSON readers make floats of numbers."""
        return {
            "amount": _plain(self.amount),
            "currency": self.currency,
            "description": self.description,
            "unrounded": _plain(self.unrounded),
            "priceVersion": self.price_version,
            "lines": [line.to_json() for line in self.lines],
        }


def charge(pricing: PricingLike, usage: Usage, *, title: str = "ETL Pipeline") -> Charge:
    """Compute what a run costs: max(rated usage, minimum) plus additional costs.

    Args:
        pricing: Model `per-gb` or `per-record`.
        usage: What the run used; an empty run pays the minimum.
        title: First words of the description.

    Raises:
        PlanError: The model is priced by clock hour; `charge_hour` does that.
        SpecError: The last tier is closed and the usage is above it.
    """
    if pricing.model == "per-gb":
        quantity, unit = gigabytes(usage.bytes), "GB"
        used = f"{round_half_up(quantity, 2)} GB processed"
    elif pricing.model == "per-record":
        quantity, unit = Decimal(usage.records), "record"
        used = f"{usage.records} records processed"
    else:
        raise PlanError(
            f"expected pricing `model` 'per-gb' or 'per-record' for a run that ends, got {pricing.model!r}; hours are priced for streams",
            code="not-served",
        )
    rated = _rated(pricing, quantity, unit)
    lines = (*rated, *_true_up(pricing, rated), *_additional(pricing, usage))
    return make_charge(pricing, lines, f"{title} - {used}")


def make_charge(pricing: PricingLike, lines: tuple[Line, ...], description: str) -> Charge:
    """Add up lines, and round once."""
    amount = round_money(total(lines), pricing.currency)
    return Charge(amount, pricing.currency, lines, description, price_version(pricing))


def make_line(name: str, quantity: Decimal, unit: str, rate: Decimal) -> Line:
    """Make a line whose amount is the exact product."""
    return Line(name, quantity, unit, rate, EXACT.multiply(quantity, rate))


def total(lines: Iterable[Line]) -> Decimal:
    """Return the exact sum of the amounts."""
    amount = Decimal(0)
    for line in lines:
        amount = EXACT.add(amount, line.amount)
    return amount


def price_version(pricing: PricingLike) -> str:
    """Return 16 hex digits that change exactly when a price changes: the start of SHA-256 over its canonical JSON.

    What counts is the price, not its spelling: 1 and 1.00 are one, and so are no minimum and a minimum of 0.
    """
    tiers, mode = _tiers(pricing)
    price: dict[str, Any] = {
        "model": pricing.model,
        "currency": pricing.currency,
        "rate": _canonical(pricing.rate),
        "minimum": _canonical(getattr(pricing, "minimum_charge", None) or Decimal(0)),
        "tiers": [_canonical([tier.max, tier.rate]) for tier in tiers],
        "mode": mode if tiers else None,
        "additional": _canonical(getattr(pricing, "additional_costs", None) or {}),
        "includes": _canonical(getattr(pricing, "includes", None)),
        "overage": _canonical(getattr(pricing, "overage", None)),
    }
    return hashlib.sha256(json.dumps(price, sort_keys=True).encode()).hexdigest()[:16]


def _rated(pricing: PricingLike, quantity: Decimal, unit: str) -> tuple[Line, ...]:
    tiers, mode = _tiers(pricing)
    if not tiers:
        return (make_line("usage", quantity, unit, pricing.rate),)
    slices: list[Slice] = [volume(quantity, tiers)] if mode == "volume" else graduated(quantity, tiers)
    return tuple(make_line(f"usage, tier {part.number}", part.quantity, unit, part.rate) for part in slices)


def _tiers(pricing: PricingLike) -> tuple[Sequence[TierLike], str]:
    """Return the tiers and how they count: `tiers` are slices, `volume` is the whole quantity, unless `mode` says otherwise."""
    mode: str | None = getattr(pricing, "mode", None)
    if tiers := getattr(pricing, "tiers", None):
        return tiers, mode or "graduated"
    return getattr(pricing, "volume", None) or (), mode or "volume"


def _true_up(pricing: PricingLike, rated: Sequence[Line]) -> tuple[Line, ...]:
    minimum: Decimal | None = getattr(pricing, "minimum_charge", None)
    missing = EXACT.subtract(minimum, total(rated)) if minimum is not None else Decimal(0)
    return (make_line("minimum charge", Decimal(1), "run", missing),) if missing > 0 else ()


def _additional(pricing: PricingLike, usage: Usage) -> list[Line]:
    costs: Mapping[str, Decimal] = getattr(pricing, "additional_costs", None) or {}
    kinds = {step: usage.step_types.get(step, "function") for step in usage.step_rows}
    lines = []
    for key, rate in costs.items():
        rows = sum(usage.step_rows[step] for step in metered_steps(key, kinds))
        lines.append(make_line(key, EXACT.divide(Decimal(rows), _ROWS_PER_UNIT), "1,000 rows", rate))
    return lines


def _plain(value: Decimal) -> str:
    return format(value, "f")


def _canonical(value: Any) -> Any:
    if isinstance(value, Decimal):
        return _plain(value.normalize(EXACT)) if value.is_finite() else None
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return None if value is None else str(value)
