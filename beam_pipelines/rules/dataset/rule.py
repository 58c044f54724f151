"""Rules of a data set as a whole: measured batch by batch, in states that are merged in any order, and judged at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa

if TYPE_CHECKING:
    from beam_pipelines.rules.compiled import Compiled
    from beam_pipelines.rules.profiling.profiler import Profiler

__all__ = ["Bounds", "ByPast", "Measures", "Past", "SetRule", "Verdict", "plain_integer"]

Past = Mapping[int, Sequence[Mapping[str, Any]]]


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


@runtime_checkable
class ByPast(Protocol):
    """A rule of a data set that looks at what it measured before."""

    def judge_by(self, state: Any, now: datetime, past: Sequence[Mapping[str, Any]]) -> Verdict:
        """Say whether the rule holds of all rows, by what it told in earlier runs, the last one first."""


class Measures:
    """All rules of a data set, measured in one state: that of each, in their order, and the profile of its columns if that is asked for.

    Args:
        rules: Of any kind; those that look at rows are passed over.
        profiler: Measures the columns as well, last.
    """

    def __init__(self, rules: Sequence[Compiled], profiler: Profiler | None = None) -> None:
        self._rules = [(at, rule.dataset) for at, rule in enumerate(rules) if rule.dataset is not None]
        self._profiler = profiler
        self._parts: list[SetRule | Profiler] = [rule for _, rule in self._rules]
        if profiler is not None:
            self._parts.append(profiler)

    def nothing(self) -> tuple[Any, ...]:
        """Return the state of no rows."""
        return tuple(part.nothing() for part in self._parts)

    def measure(self, batch: pa.RecordBatch) -> tuple[Any, ...]:
        """Return the state of the rows of a batch."""
        return tuple(part.measure(batch) for part in self._parts)

    def merge(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the state of the rows of two states."""
        return tuple(part.merge(mine, theirs) for part, mine, theirs in zip(self._parts, one, other, strict=True))

    def verdicts(self, state: tuple[Any, ...], now: datetime, past: Past | None = None) -> dict[int, Verdict]:
        """Judge all rules; by their place among all rules, those that look at rows included.

        Args:
            state: Of all rows.
            now: When the check started, with a zone.
            past: What each rule told in earlier runs, the last one first, by its place.
        """
        known, states = past or {}, zip(self._rules, state[: len(self._rules)], strict=True)
        return {
            at: rule.judge_by(mine, now, known.get(at, ())) if isinstance(rule, ByPast) else rule.judge(mine, now)
            for (at, rule), mine in states
        }

    def profile(self, state: tuple[Any, ...]) -> Sequence[dict[str, Any]]:
        """Return what is told of the columns, as `rules.profiling.columns.Profile.told` does; nothing where they were not measured."""
        return () if self._profiler is None else self._profiler.told(state[-1])


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
