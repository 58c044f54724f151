"""A measure of the data set against what the same rule measured in earlier runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from statistics import median
from typing import Any

import pyarrow as pa

from beam_pipelines.rules.dataset.rule import SetRule, Verdict, plain_integer
from beam_pipelines.rules.dataset.statistic import Figure
from beam_pipelines.rules.dataset.volume import Differences, Nulls, Rows
from beam_pipelines.spec.rule.drift import Drift
from beam_pipelines.spec.rule.ratio import DistinctRatio, NullRatio
from beam_pipelines.spec.rule.statistic import Statistic
from beam_pipelines.spec.rule.volume import DistinctCount, RowCount

__all__ = ["Drifting"]

_TO_DEVIATION = Fraction("1.4826")  # of a normal distribution: 1 / Φ⁻¹(3/4)


class Drifting:
    """A measure is near the median of earlier ones, by the median absolute deviation from it.

    The distance is told in robust standard deviations, 1.4826 times the median absolute deviation: Hampel, The influence curve and its role
    in robust estimation (Journal of the American Statistical Association 69, 1974). That three of them are far is a threshold of Leys and
    others, Detecting outliers (Journal of Experimental Social Psychology 49, 2013). Fewer than half of the runs may be outliers, and what
    the others measured still decides.
    """

    def __init__(self, model: Drift, schema: pa.Schema) -> None:
        self._model, self._measure = model, _measure(model, schema)
        self._about = {"measure": model.measure, **({} if model.field is None else {"field": model.field})}
        self._what = _WORDS[model.measure] + ("" if model.field is None else f" of {model.field}")

    def nothing(self) -> Any:
        return self._measure.nothing()

    def measure(self, batch: pa.RecordBatch) -> Any:
        return self._measure.measure(batch)

    def merge(self, one: Any, other: Any) -> Any:
        return self._measure.merge(one, other)

    def judge(self, state: Any, now: datetime) -> Verdict:
        """Say what is measured; without earlier runs it is near nothing."""
        return self.judge_by(state, now, ())

    def judge_by(self, state: Any, now: datetime, past: Sequence[Mapping[str, Any]]) -> Verdict:
        """Say whether the measure is near what earlier runs measured.

        Args:
            state: Of all rows.
            now: When the check started.
            past: What the rule told in earlier runs, the last one first: `measured`, and what it was a measure of. A run in which the rule
                of this id measured something else counts for nothing.
        """
        found = self._measure.judge(state, now)
        known = [
            number
            for one in past
            if {key: one[key] for key in ("measure", "field") if key in one} == self._about
            and (number := _number(one.get("measured"))) is not None
        ][: self._model.runs]
        details: dict[str, Any] = {**self._about, "runs": len(known), **found.details}
        if len(known) < self._model.min_runs:
            message = f"not judged: expected at least {self._model.min_runs} earlier runs to compare {self._what} with, got {len(known)}"
            return Verdict(None, found.measured, message, found.unevaluated, details)
        middle = median(known)
        apart = _TO_DEVIATION * median(abs(one - middle) for one in known)
        most = max(_exact(self._model.max_deviation) * apart, _exact(self._model.tolerance) * abs(middle))
        low, high = middle - most, middle + most
        details |= {"median": _plain(middle), "low": _plain(low), "high": _plain(high)}
        bounds = f"from {_plain(low)} to {_plain(high)}"
        message = f"expected {self._what} {bounds}, near the median {_plain(middle)} of {len(known)} earlier runs"
        if found.measured is None:
            return replace(found, message=message, details=details)
        number = _number(found.measured)
        return Verdict(number is not None and low <= number <= high, found.measured, message, found.unevaluated, details)


_WORDS = {
    "row-count": "a number of rows",
    "null-ratio": "a share of nulls",
    "distinct-count": "a number of different values",
    "distinct-ratio": "a share of different values",
    "mean": "a mean",
    "min": "a least number",
    "max": "a greatest number",
    "sum": "a sum",
    "median": "a median",
    "stddev": "a standard deviation",
}


def _measure(model: Drift, schema: pa.Schema) -> SetRule:
    """Return the rule that measures the same; what bounds it has does not matter."""
    if model.field is None:
        return Rows(RowCount(id=model.id, min=0), schema)
    if model.measure == "null-ratio":
        return Nulls(NullRatio(id=model.id, field=model.field, min=0), schema)
    if model.measure == "distinct-count":
        return Differences(DistinctCount(id=model.id, field=model.field, min=0), schema)
    if model.measure == "distinct-ratio":
        return Differences(DistinctRatio(id=model.id, field=model.field, min=0), schema)
    assert model.measure != "row-count"
    return Figure(Statistic(id=model.id, field=model.field, statistic=model.measure, min=0), schema)


def _number(measured: Any) -> Fraction | None:
    """Return a measure exactly; None of one that is missing or not finite."""
    try:
        return None if measured is None else Fraction(measured)
    except (ValueError, OverflowError):
        return None


def _exact(setting: float) -> Fraction:
    return Fraction(setting if isinstance(setting, int) else str(setting))


def _plain(number: Fraction) -> int | float | str:
    if number.denominator == 1:
        return plain_integer(int(number))
    try:
        return float(f"{float(number):.6g}")
    except OverflowError:
        return plain_integer(round(number))
