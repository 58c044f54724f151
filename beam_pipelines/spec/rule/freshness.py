"""How old the newest row is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.rule.dataset import FieldSetRule
from beam_pipelines.spec.values import Duration

__all__ = ["Freshness"]


class Freshness(FieldSetRule):
    """The newest date or time of a field is not older than `maxAge` when the check starts; without any it does not hold."""

    type: Literal["freshness"] = Field(default="freshness", description="How old the newest row may be.")
    max_age: Duration = Field(description="Greatest age of the newest value, such as 24h.")
