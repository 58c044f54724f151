"""The types of steps, and where the model of each is."""

from __future__ import annotations

from typing import Annotated

from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.step.base import StepBase

__all__ = ["Processor", "Transformation"]

_HOMES = {
    "function": "beam_pipelines.spec.step.function:FunctionStep",
    "map": "beam_pipelines.spec.step.map:MapStep",
    "filter": "beam_pipelines.spec.step.filter:FilterStep",
    "explode": "beam_pipelines.spec.step.explode:ExplodeStep",
    "sample": "beam_pipelines.spec.step.sample:SampleStep",
    "sql": "beam_pipelines.spec.step.sql:SqlStep",
    "aggregate": "beam_pipelines.spec.step.aggregate:AggregateStep",
    "window": "beam_pipelines.spec.step.window:WindowStep",
    "join": "beam_pipelines.spec.step.join:JoinStep",
    "enrich": "beam_pipelines.spec.step.enrich:EnrichStep",
    "deduplicate": "beam_pipelines.spec.step.deduplicate:DeduplicateStep",
    "top": "beam_pipelines.spec.step.top:TopStep",
    "limit": "beam_pipelines.spec.step.limit:LimitStep",
    "sort": "beam_pipelines.spec.step.sort:SortStep",
    "pivot": "beam_pipelines.spec.step.pivot:PivotStep",
    "validate": "beam_pipelines.spec.step.validate:ValidateStep",
    "union": "beam_pipelines.spec.step.union:UnionStep",
}
_OF_STREAMS = ("window",)
_OF_WHOLE_SOURCES = ("aggregate", "deduplicate", "top", "limit", "sort", "union", "pivot")

Transformation = Annotated[StepBase, OneOf(homes={name: home for name, home in _HOMES.items() if name not in _OF_STREAMS})]
Processor = Annotated[StepBase, OneOf(homes={name: home for name, home in _HOMES.items() if name not in _OF_WHOLE_SOURCES})]
