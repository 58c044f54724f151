"""What rules have that look at a data set as a whole: they hold or do not, and reject no row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.rule.base import RuleBase
from beam_pipelines.spec.values import Number, Text

__all__ = ["FieldSetRule", "Ratio", "SetRule", "bounded"]

Ratio = Annotated[Number, Field(ge=0, le=1)]
_NOT_HERE = "Not of this rule, which holds or does not for the data set as a whole."


class SetRule(RuleBase):
    """A rule of the data set as a whole; its severity says what it means when it does not hold."""

    action: None = Field(default=None, description=_NOT_HERE)
    mostly: None = Field(default=None, description=_NOT_HERE)
    max_failures: None = Field(default=None, description=_NOT_HERE)

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """No setting that is about rows."""
        for key in ("action", "mostly", "maxFailures"):
            if raw.get(key) is not None:
                yield mistake(
                    f"expected no {key!r} here: the rule looks at the data set as a whole and rejects no row",
                    key,
                    hint="what its failure means follows from severity",
                    at="key",
                )


class FieldSetRule(SetRule):
    """A rule of all values of one field."""

    field: Text = Field(description="Field to look at; nested: `address.city`.")


def bounded(raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """Yield a mistake unless `min` or `max` is there, and in order."""
    low, high = raw.get("min"), raw.get("max")
    if low is None and high is None:
        yield mistake("expected 'min' or 'max', got neither", at="key", wants=("min", "max"))
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
        yield mistake(f"expected at least 'min' ({low}), got {high}", "max")
