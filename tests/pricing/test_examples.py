"""The prices of the packaged definitions, charged as the definition's own models hold them."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from beam_pipelines import examples
from beam_pipelines.pricing import GIB, Usage, charge, charge_hour
from beam_pipelines.spec import load

D = Decimal


def price_of(name: str) -> Any:
    return load(examples.path(name)).definition.pricing


@pytest.mark.parametrize(
    ("gigabytes", "expected"),
    [(0, "0.10"), (1, "1.00"), (10, "10.00"), (50, "40.00"), (100, "77.50"), (1500, "652.50")],
)
def test_price_per_gigabyte(gigabytes: int, expected: str) -> None:
    assert charge(price_of("pricing_per_gb"), Usage(bytes=gigabytes * GIB)).amount == D(expected)


@pytest.mark.parametrize(
    ("records", "expected"),
    [(0, "0.10"), (10_000, "10.00"), (10_001, "5.00"), (100_000, "50.00"), (100_001, "10.00"), (1_000_000, "100.00")],
)
def test_price_per_record(records: int, expected: str) -> None:
    assert charge(price_of("pricing_per_record"), Usage(records=records)).amount == D(expected)


@pytest.mark.parametrize(("events", "expected"), [(0, "2.00"), (1_000_000, "2.00"), (1_000_500, "2.50")])
def test_price_per_hour(events: int, expected: str) -> None:
    hour = datetime(2026, 3, 1, 9, tzinfo=timezone.utc)
    assert charge_hour(price_of("pricing_per_hour"), hour=hour, events=events).amount == D(expected)


def test_price_of_the_customer_etl_with_enrichment() -> None:
    used = Usage(bytes=2 * GIB, step_rows={"normalize": 5_000, "enrich": 4_000, "validate": 4_000})
    assert charge(price_of("customer_data_etl"), used).amount == D("4.00")  # 2 GB at 1.0 and 4 * 1,000 rows at 0.5
