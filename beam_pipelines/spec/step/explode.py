"""A row for each element of a list."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.step.base import SureStep
from beam_pipelines.spec.values import Flag, Text

__all__ = ["ExplodeStep"]


class ExplodeStep(SureStep):
    """A row for each element of a list; the list itself does not go on."""

    type: Literal["explode"] = Field(default="explode", description="Make a row of each element of a list.")
    field: Text = Field(description="The list, nested by dots: items.parts.")
    output: Text | None = Field(
        default=None,
        validation_alias="as",
        serialization_alias="as",
        description="Name of the column of elements; default: the list's, of a nested list the last of its path.",
    )
    position: Text | None = Field(default=None, description="Name of a column of places in the list, from 0; default: none.")
    outer: Flag = Field(default=False, description="true: a row whose list is null or empty goes on with null; else it is filtered out.")
