"""Rows grouped and summed up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.aggregation import GroupEntry, Measure, check_entries, check_group, group_measures, group_names
from beam_pipelines.spec.condition import Condition
from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.values import Text

__all__ = ["AggregateStep"]


class AggregateStep(WholeStep):
    """Rows grouped and summed up."""

    type: Literal["aggregate"] = Field(default="aggregate", description="Group rows and sum them up.")
    group_by: tuple[Text, ...] = Field(description="Fields that make a group; [] gives one row.")
    aggregations: dict[Text, GroupEntry] = Field(
        min_length=1, description="By field: a function, a list of functions, or a list of {function, as, args}."
    )
    having: Condition | None = Field(default=None, description="Which groups to keep.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Aggregations are written by field."""
        yield from super().laws(raw)
        yield from check_entries(raw, check_group)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The results, in the order of the definition."""
        return group_measures(self.aggregations)

    @property
    def group_names(self) -> tuple[str, ...]:
        """What the fields of `groupBy` are called in the result."""
        return group_names(self.group_by)
