"""A share of the rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from beam_pipelines.spec.step.base import SureStep
from beam_pipelines.spec.values import Text

__all__ = ["SampleStep"]


class SampleStep(SureStep):
    """A share of the rows, the same ones whatever the split and however often it is tried."""

    type: Literal["sample"] = Field(default="sample", description="Keep a share of the rows, the same on every run.")
    fraction: Annotated[float, Strict(), Field(gt=0, le=1)] = Field(description="The share to keep, above 0 and at most 1.")
    seed: Annotated[int, Strict(), Field(ge=0, lt=2**63)] = Field(default=0, description="Another seed keeps other rows.")
    by: tuple[Text, ...] | None = Field(
        default=None,
        min_length=1,
        description="Fields whose rows stay together where their values are the same; default: each row by itself.",
    )
