from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from beam_pipelines.spec import DatabaseDestination, Destination, FileDestination, KafkaDestination, WarehouseDestination

DESTINATION: TypeAdapter[Any] = TypeAdapter(Destination)


def messages(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        DESTINATION.validate_python(data)
    return [error["msg"] for error in caught.value.errors()]


def test_a_database_inserts_and_a_warehouse_merges_as_in_the_seed() -> None:
    assert DatabaseDestination(connection="w", table="t").mode == "insert"
    assert WarehouseDestination(connection="w", table="t").mode == "upsert"


def test_defaults_are_the_contracts() -> None:
    target = DatabaseDestination(connection="w", table="t")
    assert (target.batch_size, target.error_handling, target.schema_policy, target.strategy) == (1000, "stop", "evolve", "delete-insert")


def test_schema_is_read_by_its_key_and_by_its_python_name() -> None:
    keys = {"type": "database", "connection": "w", "table": "t"}
    assert DESTINATION.validate_python({**keys, "schema": "freeze"}).schema_policy == "freeze"
    assert DESTINATION.validate_python({**keys, "schema_policy": "freeze"}).schema_policy == "freeze"


def test_replace_with_keys_replaces_rows_and_without_the_table() -> None:
    assert DatabaseDestination(connection="w", table="t", mode="replace").replaces_table
    assert not DatabaseDestination(connection="w", table="t", mode="replace", key_fields=("id",)).replaces_table


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"mode": "upsert", "allowEmpty": True}, "expected 'allowEmpty' beside whole-table replace"),
        ({"mode": "replace", "keyFields": ["id"], "strategy": "swap"}, "expected 'swap' beside whole-table replace"),
        ({"versionColumn": "v"}, "expected 'versionColumn' beside mode 'upsert' only, got it beside 'insert'"),
        ({"mode": "merge"}, "expected 'insert', 'upsert' or 'replace', got 'merge'"),
        ({"batchSize": 0}, "expected at least 1, got 0"),
        ({"batchSize": "1000"}, "expected a whole number, got '1000'"),
        ({"batchSize": True}, "expected a whole number, got true"),
        ({"keyFields": "id"}, "expected a list, got 'id'"),
        ({"batch_size": 5, "batchSize": 6}, "expected 'batchSize' once, got it as 'batch_size' and as 'batchSize'"),
    ],
)
def test_what_does_not_belong_to_the_mode_is_refused(keys: dict[str, Any], expected: str) -> None:
    (message,) = messages({"type": "database", "connection": "w", "table": "t", **keys})
    assert message.startswith(expected)


def test_a_kafka_sink_needs_a_topic_alone() -> None:
    assert DESTINATION.validate_python({"type": "kafka", "topic": "out"}) == KafkaDestination(topic="out")


def test_a_file_takes_allow_empty_with_replace_only() -> None:
    assert FileDestination(path="out.parquet", mode="replace", allow_empty=True).replaces_table
    assert messages({"type": "file", "path": "x", "allowEmpty": True})[0].startswith("expected 'allowEmpty' beside mode 'replace' only")
