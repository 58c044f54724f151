from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step import StepBase
from beam_pipelines.spec.step.aggregate import AggregateStep
from beam_pipelines.spec.step.explode import ExplodeStep
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.spec.step.function import FunctionStep
from beam_pipelines.spec.step.join import JoinStep
from beam_pipelines.spec.step.map import MapStep
from beam_pipelines.spec.step.sample import SampleStep
from beam_pipelines.spec.step.sql import SqlStep
from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.transforms.aggregate import Aggregate
from beam_pipelines.transforms.explode import Explode
from beam_pipelines.transforms.filter import Filter
from beam_pipelines.transforms.function import Function
from beam_pipelines.transforms.join import Join
from beam_pipelines.transforms.map import Map
from beam_pipelines.transforms.registry import SERVED, build
from beam_pipelines.transforms.sample import Sample
from beam_pipelines.transforms.sql import Sql
from beam_pipelines.transforms.window import Windowed


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (FilterStep.model_validate({"id": "a", "type": "filter", "condition": "true", "required": False}), Filter),
        (MapStep.model_validate({"id": "a", "type": "map", "mappings": {"x": {"source": "y"}}, "required": False}), Map),
        (FunctionStep.model_validate({"id": "a", "type": "function", "required": False}), Function),
        (ExplodeStep.model_validate({"id": "a", "type": "explode", "field": "x"}), Explode),
        (SqlStep.model_validate({"id": "a", "type": "sql", "query": "SELECT x FROM input", "required": False}), Sql),
        (SampleStep.model_validate({"id": "a", "type": "sample", "fraction": 1}), Sample),
    ],
)
def test_each_served_type_has_its_step(model: StepBase, kind: type[Any]) -> None:
    step = build(model, Functions(), "pipeline.transformations[0]")
    assert isinstance(step, kind)
    assert (step.id, step.required) == ("a", model.required)
    assert step.type in SERVED


def test_an_aggregate_has_its_step_and_is_always_required() -> None:
    model = AggregateStep.model_validate({"id": "sums", "type": "aggregate", "groupBy": [], "aggregations": {"x": "sum"}})
    step = build(model, Functions(), "pipeline.transformations[0]")
    assert isinstance(step, Aggregate)
    assert (step.id, step.required) == ("sums", True)


def test_a_join_has_its_step_and_is_always_required() -> None:
    model = JoinStep.model_validate({"id": "names", "type": "join", "on": ["id"], "source": {"type": "file", "path": "x.parquet"}})
    step = build(model, Functions(), "pipeline.transformations[0]")
    assert isinstance(step, Join)
    assert (step.id, step.required) == ("names", True)


def test_a_window_has_its_step_and_is_no_step_of_pipelines() -> None:
    window = {"window": {"type": "tumbling", "size": "1m"}, "aggregations": {"events": "count"}}
    model = WindowStep.model_validate({"id": "sums", "type": "window", **window})
    step = build(model, Functions(), "stream.processors[2]")
    assert isinstance(step, Windowed)
    assert (step.id, step.required) == ("sums", True)
    assert "window" not in SERVED


def test_a_type_that_no_code_serves_is_refused_by_name() -> None:
    model = StepBase.model_validate({"id": "sums", "type": "cube"})
    with pytest.raises(PlanError) as raised:
        build(model, Functions(), "pipeline.transformations[2]")
    problem = raised.value.problems[0]
    assert raised.value.code == "not-served"
    assert problem.path == "pipeline.transformations[2].type"
    assert "'sums'" in problem.message
    assert "it serves function, map, filter, explode, sample, sql, aggregate, pivot, join, " in problem.message
