"""stddev: of groups of any size, from counts, means and squared deviations that combine without losing digits.

The formula is Chan's, Golub's and LeVeque's (Updating formulae and a pairwise algorithm for computing sample variances, 1979).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.groups import Groups
from beam_pipelines.transforms.aggregate.measure import Kernel, Measured, MeasureProblem, Rows, State

__all__ = ["Deviation"]


class Deviation(Kernel):
    """The standard deviation of what is not null: of a sample (one value has none), or of the population.

    Args:
        kind: Type of the field.
        of: `sample` or `population`.
    """

    def __init__(self, kind: pa.DataType, of: Literal["sample", "population"]) -> None:
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
            raise MeasureProblem(f"expected numbers, got a {kind}", "convert the field in a map step before")
        # Count, mean, squared deviations.
        super().__init__(pa.float64(), State(pa.int64()), State(pa.float64()), State(pa.float64()))
        self._less = 1 if of == "sample" else 0

    def lift(self, rows: Rows) -> list[pa.Array]:
        values = rows.values.cast(pa.float64(), safe=False)
        return [values.is_valid().cast(pa.int64()), pc.fill_null(values, 0.0), pa.array(np.zeros(len(values)))]

    def combine(self, states: list[pa.Array], groups: Groups) -> list[pa.Array]:
        counts, means, squares = (np.asarray(state)[groups.order] for state in states)
        begins = groups.offsets[:-1]
        total = np.add.reduceat(counts, begins)
        with np.errstate(invalid="ignore", divide="ignore"):
            # In steps that a null, which counts for nothing, does not disturb.
            mean = np.where(total > 0, np.add.reduceat(np.where(counts > 0, counts * means, 0.0), begins) / np.maximum(total, 1), 0.0)
            apart = np.where(counts > 0, counts * (means - mean[groups.of]) ** 2, 0.0)
        return [pa.array(total), pa.array(mean), pa.array(np.add.reduceat(squares + apart, begins))]

    def result(self, states: list[pa.Array]) -> Measured:
        counts, _, squares = (np.asarray(state) for state in states)
        none = counts <= self._less
        return Measured(pa.array(np.sqrt(squares / np.where(none, 1, counts - self._less)), mask=none))
