from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.spec import Tier, parse_duration, parse_size, slug
from beam_pipelines.spec.values import masked_urls, shown


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [(60000, 60_000), ("500ms", 500), ("60s", 60_000), ("5m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000), ("1.5s", 1_500), (0, 0)],
)
def test_duration_reads_milliseconds_and_units(written: object, milliseconds: int) -> None:
    assert parse_duration(written) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize("written", [-1, "-5s", "5", "5 parsecs", "", True, None, 1.5, [1], "0.1ms", 10**30, "9" * 30 + "d"])
def test_duration_refuses_what_is_not_one(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(written)


@given(st.integers(min_value=0, max_value=10**12))
def test_duration_of_milliseconds_is_that_many(milliseconds: int) -> None:
    assert parse_duration(milliseconds) / timedelta(milliseconds=1) == milliseconds
    assert parse_duration(f"{milliseconds}ms") == parse_duration(milliseconds)


@pytest.mark.parametrize(
    ("written", "size"),
    [(17, 17), ("64MiB", 67_108_864), ("10MB", 10_000_000), ("1 GiB", 1_073_741_824), ("1.5kB", 1500), ("2kb", 2000), ("7", 7), ("7B", 7)],
)
def test_size_reads_bytes_and_units(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", [-1, "-1MB", "1.0001kB", "MB", True, None, 1.5, "1 furlong"])
def test_size_refuses_what_is_not_one(written: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(written)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Customer Data ETL Pipeline", "customer-data-etl-pipeline"),
        ("  Zürich / Köln  ", "zurich-koln"),
        ("a__b--c", "a-b-c"),
        ("日本語", ""),
    ],
)
def test_slug_is_lower_case_ascii_joined_by_hyphens(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize("written", [0.1, "0.1", Decimal("0.1")])
def test_money_is_the_decimal_that_was_written(written: object) -> None:
    assert Tier.model_validate({"min": 0, "rate": written}).rate == Decimal("0.1")


@pytest.mark.parametrize("bound", [None, float("inf"), "Infinity", "inf"])
def test_an_open_bound_is_none_however_it_is_written(bound: object) -> None:
    assert Tier.model_validate({"min": 0, "max": bound, "rate": 1}).max is None


@pytest.mark.parametrize("secret", ["postgresql://bob:hunter2@h/db", "https://h/x?token=hunter2", "see amqp://hunter2@h"])
def test_shown_never_holds_what_stands_in_a_url(secret: str) -> None:
    assert "hunter2" not in shown(secret)
    assert "hunter2" not in masked_urls(secret)


@given(st.text() | st.binary() | st.integers() | st.floats() | st.lists(st.integers()))
def test_shown_is_one_short_line(value: object) -> None:
    assert len(shown(value)) <= 60
    assert "\n" not in shown(value)
