"""Rows by a condition."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.condition import Condition
from beam_pipelines.spec.step.base import StepBase

__all__ = ["FilterStep"]


class FilterStep(StepBase):
    """Rows on which a condition is true; null is not true."""

    type: Literal["filter"] = Field(default="filter", description="Keep rows on which the condition is true.")
    condition: Condition = Field(description="SQL expression, or {field, operator, value}, {all: [...]}, {any: [...]}, {not: ...}.")
