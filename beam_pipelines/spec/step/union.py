"""Rows with those of another source below them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.step.join import JoinSource

__all__ = ["UnionStep"]


class UnionStep(WholeStep):
    """Rows with those of another source below them."""

    type: Literal["union"] = Field(default="union", description="Add the rows of another source.")
    source: JoinSource = Field(description="The other source: a whole one, with its own `transformations` if wanted.")
    missing: Literal["refuse", "null"] = Field(
        default="refuse", description="A column that only one of the two has: refuse the step, or put null where it is missing."
    )
