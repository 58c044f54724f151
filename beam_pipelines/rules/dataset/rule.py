"""What a rule of a data set as a whole is: measured batch by batch, in states that are merged in any order, and judged at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, Protocol

import pyarrow as pa

__all__ = ["Bounds", "SetRule", "Verdict", "plain_integer"]


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a data set.

    Args:
        holds: Whether it holds; None: there was nothing to measure.
        measured: What was measured, as a plain value; None: nothing.
        message: What was expected; never a value of a row.
        unevaluated: Rows that were left out of the measure.
        details: What else is to be known of the measure, as plain values; `approximate: true` where it is not exact.
    """

    holds: bool | None
    measured: Any
    message: str
    unevaluated: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


class SetRule(Protocol):
    """A rule of a data set, made for batches of one schema.

    States are small, can be pickled, and hold no values of rows but the least and the greatest and, for quantiles, numbers up to a bound.
    """

    def nothing(self) -> Any:
        """Return the state of no rows."""

    def measure(self, batch: pa.RecordBatch) -> Any:
        """Return the state of the rows of a batch."""

    def merge(self, one: Any, other: Any) -> Any:
        """Return the state of the rows of two states."""

    def judge(self, state: Any, now: datetime) -> Verdict:
        """Say whether the rule holds of all rows.

        Args:
            state: Of all rows.
            now: When the check started, with a zone.
        """


@dataclass(frozen=True)
class Bounds:
    """What a figure must lie between, both inclusive."""

    low: int | float | None
    high: int | float | None

    def hold(self, figure: float | Fraction) -> bool:
        """Return whether a figure lies between them: one that is exact by the bounds as they are written, a double by theirs."""
        low, high = (
            bound if bound is None or isinstance(figure, float) else Fraction(bound if isinstance(bound, int) else str(bound))
            for bound in (self.low, self.high)
        )
        return not ((low is not None and not figure >= low) or (high is not None and not figure <= high))

    def __str__(self) -> str:
        if self.low is None:
            return f"of at most {self.high}"
        return f"of at least {self.low}" if self.high is None else f"from {self.low} to {self.high}"


def plain_integer(number: int) -> int | str:
    """Return an integer as JSON can hold it: one of more than 64 bits as its digits."""
    return number if -(2**63) <= number < 2**64 else str(number)
