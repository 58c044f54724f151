"""A figure of all numbers of a field: mean, least, greatest, sum, quantile or standard deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.convert import family
from beam_pipelines.rules.dataset.figures import NUMBERS, Figures, numbers, of_type
from beam_pipelines.rules.dataset.moments import Moments
from beam_pipelines.rules.dataset.quantiles import Quantiles
from beam_pipelines.rules.dataset.rule import Bounds, Verdict, plain_integer
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.spec.rule.statistic import Statistic

__all__ = ["Figure", "plain_figure"]

_WIDE = Context(prec=400)  # digits of any sum of decimals


@dataclass(frozen=True)
class _State:
    rows: int
    figures: Figures
    quantiles: Quantiles
    moments: Moments


class Figure:
    """A figure of the numbers of a field lies within bounds; where there is no number, there is none."""

    def __init__(self, model: Statistic, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        kind = self._field.type
        if family(kind) not in NUMBERS or (pa.types.is_decimal(kind) and kind.scale < 0):
            raise RuleMisfit(f"expected a field of numbers or of text, got {model.field!r} of type {kind}", "field")
        self._type = of_type(kind)
        self._figure, self._share = model.statistic, model.share
        self._quantile = model.statistic in ("median", "quantile")
        self._bounds = Bounds(model.min, model.max)
        if pa.types.is_floating(kind) and kind.bit_width < 64 and model.statistic in ("min", "max"):
            # A value of the type is meant: of single precision 0.1 is a little more than 0.1.
            bounds = (pa.scalar(bound, kind).as_py() if isinstance(bound, float) else bound for bound in (model.min, model.max))
            self._bounds = Bounds(*bounds)
        name = f"{model.quantile} quantile" if model.statistic == "quantile" else _NAMES[model.statistic]
        self._message = f"expected a {name} of {model.field} {Bounds(model.min, model.max)}"

    def nothing(self) -> _State:
        return _State(0, Figures(), Quantiles(), Moments())

    def measure(self, batch: pa.RecordBatch) -> _State:
        found = numbers(self._field.read(batch))
        moments = Moments.of(found) if self._figure == "stddev" else Moments()
        return _State(batch.num_rows, Figures.of(found), Quantiles.of(found) if self._quantile else Quantiles(), moments)

    def merge(self, one: _State, other: _State) -> _State:
        quantiles, moments = one.quantiles + other.quantiles, one.moments + other.moments
        return _State(one.rows + other.rows, one.figures + other.figures, quantiles, moments)

    def judge(self, state: _State, now: datetime) -> Verdict:
        del now
        figure = self._measured(state)
        unevaluated = state.rows - state.figures.count
        if figure is None:
            return Verdict(None, None, self._message, unevaluated)
        details = {"approximate": True} if self._quantile and state.quantiles.approximate else {}
        return Verdict(self._bounds.hold(figure), plain_figure(figure, self._type, self._figure), self._message, unevaluated, details)

    def _measured(self, state: _State) -> Fraction | float | None:
        if self._quantile:
            return state.quantiles.at(self._share)
        if self._figure == "stddev":
            return state.moments.deviation
        if not state.figures.count:
            return None
        if self._figure in ("mean", "sum"):
            exact = state.figures.sum(self._type) if self._figure == "sum" else state.figures.mean(self._type)
            return _rounded(exact) if exact is not None and pa.types.is_floating(self._type) else exact
        end = state.figures.least if self._figure == "min" else state.figures.greatest
        return end if end is None or isinstance(end, float) else Fraction(end)


_NAMES = {"mean": "mean", "min": "least number", "max": "greatest number", "sum": "sum", "median": "median", "stddev": "standard deviation"}


def plain_figure(figure: Fraction | float, kind: pa.DataType, name: str) -> Any:
    """Return a figure as a plain value: a mean as a double, what is a number of an exact type as that.

    Args:
        figure: Exact, or a double.
        kind: Type of the numbers.
        name: What it is: `mean`, or another.
    """
    if isinstance(figure, float):
        return figure if math.isfinite(figure) else "NaN" if math.isnan(figure) else "Infinity" if figure > 0 else "-Infinity"
    if name == "mean":
        return plain_figure(_rounded(figure), kind, name)
    if pa.types.is_decimal(kind):
        return format(Decimal(int(figure * 10**kind.scale)).scaleb(-kind.scale, _WIDE), "f")
    return plain_integer(int(figure))


def _rounded(figure: Fraction | float) -> float:
    """Return the nearest double."""
    try:
        return float(figure)
    except OverflowError:
        return math.inf if figure > 0 else -math.inf
