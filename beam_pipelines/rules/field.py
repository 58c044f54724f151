"""The field that a rule looks at, and what is said of a rule that does not fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.convert import decoded
from beam_pipelines.columnar.misfit import MisfitError
from beam_pipelines.columnar.path import FieldPath, PathProblem, find_path
from beam_pipelines.errors import Code

__all__ = ["Field", "RuleMisfit", "found"]


class RuleMisfit(MisfitError):  # noqa: N818 (it never leaves the room)
    """A rule that does not fit the rows.

    Args:
        message: What was expected and what came.
        key: Of the rule, where the mistake is.
        hint: What to do.
        code: Error code.
    """

    def __init__(self, message: str, key: str, hint: str = "", code: Code = "rule-invalid") -> None:
        super().__init__(message, hint)
        self.key, self.code = key, code


@dataclass(frozen=True)
class Field:
    """One field of the rows of one schema.

    Args:
        name: As the definition names it.
        path: Where it is.
        type: Of its values, which are neither dictionaries nor views.
    """

    name: str
    path: FieldPath
    type: pa.DataType

    @classmethod
    def find(cls, name: str, schema: pa.Schema, key: str = "field") -> Field:
        """Find a field; nested names are `address.city`.

        Raises:
            RuleMisfit: There is no such field.
        """
        try:
            path = find_path(name, schema)
        except PathProblem as problem:
            raise RuleMisfit(problem.message, key, problem.hint, problem.code) from problem
        return cls(name, path, decoded(pa.nulls(0, path.type)).type)

    def read(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the values, one a row."""
        return decoded(self.path.read(batch))


def found(fields: Sequence[Field], batch: pa.RecordBatch, rows: npt.NDArray[np.int64]) -> pa.Array:
    """Return what some rows hold: the value of one field, or a struct of those of several."""
    taken = [field.read(batch).take(pa.array(rows)) for field in fields]
    return taken[0] if len(taken) == 1 else pa.StructArray.from_arrays(taken, [field.name for field in fields])
