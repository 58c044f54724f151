from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError
from beam_pipelines.pricing import GIB, Usage, charge, price_version
from beam_pipelines.pricing.usage import EXACT

D = Decimal


@dataclass(frozen=True)
class Tier:
    """A tier as a definition holds it (the models themselves belong to `spec`)."""

    min: Decimal
    max: Decimal | None
    rate: Decimal


def tiers(*rows: tuple[str, str | None, str]) -> tuple[Tier, ...]:
    return tuple(Tier(D(low), None if high is None else D(high), D(rate)) for low, high, rate in rows)


# The check values of research/ops.md, part F: T by the gigabyte, V by the record (in whole units).
T = tiers(("0", "10", "1"), ("10", "100", ".75"), ("100", None, ".5"))
V = tiers(("0", "10000", ".01"), ("10001", "100000", ".008"), ("100001", "Infinity", ".005"))


@dataclass(frozen=True)
class Price:
    """A price as a definition holds it (the models themselves belong to `spec`)."""

    model: str = "per-gb"
    rate: Decimal = Decimal(1)
    currency: str = "USD"
    minimum_charge: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    volume: tuple[Tier, ...] = ()
    additional_costs: Mapping[str, Decimal] = field(default_factory=dict)
    mode: str | None = None
    includes: int | None = None


SEED = Price(rate=D("1.0"), minimum_charge=D("0.1"), additional_costs={"enrichment": D("0.5")})
SEED_TIERS = tiers(("0", "10", "1.0"), ("10", "100", "0.75"), ("100", "1000", "0.5"), ("1000", None, "0.25"))
SEED_VOLUME = tiers(("0", "10000", "0.001"), ("10001", "100000", "0.0005"), ("100001", None, "0.0001"))


def test_a_gigabyte_is_1024_cubed_bytes() -> None:
    made = charge(SEED, Usage(bytes=3 * 1024**3))
    assert D("3.00") == made.amount
    assert made.description == "ETL Pipeline - 3.00 GB processed"


def test_an_empty_increment_pays_the_minimum() -> None:
    made = charge(SEED, Usage())
    assert D("0.10") == made.amount
    assert [("usage", D(0)), ("minimum charge", D("0.1")), ("enrichment", D(0))] == [(line.name, line.amount) for line in made.lines]


