from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine.job import Job
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import Policy
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.spec import parse

TABLE = {"type": "database", "connection": "target", "table": "customers"}


def definition(destination: dict[str, Any] | None = None, **more: Any) -> Any:
    pipeline = {
        "source": {"type": "database", "connection": "crm", "table": "customers"},
        "transformations": [{"id": "twice", "type": "function", "output": {"id": "bigint"}}],
        "destination": destination or TABLE,
    }
    return parse({"name": "My Customers", "pipeline": pipeline, **more}).definition


def job(destination: dict[str, Any] | None = None, **more: Any) -> Job:
    return Job.of(definition(destination, **more))


def context(**more: Any) -> RunContext:
    return RunContext(run="000000000001", started_at="2026-01-01T00:00:00.000000+00:00", **more)


def test_a_job_holds_the_definition_it_was_made_of() -> None:
    asked = definition()
    made = Job.of(asked)
    assert made.definition == asked
    assert (made.service, made.step_ids) == ("my-customers", ["twice"])


def test_numbers_of_more_than_64_bits_arrive_as_they_are() -> None:
    steps = [{"id": "few", "type": "filter", "condition": {"field": "id", "operator": "lt", "value": 2**70}}]
    pipeline = {"source": {"type": "database", "connection": "crm", "table": "customers"}, "transformations": steps, "destination": TABLE}
    asked = parse({"name": "Few", "pipeline": pipeline}).definition
    made = Job.of(asked)
    assert (made.definition, len(made.code())) == (asked, 16)


def test_pickled_it_is_the_definition_alone(tmp_path: Path) -> None:
    made = Job.of(definition(), tmp_path)
    assert made.definition.service_id  # parsed, and kept
    assert made.functions.folder == tmp_path
    pickled = pickle.dumps(made)
    assert str(tmp_path).encode() not in pickled
    arrived = pickle.loads(pickled)
    assert (arrived.text, arrived.folder) == (made.text, None)
    assert arrived.definition == made.definition


def test_the_folder_comes_from_the_run(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text("def twice(row: dict) -> dict:\n    return {'id': 2 * row['id']}\n")
    arrived = pickle.loads(pickle.dumps(Job.of(definition(), tmp_path)))
    with pytest.raises(PlanError, match="no code for the function step 'twice'"):
        arrived.functions.find("twice")
    placed = arrived.at(context(folder=str(tmp_path)))
    assert placed.functions.find("twice").name == "functions.py: twice"
    assert placed.at(context(folder=str(tmp_path))) is placed
    assert placed.at(context()) is placed


@pytest.mark.parametrize(
    ("destination", "table", "load"),
    [
        (TABLE, "crm.orders", "customers"),
        ({**TABLE, "table": "raw.{table}"}, "crm.orders", "raw.orders"),
        ({**TABLE, "table": "{table}"}, "orders", "orders"),
        ({"type": "file", "path": "out/{table}"}, "crm.orders", "out/orders"),
        ({"type": "file", "bucket": "lake", "prefix": "crm/{table}/"}, "crm.orders", "lake/crm/orders/"),
    ],
)
def test_a_load_is_named_after_its_target(destination: dict[str, Any], table: str, load: str) -> None:
    assert job(destination).load_of(table) == load


def test_two_tables_into_one_are_refused_at_the_target_s_key() -> None:
    assert job({**TABLE, "table": "raw_{table}"}).loads(["a.x", "a.y"]) == {"raw_x": "a.x", "raw_y": "a.y"}
    for table in ("customers", "{table}"):
        with pytest.raises(PlanError, match=r"'a\.x' and 'b\.x' would both be loaded") as refused:
            job({**TABLE, "table": table}).loads(["a.x", "b.x"])
        assert refused.value.problems[0].path == "pipeline.destination.table"


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ({}, {"mode": "insert", "whole": False, "stop": True, "evolve": True, "swap": False, "allow_empty": False, "batch_size": 1000}),
        ({"mode": "upsert", "keyFields": ["id"]}, {"mode": "upsert", "whole": False}),
        ({"mode": "replace"}, {"mode": "replace", "whole": True}),
        ({"mode": "replace", "keyFields": ["id"]}, {"mode": "replace", "whole": False}),
        ({"mode": "replace", "allowEmpty": True, "strategy": "swap"}, {"allow_empty": True, "swap": True}),
        ({"errorHandling": "continue", "schema": "freeze", "batchSize": 7}, {"stop": False, "evolve": False, "batch_size": 7}),
    ],
)
def test_a_policy_says_how_rows_go_in(destination: dict[str, Any], expected: dict[str, Any]) -> None:
    policy = job({**TABLE, **destination}).policy()
    assert {name: getattr(policy, name) for name in expected} == expected


def test_files_have_the_policies_that_they_can_have() -> None:
    assert job({"type": "file", "path": "out"}).policy() == Policy(mode="insert")
    assert job({"type": "file", "path": "out", "mode": "replace"}).policy() == Policy(mode="replace", whole=True)


@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_a_full_refresh_replaces_the_table_of_an_insert_service_alone(mode: str) -> None:
    policy = job({**TABLE, "mode": mode}).policy(context(full_refresh=True))
    assert (policy.mode, policy.whole) == (("replace", True) if mode == "insert" else ("upsert", False))


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({}, Budget(None, 0.10, fail=True)),
        ({"max": 100}, Budget(100, None, fail=True)),
        ({"max": "1%", "onExceed": "warn"}, Budget(None, 0.01, fail=False)),
        ({"max": "0%"}, Budget(None, 0.0, fail=True)),
        ({"max": 0}, Budget(0, None, fail=True)),
    ],
)
def test_an_error_budget_is_a_count_or_a_share(budget: dict[str, Any], expected: Budget) -> None:
    assert job(errorBudget=budget).policy().budget == expected
