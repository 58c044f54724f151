"""Values that occur once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.rule.base import RuleBase, one_of
from beam_pipelines.spec.values import Text
from beam_pipelines.spec.window import Span

__all__ = ["Unique"]


class Unique(RuleBase):
    """A value, or several together, that occurs once in the whole data set; null, or a null among several, is no violation."""

    type: Literal["unique"] = Field(default="unique", description="A value that occurs only once.")
    field: Text | None = Field(default=None, description="Field to look at.")
    fields: tuple[Text, ...] | None = Field(default=None, min_length=1, description="Fields to look at together.")
    keep: Literal["first", "last", "none"] = Field(default="first", description="Which of several rows with the value does not violate.")
    scope: Literal["dataset", "window"] = Field(
        default="dataset",
        description="Where the value occurs once: in all rows, or in those of each window (of a stream, or in a pipeline of yours).",
    )
    horizon: Span | None = Field(
        default=None,
        description="How long a value is remembered, in event time; for rows without an end, of a stream or in a pipeline of yours.",
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """One field or several; a horizon where nobody waits for the last row."""
        yield from one_of(raw, "field", "fields")
        if raw.get("horizon") is None:
            return
        if raw.get("scope") == "window":
            yield mistake("expected no 'horizon' with 'scope: window': a value is forgotten with its window", "horizon", at="key")
        if raw.get("keep") in ("last", "none"):
            yield mistake(
                f"expected 'keep: first' with a horizon, got {raw['keep']!r}: what comes later is not known when a row is judged",
                "keep",
                hint="'scope: window' waits for the end of each window, and can keep the last or none",
            )

    @property
    def names(self) -> tuple[str, ...]:
        return self.fields or (str(self.field),)