def test_the_minimum_is_topped_up_by_a_line_of_its_own() -> None:
    made = charge(replace(SEED, additional_costs={}), Usage(bytes=GIB // 20))  # 0.05 GB at 1.0
    usage, minimum = made.lines
    assert EXACT.divide(D(GIB // 20), D(GIB)) == usage.amount
    assert D("0.1") == EXACT.add(usage.amount, minimum.amount) == made.unrounded


def test_no_minimum_line_when_usage_reaches_it() -> None:
    assert [line.name for line in charge(replace(SEED, additional_costs={}), Usage(bytes=GIB)).lines] == ["usage"]


def test_additional_costs_come_on_top_of_the_minimum_per_1000_rows() -> None:
    made = charge(SEED, Usage(bytes=0, step_rows={"normalize": 9_000, "enrich": 2_500}))
    assert D("1.35") == made.amount  # 0.1 + 2.5 * 0.5
    assert (D("2.5"), "1,000 rows", D("0.5"), D("1.25")) == (
        made.lines[-1].quantity,
        made.lines[-1].unit,
        made.lines[-1].rate,
        made.lines[-1].amount,
    )


def test_additional_costs_meter_the_step_with_that_id() -> None:
    made = charge(replace(SEED, additional_costs={"geo": D("2")}), Usage(bytes=GIB, step_rows={"geo": 500, "enrich": 10_000}))
    assert D("2.00") == made.amount


def test_enrichment_meters_every_enrich_step_and_the_function_step_enrich() -> None:
    usage = Usage(
        bytes=GIB,
        step_rows={"geo": 1_000, "firm": 2_000, "enrich": 4_000, "normalize": 8_000},
        step_types={"geo": "enrich", "firm": "enrich", "enrich": "function", "normalize": "function"},
    )
    assert D("4.50") == charge(SEED, usage).amount  # 1 + 7 * 0.5


def test_a_step_of_another_type_called_enrich_is_not_metered() -> None:
    assert D("1.00") == charge(SEED, Usage(bytes=GIB, step_rows={"enrich": 4_000}, step_types={"enrich": "map"})).amount


def test_the_seeds_tiers_by_hand() -> None:
    made = charge(Price(rate=D("1.0"), minimum_charge=D("0.1"), tiers=SEED_TIERS), Usage(bytes=1500 * GIB))
    assert D("652.50") == made.amount  # 10*1 + 90*.75 + 900*.5 + 500*.25 = 10 + 67.5 + 450 + 125
    assert [line.name for line in made.lines] == ["usage, tier 1", "usage, tier 2", "usage, tier 3", "usage, tier 4"]


def test_the_seeds_record_price_by_hand() -> None:
    price = Price(model="per-record", rate=D("0.001"), minimum_charge=D("0.1"), volume=SEED_VOLUME)
    assert D("0.10") == charge(price, Usage(records=50)).amount
    assert D("10.00") == charge(price, Usage(records=10_000)).amount
    assert D("25.00") == charge(price, Usage(records=50_000)).amount
    made = charge(price, Usage(records=200_000, bytes=5 * GIB), title="Data Quality")
    assert D("20.00") == made.amount
    assert made.description == "Data Quality - 200000 records processed"


def test_mode_overrides_what_the_list_is_called() -> None:
    assert D("40.00") == charge(Price(tiers=T), Usage(bytes=50 * GIB)).amount
    assert D("37.50") == charge(Price(tiers=T, mode="volume"), Usage(bytes=50 * GIB)).amount
    assert D("37.50") == charge(Price(volume=T), Usage(bytes=50 * GIB)).amount
    assert D("40.00") == charge(Price(volume=T, mode="graduated"), Usage(bytes=50 * GIB)).amount


@pytest.mark.parametrize(("currency", "expected"), [("USD", "80.01"), ("JPY", "80"), ("BHD", "80.008"), ("CLF", "80.0080")])
def test_the_amount_has_the_decimals_of_its_currency(currency: str, expected: str) -> None:
    made = charge(Price(model="per-record", volume=V, currency=currency), Usage(records=10_001))
    assert expected == str(made.amount)
    assert D("80.008") == made.unrounded


def test_halves_round_up_once_and_not_line_by_line() -> None:
    costs = {"a": D("0.004"), "b": D("0.004"), "c": D("0.007")}
    made = charge(Price(rate=D(0), additional_costs=costs), Usage(step_rows={"a": 1000, "b": 1000, "c": 1000}))
    assert D("0.02") == made.amount  # 0.015; line by line it would be 0.01


def test_a_stream_price_is_refused_for_a_run_that_ends() -> None:
    with pytest.raises(PlanError, match="got 'per-hour'"):
        charge(Price(model="per-hour"), Usage())


def test_a_charge_is_json_with_money_as_text() -> None:
    data = json.loads(json.dumps(charge(SEED, Usage(bytes=GIB, step_rows={"enrich": 10})).to_json()))
    assert {key: data[key] for key in ("amount", "currency", "description", "unrounded")} == {
        "amount": "1.01",
        "currency": "USD",
        "description": "ETL Pipeline - 1.00 GB processed",
        "unrounded": "1.005",
    }
    assert data["lines"][1] == {"name": "enrichment", "unit": "1,000 rows", "quantity": "0.01", "rate": "0.5", "amount": "0.005"}


def test_a_price_version_changes_with_the_price_and_not_with_its_spelling() -> None:
    same = [SEED, replace(SEED, rate=D("1")), replace(SEED, minimum_charge=D("0.100")), replace(SEED, mode="graduated")]
    assert len({price_version(price) for price in same}) == 1
    assert price_version(Price(tiers=T)) == price_version(Price(tiers=T, mode="graduated", minimum_charge=D(0)))
    assert price_version(Price(tiers=T, mode="volume")) == price_version(Price(volume=T))
    others = [
        replace(SEED, rate=D("1.01")),
        replace(SEED, minimum_charge=None),
        replace(SEED, additional_costs={}),
        replace(SEED, currency="EUR"),
        replace(SEED, tiers=T),
        replace(SEED, volume=T),
        replace(SEED, model="per-record"),
        replace(SEED, includes=5),
    ]
    assert len(others) + 1 == len({price_version(price) for price in [SEED, *others]})


def test_negative_usage_is_refused() -> None:
    with pytest.raises(ValueError, match="'enrich'"):
        Usage(step_rows={"enrich": -1})


usages = st.builds(
    Usage, bytes=st.integers(0, 10**18), records=st.integers(0, 10**12), step_rows=st.fixed_dictionaries({"enrich": st.integers(0, 10**12)})
)
prices = st.builds(
    Price,
    model=st.sampled_from(["per-gb", "per-record"]),
    rate=st.decimals(0, 100, places=6),
    minimum_charge=st.none() | st.decimals(0, 10, places=3),
    tiers=st.sampled_from([(), T, V]),
    additional_costs=st.just({}) | st.fixed_dictionaries({"enrichment": st.decimals(0, 10, places=5)}),
    currency=st.sampled_from(["USD", "JPY", "BHD"]),
)


@given(prices, usages)
def test_lines_add_up_exactly_to_the_unrounded_total(price: Price, usage: Usage) -> None:
    made = charge(price, usage)
    exact = Decimal(0)
    for line in made.lines:
        assert EXACT.multiply(line.quantity, line.rate) == line.amount
        exact = EXACT.add(exact, line.amount)
    assert exact == made.unrounded
    assert abs(EXACT.subtract(made.amount, exact)) * 2 <= Decimal(1).scaleb(made.amount.as_tuple().exponent)  # type: ignore[arg-type]


@given(prices, usages, usages)
def test_more_usage_never_costs_less(price: Price, one: Usage, other: Usage) -> None:
    more = Usage(
        bytes=max(one.bytes, other.bytes),
        records=max(one.records, other.records),
        step_rows={"enrich": max(one.step_rows["enrich"], other.step_rows["enrich"])},
    )
    assert charge(price, one).amount <= charge(price, more).amount


@given(prices, usages)
def test_a_charge_is_never_below_the_minimum(price: Price, usage: Usage) -> None:
    assert charge(price, usage).unrounded >= (price.minimum_charge or 0)
