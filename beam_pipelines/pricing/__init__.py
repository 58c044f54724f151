"""What a run costs its customer: Decimal only, pure."""

from __future__ import annotations

from beam_pipelines.pricing.charge import Charge, Line, PricingLike, charge, price_version
from beam_pipelines.pricing.currency import exponent, round_money
from beam_pipelines.pricing.hour import charge_hour, hours_between
from beam_pipelines.pricing.tier import Slice, TierLike, graduated, volume
from beam_pipelines.pricing.usage import GIB, Usage, gigabytes, metered_steps

__all__ = [
    "GIB",
    "Charge",
    "Line",
    "PricingLike",
    "Slice",
    "TierLike",
    "Usage",
    "charge",
    "charge_hour",
    "exponent",
    "gigabytes",
    "graduated",
    "hours_between",
    "metered_steps",
    "price_version",
    "round_money",
    "volume",
]
