"""Values out of a list, and values that are in none."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.rule.base import FieldRule
from beam_pipelines.spec.values import Scalar

__all__ = ["InSet", "NotInSet"]


class InSet(FieldRule):
    """A value out of a list; null is not evaluated."""

    type: Literal["in-set"] = Field(default="in-set", description="A value out of a list.")
    values: tuple[Scalar, ...] = Field(min_length=1, description="Values allowed.")


class NotInSet(FieldRule):
    """A value that is none of a list; null is not evaluated."""

    type: Literal["not-in-set"] = Field(default="not-in-set", description="A value that is none of a list.")
    values: tuple[Scalar, ...] = Field(min_length=1, description="Values that are not allowed.")
