"""So many rows and no more."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.values import Count

__all__ = ["LimitStep"]


class LimitStep(WholeStep):
    """So many rows and no more."""

    type: Literal["limit"] = Field(default="limit", description="Keep so many rows and no more.")
    n: Count = Field(description="How many rows to keep.")
