"""What every step has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.values import Flag, Identifier

__all__ = ["StepBase", "SureStep", "WholeStep"]


class StepBase(Model):
    """What every step has."""

    type: str = Field(description="What the step does.")
    id: Identifier = Field(description="Name of the step in results, unique in the definition.")
    description: str = Field(default="", description="For people.")
    required: Flag = Field(
        default=True, description="false: a row on which the step fails passes with the step's new columns null, and is counted."
    )


class WholeStep(StepBase):
    """A step that needs every row of a group, so that none may be passed by."""

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Required is always true."""
        if raw.get("required") is False:
            yield mistake(f"expected true: a step of type {raw.get('type')!r} cannot pass failed rows on, got false", "required")


class SureStep(StepBase):
    """A step in which no row fails, so that none needs to be passed by."""

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Required is always true."""
        if raw.get("required") is False:
            yield mistake(f"expected true: no row fails in a step of type {raw.get('type')!r}, got false", "required")
