"""Numbers within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.rule.base import FieldRule
from beam_pipelines.spec.values import Number

__all__ = ["NumericRange"]


class NumericRange(FieldRule):
    """A number between bounds, both inclusive; what is not a number violates."""

    type: Literal["numeric-range"] = Field(default="numeric-range", description="A number within bounds.")
    min: Number | None = Field(default=None, description="Least number allowed.")
    max: Number | None = Field(default=None, description="Greatest number allowed.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order."""
        low, high = raw.get("min"), raw.get("max")
        if low is None and high is None:
            yield mistake("expected 'min' or 'max', got neither", at="key", wants=("min", "max"))
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
            yield mistake(f"expected at least 'min' ({low}), got {high}", "max")
