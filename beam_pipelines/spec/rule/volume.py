"""How many there are: rows, and different values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.rule.dataset import FieldSetRule, SetRule, bounded

__all__ = ["DistinctCount", "RowCount"]

_Rows = Annotated[int, Strict(), Field(ge=0)]


class RowCount(SetRule):
    """How many rows there are."""

    type: Literal["row-count"] = Field(default="row-count", description="How many rows there are.")
    min: _Rows | None = Field(default=None, description="Fewest rows allowed.")
    max: _Rows | None = Field(default=None, description="Most rows allowed.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order."""
        yield from super().laws(raw)
        yield from bounded(raw)


class DistinctCount(FieldSetRule):
    """How many different values a field has, null left out; above 1,048,576 of them about so many."""

    type: Literal["distinct-count"] = Field(default="distinct-count", description="How many different values a field has.")
    min: _Rows | None = Field(default=None, description="Fewest different values allowed.")
    max: _Rows | None = Field(default=None, description="Most different values allowed.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order."""
        yield from super().laws(raw)
        yield from bounded(raw)
