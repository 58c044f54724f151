"""Which code carries out which step of a definition."""

from __future__ import annotations

import importlib
from typing import Any, cast

from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step import StepBase
from beam_pipelines.transforms.step import Step

__all__ = ["SERVED", "build"]

_HERE = "beam_pipelines.transforms"
# By the type of the step. Imported when a step is built: most services have few types of steps, and start without the others.
_HOMES = {
    "function": "function:Function",
    "map": "map:Map",
    "filter": "filter:Filter",
    "explode": "explode:Explode",
    "sample": "sample:Sample",
    "sql": "sql:build_sql",
    "aggregate": "aggregate:Aggregate",
    "pivot": "aggregate.pivot:Pivot",
    "join": "join:build_join",
    "enrich": "enrich.step:step_of",
    "validate": "validate:Validate",
    "union": "union:Union",
    "deduplicate": "grouped:Deduplicate",
    "top": "grouped:Top",
    "limit": "grouped:Limit",
    "sort": "grouped:Sort",
}
_OF_STREAMS = {"window": "window:Windowed"}
SERVED = tuple(_HOMES)  # in pipelines


def build(model: StepBase, functions: Functions, path: str) -> Step:
    """Return the step of a model, not yet planned or opened.

    Args:
        model: From the definition.
        functions: The definition's functions.
        path: Where the step stands, such as `pipeline.transformations[0]`.

    Raises:
        PlanError: Code `not-served`: no code carries out steps of this type yet.
    """
    home = _HOMES.get(model.type) or _OF_STREAMS.get(model.type)
    if home is None:
        message = f"the step {model.id!r} has type {model.type!r}, which this version does not serve; it serves {', '.join(SERVED)}"
        raise PlanError("a step cannot be run", problems=[Problem(message, f"{path}.type")], code="not-served")
    module, _, name = home.partition(":")
    make: Any = getattr(importlib.import_module(f"{_HERE}.{module}"), name)
    return cast("Step", make(model, functions, path) if model.type == "function" else make(model, path))
