"""Values that rise or fall from row to row."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.rule.base import FieldRule
from beam_pipelines.spec.values import Flag

__all__ = ["Monotonic"]


class Monotonic(FieldRule):
    """Each value is not below that of the row before, in the order of the source; a row without a value is passed over."""

    type: Literal["monotonic"] = Field(default="monotonic", description="Values rise, or fall, in the order of the source.")
    direction: Literal["increasing", "decreasing"] = Field(default="increasing", description="increasing or decreasing.")
    strictly: Flag = Field(default=False, description="Equal neighbours violate as well.")
