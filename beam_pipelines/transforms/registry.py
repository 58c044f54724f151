"""Which code carries out which step of a definition."""

from __future__ import annotations

from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step import StepBase
from beam_pipelines.spec.step.aggregate import AggregateStep
from beam_pipelines.spec.step.deduplicate import DeduplicateStep
from beam_pipelines.spec.step.explode import ExplodeStep
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.spec.step.function import FunctionStep
from beam_pipelines.spec.step.join import JoinStep
from beam_pipelines.spec.step.limit import LimitStep
from beam_pipelines.spec.step.map import MapStep
from beam_pipelines.spec.step.pivot import PivotStep
from beam_pipelines.spec.step.sample import SampleStep
from beam_pipelines.spec.step.sort import SortStep
from beam_pipelines.spec.step.sql import SqlStep
from beam_pipelines.spec.step.top import TopStep
from beam_pipelines.spec.step.union import UnionStep
from beam_pipelines.transforms.step import Step

__all__ = ["SERVED", "build"]

SERVED = (
    "function",
    "map",
    "filter",
    "explode",
    "sample",
    "sql",
    "aggregate",
    "pivot",
    "join",
    "union",
    "deduplicate",
    "top",
    "limit",
    "sort",
)


def build(model: StepBase, functions: Functions, path: str) -> Step:
    """Return the step of a model, not yet planned or opened.

    Args:
        model: From the definition.
        functions: The definition's functions.
        path: Where the step stands, such as `pipeline.transformations[0]`.

    Raises:
        PlanError: Code `not-served`: no code carries out steps of this type yet.
    """
    if isinstance(model, FilterStep):
        from beam_pipelines.transforms.filter import Filter

        return Filter(model, path)
    if isinstance(model, MapStep):
        from beam_pipelines.transforms.map import Map

        return Map(model, path)
    if isinstance(model, ExplodeStep):
        from beam_pipelines.transforms.explode import Explode

        return Explode(model, path)
    if isinstance(model, SampleStep):
        from beam_pipelines.transforms.sample import Sample

        return Sample(model, path)
    if isinstance(model, SqlStep):
        from beam_pipelines.transforms.sql import Sql

        return Sql(model, path)
    if isinstance(model, FunctionStep):
        from beam_pipelines.transforms.function import Function

        return Function(model, functions, path)
    if isinstance(model, AggregateStep):
        from beam_pipelines.transforms.aggregate import Aggregate

        return Aggregate(model, path)
    if isinstance(model, JoinStep):
        from beam_pipelines.transforms.join import Join

        return Join(model, path)
    if isinstance(model, PivotStep):
        from beam_pipelines.transforms.aggregate.pivot import Pivot

        return Pivot(model, path)
    if isinstance(model, UnionStep):
        from beam_pipelines.transforms.union import Union

        return Union(model, path)
    if isinstance(model, (DeduplicateStep, TopStep, LimitStep, SortStep)):
        return _grouped(model, path)
    kind = getattr(model, "type", type(model).__name__)
    message = f"the step {model.id!r} has type {kind!r}, which this version does not serve; it serves {', '.join(SERVED)}"
    raise PlanError("a step cannot be run", problems=[Problem(message, f"{path}.type")], code="not-served")


def _grouped(model: DeduplicateStep | TopStep | LimitStep | SortStep, path: str) -> Step:
    from beam_pipelines.transforms import grouped

    if isinstance(model, DeduplicateStep):
        return grouped.Deduplicate(model, path)
    if isinstance(model, TopStep):
        return grouped.Top(model, path)
    return grouped.Limit(model, path) if isinstance(model, LimitStep) else grouped.Sort(model, path)
