"""Fields renamed, nested, converted and computed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.mapping import FieldMapping
from beam_pipelines.spec.step.base import StepBase
from beam_pipelines.spec.values import Text

__all__ = ["MapStep"]


class MapStep(StepBase):
    """Fields renamed, nested, converted and computed."""

    type: Literal["map"] = Field(default="map", description="Rename, nest, convert and compute fields.")
    mappings: dict[Text, FieldMapping] = Field(min_length=1, description="By target field, nested by dots.")
    unmapped: Literal["drop", "keep"] = Field(default="drop", description="What becomes of fields that no mapping names.")
    on_error: Literal["deadletter", "null", "keep"] = Field(
        default="deadletter", description="A value that cannot be converted: deadletter the row, put null, or keep the value as it is."
    )
