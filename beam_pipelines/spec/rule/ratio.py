"""Shares of the rows: those that are null, and those that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.rule.dataset import FieldSetRule, Ratio, bounded

__all__ = ["DistinctRatio", "NullRatio"]


class NullRatio(FieldSetRule):
    """Which share of the rows is null in a field."""

    type: Literal["null-ratio"] = Field(default="null-ratio", description="Which share of the rows is null in a field.")
    min: Ratio | None = Field(default=None, description="Least share, from 0 to 1.")
    max: Ratio | None = Field(default=None, description="Greatest share, from 0 to 1.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order."""
        yield from super().laws(raw)
        yield from bounded(raw)


class DistinctRatio(FieldSetRule):
    """How many different values there are for each value that is not null; above 1,048,576 different ones about so many."""

    type: Literal["distinct-ratio"] = Field(default="distinct-ratio", description="How many different values there are for each value.")
    min: Ratio | None = Field(default=None, description="Least ratio, from 0 to 1; 1: no value occurs twice.")
    max: Ratio | None = Field(default=None, description="Greatest ratio, from 0 to 1.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order."""
        yield from super().laws(raw)
        yield from bounded(raw)
