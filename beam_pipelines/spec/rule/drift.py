"""A measure of the data set that is near what the last runs measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.rule.dataset import SetRule
from beam_pipelines.spec.values import Number, Text

__all__ = ["Drift", "DriftMeasure"]

DriftMeasure = Literal[
    "row-count", "null-ratio", "distinct-count", "distinct-ratio", "mean", "min", "max", "sum", "median", "stddev"
]  # fmt: skip


class Drift(SetRule):
    """A measure is near the median of the last runs that committed: within `maxDeviation` times what they are apart, or `tolerance`."""

    type: Literal["drift"] = Field(default="drift", description="A measure near what the last runs measured.")
    measure: DriftMeasure = Field(description="What is measured: row-count, a ratio or count of a field, or a figure of its numbers.")
    field: Text | None = Field(default=None, description="Field to measure; of any measure but row-count.")
    runs: Annotated[int, Strict(), Field(ge=1, le=1000)] = Field(default=10, description="Most runs to look back at, the last ones.")
    min_runs: Annotated[int, Strict(), Field(ge=1, le=1000)] = Field(
        default=3, description="Fewest runs to judge by; with fewer, the rule is not judged."
    )
    max_deviation: Annotated[Number, Field(gt=0)] = Field(
        default=3,
        description="Greatest distance from the median, in robust standard deviations: 1.4826 times the median distance of the runs.",
    )
    tolerance: Annotated[Number, Field(ge=0)] = Field(
        default=0.05,
        description="Distance from the median that is always near, as a share of it: runs that were all alike have no deviation.",
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """A field where one is measured, and no fewer runs than are needed."""
        yield from super().laws(raw)
        counts, given = raw.get("measure") == "row-count", raw.get("field") is not None
        if counts and given:
            yield mistake("expected no 'field' with 'measure: row-count', which counts rows", "field", at="key")
        if not counts and not given and raw.get("measure") is not None:
            yield mistake("expected 'field' beside this measure", at="key", wants=("field",))
        runs, least = raw.get("runs", 10), raw.get("minRuns", raw.get("min_runs", 3))
        if isinstance(runs, int) and isinstance(least, int) and runs < least:
            yield mistake(f"expected at least 'minRuns' ({least}), got {runs}", "runs", at="key" if "runs" not in raw else "value")
