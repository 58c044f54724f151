"""Conditions of a row."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.condition import Condition
from beam_pipelines.spec.rule.base import RuleBase

__all__ = ["ExpressionRule"]


class ExpressionRule(RuleBase):
    """A condition that is true of the row; where it is null, the row is not evaluated."""

    type: Literal["expression"] = Field(default="expression", description="A condition that must be true.")
    condition: Condition = Field(description="SQL expression, or {field, operator, value}, {all: [...]}, {any: [...]}, {not: ...}.")
