from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import SpecError
from beam_pipelines.pricing import graduated, volume

D = Decimal


@dataclass(frozen=True)
class Tier:
    """A tier as a definition holds it (the models themselves belong to `spec`)."""

    min: Decimal
    max: Decimal | None
    rate: Decimal


def tiers(*rows: tuple[str, str | None, str]) -> tuple[Tier, ...]:
    return tuple(Tier(D(low), None if high is None else D(high), D(rate)) for low, high, rate in rows)


# The check values of research/ops.md, part F: T by the gigabyte, V by the record (in whole units), and Stripe's own example.
T = tiers(("0", "10", "1"), ("10", "100", ".75"), ("100", None, ".5"))
V = tiers(("0", "10000", ".01"), ("10001", "100000", ".008"), ("100001", "Infinity", ".005"))
STRIPE = tiers(("1", "5", "7"), ("6", "10", "6.5"), ("11", None, "6"))

quantities = st.decimals(min_value=0, max_value=100_000_000, places=6)


def amount_graduated(quantity: Decimal, of: tuple[Tier, ...]) -> Decimal:
    return sum((part.quantity * part.rate for part in graduated(quantity, of)), Decimal(0))


def amount_volume(quantity: Decimal, of: tuple[Tier, ...]) -> Decimal:
    part = volume(quantity, of)
    return part.quantity * part.rate


@st.composite
def tier_lists(draw: st.DrawFn) -> tuple[Tier, ...]:
    bounds = sorted(draw(st.sets(st.integers(1, 1_000_000), max_size=6)))
    rates = draw(st.lists(st.decimals(0, 10, places=4), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    edges = [Decimal(0), *map(Decimal, bounds)]
    return tuple(Tier(low, high, rate) for low, high, rate in zip(edges, [*edges[1:], None], rates, strict=True))


@pytest.mark.parametrize(
    ("quantity", "expected"), [("0", "0"), ("5", "5"), ("10", "10"), ("10.5", "10.375"), ("50", "40"), ("100", "77.5"), ("150", "102.5")]
)
def test_graduated_prices_each_slice_at_its_own_rate(quantity: str, expected: str) -> None:
    assert D(expected) == amount_graduated(D(quantity), T)


@pytest.mark.parametrize(
    ("quantity", "expected"), [("0", "0"), ("5", "5"), ("10", "10"), ("10.5", "7.875"), ("50", "37.5"), ("100", "75"), ("150", "75")]
)
def test_volume_prices_the_whole_quantity_at_the_tier_it_falls_in(quantity: str, expected: str) -> None:
    assert D(expected) == amount_volume(D(quantity), T)


@pytest.mark.parametrize(
    ("quantity", "expected"), [("10000", "100"), ("10001", "80.008"), ("12500", "100"), ("50000", "400"), ("100001", "500.005")]
)
def test_volume_of_whole_units_spelled_with_plus_one(quantity: str, expected: str) -> None:
    assert D(expected) == amount_volume(D(quantity), V)


def test_a_fraction_between_two_bounds_spelled_with_plus_one_falls_in_the_upper_tier() -> None:
    assert volume(D("10000.5"), V).number == 2
    assert D("100.0040") == amount_graduated(D("10000.5"), V)


def test_stripes_own_check_values() -> None:
    assert D("39") == amount_volume(D(6), STRIPE)
    assert D("120") == amount_volume(D(20), STRIPE)
    assert D("41.5") == amount_graduated(D(6), STRIPE)


def test_an_open_bound_may_be_none_or_infinity() -> None:
    assert amount_graduated(D(150), T) == amount_graduated(D(150), (*T[:2], Tier(D(100), D("Infinity"), D(".5"))))


def test_tiers_may_come_in_any_order() -> None:
    assert graduated(D(150), T) == graduated(D(150), tuple(reversed(T)))


def test_slices_name_their_tier() -> None:
    assert [(1, D(10)), (2, D(90)), (3, D(50))] == [(part.number, part.quantity) for part in graduated(D(150), T)]


@pytest.mark.parametrize("price", [graduated, volume])
def test_usage_above_a_closed_last_tier_is_an_error_and_never_free(price: object) -> None:
    closed = tiers(("0", "10", "1"), ("10", "100", ".75"))
    with pytest.raises(SpecError, match=r"the last tier ends at 100 and 100.50 was used"):
        price(D("100.5"), closed)  # type: ignore[operator]


@given(quantities, tier_lists())
def test_slices_add_up_to_the_quantity(quantity: Decimal, of: tuple[Tier, ...]) -> None:
    assert quantity == sum(part.quantity for part in graduated(quantity, of))


@given(quantities, quantities, tier_lists())
def test_graduated_never_falls_when_usage_grows(one: Decimal, other: Decimal, of: tuple[Tier, ...]) -> None:
    less, more = sorted((one, other))
    assert amount_graduated(less, of) <= amount_graduated(more, of)


@given(tier_lists())
def test_graduated_has_no_jump_at_a_bound(of: tuple[Tier, ...]) -> None:
    step = D("0.000001")
    dearest = max(tier.rate for tier in of)
    for tier in of[:-1]:
        assert tier.max is not None
        assert 0 <= amount_graduated(tier.max + step, of) - amount_graduated(tier.max, of) <= dearest * step


@given(quantities, st.decimals(0, 10, places=4))
def test_one_open_tier_is_a_flat_rate_in_both_modes(quantity: Decimal, rate: Decimal) -> None:
    one = (Tier(D(0), None, rate),)
    assert quantity * rate == amount_graduated(quantity, one) == amount_volume(quantity, one)
