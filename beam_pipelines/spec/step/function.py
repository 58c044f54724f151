"""The user's own code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from beam_pipelines.spec.step.base import StepBase
from beam_pipelines.spec.values import CodeRef, Count, Text

__all__ = ["FunctionStep"]


class FunctionStep(StepBase):
    """The user's own code, by row or by batch."""

    type: Literal["function"] = Field(default="function", description="A Python function, by row or by batch.")
    handler: CodeRef | None = Field(
        default=None,
        description="module:function; default: the one named like the step in functions.py beside the definition, else in `functions`.",
    )
    output: dict[Text, Text] | None = Field(
        default=None,
        min_length=1,
        description="Output columns with their types, such as {id: bigint, email: text}; default: sampled at the first run.",
    )
    concurrency: Annotated[Count, Field(le=1000)] | None = Field(
        default=None, description="Of an async function: rows under way at one time in each worker; default: 16."
    )
