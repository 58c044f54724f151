"""The best rows of each group."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.order import OrderBy
from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.values import Count, Text

__all__ = ["TopStep"]


class TopStep(WholeStep):
    """The best rows of each group."""

    type: Literal["top"] = Field(default="top", description="Keep the first rows of each group by an order.")
    n: Count = Field(description="How many rows of a group to keep.")
    by: tuple[Text, ...] = Field(default=(), description="Fields that make a group; default: all rows are one.")
    order_by: OrderBy = Field(description="What is first: a field or several, -field from the greatest on; nulls come last.")
