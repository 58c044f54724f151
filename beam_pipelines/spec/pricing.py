"""What a run costs its customer; the arithmetic is in `beam_pipelines.pricing`. Every number is an exact decimal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.values import Count, Money, OpenBound

__all__ = ["MeteredPricing", "PerGbPricing", "PerHourPricing", "PerRecordPricing", "Pricing", "Tier", "TierMode"]

TierMode = Literal["graduated", "volume"]


class Tier(Model):
    """A range of quantities with its rate; the upper bound belongs to it."""

    min: Money = Field(description="Where the tier begins: the tier before's max, or one above it where whole units are counted.")
    max: OpenBound = Field(default=None, description="Where it ends, inclusive; null, Infinity or left out: open.")
    rate: Money = Field(description="Price of one unit.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """The bounds are in order."""
        low, high = raw.get("min"), raw.get("max")
        if all(isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in (low, high)) and low >= high:  # type: ignore[operator]
            yield mistake(f"expected a max above min ({low}), got {high}", "max")


def _check_tiers(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    """Check that tiers begin at 0 and follow each other without gap or overlap.

    `min` may be the max of the tier before (continuous quantities) or one above it (whole units); both mean the same ranges.
    """
    mistakes = []
    end: Decimal | None = Decimal(0)
    for index, tier in enumerate(tiers):
        if index == 0:
            if tier.min != 0:
                mistakes.append(mistake(f"expected the first tier to begin at 0, got {tier.min}", index, "min"))
        elif end is None:
            mistakes.append(mistake("expected no tier after one without upper bound", index, "min"))
        elif tier.min not in (end, end + 1):
            fault = "overlaps it" if tier.min < end else "leaves a gap"
            mistakes.append(
                mistake(f"expected {end} or {end + 1}, where the tier before ends, got {tier.min}, which {fault}", index, "min")
            )
        end = tier.max
    if mistakes:
        raise ValidationError.from_exception_data("tiers", mistakes, hide_input=True)
    return tiers


Tiers = Annotated[tuple[Tier, ...], AfterValidator(_check_tiers)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class MeteredPricing(Model):
    """What per-gb and per-record prices share."""

    rate: Money = Field(description="Price of one unit (GB of 1024^3 bytes, or record), where no tier says otherwise.")
    minimum_charge: Money = Field(default=Decimal(0), description="Least price of a run, before additional costs.")
    tiers: Tiers = Field(default=(), description="Graduated: each part of the quantity at the rate of its own tier.")
    volume: Tiers = Field(default=(), description="Volume: the whole quantity at the rate of the tier that it falls into.")
    mode: TierMode | None = Field(default=None, description="Overrides what `tiers` (graduated) or `volume` (volume) means.")
    additional_costs: dict[str, Money] = Field(
        default_factory=dict, description="Price of 1,000 rows out of the step with this id; `enrichment`: of every enrich step."
    )
    currency: Currency = Field(default="USD", description="ISO 4217 code.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """One list of tiers; a mode needs one."""
        if raw.get("tiers") and raw.get("volume"):
            yield mistake("expected 'tiers' or 'volume', got both", "volume", at="key")
        if raw.get("mode") is not None and not (raw.get("tiers") or raw.get("volume")):
            yield mistake("expected 'tiers' or 'volume' beside 'mode', got neither", "mode", at="key")

    @property
    def tier_list(self) -> tuple[Tier, ...]:
        """The tiers, whichever key they stand under; empty when `rate` alone counts."""
        return self.tiers or self.volume

    @property
    def tier_mode(self) -> TierMode:
        """How the tiers are applied."""
        return self.mode or ("volume" if self.volume else "graduated")


class PerGbPricing(MeteredPricing):
    """A price by gigabytes (1024^3 bytes) processed."""

    model: Literal["per-gb"] = Field(default="per-gb", description="By gigabytes (1024^3 bytes) processed.")


class PerRecordPricing(MeteredPricing):
    """A price by records processed."""

    model: Literal["per-record"] = Field(default="per-record", description="By records processed.")


class PerHourPricing(Model):
    """A price by UTC clock hours in which a stream ran, with events included."""

    model: Literal["per-hour"] = Field(default="per-hour", description="By clock hours (UTC) in which the stream ran at any time.")
    rate: Money = Field(description="Price of an hour.")
    includes: Count | None = Field(default=None, description="Events an hour that the rate covers.")
    overage: Money | None = Field(default=None, description="Price of each event above `includes`.")
    currency: Currency = Field(default="USD", description="ISO 4217 code.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Included events and the price of further ones go together."""
        for key, other in (("includes", "overage"), ("overage", "includes")):
            if raw.get(key) is not None and raw.get(other) is None:
                yield mistake(f"expected {other!r} beside {key!r}, which is missing", key, at="key")


Pricing = Annotated[PerGbPricing | PerHourPricing | PerRecordPricing, OneOf(PerGbPricing, PerHourPricing, PerRecordPricing, key="model")]
