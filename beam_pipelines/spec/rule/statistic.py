"""A figure of all numbers of a field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.rule.dataset import FieldSetRule, Ratio, bounded
from beam_pipelines.spec.values import Number

__all__ = ["Statistic"]


class Statistic(FieldSetRule):
    """A figure of all numbers of a field within bounds; null, NaN and what is no number are left out and counted as not evaluated.

    A sum, a mean, a standard deviation, a least and a greatest number are exact; a quantile is so up to 65,536 numbers, above within 0.4 %.
    """

    type: Literal["statistic"] = Field(default="statistic", description="A figure of all numbers of a field within bounds.")
    statistic: Literal["mean", "min", "max", "sum", "median", "quantile", "stddev"] = Field(description="Which figure.")
    quantile: Ratio | None = Field(default=None, description="Of `statistic: quantile`, the share of the numbers below it, from 0 to 1.")
    min: Number | None = Field(default=None, description="Least figure allowed.")
    max: Number | None = Field(default=None, description="Greatest figure allowed.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order, and a quantile where it is asked for."""
        yield from super().laws(raw)
        yield from bounded(raw)
        wanted, given = raw.get("statistic") == "quantile", raw.get("quantile") is not None
        if wanted and not given:
            yield mistake("expected 'quantile' with 'statistic: quantile'", at="key", hint="quantile: 0.95", wants=("quantile",))
        if given and not wanted:
            yield mistake("expected 'quantile' with 'statistic: quantile' only", "quantile", at="key")

    @property
    def share(self) -> float:
        """Of a quantile or the median, the share of the numbers below it."""
        return 0.5 if self.quantile is None else float(self.quantile)
