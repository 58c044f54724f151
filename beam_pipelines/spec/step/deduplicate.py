"""One row of several that are alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from beam_pipelines.spec.order import OrderBy
from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.values import Text

__all__ = ["DeduplicateStep"]


class DeduplicateStep(WholeStep):
    """One row of several that are alike."""

    type: Literal["deduplicate"] = Field(default="deduplicate", description="Keep one of the rows that are alike.")
    by: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None, description="Fields in which rows are alike; default: all columns."
    )
    keep: Literal["first", "last"] = Field(default="first", description="Which of them stays.")
    order_by: OrderBy | None = Field(
        default=None, description="What is first: a field or several, -field from the greatest on; default: the order of the source."
    )
