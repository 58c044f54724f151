"""What a measure is: a state for every row, states of one group that combine to one in any order, and the result of the last one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.groups import Groups
from beam_pipelines.columnar.misfit import MisfitError

__all__ = ["Kernel", "MeasureProblem", "Measured", "Rows", "State", "of_groups"]

Reduce = Literal["sum", "min", "max"]
Positions = npt.NDArray[np.int64]


class MeasureProblem(MisfitError):  # noqa: N818 (it never leaves the step)
    """A function that does not fit its field or its arguments."""


@dataclass(frozen=True)
class State:
    """One column of a measure's state.

    Args:
        type: Of its values.
        reduce: Arrow's own function that combines the states of a group; None: the measure does it itself.
    """

    type: pa.DataType
    reduce: Reduce | None = None


@dataclass(frozen=True)
class Rows:
    """What a measure sees of a batch.

    Args:
        values: Of its field.
        ordinals: Where each row stands in the order of the source; int64, unique within a run.
        order: Of the field that `orderBy` names.
    """

    values: pa.Array
    ordinals: pa.Array
    order: pa.Array | None = None


@dataclass(frozen=True)
class Measured:
    """The results of one measure.

    Args:
        array: One value a group.
        bad: Groups that have none, for it does not fit the planned type.
        reason: Why.
    """

    array: pa.Array
    bad: Sequence[int] = field(default=())
    reason: str = ""


class Kernel(ABC):
    """A measure, bound to the type of its field.

    Args:
        type: Of the results.
        states: What a state consists of.
    """

    def __init__(self, type: pa.DataType, *states: State) -> None:  # noqa: A002 (it is one)
        self.type, self.states = type, states

    @abstractmethod
    def lift(self, rows: Rows) -> list[pa.Array]:
        """Return the state of each row, column by column."""

    def nothing(self, null: Rows) -> list[pa.Array]:
        """Return the state of no rows at all: that of a null, which counts for nothing; `null` is one row of it."""
        return self.lift(null)

    def combine(self, states: list[pa.Array], groups: Groups) -> list[pa.Array]:  # noqa: ARG002
        """Return one state a group; what Arrow's own functions reduce comes reduced already."""
        return states

    @abstractmethod
    def result(self, states: list[pa.Array]) -> Measured:
        """Return what the states of the groups amount to."""


def of_groups(lists: pa.Array, groups: Groups) -> tuple[pa.Array, Positions]:
    """Return the elements of list states, group after group, and where each group begins and ends (one more than there are groups)."""
    ordered = lists.take(pa.array(groups.order))
    lengths = np.diff(np.asarray(ordered.offsets, dtype=np.int64))
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return ordered.flatten(), ends[groups.offsets]
