"""Minor units of currencies, and the one rounding of an amount."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from beam_pipelines.pricing.usage import EXACT

__all__ = ["exponent", "round_half_up", "round_money"]

# ISO 4217, list one: currencies whose minor unit is not a hundredth.
_EXPONENTS = {
    **dict.fromkeys(
        ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"], 0
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}


def exponent(currency: str) -> int:
    """Return the number of decimals of a currency (ISO 4217): 2 for most, 0 for JPY, 3 for BHD.

    Args:
        currency: Three-letter code.
    """
    return _EXPONENTS.get(currency.upper(), 2)


def round_half_up(value: Decimal, decimals: int) -> Decimal:
    """Return `value` with so many decimals, halves away from zero (as invoices do, not as IEEE 754 does)."""
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP, context=EXACT)


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Return `amount` in whole minor units of `currency`."""
    return round_half_up(amount, exponent(currency))
