"""Rows in order within their group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.order import OrderBy
from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.values import Text

__all__ = ["SortStep"]


class SortStep(WholeStep):
    """Rows in order within their group."""

    type: Literal["sort"] = Field(default="sort", description="Put the rows of each group in order, and number them.")
    by: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(description="Fields that make a group.")
    order_by: OrderBy = Field(description="What is first: a field or several, -field from the greatest on; nulls come last.")
    output: Text | None = Field(
        default=None,
        validation_alias="as",
        serialization_alias="as",
        description="Name of a new column with the place of the row in its group: 1, 2, and so on.",
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """There is a group."""
        yield from super().laws(raw)
        if "by" in raw and raw["by"] in ([], (), None):
            yield mistake(
                "expected the fields of a group: rows of a whole source are worked on in parts, and a target keeps no order of theirs",
                "by",
                hint="give the fields of a group; order the rows where the table is read; or keep the first of all with a step of type top",
            )
