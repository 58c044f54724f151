"""States of groups that wait in a bundle, combined as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

__all__ = ["States"]

_LITTLE = 1 << 17  # rows of states that are not worth combining yet
_MUCH = 192 << 20  # bytes of combined states that a bundle holds: below it a group travels once


class _Combining(Protocol):
    def combine(self, states: Sequence[pa.RecordBatch]) -> pa.RecordBatch: ...


_Step = TypeVar("_Step", bound=_Combining)


@dataclass
class States(Generic[_Step]):
    """States of one load that are combined as they come, so that a bundle holds one a group and not one a batch."""

    step: _Step
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    combined: tuple[int, int] = (0, 0)  # rows and bytes that were left the last time

    def add(self, states: pa.RecordBatch) -> None:
        self.batches.append(states)
        self.rows += states.num_rows
        self.bytes += states.nbytes
        # Twice what was left the last time: keys that never repeat are gone through a few times, not once a batch. By their bytes too,
        # for a state of a median is as large as its values are many.
        rows, held = self.combined
        if len(self.batches) > 1 and (self.rows > max(_LITTLE, 2 * rows) or self.bytes > max(_MUCH // 2, 2 * held)):
            self.combine()

    def combine(self) -> None:
        self.batches = [self.step.combine(self.batches)]
        self.rows, self.bytes = self.combined = self.batches[0].num_rows, self.batches[0].nbytes

    @property
    def large(self) -> bool:
        return len(self.batches) == 1 and self.bytes > _MUCH

    def take(self) -> pa.RecordBatch | None:
        """Return what there is, combined, and begin anew."""
        if not self.batches:
            return None
        self.combine()
        (states,) = self.batches
        self.batches, self.rows, self.bytes, self.combined = [], 0, 0, (0, 0)
        return states
