from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from beam_pipelines.errors import SpecError
from beam_pipelines.spec import DatabaseDestination, DatabaseSource, Definition, ErrorBudget, Pipeline, parse

SOURCE = {"type": "database", "connection": "crm", "table": "customers"}
TARGET = {"type": "database", "connection": "dwh", "table": "customers"}
SECTIONS: dict[str, dict[str, Any]] = {
    "etl": {"pipeline": {"source": SOURCE, "destination": TARGET}},
    "stream": {"stream": {"source": {"type": "kafka", "topic": "t"}, "sinks": [TARGET]}},
    "batch": {"batch": {"source": {"type": "s3", "bucket": "raw"}, "destination": {"type": "s3", "bucket": "out"}}},
    "quality": {"validation": {"rules": [{"id": "u", "type": "unique", "field": "email"}]}},
}


def messages(data: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(data)
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize("kind", SECTIONS)
def test_the_kind_follows_from_the_section(kind: str) -> None:
    definition = parse({"name": "X", **SECTIONS[kind]}).definition
    assert definition.kind == kind
    assert definition.missing == []


def test_a_definition_without_a_section_or_sinks_is_incomplete_and_says_what_it_lacks() -> None:
    priced = parse({"name": "X", "pricing": {"model": "per-gb", "rate": 1}}).definition
    assert (priced.kind, priced.missing) == ("incomplete", ["pipeline or stream or batch or validation"])
    stream = parse({"name": "X", "stream": {"source": {"type": "kafka", "topic": "t"}}}).definition
    assert (stream.kind, stream.missing) == ("incomplete", ["stream.sinks"])


def test_two_sections_are_refused() -> None:
    assert messages({"name": "X", **SECTIONS["etl"], **SECTIONS["batch"]}) == [
        "expected one of pipeline, stream, batch, validation, got 'pipeline' as well"
    ]


def test_the_identity_is_the_id_else_the_slug_of_the_name() -> None:
    assert parse({"id": "crm.v2", "name": "Customers"}).definition.service_id == "crm.v2"
    assert parse({"name": "Customer Data Sync"}).definition.service_id == "customer-data-sync"
    assert messages({}) == ["expected 'name' or 'id', got neither"]
    assert messages({"name": "日本語"}) == ["expected 'id' beside a name without ASCII letters and digits, got '日本語' alone"]


@pytest.mark.parametrize("written", ["automation", "$.ServiceType.Automation"])
def test_the_seeds_service_type_is_automation(written: str) -> None:
    assert parse({"name": "X", "type": written}).definition.type == "automation"


def test_ids_are_unique_across_steps_and_the_steps_of_joins() -> None:
    step = {"id": "a", "type": "function"}
    join = {"id": "j", "type": "join", "on": ["id"], "source": {**SOURCE, "transformations": [step]}}
    assert messages({"name": "X", "pipeline": {"source": SOURCE, "transformations": [step, join], "destination": TARGET}}) == [
        "expected an id of its own, got 'a' again"
    ]
    rule = {"id": "u", "type": "unique", "field": "email"}
    assert messages({"name": "X", "validation": {"rules": [rule, rule]}}) == ["expected an id of its own, got 'u' again"]


def test_an_additional_cost_names_a_step() -> None:
    def priced(costs: dict[str, float]) -> dict[str, Any]:
        steps = [{"id": "enrich", "type": "function"}]
        pipeline = {"source": SOURCE, "transformations": steps, "destination": TARGET}
        return {"name": "X", "pipeline": pipeline, "pricing": {"model": "per-gb", "rate": 1, "additionalCosts": costs}}

    assert parse(priced({"enrichment": 0.5, "enrich": 0.1})).definition.kind == "etl"
    assert messages(priced({"enrch": 0.5})) == ["expected the id of a step, got 'enrch'"]


def test_an_error_budget_is_a_count_or_a_share() -> None:
    assert (Definition(name="X").error_budget.share, Definition(name="X").error_budget.on_exceed) == (Decimal("0.1"), "fail")
    assert (ErrorBudget(max=100).rows, ErrorBudget(max=100).share) == (100, None)
    assert (ErrorBudget(max="0.5%").rows, ErrorBudget(max="0.5%").share) == (None, Decimal("0.005"))


def test_parts_are_reached_the_same_way_whatever_the_section() -> None:
    step = {"id": "a", "type": "function"}
    etl = parse({"name": "X", "pipeline": {"source": SOURCE, "transformations": [step], "destination": TARGET}}).definition
    batch = SECTIONS["batch"]["batch"]
    files = parse({"name": "X", "batch": {**batch, "processing": {"transformations": [step]}}}).definition
    assert [one.id for one in etl.steps] == [one.id for one in files.steps] == ["a"]
    assert (etl.steps_path, files.steps_path) == ("pipeline.transformations", "batch.processing.transformations")
    assert (etl.source.table, files.source.bucket) == ("customers", "raw")
    assert (etl.destinations[0].table, files.destinations[0].bucket) == ("customers", "out")
    sinks = [{"type": "kafka", "topic": "copies"}, {"type": "database", "connection": "db", "table": "results"}]
    live = parse({"name": "X", "stream": {"source": {"type": "kafka", "topic": "events"}, "sinks": sinks}}).definition
    assert live.written_path("pipeline.source.timestampField") == "stream.source.timestampField"
    assert live.written_path("pipeline.destination.keyFields") == "stream.sinks[1].keyFields"  # of the one that holds the offsets
    assert etl.connection_names == ("crm", "dwh")
    assert files.connection_names == ("raw", "out")


def test_connection_names_hold_those_of_joins_and_references_once() -> None:
    join = {"id": "j", "type": "join", "on": ["id"], "source": {"type": "database", "connection": "geo", "table": "t"}}
    pipeline = {"source": SOURCE, "transformations": [join], "destination": {**TARGET, "connection": "crm"}}
    assert parse({"name": "X", "pipeline": pipeline}).definition.connection_names == ("crm", "geo")
    rule = {"id": "f", "type": "foreign-key", "field": "x", "reference": {"connection": "ref", "table": "t", "field": "id"}}
    assert parse({"name": "X", "validation": {"rules": [rule]}}).definition.connection_names == ("ref",)


def test_a_definition_is_made_in_python_by_python_names() -> None:
    definition = Definition(
        name="Customers",
        pipeline=Pipeline(
            source=DatabaseSource(connection="crm", table="customers"),
            destination=DatabaseDestination(connection="dwh", table="customers", key_fields=("id",)),
        ),
    )
    written = {"name": "Customers", "pipeline": {"source": SOURCE, "destination": {**TARGET, "keyFields": ["id"]}}}
    assert definition == parse(written).definition
    # What Python code leaves to its default `type` is still written out.
    assert parse(definition.model_dump(mode="json", by_alias=True, exclude_unset=True)).definition == definition


def test_a_definition_is_frozen_and_pickles() -> None:
    definition = parse({"name": "X", **SECTIONS["etl"]}).definition
    with pytest.raises(ValueError, match="frozen"):
        definition.name = "Y"
    assert pickle.loads(pickle.dumps(definition)) == definition


RICH = {
    "name": "Rich",
    "pipeline": {
        "source": {"type": "database", "connection": "crm", "table": "t", "cursor": {"column": "id", "kind": "sequence", "overlap": 10}},
        "transformations": [
            {"id": "m", "type": "map", "mappings": {"a.b": {"source": "x", "converter": "round(2)"}, "c": {"expression": "1"}}},
            {"id": "f", "type": "filter", "condition": {"any": ["a", {"not": {"field": "x", "operator": "in", "value": [1, "2"]}}]}},
            {"id": "g", "type": "aggregate", "groupBy": [], "aggregations": {"x": ["sum", {"function": "max", "as": "top"}]}},
            {"id": "j", "type": "join", "on": {"a": "b"}, "source": {"type": "file", "path": "x.parquet"}},
        ],
        "destination": {"type": "data-warehouse", "connection": "w", "table": "t", "schema": "freeze"},
    },
    "schedule": {"cron": "0 2 * * *"},
    "pricing": {"model": "per-gb", "rate": 0.1, "tiers": [{"min": 0, "max": 5, "rate": 0.1}, {"min": 5, "max": "Infinity", "rate": 0.05}]},
    "errorBudget": {"max": "1%"},
    "maxCellBytes": "1MiB",
}


@pytest.mark.parametrize("unset", [True, False])
@pytest.mark.parametrize("data", [RICH, *({"name": "X", **section} for section in SECTIONS.values())])
def test_a_definition_written_out_as_json_reads_back_the_same(data: dict[str, Any], unset: bool) -> None:
    definition = parse(data).definition
    assert parse(definition.model_dump(mode="json", by_alias=True, exclude_unset=unset)).definition == definition


def test_importing_the_models_is_light() -> None:
    code = """
import sys, time
import beam_pipelines.spec
heavy = {"ruamel", "apache_beam", "pyarrow", "duckdb", "sqlalchemy", "cronsim", "jsonschema"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}), time.process_time())
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names, seconds = out.rsplit(" ", 1)
    assert names == "[]"
    assert float(seconds) < 0.6  # CPU of the whole process on a busy machine; about 0.25 alone


def test_what_is_kept_is_kept_for_ever_or_for_an_hour_at_least() -> None:
    kept = parse({"name": "X", **SECTIONS["etl"]}).definition.retention
    assert (kept.dead_letters, kept.events) == (None, None)
    kept = parse({"name": "X", **SECTIONS["etl"], "retention": {"deadLetters": "30d", "events": 3_600_000}}).definition.retention
    assert (kept.dead_letters, kept.events) == (timedelta(days=30), timedelta(hours=1))
    assert messages({"name": "X", **SECTIONS["etl"], "retention": {"deadLetters": "59m"}}) == [
        "expected at least 1h (alerts count the failures of the last hour)"
    ]
