"""Lengths within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.rule.base import FieldRule

__all__ = ["Length"]

_Length = Annotated[int, Strict(), Field(ge=0)]


class Length(FieldRule):
    """A length between bounds, both inclusive: characters of text, bytes of binary values, items of lists, entries of maps."""

    type: Literal["length"] = Field(default="length", description="A length within bounds.")
    min: _Length | None = Field(default=None, description="Least length allowed.")
    max: _Length | None = Field(default=None, description="Greatest length allowed.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order."""
        low, high = raw.get("min"), raw.get("max")
        if low is None and high is None:
            yield mistake("expected 'min' or 'max', got neither", at="key", wants=("min", "max"))
        if isinstance(low, int) and isinstance(high, int) and low > high:
            yield mistake(f"expected at least 'min' ({low}), got {high}", "max")
