"""Tiers: which slice of a quantity pays which rate.

`graduated` prices each slice at its own tier's rate (Stripe, OpenMeter and Lago call it so); `volume` prices the whole quantity
at the rate of the tier it falls in. Only upper bounds count, and they are inclusive: tier k covers (max[k-1], max[k]]. So the
two spellings in use, `min == previous max` (10, 10) and `min == previous max + 1` (10000, 10001), mean the same, and 10000.5
falls in a tier in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from beam_pipelines.errors import SpecError
from beam_pipelines.pricing.usage import EXACT

__all__ = ["Slice", "TierLike", "graduated", "volume"]


class TierLike(Protocol):
    """One tier of a definition; `min` is checked where definitions are read, and does not count here."""

    @property
    def max(self) -> Decimal | None:
        """Upper bound, inclusive; None or infinity when open."""

    @property
    def rate(self) -> Decimal:
        """Price of one unit."""


@dataclass(frozen=True)
class Slice:
    """A part of a quantity, and what one unit of it costs."""

    number: int
    """Number of the tier, from 1."""
    quantity: Decimal
    rate: Decimal


def graduated(quantity: Decimal, tiers: Sequence[TierLike]) -> list[Slice]:
    """Cut a quantity into the slices of its tiers.

    Args:
        quantity: 0 or more.
        tiers: At least one, in any order.

    Returns:
        The slices that hold something, lowest tier first; for quantity 0 the first tier with 0.

    Raises:
        SpecError: The last tier is closed and the quantity is above it.
    """
    slices: list[Slice] = []
    below = Decimal(0)
    for number, (upper, rate) in enumerate(_bounds(tiers), start=1):
        if quantity <= upper:
            return [*slices, Slice(number, EXACT.subtract(quantity, below), rate)]
        slices.append(Slice(number, EXACT.subtract(upper, below), rate))
        below = upper
    raise _beyond(quantity, below)


def volume(quantity: Decimal, tiers: Sequence[TierLike]) -> Slice:
    """Return the whole quantity at the rate of the tier it falls in.

    Args:
        quantity: 0 or more.
        tiers: At least one, in any order.

    Raises:
        SpecError: The last tier is closed and the quantity is above it.
    """
    bounds = _bounds(tiers)
    for number, (upper, rate) in enumerate(bounds, start=1):
        if quantity <= upper:
            return Slice(number, quantity, rate)
    raise _beyond(quantity, bounds[-1][0])


def _bounds(tiers: Iterable[TierLike]) -> list[tuple[Decimal, Decimal]]:
    """Return (upper bound, rate), lowest first."""
    infinity = Decimal("Infinity")
    return sorted(((infinity if tier.max is None else tier.max, tier.rate) for tier in tiers), key=lambda bound: bound[0])


def _beyond(quantity: Decimal, last: Decimal) -> SpecError:
    return SpecError(
        f"expected a tier for every quantity, but the last tier ends at {last} and {quantity:.2f} was used; "
        "leave out `max` of the last tier to make it open",
        code="spec-invalid",
        details={"last": str(last), "quantity": str(quantity)},
    )
