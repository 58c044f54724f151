from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from beam_pipelines.spec import PerGbPricing, PerHourPricing, PerRecordPricing, Pricing

PRICING: TypeAdapter[Any] = TypeAdapter(Pricing)
CONTINUOUS = [{"min": 0, "max": 10, "rate": 1.0}, {"min": 10, "max": 100, "rate": 0.75}, {"min": 100, "max": "Infinity", "rate": 0.5}]
WHOLE_UNITS = [{"min": 0, "max": 10000, "rate": 0.001}, {"min": 10001, "max": None, "rate": 0.0005}]


def messages(data: dict[str, Any]) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        PRICING.validate_python(data)
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


def test_prices_are_exact_decimals_in_dollars() -> None:
    price = PRICING.validate_python({"model": "per-gb", "rate": 0.1, "minimumCharge": "0.30", "additionalCosts": {"enrichment": 0.5}})
    assert price == PerGbPricing(rate=Decimal("0.1"), minimum_charge=Decimal("0.30"), additional_costs={"enrichment": Decimal("0.5")})
    assert (price.currency, price.tier_list) == ("USD", ())


def test_tiers_are_graduated_volume_is_volume_and_mode_overrides() -> None:
    assert PRICING.validate_python({"model": "per-gb", "rate": 1, "tiers": CONTINUOUS}).tier_mode == "graduated"
    volume = PRICING.validate_python({"model": "per-record", "rate": 1, "volume": WHOLE_UNITS})
    assert isinstance(volume, PerRecordPricing)
    assert volume.tier_mode == "volume"
    assert [(tier.min, tier.max) for tier in volume.tier_list] == [(Decimal(0), Decimal(10000)), (Decimal(10001), None)]
    assert PRICING.validate_python({"model": "per-gb", "rate": 1, "tiers": CONTINUOUS, "mode": "volume"}).tier_mode == "volume"


@pytest.mark.parametrize(
    ("tiers", "place", "expected"),
    [
        ([{"min": 1, "rate": 1}], (0, "min"), "expected the first tier to begin at 0, got 1"),
        (
            [{"min": 0, "max": 5, "rate": 1}, {"min": 7, "rate": 1}],
            (1, "min"),
            "expected 5 or 6, where the tier before ends, got 7, which leaves a gap",
        ),
        (
            [{"min": 0, "max": 5, "rate": 1}, {"min": 4, "rate": 1}],
            (1, "min"),
            "expected 5 or 6, where the tier before ends, got 4, which overlaps it",
        ),
        ([{"min": 0, "rate": 1}, {"min": 5, "rate": 1}], (1, "min"), "expected no tier after one without upper bound"),
        ([{"min": 0, "max": 0, "rate": 1}], (0, "max"), "expected a max above min (0), got 0"),
        ([{"min": 0, "rate": -1}], (0, "rate"), "expected a number, zero or above, got -1"),
    ],
)
def test_tiers_have_no_gap_and_no_overlap(tiers: list[dict[str, Any]], place: tuple[int | str, ...], expected: str) -> None:
    assert messages({"model": "per-gb", "rate": 1, "tiers": tiers}) == [(("tiers", *place), expected)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"model": "per-gb", "rate": 1, "tiers": CONTINUOUS, "volume": CONTINUOUS}, "expected 'tiers' or 'volume', got both"),
        ({"model": "per-gb", "rate": 1, "mode": "volume"}, "expected 'tiers' or 'volume' beside 'mode', got neither"),
        ({"model": "per-gb"}, "expected 'rate', which is missing"),
        ({"model": "per-hour", "rate": 1, "includes": 5}, "expected 'overage' beside 'includes', which is missing"),
        ({"model": "per-hour", "rate": 1, "overage": 5}, "expected 'includes' beside 'overage', which is missing"),
        ({"model": "per-gb", "rate": float("nan")}, "expected a number, zero or above, got nan"),
        ({"model": "per-gb", "rate": float("inf")}, "expected a number, zero or above, got inf"),
        ({"model": "per-gb", "rate": True}, "expected a number, zero or above, got true"),
    ],
)
def test_a_price_says_what_is_wrong_with_it(keys: dict[str, Any], expected: str) -> None:
    assert [message for _, message in messages(keys)] == [expected]


def test_an_hour_includes_events() -> None:
    assert PerHourPricing.model_validate({"rate": 2.0, "includes": 1000000, "overage": 0.001}).overage == Decimal("0.001")
