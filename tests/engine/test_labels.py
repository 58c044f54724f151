"""Labels of the pipeline: a running job is updated, and its metrics are found, by them, so a release does not change them.

A type of step that is new belongs into `STEPS`, with its labels. A list that changes is a change that users see: see the changelog.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.pipeline import RunLoads
from beam_pipelines.spec import parse
from beam_pipelines.transforms.registry import SERVED

PLANS = {"type": "database", "connection": "crm", "table": "plans"}
STEPS: dict[str, dict[str, Any]] = {
    "function": {"handler": "functions:same"},
    "map": {"mappings": {"id": {"source": "id"}}},
    "filter": {"condition": "id > 1"},
    "aggregate": {"groupBy": [], "aggregations": {"*": "count"}},
    "join": {"on": ["id"], "source": PLANS},
    "explode": {"field": "ids"},
    "sample": {"fraction": 0.5},
    "sql": {"query": "SELECT id FROM input"},
    "deduplicate": {"by": ["id"]},
    "top": {"by": ["id"], "n": 1, "orderBy": "id"},
    "limit": {"n": 1},
    "sort": {"by": ["id"], "orderBy": "id"},
    "pivot": {"groupBy": ["id"], "column": "plan", "values": ["pro"], "value": "n"},
    "union": {"source": PLANS},
    "enrich": {"on": ["id"], "source": PLANS},
    "validate": {"rules": [{"id": "there", "type": "required-fields", "fields": ["id"]}]},
}

_READ = ("Ranges", "Rows", "Rows/ParDo(_ReadFn)", "Spread")
_APPLY = {"Run/Step it", "Run/Step it/Apply", "Run/Step it/Apply/ParDo(_ApplyFn)"}
BASE = {
    "Run",
    "Run/Commit",
    "Run/Commit/Once",
    "Run/Facts",
    "Run/Prepare",
    "Run/Prepare/Fix",
    "Run/Read",
    *(f"Run/Read/{one}" for one in _READ),
    "Run/Seed",
    "Run/Stage",
    "Run/Stage/Write",
}
_TOTALS = {
    "Run/Step it",
    "Run/Step it/Results",
    "Run/Step it/Results/ParDo(_ResultsFn)",
    "Run/Step it/Shards",
    "Run/Step it/States",
    "Run/Step it/States/ParDo(_StatesFn)",
}
_CUT = {
    "Run/Step it",
    "Run/Step it/Cut",
    "Run/Step it/Cut/ParDo(_CutFn)",
    "Run/Step it/Results",
    "Run/Step it/Results/ParDo(_ResultsFn)",
    "Run/Step it/Shards",
}
_SOURCE = {
    "Run/Step it",
    "Run/Step it source",
    "Run/Step it source/Facts",
    "Run/Step it source/Read",
    *(f"Run/Step it source/Read/{one}" for one in _READ),
    "Run/Step it source/Told",
    "Run/Step it source/Windows",
    "Run/Step it source/Windows/ParDo(_SidesFn)",
}
_JOIN = _SOURCE | {
    "Run/Stage of shards",
    "Run/Stage of shards/Write",
    "Run/Step it/Both",
    "Run/Step it/Join",
    "Run/Step it/Join/ParDo(_ShardFn)",
    "Run/Step it/Left",
    "Run/Step it/Left/ParDo(_LeftFn)",
    "Run/Step it/Right",
    "Run/Step it/Right/ParDo(_RightFn)",
    "Run/Step it/Shards",
    "Run/Step it/Sizes",
}
LABELS: dict[str, set[str]] = {
    **dict.fromkeys(("function", "map", "filter", "explode", "sample", "sql", "validate"), _APPLY),
    **dict.fromkeys(("deduplicate", "top", "limit", "sort"), _CUT),
    **dict.fromkeys(("join", "enrich"), _JOIN),
    "pivot": _TOTALS,
    "union": _SOURCE
    | {
        "Run/Stage from it",
        "Run/Stage from it/Write",
        "Run/Step it/Ours",
        "Run/Step it/Ours/ParDo(_OursFn)",
        "Run/Step it/Theirs",
        "Run/Step it/Theirs/ParDo(_TheirsFn)",
    },
    "aggregate": _TOTALS | {"Run/Step it/Both", "Run/Step it/Nothing"},
}


def labels(*steps: dict[str, Any]) -> set[str]:
    definition = {
        "name": "Customers",
        "pipeline": {
            "source": {"type": "database", "connection": "crm", "table": "customers"},
            "transformations": list(steps),
            "destination": {"type": "database", "connection": "target", "table": "customers", "keyFields": ["id"]},
        },
    }
    pipeline = beam.Pipeline()
    pipeline | "Run" >> RunLoads(Job.of(parse(definition).definition, Path()))
    names = {transform.unique_name for transform in pipeline.to_runner_api().components.transforms.values()}
    return {name for name in names if name.startswith("Run")}  # all but the root, which Beam names


def test_labels_of_a_service_without_steps():
    assert labels() == BASE


@pytest.mark.parametrize("kind", sorted(SERVED))
def test_labels_of_each_type_of_step(kind: str):
    assert labels({"id": "it", "type": kind, **STEPS[kind]}) - BASE == LABELS[kind]


def test_labels_of_rules_that_take_other_rows():
    reference = {"id": "plan", "type": "foreign-key", "field": "plan", "reference": {"connection": "crm", "table": "plans", "field": "id"}}
    found = labels({"id": "it", "type": "validate", "rules": [{"id": "once", "type": "unique", "field": "id"}, reference]}) - BASE
    assert found == {name.replace("it source", "it plan") for name in _SOURCE} | {
        f"Run/Step it{below}"
        for below in (
            "",
            "/Alike",
            "/Judge",
            "/Judge/ParDo(_JudgeFn)",
            "/Keys",
            "/Reference plan",
            "/Reference plan/ParDo(_ReferenceFn)",
            "/References",
            "/Shards",
            "/Sizes",
            "/Sizes plan",
            "/Split",
            "/Split/ParDo(_SplitFn)",
            "/Suspect keys",
            "/Suspects",
            "/Tell",
            "/Tell/ParDo(_ShardFn)",
            " plan/Step columns",
            " plan/Step columns/Apply",
            " plan/Step columns/Apply/ParDo(_ApplyFn)",
        )
    }


def test_rows_of_unions_are_apart_whatever_their_ids():
    inner = {"id": "inner", "type": "union", "source": PLANS}
    every = {"id": "all", "type": "union", "source": {**PLANS, "transformations": [inner]}}
    staged = {name for name in labels(every, {"id": "all1", "type": "union", "source": PLANS}) if name.endswith("/Write")}
    assert staged == {f"Run/Stage{which}/Write" for which in ("", " from all", " from all/1", " from all1")}


def test_labels_of_a_lookup_at_an_api():
    step = {"id": "it", "type": "enrich", "connection": "api", "request": {"path": "/{id}"}, "output": {"n": "bigint"}}
    assert labels(step) - BASE == _APPLY


def test_a_query_that_sums_up_is_labelled_as_an_aggregate():
    assert labels({"id": "it", "type": "sql", "query": "SELECT count(*) AS n FROM input"}) - BASE == LABELS["aggregate"]


def test_steps_that_run_as_one_are_named_by_their_ids():
    both = labels(*({"id": kind, "type": kind, **STEPS[kind]} for kind in ("map", "filter", "function")))
    assert {name for name in both - BASE if name.count("/") == 1} == {"Run/Step map + filter", "Run/Step function"}
