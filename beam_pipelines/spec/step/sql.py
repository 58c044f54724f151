"""Rows by a SELECT."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.step.base import StepBase
from beam_pipelines.spec.values import Text

__all__ = ["SqlStep"]


class SqlStep(StepBase):
    """Rows, or groups of them, by a SELECT over `input`, the rows that come to the step."""

    type: Literal["sql"] = Field(default="sql", description="Choose, compute, keep and sum up rows by a SELECT.")
    query: Text = Field(description="SELECT ... FROM input [WHERE ...] [GROUP BY ... [HAVING ...]].")
