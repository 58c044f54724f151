"""Which kernel carries out which function of a definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from beam_pipelines.spec.aggregation import Measure
from beam_pipelines.transforms.aggregate.extremes import Extreme, Picked
from beam_pipelines.transforms.aggregate.measure import Kernel, MeasureProblem
from beam_pipelines.transforms.aggregate.moments import Deviation
from beam_pipelines.transforms.aggregate.sketches import ApproximateDistinct, ApproximatePercentile
from beam_pipelines.transforms.aggregate.sums import Average, Count, Sum
from beam_pipelines.transforms.aggregate.values import Collected, Distinct, Percentile

__all__ = ["kernel"]

_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "count_distinct": ("approx",),
    "first": ("orderBy",),
    "last": ("orderBy",),
    "median": ("approx",),
    "percentile": ("p", "approx"),
    "stddev": ("of",),
}


def kernel(measure: Measure, kind: pa.DataType, order: pa.DataType | None) -> Kernel:
    """Return the kernel of a measure.

    Args:
        measure: From the definition.
        kind: Type of its field.
        order: Type of the field that `orderBy` names; None: there is none.

    Raises:
        MeasureProblem: The function does not fit the type, or its arguments do not fit it.
    """
    known = _ARGUMENTS.get(measure.function, ())
    for name in measure.args:
        if name not in known:
            raise MeasureProblem(f"no argument {name!r} for {measure.function}", f"arguments: {', '.join(known) or 'none'}")
    approx = measure.args.get("approx", False)
    if not isinstance(approx, bool):
        raise MeasureProblem(f"expected args: {{approx: true}} or {{approx: false}}, got {approx!r}")
    distinct, percentile = (ApproximateDistinct, ApproximatePercentile) if approx else (Distinct, Percentile)
    makers: Mapping[str, Callable[[], Kernel]] = {
        "count": Count,
        "count_distinct": lambda: distinct(kind),
        "sum": lambda: Sum(kind, measure.name),
        "avg": lambda: Average(kind, measure.name),
        "min": lambda: Extreme(kind, "min"),
        "max": lambda: Extreme(kind, "max"),
        "first": lambda: Picked(kind, "first", order),
        "last": lambda: Picked(kind, "last", order),
        "median": lambda: percentile(kind, 0.5),
        "percentile": lambda: percentile(kind, _share(measure.args.get("p"))),
        "stddev": lambda: Deviation(kind, _of(measure.args.get("of", "sample"))),
        "collect": lambda: Collected(kind),
    }
    return makers[measure.function]()


def _share(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
        raise MeasureProblem(f"expected args: {{p: SHARE}} with a share from 0 to 1, got {given!r}")
    return float(given)


def _of(given: Any) -> Any:
    if given not in ("sample", "population"):
        raise MeasureProblem(f"expected args: {{of: sample}} or {{of: population}}, got {given!r}")
    return given
