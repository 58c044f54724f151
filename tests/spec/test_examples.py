"""The seed's ten definitions, value by value as it prints them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from beam_pipelines import examples
from beam_pipelines.spec import Definition, KafkaSource, PerGbPricing, PerHourPricing, PerRecordPricing, Schedule, TumblingWindow, load


def example(name: str) -> Definition:
    return load(examples.path(name)).definition


def test_all_load_with_their_kinds() -> None:
    assert {name: example(name).kind for name in examples.names()} == {
        "customer_data_etl": "etl",
        "event_stream": "stream",
        "data_quality": "quality",
        "batch_processor": "batch",
        "pricing_per_gb": "incomplete",
        "pricing_per_hour": "incomplete",
        "pricing_per_record": "incomplete",
        "customer_data_sync": "incomplete",
        "log_aggregation": "incomplete",
        "log_aggregation_complete": "stream",
        "analytics_etl": "incomplete",
    }


def test_the_name_of_no_example_is_an_error() -> None:
    with pytest.raises(KeyError, match="analytics_etl"):
        examples.path("../secret")


def test_customer_data_etl() -> None:
    definition = example("customer_data_etl")
    pipeline = definition.pipeline
    assert pipeline is not None
    assert (definition.name, definition.type, definition.subtype) == ("Customer Data ETL Pipeline", "automation", "data-pipeline")
    source = definition.source
    assert (source.type, source.connection, source.incremental) == ("database", "crm-database", True)
    assert source.query == "SELECT * FROM customers WHERE updated_at > ?"
    assert [(step.id, step.description) for step in definition.steps] == [
        ("normalize", "Normalize customer data"),
        ("enrich", "Enrich with third-party data"),
        ("validate", "Validate data quality"),
    ]
    target = definition.destinations[0]
    assert (target.type, target.connection, target.table, target.mode) == ("data-warehouse", "analytics-warehouse", "customers", "upsert")
    assert definition.schedule == Schedule(expression="0 */6 * * *", timezone="UTC")
    assert definition.pricing == PerGbPricing(
        rate=Decimal(1), minimum_charge=Decimal("0.1"), additional_costs={"enrichment": Decimal("0.5")}
    )


def test_event_stream() -> None:
    definition = example("event_stream")
    assert definition.stream is not None
    assert definition.source == KafkaSource(topic="user-events", consumer_group="analytics-processor")
    assert [(step.id, step.description) for step in definition.steps[:2]] == [
        ("parse", "Parse event data"),
        ("enrich", "Enrich with user context"),
    ]
    window = definition.stream.processors[2]
    assert window.type == "window"
    assert window.window == TumblingWindow(size=timedelta(minutes=1))
    assert window.aggregations == {"event_count": "count", "unique_users": "count_distinct:userId", "total_value": "sum:value"}
    table, topic = definition.destinations
    assert (table.connection, table.table, table.mode, topic.topic) == ("analytics-db", "event_aggregates", "insert", "processed-events")
    assert definition.pricing == PerHourPricing(rate=Decimal(2), includes=1_000_000, overage=Decimal("0.001"))


def test_data_quality() -> None:
    validation = example("data_quality").validation
    assert validation is not None
    required, regex, number, unique, foreign = validation.rules
    assert required.type == "required-fields"
    assert required.fields == ("id", "email", "created_at")
    assert regex.type == "regex"
    assert (regex.field, regex.pattern) == ("email", r"^[^@]+@[^@]+\.[^@]+$")
    assert number.type == "numeric-range"
    assert (number.field, number.min, number.max, number.severity) == ("age", 0, 150, "warning")
    assert unique.type == "unique"
    assert unique.field == "email"
    assert foreign.type == "foreign-key"
    assert (foreign.field, foreign.reference.table, foreign.reference.field) == ("customer_id", "customers", "id")
    assert [rule.id for rule in validation.rules] == ["completeness", "format", "range", "uniqueness", "referential"]
    assert [rule.severity for rule in validation.rules] == ["error", "error", "warning", "error", "error"]
    assert (validation.actions.error, validation.actions.warning, validation.actions.info) == ("reject", "flag", "log")
    assert example("data_quality").pricing == PerRecordPricing(rate=Decimal("0.001"), minimum_charge=Decimal("0.1"))


def test_batch_processor() -> None:
    definition = example("batch_processor")
    batch = definition.batch
    assert batch is not None
    assert (definition.source.bucket, definition.source.prefix, definition.source.pattern) == ("raw-data", "daily-exports/", "*.csv")
    assert (batch.processing.chunk_size, batch.processing.parallelism, batch.processing.error_handling) == (10_000, 4, "continue")
    assert [step.id for step in definition.steps] == ["parse", "cleanse", "transform"]
    target = definition.destinations[0]
    assert (target.bucket, target.prefix, target.format, target.compression) == ("processed-data", "processed/", "parquet", "snappy")
    assert definition.pricing == PerGbPricing(rate=Decimal("0.5"), minimum_charge=Decimal("0.1"))


def test_pricing_per_gb() -> None:
    pricing = example("pricing_per_gb").pricing
    assert isinstance(pricing, PerGbPricing)
    assert [(tier.min, tier.max, tier.rate) for tier in pricing.tiers] == [
        (Decimal(0), Decimal(10), Decimal(1)),
        (Decimal(10), Decimal(100), Decimal("0.75")),
        (Decimal(100), Decimal(1000), Decimal("0.5")),
        (Decimal(1000), None, Decimal("0.25")),
    ]


def test_pricing_per_hour() -> None:
    assert example("pricing_per_hour").pricing == PerHourPricing(rate=Decimal(2), includes=1_000_000, overage=Decimal("0.001"))


def test_pricing_per_record() -> None:
    pricing = example("pricing_per_record").pricing
    assert isinstance(pricing, PerRecordPricing)
    assert [(tier.min, tier.max, tier.rate) for tier in pricing.volume] == [
        (Decimal(0), Decimal(10_000), Decimal("0.001")),
        (Decimal(10_001), Decimal(100_000), Decimal("0.0005")),
        (Decimal(100_001), None, Decimal("0.0001")),
    ]


def test_the_real_world_examples() -> None:
    sync, logs, analytics = (example(name) for name in ("customer_data_sync", "log_aggregation", "analytics_etl"))
    assert (sync.schedule, sync.pricing) == (Schedule(expression="0 */4 * * *"), PerGbPricing(rate=Decimal(1)))
    assert (logs.source, logs.pricing) == (KafkaSource(topic="logs"), PerHourPricing(rate=Decimal(3)))
    assert (analytics.schedule, analytics.pricing) == (Schedule(expression="0 2 * * *"), PerGbPricing(rate=Decimal("0.5")))
