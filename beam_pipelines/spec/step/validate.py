"""Rules that rows must obey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.named import identified, repeated
from beam_pipelines.spec.output import EXAMPLES, Examples, Output
from beam_pipelines.spec.rule import Actions, Rule
from beam_pipelines.spec.rule.reference import ForeignKey
from beam_pipelines.spec.step.base import WholeStep

__all__ = ["ValidateStep"]


class ValidateStep(WholeStep):
    """Rules that rows must obey: those that do not are rejected, marked or counted."""

    type: Literal["validate"] = Field(default="validate", description="Hold rows against rules.")
    rules: tuple[Rule, ...] = Field(min_length=1, description="What must hold.")
    actions: Actions = Field(default_factory=Actions, description="What becomes of a row, by the severity of its violation.")
    rejected: Output | None = Field(default=None, description="Where rejected rows go, beside the dead letters; default: nowhere else.")
    violations: Output | None = Field(
        default=None, description="Where every violation goes, as a table; default: nowhere, they are counted."
    )
    examples: Examples = Field(
        default=EXAMPLES, description="Violations of each rule that the record of a run shows; 0: no value of a row."
    )

    profile: bool = Field(
        default=False,
        description="Tell in the record what the columns are like: counts, least and greatest values, quantiles, values that occur often.",
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Rules have names of their own."""
        yield from super().laws(raw)
        yield from repeated(identified(raw.get("rules"), ("rules",)))

    @property
    def foreign_keys(self) -> tuple[ForeignKey, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, ForeignKey))
