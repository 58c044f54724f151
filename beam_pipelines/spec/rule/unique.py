"""Values that occur once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.rule.base import RuleBase, one_of
from beam_pipelines.spec.values import Text

__all__ = ["Unique"]


class Unique(RuleBase):
    """A value, or several together, that occurs once in the whole data set; null, or a null among several, is no violation."""

    type: Literal["unique"] = Field(default="unique", description="A value that occurs only once.")
    field: Text | None = Field(default=None, description="Field to look at.")
    fields: tuple[Text, ...] | None = Field(default=None, min_length=1, description="Fields to look at together.")
    keep: Literal["first", "last", "none"] = Field(default="first", description="Which of several rows with the value does not violate.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """One field or several."""
        yield from one_of(raw, "field", "fields")

    @property
    def names(self) -> tuple[str, ...]:
        return self.fields or (str(self.field),)
